//! Listeners (LDS).
//!
//! In: what a proxy sees. Out: its listeners. Called through [`crate::listeners`]; a gateway's are made
//! in [`crate::gateway`].

mod beginning;
mod chain;
mod grpc;
mod http_proxy;
mod inbound;
mod l4;
mod outbound;
mod virtual_outbound;

use std::collections::BTreeSet;
use std::net::IpAddr;

pub(crate) use beginning::mesh_protocols;
pub(crate) use grpc::{
    build as grpc, is_server as is_grpc_server, names as grpc_names,
    route_names as grpc_route_names,
};
pub(crate) use l4::destination_filters;
use meltemi_xds::pb::envoy::config::listener::v3::Listener;

use crate::scope::Scope;

/// A sidecar's listeners for what its workload sends, each with the address of the workload at which
/// it stands, if it is for that one alone: that workload's own proxy has no use for it.
pub(crate) fn outbound(scope: &Scope<'_>) -> Vec<(Listener, Option<IpAddr>)> {
    let mut listeners = outbound::build(scope);
    let own = http_proxy::build(scope).into_iter();
    let own = own.chain((!scope.binds()).then(|| virtual_outbound::build(scope)));
    listeners.extend(own.map(|it| (it, None)));
    listeners
}

/// A sidecar's listeners for what its workload is sent.
pub(crate) fn inbound(scope: &Scope<'_>) -> Vec<Listener> {
    inbound::build(scope)
}

/// The route tables that a sidecar's listeners ask for.
pub(crate) fn route_names(scope: &Scope<'_>) -> BTreeSet<String> {
    let mut names = outbound::route_names(scope);
    names.extend(http_proxy::route_name(scope));
    names
}
