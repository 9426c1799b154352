//! Listeners of gateways.
//!
//! In: the merged ports. Out: a listener for each, with one chain for plain HTTP or for bytes, or one
//! for each TLS server by server name. A port for which there is nothing to do has no listener.

use std::collections::BTreeSet;

use meltemi_model::{GatewayProtocol, Server, ServerTls};
use meltemi_xds::pb::envoy::config::core::v3::TrafficDirection;
use meltemi_xds::pb::envoy::config::listener::v3::{FilterChain, FilterChainMatch, Listener};

use super::l4;
use super::merge::{self, MergedPort, MergedServer};
use crate::filter::{
    Class, HttpFilters, Routes, connection_manager, proxy_protocol, tls_inspector,
};
use crate::name::{self, stat_prefix};
use crate::proto::{address, zero};
use crate::scope::Scope;
use crate::tls::downstream;

/// The listeners of a gateway proxy.
pub(crate) fn build(scope: &Scope<'_>) -> Vec<Listener> {
    merge::ports(scope)
        .iter()
        .map(|port| listener(scope, port))
        .filter(|it| !it.filter_chains.is_empty())
        .collect()
}

fn listener(scope: &Scope<'_>, port: &MergedPort<'_>) -> Listener {
    let ip = port
        .bind
        .map_or_else(|| scope.any_address(), |it| it.to_string());
    let name = name::listener(&ip, port.number);
    let mut filter_chains = Vec::new();
    let mut taken = BTreeSet::new();
    for merged in &port.servers {
        match (&merged.route_name, &merged.server.tls) {
            (Some(_), Some(_)) => filter_chains.extend(tls_chain(scope, &name, merged, &mut taken)),
            // All plain servers of the port share one route table.
            (Some(_), None) if filter_chains.is_empty() => {
                filter_chains.extend(http_chain(scope, &name, merged));
            }
            (Some(_), None) => {}
            (None, _) => filter_chains.extend(l4::chains(scope, merged, &mut taken)),
        }
    }
    let topology = scope.gateway_topology();
    let announced = topology.proxy_protocol.then(proxy_protocol).into_iter();
    Listener {
        address: Some(address(&ip, port.number)),
        traffic_direction: TrafficDirection::Outbound.into(),
        listener_filters: announced.chain(port.tls.then(tls_inspector)).collect(),
        listener_filters_timeout: Some(zero()),
        filter_chains,
        name,
        ..Default::default()
    }
}

fn tls_chain(
    scope: &Scope<'_>,
    listener: &str,
    merged: &MergedServer<'_>,
    taken: &mut BTreeSet<String>,
) -> Option<FilterChain> {
    let names = free_names(server_names(merged.server), taken)?;
    let tls = merged.server.tls.as_ref()?;
    Some(FilterChain {
        filter_chain_match: by_names(names),
        transport_socket: downstream::gateway(scope.mesh(), tls),
        ..http_chain(scope, listener, merged)?
    })
}

fn http_chain(scope: &Scope<'_>, listener: &str, merged: &MergedServer<'_>) -> Option<FilterChain> {
    let server = merged.server;
    let prefix = match &server.name {
        Some(name) if server.tls.is_some() => name.clone(),
        Some(_) | None => stat_prefix(&format!("outbound_{listener}")),
    };
    let manager = HttpFilters {
        class: Class::Gateway,
        stat_prefix: prefix,
        routes: Routes::Discovered(merged.route_name.clone()?),
        http2: false,
        grpc_web: server.port.protocol == GatewayProtocol::GrpcWeb,
        explicit_proxy: false,
    };
    Some(FilterChain {
        filters: vec![connection_manager(scope, manager)],
        ..Default::default()
    })
}

/// The match of a chain for these server names; any if there are none.
pub(super) fn by_names(names: Vec<String>) -> Option<FilterChainMatch> {
    (!names.is_empty()).then(|| FilterChainMatch {
        server_names: names,
        ..Default::default()
    })
}

/// Those of the names that no older chain has, which it then has; `None` if there is none left. A
/// proxy refuses a listener where a name is there twice.
pub(super) fn free_names(names: Vec<String>, taken: &mut BTreeSet<String>) -> Option<Vec<String>> {
    // The chain for every name is there once too.
    if names.is_empty() {
        return taken.insert(String::new()).then(Vec::new);
    }
    let free: Vec<_> = names
        .into_iter()
        .filter(|it| taken.insert(it.clone()))
        .collect();
    (!free.is_empty()).then_some(free)
}

/// The server names of a TLS server; none if it takes every one.
pub(super) fn server_names(server: &Server) -> Vec<String> {
    let names: BTreeSet<_> = server.hosts.iter().map(|it| it.host.as_str()).collect();
    if names.contains("*") {
        return Vec::new();
    }
    names.into_iter().map(str::to_owned).collect()
}

/// Whether some server sends connections on by the cluster's name in their server name.
pub(crate) fn passes_clusters_through(scope: &Scope<'_>) -> bool {
    let ports = merge::ports(scope);
    let mut servers = ports.iter().flat_map(|it| &it.servers);
    servers.any(|it| it.server.tls == Some(ServerTls::AutoPassthrough))
}
