//! Servers of gateways that forward bytes (FEATURES T2, T3).
//!
//! In: a server of TCP or of TLS, and the virtual services bound to its Gateway. Out: its chains.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_model::{GatewayRef, Hostname, L4Match, Protocol, ServerTls, VirtualService};
use meltemi_xds::pb::envoy::config::listener::v3::{Filter, FilterChain, FilterChainMatch};

use super::listener::{by_names, free_names, server_names};
use super::merge::MergedServer;
use super::route::shared_hosts;
use crate::filter::{Class, TcpProxyOptions, tcp_proxy};
use crate::listener::{destination_filters, mesh_protocols};
use crate::name::SubsetKey;
use crate::scope::Scope;
use crate::tls::downstream;

/// What the Gateway API's TLSRoute becomes says so here; its `tls` blocks are for opened TLS too.
const PARENTS: &str = "internal.istio.io/parents";

/// The chains of a server; names in `taken` are those of others on the port.
pub(super) fn chains(
    scope: &Scope<'_>,
    merged: &MergedServer<'_>,
    taken: &mut BTreeSet<String>,
) -> Vec<FilterChain> {
    let gateway = merged.gateway_ref();
    match &merged.server.tls {
        Some(ServerTls::Passthrough) => passthrough(scope, merged, &gateway, taken),
        Some(ServerTls::AutoPassthrough) => auto_passthrough(scope, merged, taken),
        tls => {
            let Some(filters) = tcp_filters(scope, merged, &gateway) else {
                return Vec::new();
            };
            let names = tls.as_ref().map(|_| server_names(merged.server));
            let Some(names) = free_names(names.unwrap_or_default(), taken) else {
                return Vec::new();
            };
            let socket = tls.as_ref();
            vec![FilterChain {
                filter_chain_match: by_names(names),
                transport_socket: socket.and_then(|it| downstream::gateway(scope.mesh(), it)),
                filters,
                ..Default::default()
            }]
        }
    }
}

/// The virtual services with a host in common with the server, the oldest first.
fn bound<'s>(
    scope: &Scope<'s>,
    merged: &MergedServer<'_>,
    gateway: &GatewayRef,
) -> Vec<&'s Arc<VirtualService>> {
    let here = scope.virtual_services_at(gateway);
    here.filter(|it| !shared_hosts(merged, it).is_empty())
        .collect()
}

/// Whether a match is for connections to the server.
fn is_here(wanted: &L4Match, merged: &MergedServer<'_>, gateway: &GatewayRef) -> bool {
    let port = merged.server.port.number;
    wanted.port.is_none_or(|it| it == port)
        && (wanted.gateways.is_empty() || wanted.gateways.contains(gateway))
}

/// The filters of the first `tcp` route for the server.
fn tcp_filters(
    scope: &Scope<'_>,
    merged: &MergedServer<'_>,
    gateway: &GatewayRef,
) -> Option<Vec<Filter>> {
    let port = merged.server.port.number;
    for service in bound(scope, merged, gateway) {
        let filters =
            |destinations| destination_filters(scope, Class::Gateway, service, destinations, port);
        let tcp = service.tcp.iter().find(|route| {
            let mut matches = route.matches.iter();
            route.matches.is_empty() || matches.any(|it| is_here(it, merged, gateway))
        });
        if let Some(route) = tcp {
            return Some(filters(&route.destinations));
        }
        let parents = service.meta.annotation(PARENTS).unwrap_or_default();
        if merged.server.tls.is_some() && parents.starts_with("TLSRoute/") {
            let tls = service.tls.iter().find(|route| {
                let mut matches = route.matches.iter();
                matches.any(|(_, it)| is_here(it, merged, gateway))
            });
            if let Some(route) = tls {
                return Some(filters(&route.destinations));
            }
        }
    }
    None
}

/// A chain for each `tls` route.
fn passthrough(
    scope: &Scope<'_>,
    merged: &MergedServer<'_>,
    gateway: &GatewayRef,
    taken: &mut BTreeSet<String>,
) -> Vec<FilterChain> {
    let mut chains = Vec::new();
    for service in bound(scope, merged, gateway) {
        for route in &service.tls {
            for (names, wanted) in &route.matches {
                if !is_here(wanted, merged, gateway) {
                    continue;
                }
                let names = names.iter().map(ToString::to_string);
                let names = match names.clone().any(|it| it == "*") {
                    true => Vec::new(),
                    false => names.collect(),
                };
                let Some(names) = free_names(names, taken) else {
                    continue;
                };
                chains.push(FilterChain {
                    filter_chain_match: by_names(names),
                    filters: destination_filters(
                        scope,
                        Class::Gateway,
                        service,
                        &route.destinations,
                        merged.server.port.number,
                    ),
                    ..Default::default()
                });
            }
        }
    }
    chains
}

/// A chain for each cluster of the mesh, by the server name that mutual TLS to it has.
fn auto_passthrough(
    scope: &Scope<'_>,
    merged: &MergedServer<'_>,
    taken: &mut BTreeSet<String>,
) -> Vec<FilterChain> {
    let wanted = |host: &Hostname| merged.server.hosts.iter().any(|it| it.host.contains(host));
    let mut chains = Vec::new();
    for service in scope.services() {
        if service.is_external() || !wanted(&service.hostname) {
            continue;
        }
        let rule = scope.destination_rule(service);
        let subsets = rule.into_iter().flat_map(|it| &it.subsets);
        let subsets: Vec<_> = subsets.map(|it| it.name.as_str()).collect();
        for port in service
            .ports
            .iter()
            .filter(|it| it.protocol != Protocol::Udp)
        {
            for subset in std::iter::once("").chain(subsets.iter().copied()) {
                let cluster = SubsetKey {
                    port: port.number,
                    subset,
                    host: service.hostname.as_str(),
                }
                .server_name();
                let Some(names) = free_names(vec![cluster.clone()], taken) else {
                    continue;
                };
                // Nobody comes in who does not speak the mesh's TLS: who is asked is not looked at.
                chains.push(FilterChain {
                    filter_chain_match: by_names(names).map(|it| FilterChainMatch {
                        application_protocols: mesh_protocols(),
                        ..it
                    }),
                    filters: tcp_proxy(scope, Class::Gateway, &TcpProxyOptions::to(&cluster)),
                    ..Default::default()
                });
            }
        }
    }
    chains
}
