//! Filter chains by what the first bytes of a connection say.
//!
//! In: how a port's protocol is told apart. Out: chain matches, and the filter chain that takes what
//! no other does.

use meltemi_model::OutboundTrafficPolicy;
use meltemi_xds::pb::envoy::config::listener::v3::{Filter, FilterChain, FilterChainMatch};

use crate::filter::{Class, TcpProxyOptions, tcp_proxy};
use crate::name::{BLACK_HOLE, PASSTHROUGH};
use crate::route::cluster_of;
use crate::scope::Scope;

/// A chain that takes every connection.
pub(super) fn any(name: &str, filters: Vec<Filter>) -> FilterChain {
    FilterChain {
        name: name.to_owned(),
        filters,
        ..Default::default()
    }
}

/// The match of a chain for HTTP in plain text, as the HTTP inspector finds it.
pub(super) fn plain_http(scope: &Scope<'_>) -> FilterChainMatch {
    FilterChainMatch {
        transport_protocol: "raw_buffer".to_owned(),
        application_protocols: plain_http_protocols(scope),
        ..Default::default()
    }
}

/// What the HTTP inspector calls HTTP in plain text; 1.0 only where it would not be refused anyway.
pub(super) fn plain_http_protocols(scope: &Scope<'_>) -> Vec<String> {
    let old = scope.node.http10.then_some("http/1.0");
    old.into_iter()
        .chain(["http/1.1", "h2c"])
        .map(str::to_owned)
        .collect()
}

/// What is done with connections to hosts that the mesh does not know (FEATURES T15).
pub(super) fn unknown_destination(scope: &Scope<'_>) -> Vec<Filter> {
    let proxy = scope
        .sidecar()
        .and_then(|it| it.outbound.as_ref()?.egress_proxy.as_ref());
    let proxy = proxy.map(|it| cluster_of(scope, it, it.port.unwrap_or(0)));
    let cluster = match scope.outbound_policy() {
        OutboundTrafficPolicy::AllowAny | OutboundTrafficPolicy::AllowAnyDynamicDns => {
            proxy.as_deref().unwrap_or(PASSTHROUGH)
        }
        OutboundTrafficPolicy::RegistryOnly => BLACK_HOLE,
    };
    tcp_proxy(scope, Class::Outbound, &TcpProxyOptions::to(cluster))
}

/// A chain for connections to the listener's own port, which would go round in circles.
pub(super) fn black_hole(scope: &Scope<'_>, class: Class, name: &str, port: u16) -> FilterChain {
    FilterChain {
        name: name.to_owned(),
        filter_chain_match: Some(FilterChainMatch {
            destination_port: Some(u32::from(port)),
            ..Default::default()
        }),
        filters: tcp_proxy(scope, class, &TcpProxyOptions::to(BLACK_HOLE)),
        ..Default::default()
    }
}
