//! Chains of bytes: by address, by server name, by what virtual services say (FEATURES T10).
//!
//! In: a service's port, where clients reach it, and the virtual services for it. Out: [`L4Chain`]s,
//! the first that matches wins.

use std::sync::Arc;

use meltemi_model::{
    AddressRange, Destination, GatewayRef, L4Destination, Protocol, Service, ServicePort,
    VirtualService,
};
use meltemi_xds::pb::envoy::config::core::v3::CidrRange;
use meltemi_xds::pb::envoy::config::listener::v3::{Filter, FilterChain, FilterChainMatch};

use crate::filter::{Class, TcpProxyOptions, tcp_proxy};
use crate::name::SubsetKey;
use crate::route::{cluster_of, other_names};
use crate::scope::Scope;

/// A chain of bytes.
pub(crate) struct L4Chain {
    /// The server names that it is for, sorted; empty for any.
    pub server_names: Vec<String>,
    /// The addresses that it is for; empty for any.
    pub ranges: Vec<AddressRange>,
    /// What is done.
    pub filters: Vec<Filter>,
}

/// A service's port as clients reach it.
pub(super) struct Reached<'a> {
    pub service: &'a Arc<Service>,
    pub port: &'a ServicePort,
    /// The port of the listener.
    pub listen_port: u16,
    /// The address ranges by which connections on a shared address are told apart.
    pub range: Option<AddressRange>,
    /// The listener has every address.
    pub anywhere: bool,
    /// The virtual services of the listener.
    pub virtual_services: &'a [&'a Arc<VirtualService>],
}

impl L4Chain {
    /// Whether it takes every connection.
    pub fn is_catch_all(&self) -> bool {
        self.server_names.is_empty() && self.ranges.is_empty()
    }

    /// The chain as a listener has it.
    pub fn build(self) -> FilterChain {
        let catch_all = self.is_catch_all();
        let ranges = self.ranges.iter().map(|it| CidrRange {
            address_prefix: it.ip.to_string(),
            prefix_len: Some(u32::from(it.bits)),
        });
        FilterChain {
            filter_chain_match: (!catch_all).then(|| FilterChainMatch {
                prefix_ranges: ranges.collect(),
                server_names: self.server_names,
                ..Default::default()
            }),
            filters: self.filters,
            ..Default::default()
        }
    }
}

/// The chains of a service's port.
pub(super) fn chains(scope: &Scope<'_>, reached: &Reached<'_>) -> Vec<L4Chain> {
    let Reached {
        service,
        port,
        listen_port,
        range,
        anywhere,
        virtual_services,
    } = reached;
    let claims = |it: &&&Arc<VirtualService>| {
        let mut hosts = it.hosts.iter();
        hosts.any(|host| host.contains(&service.hostname))
    };
    let claiming: Vec<_> = virtual_services.iter().filter(claims).copied().collect();
    let own: Vec<_> = range.iter().copied().collect();
    let mut chains = Vec::new();
    if port.protocol.is_tcp() {
        chains.extend(tls_chains(scope, &claiming, *listen_port, &own));
        if chains.is_empty() && port.protocol.is_tls() {
            // On a shared address only the server name tells services apart.
            let by_name = *anywhere || range.is_some();
            let mut names = Vec::new();
            if by_name {
                names.push(service.hostname.as_str().to_owned());
                names.extend(other_names(scope, service));
            }
            chains.push(L4Chain {
                server_names: names,
                ranges: own.clone(),
                filters: service_filters(scope, service, port),
            });
        }
    }
    if !port.protocol.is_tls() {
        tcp_chains(scope, reached, &claiming, &own, &mut chains);
    }
    chains
}

/// The chains of the `tls` routes of these virtual services.
fn tls_chains(
    scope: &Scope<'_>,
    virtual_services: &[&Arc<VirtualService>],
    port: u16,
    own: &[AddressRange],
) -> Vec<L4Chain> {
    let mut chains = Vec::new();
    for virtual_service in virtual_services {
        for route in &virtual_service.tls {
            for (names, wanted) in &route.matches {
                let namespace = &scope.node.namespace;
                if !wanted.is_possible(&GatewayRef::Mesh, port, scope.labels, namespace) {
                    continue;
                }
                let written = wanted.subnets.as_slice();
                chains.push(L4Chain {
                    server_names: names.iter().map(ToString::to_string).collect(),
                    ranges: if written.is_empty() { own } else { written }.to_vec(),
                    filters: destination_filters(
                        scope,
                        Class::Outbound,
                        virtual_service,
                        &route.destinations,
                        port,
                    ),
                });
            }
        }
    }
    chains
}

/// Adds the chains of the `tcp` routes of these virtual services, and the one to the service.
fn tcp_chains(
    scope: &Scope<'_>,
    reached: &Reached<'_>,
    virtual_services: &[&Arc<VirtualService>],
    own: &[AddressRange],
    chains: &mut Vec<L4Chain>,
) {
    let port = reached.listen_port;
    for virtual_service in virtual_services {
        for route in &virtual_service.tcp {
            let filters = || {
                let destinations = &route.destinations;
                destination_filters(scope, Class::Outbound, virtual_service, destinations, port)
            };
            let possible: Vec<_> = route
                .matches
                .iter()
                .filter(|it| {
                    let namespace = &scope.node.namespace;
                    it.is_possible(&GatewayRef::Mesh, port, scope.labels, namespace)
                })
                .collect();
            if possible.is_empty() && !route.matches.is_empty() {
                continue;
            }
            let anywhere = possible.iter().any(|it| it.subnets.is_empty());
            let subnets: Vec<_> = possible.iter().flat_map(|it| it.subnets.clone()).collect();
            let all = route.matches.is_empty() || anywhere || subnets == own;
            chains.push(L4Chain {
                server_names: Vec::new(),
                ranges: if all { own.to_vec() } else { subnets },
                filters: filters(),
            });
            if all {
                return;
            }
        }
    }
    chains.push(L4Chain {
        server_names: Vec::new(),
        ranges: own.to_vec(),
        filters: service_filters(scope, reached.service, reached.port),
    });
}

/// The filters of a chain to a service's port.
fn service_filters(scope: &Scope<'_>, service: &Service, port: &ServicePort) -> Vec<Filter> {
    let cluster = SubsetKey {
        port: port.number,
        subset: "",
        host: service.hostname.as_str(),
    }
    .cluster();
    let options = TcpProxyOptions::to(&cluster);
    tcp_proxy(
        scope,
        Class::Outbound,
        &with_policy(scope, options, Some(service), port.number),
    )
}

/// The filters of a chain to destinations, on a listener of `port`.
pub(crate) fn destination_filters(
    scope: &Scope<'_>,
    class: Class,
    virtual_service: &VirtualService,
    destinations: &[L4Destination],
    port: u16,
) -> Vec<Filter> {
    let clusters: Vec<_> = destinations
        .iter()
        .filter(|it| it.weight > 0)
        .map(|it| (cluster_of(scope, &it.destination, port), it.weight))
        .collect();
    let meta = &virtual_service.meta;
    let prefix = format!("{}.{}", meta.name, meta.namespace);
    let options = match clusters.as_slice() {
        [(only, _)] => TcpProxyOptions::to(only),
        several => TcpProxyOptions {
            weighted: several,
            ..TcpProxyOptions::to(&prefix)
        },
    };
    let first: Option<&Destination> = destinations.first().map(|it| &it.destination);
    let service = first.and_then(|it| scope.service(it.host.as_str()));
    let of_port = first.and_then(|it| it.port).unwrap_or(port);
    let options = with_policy(scope, options, service.as_deref(), of_port);
    tcp_proxy(scope, class, &options)
}

/// The options with what the destination rule says.
fn with_policy<'a>(
    scope: &Scope<'_>,
    options: TcpProxyOptions<'a>,
    service: Option<&Service>,
    port: u16,
) -> TcpProxyOptions<'a> {
    let rule = service.and_then(|it| scope.destination_rule(it));
    let Some(rule) = rule else {
        return options;
    };
    let settings = rule.traffic_policy.for_port(port);
    let pool = settings.connection_pool.as_ref().map(|it| &it.tcp);
    TcpProxyOptions {
        idle_timeout: pool.and_then(|it| it.idle_timeout),
        max_duration: pool.and_then(|it| it.max_connection_duration),
        hashes_source: crate::route::hashes_source(settings),
        tunnel: rule.traffic_policy.tunnel.clone(),
        ..options
    }
}

/// Whether connections to a port may have to be told apart by their first bytes.
pub(super) fn is_detected(protocol: Protocol) -> bool {
    protocol == Protocol::Auto
}
