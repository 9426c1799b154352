//! The explicit HTTP proxy (FEATURES T18).
//!
//! In: `proxyHttpPort`. Out: a listener that applications name in `http_proxy`, routed by the table
//! `http_proxy`, which has every service.

use meltemi_xds::pb::envoy::config::core::v3::TrafficDirection;
use meltemi_xds::pb::envoy::config::listener::v3::Listener;

use super::chain;
use crate::filter::{Class, HttpFilters, Routes, connection_manager};
use crate::name::{self, HTTP_PROXY, stat_prefix};
use crate::proto::{address, zero};
use crate::scope::Scope;

/// The listener, if there is to be one: on the workload's address where that is the proxy's own, else
/// on loopback.
pub(super) fn build(scope: &Scope<'_>) -> Option<Listener> {
    let port = scope.http_proxy_port()?;
    let ip = if scope.binds() {
        scope.ip().to_string()
    } else {
        name::loopback(Some(scope.ip())).to_owned()
    };
    let listener = name::listener(&ip, port);
    let manager = HttpFilters {
        class: Class::Outbound,
        stat_prefix: stat_prefix(&format!("outbound_{listener}")),
        routes: Routes::Discovered(HTTP_PROXY.to_owned()),
        http2: false,
        grpc_web: false,
        explicit_proxy: true,
    };
    Some(Listener {
        name: listener,
        address: Some(address(&ip, port)),
        traffic_direction: TrafficDirection::Outbound.into(),
        continue_on_listener_filters_timeout: true,
        listener_filters_timeout: Some(zero()),
        filter_chains: vec![chain::any("", vec![connection_manager(scope, manager)])],
        ..Default::default()
    })
}

/// The route table that the listener asks for.
pub(super) fn route_name(scope: &Scope<'_>) -> Option<String> {
    scope.http_proxy_port().map(|_| HTTP_PROXY.to_owned())
}
