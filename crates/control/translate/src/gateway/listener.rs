//! Listeners of gateways.
//!
//! In: the merged ports. Out: a listener for each, with one chain for plain HTTP or one for each TLS
//! server by server name.

use std::collections::BTreeSet;

use meltemi_model::{GatewayProtocol, Server};
use meltemi_xds::pb::envoy::config::core::v3::TrafficDirection;
use meltemi_xds::pb::envoy::config::listener::v3::{FilterChain, FilterChainMatch, Listener};

use super::merge::{self, MergedPort, MergedServer};
use crate::filter::{Class, HttpFilters, Routes, connection_manager, tls_inspector};
use crate::name::{self, stat_prefix};
use crate::proto::{address, zero};
use crate::scope::Scope;
use crate::tls::downstream;

/// The listeners of a gateway proxy.
pub(crate) fn build(scope: &Scope<'_>) -> Vec<Listener> {
    merge::ports(scope)
        .iter()
        .map(|port| listener(scope, port))
        .collect()
}

fn listener(scope: &Scope<'_>, port: &MergedPort<'_>) -> Listener {
    let ip = scope.any_address();
    let name = name::listener(&ip, port.number);
    let filter_chains = if port.tls {
        let servers = port.servers.iter();
        servers.map(|it| tls_chain(scope, &name, it)).collect()
    } else {
        // All servers of the port share one route table.
        let servers = port.servers.iter().take(1);
        servers.map(|it| chain(scope, &name, it)).collect()
    };
    Listener {
        address: Some(address(&ip, port.number)),
        traffic_direction: TrafficDirection::Outbound.into(),
        listener_filters: port.tls.then(tls_inspector).into_iter().collect(),
        listener_filters_timeout: Some(zero()),
        filter_chains,
        name,
        ..Default::default()
    }
}

fn tls_chain(scope: &Scope<'_>, listener: &str, merged: &MergedServer<'_>) -> FilterChain {
    let names = server_names(merged.server);
    FilterChain {
        filter_chain_match: (!names.is_empty()).then(|| FilterChainMatch {
            server_names: names,
            ..Default::default()
        }),
        transport_socket: merged.server.tls.as_ref().map(downstream::gateway),
        ..chain(scope, listener, merged)
    }
}

fn chain(scope: &Scope<'_>, listener: &str, merged: &MergedServer<'_>) -> FilterChain {
    let server = merged.server;
    let prefix = match &server.name {
        Some(name) if server.tls.is_some() => name.clone(),
        Some(_) | None => stat_prefix(&format!("outbound_{listener}")),
    };
    let manager = HttpFilters {
        class: Class::Gateway,
        stat_prefix: prefix,
        routes: Routes::Discovered(merged.route_name.clone()),
        http2: false,
        grpc_web: server.port.protocol == GatewayProtocol::GrpcWeb,
        explicit_proxy: false,
    };
    FilterChain {
        filters: vec![connection_manager(scope, manager)],
        ..Default::default()
    }
}

/// The server names of a TLS server; none if it takes every one.
fn server_names(server: &Server) -> Vec<String> {
    let names: BTreeSet<_> = server.hosts.iter().map(|it| it.host.as_str()).collect();
    if names.contains("*") {
        return Vec::new();
    }
    names.into_iter().map(str::to_owned).collect()
}
