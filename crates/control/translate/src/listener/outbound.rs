//! Outbound listeners of service ports (FEATURES T16, T17).
//!
//! In: the services that a proxy sees. Out: `0.0.0.0_PORT` for all HTTP services of a port together,
//! `VIP_PORT` for each other port; none of them has a socket, `virtualOutbound` hands connections to
//! them by original destination. Ports of which nothing is known get both kinds of chain and the
//! inspectors that decide between them. Where two services claim the same address, the older has it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meltemi_model::{Protocol, Service, ServicePort};
use meltemi_xds::pb::envoy::config::core::v3::TrafficDirection;
use meltemi_xds::pb::envoy::config::listener::v3::{Filter, FilterChain, Listener};

use super::chain;
use crate::filter::{
    Class, HttpFilters, Routes, TcpProxyOptions, connection_manager, http_inspector, tcp_proxy,
    tls_inspector,
};
use crate::name::{self, SubsetKey, host_port, stat_prefix};
use crate::proto::{address, duration, zero};
use crate::scope::{Resolution, Scope};

/// What stands at an address.
enum Plan<'a> {
    /// Every HTTP service of the port, told apart by the request's host.
    SharedHttp,
    /// One service's port.
    Own(&'a Arc<Service>, &'a ServicePort),
}

/// The listeners.
pub(super) fn build(scope: &Scope<'_>) -> Vec<Listener> {
    let plans = plan(scope);
    plans
        .into_iter()
        .map(|((ip, port), plan)| match plan {
            Plan::SharedHttp => shared_http(scope, &ip, port),
            Plan::Own(service, service_port) if service_port.protocol == Protocol::Auto => {
                detecting(scope, &ip, service, service_port)
            }
            Plan::Own(service, service_port) => opaque(scope, &ip, service, service_port),
        })
        .collect()
}

/// The route tables that the listeners ask for.
pub(super) fn route_names(scope: &Scope<'_>) -> BTreeSet<String> {
    plan(scope)
        .into_iter()
        .filter_map(|((_, port), plan)| match plan {
            Plan::SharedHttp => Some(port.to_string()),
            Plan::Own(service, port) => (port.protocol == Protocol::Auto)
                .then(|| host_port(service.hostname.as_str(), port.number)),
        })
        .collect()
}

fn plan<'a>(scope: &Scope<'a>) -> BTreeMap<(String, u16), Plan<'a>> {
    let any = scope.any_address();
    let mut plans = BTreeMap::new();
    for service in scope.services() {
        if scope.resolution(service) == Resolution::Alias {
            continue;
        }
        for port in &service.ports {
            match port.protocol {
                Protocol::Udp => {}
                it if it.is_http() => {
                    let key = (any.clone(), port.number);
                    plans.entry(key).or_insert(Plan::SharedHttp);
                }
                it => {
                    let addresses = addresses(scope, service, port);
                    if addresses.is_empty() && it == Protocol::Auto {
                        let key = (any.clone(), port.number);
                        plans.entry(key).or_insert(Plan::SharedHttp);
                    }
                    for ip in addresses {
                        let plan = Plan::Own(service, port);
                        plans.entry((ip, port.number)).or_insert(plan);
                    }
                }
            }
        }
    }
    plans
}

/// Where clients connect to reach the service: its cluster IPs, or the workloads of a headless one
/// (but for the proxy's own).
fn addresses(scope: &Scope<'_>, service: &Service, port: &ServicePort) -> Vec<String> {
    if !service.is_headless() {
        return service
            .cluster_ips()
            .iter()
            .filter(|ip| ip.is_ipv6() == scope.ip().is_ipv6())
            .map(ToString::to_string)
            .collect();
    }
    let endpoints = scope.snapshot.endpoints(service);
    endpoints
        .map_or(&[][..], |it| it.port(port.number))
        .iter()
        .filter(|it| it.address != scope.ip())
        .map(|it| it.address.to_string())
        .collect()
}

fn shared_http(scope: &Scope<'_>, ip: &str, port: u16) -> Listener {
    let listener = skeleton(ip, port);
    let filter = http(scope, &listener.name, port.to_string());
    Listener {
        filter_chains: vec![FilterChain {
            filter_chain_match: Some(chain::plain_http(scope)),
            ..chain::any("", vec![filter])
        }],
        default_filter_chain: Some(chain::any(
            "PassthroughFilterChain",
            chain::unknown_destination(scope),
        )),
        ..with_detection(scope, listener)
    }
}

fn detecting(scope: &Scope<'_>, ip: &str, service: &Service, port: &ServicePort) -> Listener {
    let listener = skeleton(ip, port.number);
    let route = host_port(service.hostname.as_str(), port.number);
    let filter = http(scope, &listener.name, route);
    Listener {
        filter_chains: vec![FilterChain {
            filter_chain_match: Some(chain::plain_http(scope)),
            ..chain::any("", vec![filter])
        }],
        default_filter_chain: Some(chain::any("", tcp(scope, service, port))),
        ..with_detection(scope, listener)
    }
}

fn opaque(scope: &Scope<'_>, ip: &str, service: &Service, port: &ServicePort) -> Listener {
    Listener {
        filter_chains: vec![chain::any("", tcp(scope, service, port))],
        listener_filters_timeout: Some(zero()),
        ..skeleton(ip, port.number)
    }
}

fn skeleton(ip: &str, port: u16) -> Listener {
    Listener {
        name: name::listener(ip, port),
        address: Some(address(ip, port)),
        bind_to_port: Some(false),
        traffic_direction: TrafficDirection::Outbound.into(),
        continue_on_listener_filters_timeout: true,
        ..Default::default()
    }
}

fn with_detection(scope: &Scope<'_>, listener: Listener) -> Listener {
    Listener {
        listener_filters: vec![tls_inspector(), http_inspector()],
        listener_filters_timeout: Some(duration(scope.mesh().protocol_detection_timeout)),
        ..listener
    }
}

fn http(scope: &Scope<'_>, listener: &str, routes: String) -> Filter {
    let manager = HttpFilters {
        class: Class::Outbound,
        stat_prefix: stat_prefix(&format!("outbound_{listener}")),
        routes: Routes::Discovered(routes),
        http2: false,
        grpc_web: false,
        explicit_proxy: false,
    };
    connection_manager(scope, manager)
}

fn tcp(scope: &Scope<'_>, service: &Service, port: &ServicePort) -> Vec<Filter> {
    let cluster = SubsetKey {
        port: port.number,
        subset: "",
        host: service.hostname.as_str(),
    }
    .cluster();
    let rule = scope.destination_rule(service);
    let policy = rule.map(|it| it.traffic_policy.for_port(port.number));
    let pool = policy.and_then(|it| it.connection_pool).map(|it| it.tcp);
    let options = TcpProxyOptions {
        cluster: &cluster,
        idle_timeout: pool.as_ref().and_then(|it| it.idle_timeout),
        max_duration: pool.as_ref().and_then(|it| it.max_connection_duration),
    };
    tcp_proxy(scope, Class::Outbound, &options)
}
