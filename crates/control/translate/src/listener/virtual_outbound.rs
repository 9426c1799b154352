//! `virtualOutbound`: where intercepted outbound connections arrive (FEATURES T15, T17).
//!
//! In: the mesh's `proxyListenPort`. Out: the listener, which hands connections to the listener of
//! their original destination and treats the rest as the outbound traffic policy says.

use meltemi_model::OutboundTrafficPolicy;
use meltemi_xds::pb::envoy::config::core::v3::TrafficDirection;
use meltemi_xds::pb::envoy::config::listener::v3::{FilterChain, Listener};

use super::chain;
use crate::filter::{
    Class, HttpFilters, Routes, connection_manager, http_inspector, listener_log, tls_inspector,
};
use crate::name::{VIRTUAL_OUTBOUND, stat_prefix};
use crate::proto::{address, duration};
use crate::route::{catch_all, table};
use crate::scope::Scope;
use meltemi_model::InterceptionMode;

/// The listener.
pub(super) fn build(scope: &Scope<'_>) -> Listener {
    let port = scope.mesh().proxy_listen_port;
    let tproxy = scope.interception == InterceptionMode::Tproxy;
    let by_host = scope.outbound_policy() == OutboundTrafficPolicy::AllowAnyDynamicDns;
    let mut filter_chains = vec![chain::black_hole(
        scope,
        Class::Outbound,
        "virtualOutbound-blackhole",
        port,
    )];
    filter_chains.extend(by_host.then(|| by_host_chain(scope)));
    let rest = chain::any(
        "virtualOutbound-catchall-tcp",
        chain::unknown_destination(scope),
    );
    // Beside a chain that looks at the first bytes, one for all of them is no chain like others.
    let mut default_filter_chain = None;
    match by_host {
        true => default_filter_chain = Some(rest),
        false => filter_chains.push(rest),
    }
    let filters = match by_host {
        true => vec![tls_inspector(), http_inspector()],
        false => Vec::new(),
    };
    Listener {
        name: VIRTUAL_OUTBOUND.to_owned(),
        address: Some(address(&scope.any_address(), port)),
        transparent: tproxy.then_some(true),
        use_original_dst: Some(true),
        traffic_direction: TrafficDirection::Outbound.into(),
        access_log: listener_log(scope, Class::Outbound),
        listener_filters: filters,
        continue_on_listener_filters_timeout: by_host,
        listener_filters_timeout: by_host
            .then(|| duration(scope.mesh().protocol_detection_timeout)),
        filter_chains,
        default_filter_chain,
        ..Default::default()
    }
}

/// HTTP requests go by their host rather than by where the connection was for.
fn by_host_chain(scope: &Scope<'_>) -> FilterChain {
    let routes = table("", vec![catch_all(scope)]);
    let manager = HttpFilters {
        class: Class::Outbound,
        stat_prefix: stat_prefix(VIRTUAL_OUTBOUND),
        routes: Routes::Inline(Box::new(routes)),
        http2: false,
        grpc_web: false,
        explicit_proxy: false,
    };
    FilterChain {
        filter_chain_match: Some(chain::plain_http(scope)),
        ..chain::any(
            "virtualOutbound-catchall-http",
            vec![connection_manager(scope, manager)],
        )
    }
}
