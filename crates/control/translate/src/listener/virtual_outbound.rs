//! `virtualOutbound`: where intercepted outbound connections arrive (FEATURES T15, T17).
//!
//! In: the mesh's `proxyListenPort`. Out: the listener, which hands connections to the listener of
//! their original destination and treats the rest as the outbound traffic policy says.

use meltemi_xds::pb::envoy::config::core::v3::TrafficDirection;
use meltemi_xds::pb::envoy::config::listener::v3::Listener;

use super::chain;
use crate::InterceptionMode;
use crate::filter::{Class, listener_log};
use crate::name::VIRTUAL_OUTBOUND;
use crate::proto::address;
use crate::scope::Scope;

/// The listener.
pub(super) fn build(scope: &Scope<'_>) -> Listener {
    let port = scope.mesh().proxy_listen_port;
    let tproxy = scope.node.interception == InterceptionMode::Tproxy;
    Listener {
        name: VIRTUAL_OUTBOUND.to_owned(),
        address: Some(address(&scope.any_address(), port)),
        transparent: tproxy.then_some(true),
        use_original_dst: Some(true),
        traffic_direction: TrafficDirection::Outbound.into(),
        access_log: listener_log(scope.mesh()),
        filter_chains: vec![
            chain::black_hole(scope, Class::Outbound, "virtualOutbound-blackhole", port),
            chain::any(
                "virtualOutbound-catchall-tcp",
                chain::unknown_destination(scope),
            ),
        ],
        ..Default::default()
    }
}
