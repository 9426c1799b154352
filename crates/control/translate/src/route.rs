//! Route tables (RDS).
//!
//! In: a table's name and what a proxy sees. Out: the table. Called through [`crate::routes`]; a
//! gateway's are made in [`crate::gateway`] from the parts here.

mod action;
mod catch_all;
mod cors;
mod domain;
mod fault;
mod grpc;
mod hash;
mod header;
mod inbound;
mod matching;
mod mirror;
mod outbound;
mod redirect;
mod retry;
mod timeout;
mod virtual_service;

use meltemi_xds::pb::envoy::config::route::v3::{Decorator, RouteConfiguration, VirtualHost};

pub(crate) use action::cluster as cluster_of;
pub(crate) use catch_all::virtual_host as catch_all;
pub(crate) use domain::other_names;
pub(crate) use fault::FILTER as FAULT_FILTER;
pub(crate) use hash::hashes_source;
pub(crate) use inbound::inbound_routes;
pub(crate) use matching::is_catch_all;
pub(crate) use virtual_service::{Place, routes};

use crate::scope::Scope;

/// Bodies of direct responses may be this long; Envoy's own limit is 4 KiB.
const MAX_DIRECT_RESPONSE: u32 = 1024 * 1024;

/// A sidecar's table of this name; empty for a name that stands for nothing, which a proxy may ask for
/// while it drains a listener.
pub(crate) fn build(scope: &Scope<'_>, name: &str) -> RouteConfiguration {
    outbound::build(scope, name).unwrap_or_else(|| RouteConfiguration {
        ignore_port_in_host_matching: false,
        max_direct_response_body_size_bytes: None,
        ..table(name, Vec::new())
    })
}

/// A gRPC library's table of this name, which is that of a cluster.
pub(crate) fn grpc(scope: &Scope<'_>, name: &str) -> Option<RouteConfiguration> {
    grpc::build(scope, name)
}

/// A table of these hosts, which compares hosts without their port.
pub(crate) fn table(name: &str, virtual_hosts: Vec<VirtualHost>) -> RouteConfiguration {
    RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts,
        validate_clusters: Some(false),
        ignore_port_in_host_matching: true,
        max_direct_response_body_size_bytes: Some(MAX_DIRECT_RESPONSE),
        ..Default::default()
    }
}

/// What traces call a route.
fn decorator(operation: String) -> Decorator {
    Decorator {
        operation,
        ..Default::default()
    }
}
