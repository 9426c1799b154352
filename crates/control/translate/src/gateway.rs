//! Gateways (FEATURES T1 to T3).
//!
//! In: the Gateway resources that select a proxy. Out: its listeners and route tables. Called through
//! [`crate::listeners`] and [`crate::routes`] for proxies of the type `router`.

mod l4;
mod listener;
mod merge;
mod route;

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_model::NamespaceName;

pub(crate) use listener::{build as listeners, passes_clusters_through};
pub(crate) use route::build as routes;

use crate::ProxyRole;
use crate::scope::Scope;

/// The Gateways whose servers the proxy has, by namespace and name.
pub(crate) fn instances(scope: &Scope<'_>) -> Vec<(NamespaceName, Arc<str>)> {
    if scope.node.role == ProxyRole::Sidecar {
        return Vec::new();
    }
    let ports = merge::ports(scope);
    let servers = ports.iter().flat_map(|it| &it.servers);
    let gateways: BTreeSet<_> = servers
        .map(|it| {
            (
                it.gateway.meta.namespace.clone(),
                it.gateway.meta.name.clone(),
            )
        })
        .collect();
    gateways.into_iter().collect()
}

/// The route tables that a gateway's listeners ask for.
pub(crate) fn route_names(scope: &Scope<'_>) -> BTreeSet<String> {
    merge::ports(scope)
        .into_iter()
        .flat_map(|port| port.servers)
        .filter_map(|server| server.route_name)
        .collect()
}
