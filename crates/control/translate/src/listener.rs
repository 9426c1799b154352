//! Listeners (LDS).
//!
//! In: what a proxy sees. Out: its listeners. Called through [`crate::listeners`]; a gateway's are made
//! in [`crate::gateway`].

mod beginning;
mod chain;
mod http_proxy;
mod inbound;
mod l4;
mod outbound;
mod virtual_outbound;

use std::collections::BTreeSet;

pub(crate) use l4::destination_filters;
use meltemi_xds::pb::envoy::config::listener::v3::Listener;

use crate::scope::Scope;

/// Every listener of a sidecar.
pub(crate) fn build(scope: &Scope<'_>) -> Vec<Listener> {
    let mut listeners = outbound::build(scope);
    listeners.extend(http_proxy::build(scope));
    if !scope.node.binds() {
        listeners.push(virtual_outbound::build(scope));
    }
    listeners.extend(inbound::build(scope));
    listeners
}

/// The route tables that a sidecar's listeners ask for.
pub(crate) fn route_names(scope: &Scope<'_>) -> BTreeSet<String> {
    let mut names = outbound::route_names(scope);
    names.extend(http_proxy::route_name(scope));
    names
}
