//! Inbound listeners (FEATURES T17).
//!
//! In: what the proxy's workload serves. Out: where connections are intercepted, `virtualInbound` with
//! chains for each port and others for the rest; where not, a listener for each port on the
//! workload's own address. Mutual TLS is taken and not required (`PERMISSIVE`), as Istio does unless
//! a policy says otherwise.

use meltemi_model::Protocol;
use meltemi_snapshot::ServiceTarget;
use meltemi_xds::pb::envoy::config::core::v3::TrafficDirection;
use meltemi_xds::pb::envoy::config::listener::v3::{
    Filter, FilterChain, FilterChainMatch, Listener, ListenerFilter,
    ListenerFilterChainMatchPredicate,
    listener_filter_chain_match_predicate::{MatchSet, Rule},
};
use meltemi_xds::pb::envoy::r#type::v3::Int32Range;

use super::chain;
use crate::InterceptionMode;
use crate::filter::{
    Class, HttpFilters, Routes, TcpProxyOptions, connection_manager, http_inspector, listener_log,
    metadata_exchange, original_destination, original_source, tcp_proxy, tls_inspector,
};
use crate::name::{self, INBOUND_PASSTHROUGH, VIRTUAL_INBOUND, inbound_cluster, stat_prefix};
use crate::proto::{address, duration};
use crate::route::inbound_routes;
use crate::scope::Scope;
use crate::tls::downstream;

/// ALPN of HTTP in the mesh's mutual TLS.
const MESH_HTTP: [&str; 3] = ["istio-http/1.0", "istio-http/1.1", "istio-h2"];
/// ALPN of anything else in it.
const MESH_TCP: [&str; 2] = ["istio-peer-exchange", "istio"];

/// A port of the workload, or all that no service names.
struct Served<'a> {
    /// The service and its port; none for the rest.
    target: Option<&'a ServiceTarget>,
    /// The cluster that leads there.
    cluster: String,
    /// The listener's name, as it would be if the port had one of its own.
    listener: String,
    /// Whether the chains match the destination port.
    by_port: bool,
}

/// A way in which a connection to a port may begin.
struct Beginning {
    /// ALPN, or what the HTTP inspector found.
    protocols: Vec<String>,
    /// In TLS.
    tls: bool,
    /// The TLS is the mesh's own, which the proxy opens.
    open: bool,
    /// It is read as HTTP.
    http: bool,
}

/// The listeners.
pub(super) fn build(scope: &Scope<'_>) -> Vec<Listener> {
    let targets = scope.inbound();
    if !scope.node.binds() {
        return vec![intercepting(scope, &targets)];
    }
    let ip = scope.any_address();
    targets
        .iter()
        .map(|target| {
            let served = Served::port(scope, target);
            let mut filters = vec![tls_inspector()];
            if detects(target.port.protocol) {
                filters.push(http_inspector());
            }
            Listener {
                address: Some(address(&ip, target.target)),
                listener_filters: filters,
                filter_chains: chains(scope, &served),
                ..skeleton(scope, served.listener)
            }
        })
        .collect()
}

/// `virtualInbound`.
fn intercepting(scope: &Scope<'_>, targets: &[ServiceTarget]) -> Listener {
    let port = scope.mesh().proxy_inbound_listen_port;
    let rest = Served {
        target: None,
        cluster: INBOUND_PASSTHROUGH.to_owned(),
        listener: VIRTUAL_INBOUND.to_owned(),
        by_port: false,
    };
    let mut filter_chains = vec![chain::black_hole(
        scope,
        Class::Inbound,
        "virtualInbound-blackhole",
        port,
    )];
    filter_chains.extend(chains(scope, &rest));
    for target in targets {
        filter_chains.extend(chains(scope, &Served::port(scope, target)));
    }

    let tproxy = scope.node.interception == InterceptionMode::Tproxy;
    let known = targets.iter().filter(|it| !detects(it.port.protocol));
    let mut not_http: Vec<_> = known.map(|it| it.target).chain([port]).collect();
    not_http.sort_unstable();
    let mut listener_filters = vec![original_destination()];
    let keeps_source = tproxy && !scope.node.lacks.original_source;
    listener_filters.extend(keeps_source.then(original_source));
    listener_filters.push(except(tls_inspector(), &[port]));
    listener_filters.push(except(http_inspector(), &not_http));
    Listener {
        address: Some(address(&scope.any_address(), port)),
        transparent: tproxy.then_some(true),
        listener_filters,
        filter_chains,
        ..skeleton(scope, VIRTUAL_INBOUND.to_owned())
    }
}

fn skeleton(scope: &Scope<'_>, name: String) -> Listener {
    Listener {
        name,
        traffic_direction: TrafficDirection::Inbound.into(),
        continue_on_listener_filters_timeout: true,
        listener_filters_timeout: Some(duration(scope.mesh().protocol_detection_timeout)),
        access_log: listener_log(scope.mesh()),
        ..Default::default()
    }
}

impl<'a> Served<'a> {
    fn port(scope: &Scope<'_>, target: &'a ServiceTarget) -> Self {
        Self {
            target: Some(target),
            cluster: inbound_cluster(target.target),
            listener: name::listener(&scope.any_address(), target.target),
            by_port: !scope.node.binds(),
        }
    }

    fn protocol(&self) -> Protocol {
        self.target.map_or(Protocol::Auto, |it| it.port.protocol)
    }

    fn chain_name(&self, http: bool) -> String {
        if self.target.is_none() && http {
            format!("{VIRTUAL_INBOUND}-catchall-http")
        } else {
            self.listener.clone()
        }
    }
}

/// The chains of a port, one for each way in which a connection may begin.
fn chains(scope: &Scope<'_>, served: &Served<'_>) -> Vec<FilterChain> {
    beginnings(scope, served.protocol())
        .into_iter()
        .map(|beginning| {
            let Beginning {
                protocols,
                tls,
                open,
                http,
            } = beginning;
            let port = served.target.filter(|_| served.by_port);
            let socket = open.then(|| {
                let exchange = (!http && scope.node.filters.metadata_exchange)
                    .then_some("istio-peer-exchange");
                let alpn: Vec<_> = exchange.into_iter().chain(["h2", "http/1.1"]).collect();
                downstream::mesh(scope.mesh(), &alpn)
            });
            FilterChain {
                name: served.chain_name(http),
                filter_chain_match: Some(FilterChainMatch {
                    destination_port: port.map(|it| u32::from(it.target)),
                    transport_protocol: if tls { "tls" } else { "raw_buffer" }.to_owned(),
                    application_protocols: protocols,
                    ..Default::default()
                }),
                transport_socket: socket,
                filters: if http {
                    http_filters(scope, served)
                } else {
                    tcp_proxy(scope, Class::Inbound, &TcpProxyOptions::to(&served.cluster))
                },
                ..Default::default()
            }
        })
        .collect()
}

/// The ways in which a connection may begin where mutual TLS is taken and not required.
fn beginnings(scope: &Scope<'_>, protocol: Protocol) -> Vec<Beginning> {
    let mesh = |protocols: &[&str], http| Beginning {
        protocols: protocols.iter().map(|&it| it.to_owned()).collect(),
        tls: true,
        open: true,
        http,
    };
    let plain = |protocols, http| Beginning {
        protocols,
        tls: false,
        open: false,
        http,
    };
    let foreign_tls = Beginning {
        protocols: Vec::new(),
        tls: true,
        open: false,
        http: false,
    };
    let any_mesh: Vec<_> = MESH_TCP.into_iter().chain(MESH_HTTP).collect();
    if protocol.is_http() {
        vec![mesh(&any_mesh, true), plain(Vec::new(), true)]
    } else if detects(protocol) {
        vec![
            mesh(&MESH_HTTP, true),
            plain(chain::plain_http_protocols(scope), true),
            mesh(&MESH_TCP, false),
            plain(Vec::new(), false),
            foreign_tls,
        ]
    } else {
        vec![
            mesh(&any_mesh, false),
            plain(Vec::new(), false),
            foreign_tls,
        ]
    }
}

/// Whether the protocol has to be found out.
fn detects(protocol: Protocol) -> bool {
    protocol == Protocol::Auto
}

fn http_filters(scope: &Scope<'_>, served: &Served<'_>) -> Vec<Filter> {
    let prefix = match served.target {
        Some(_) => format!("inbound_{}", served.listener),
        None => served.cluster.clone(),
    };
    let protocol = served.protocol();
    let manager = HttpFilters {
        class: Class::Inbound,
        stat_prefix: stat_prefix(&prefix),
        routes: Routes::Inline(Box::new(inbound_routes(&served.cluster, served.target))),
        http2: protocol.is_http2(),
        grpc_web: protocol == Protocol::GrpcWeb,
        explicit_proxy: false,
    };
    metadata_exchange(scope.node)
        .into_iter()
        .chain([connection_manager(scope, manager)])
        .collect()
}

/// A listener filter that skips these ports.
fn except(filter: ListenerFilter, ports: &[u16]) -> ListenerFilter {
    let rule = |port: u16| ListenerFilterChainMatchPredicate {
        rule: Some(Rule::DestinationPortRange(Int32Range {
            start: i32::from(port),
            end: i32::from(port) + 1,
        })),
    };
    let disabled = match ports {
        [] => None,
        [one] => Some(rule(*one)),
        several => Some(ListenerFilterChainMatchPredicate {
            rule: Some(Rule::OrMatch(MatchSet {
                rules: several.iter().copied().map(rule).collect(),
            })),
        }),
    };
    ListenerFilter {
        filter_disabled: disabled,
        ..filter
    }
}
