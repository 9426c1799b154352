//! Inbound listeners (FEATURES T14, T17, S5).
//!
//! In: what the proxy's workload serves, and which callers it takes. Out: where connections are
//! intercepted, `virtualInbound` with chains for each port and others for the rest; where not, a
//! listener for each port on the workload's own address.

use std::collections::BTreeSet;

use meltemi_model::{MutualTlsMode, Protocol, ServerTls};
use meltemi_snapshot::InboundMtls;
use meltemi_xds::pb::envoy::config::core::v3::{TrafficDirection, TransportSocket};
use meltemi_xds::pb::envoy::config::listener::v3::{
    Filter, FilterChain, FilterChainMatch, Listener, ListenerFilter,
    ListenerFilterChainMatchPredicate,
    listener_filter_chain_match_predicate::{MatchSet, Rule},
};
use meltemi_xds::pb::envoy::r#type::v3::Int32Range;

use super::beginning::{Beginning, Opened, beginnings};
use super::chain;
use crate::filter::{
    Class, HttpFilters, Routes, TcpProxyOptions, connection_manager, http_inspector, listener_log,
    metadata_exchange, original_destination, original_source, tcp_proxy, tls_inspector,
};
use crate::name::{self, INBOUND_PASSTHROUGH, VIRTUAL_INBOUND, inbound_cluster, stat_prefix};
use crate::proto::{address, duration};
use crate::route::inbound_routes;
use crate::scope::{InboundPort, Scope};
use crate::tls::downstream;
use meltemi_model::InterceptionMode;

/// A port of the workload, or all that no service names.
struct Served<'a> {
    /// The port; none for the rest.
    port: Option<&'a InboundPort<'a>>,
    /// The cluster that leads there.
    cluster: String,
    /// The listener's name, as it would be if the port had one of its own.
    listener: String,
    /// The destination port that its chains match.
    matched: Option<u16>,
    /// Which callers it takes.
    mode: MutualTlsMode,
}

/// The listeners.
pub(super) fn build(scope: &Scope<'_>) -> Vec<Listener> {
    let ports = scope.inbound();
    let mtls = scope.inbound_mtls();
    let binds = scope.binds();
    let (bound, intercepted): (Vec<_>, Vec<_>) = ports.iter().partition(|it| it.is_bound(binds));
    let mut listeners: Vec<_> = bound
        .into_iter()
        .map(|port| {
            let served = Served::port(scope, port, &mtls, None);
            let mut filters = vec![tls_inspector()];
            if detects(port.protocol) {
                filters.push(http_inspector());
            }
            let ip = match port.ingress {
                Some(_) => port.bind.clone(),
                None => scope.any_address(),
            };
            Listener {
                address: Some(address(&ip, port.number)),
                listener_filters: filters,
                filter_chains: chains(scope, &served),
                ..skeleton(scope, served.listener)
            }
        })
        .collect();
    if !binds {
        listeners.push(intercepting(scope, &intercepted, &mtls));
    }
    listeners
}

/// `virtualInbound`.
fn intercepting(scope: &Scope<'_>, ports: &[&InboundPort<'_>], mtls: &InboundMtls) -> Listener {
    let own_port = scope.mesh().proxy_inbound_listen_port;
    let mut filter_chains = vec![chain::black_hole(
        scope,
        Class::Inbound,
        "virtualInbound-blackhole",
        own_port,
    )];
    let rest = |matched: Option<u16>| Served {
        port: None,
        cluster: INBOUND_PASSTHROUGH.to_owned(),
        listener: VIRTUAL_INBOUND.to_owned(),
        matched,
        mode: matched.map_or(mtls.mode, |port| mtls.on_port(port)),
    };
    filter_chains.extend(chains(scope, &rest(None)));
    // Ports that only a policy names.
    let known: BTreeSet<_> = ports.iter().map(|it| it.number).collect();
    for port in mtls.ports.keys().filter(|it| !known.contains(it)) {
        filter_chains.extend(chains(scope, &rest(Some(*port))));
    }
    let (mut no_tls, mut no_http) = (BTreeSet::from([own_port]), BTreeSet::from([own_port]));
    for port in ports {
        let made = chains(scope, &Served::port(scope, port, mtls, Some(port.number)));
        let matches = || made.iter().filter_map(|it| it.filter_chain_match.as_ref());
        if matches().all(|it| it.transport_protocol != "tls") {
            no_tls.insert(port.number);
        }
        let plain = |it: &FilterChainMatch| {
            it.transport_protocol != "tls" && !it.application_protocols.is_empty()
        };
        if !matches().any(plain) {
            no_http.insert(port.number);
        }
        filter_chains.extend(made);
    }

    let tproxy = scope.interception == InterceptionMode::Tproxy;
    let mut listener_filters = vec![original_destination()];
    let keeps_source = tproxy && !scope.node.lacks.original_source;
    listener_filters.extend(keeps_source.then(original_source));
    listener_filters.push(except(tls_inspector(), &no_tls));
    listener_filters.push(except(http_inspector(), &no_http));
    Listener {
        address: Some(address(&scope.any_address(), own_port)),
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
        access_log: listener_log(scope, Class::Inbound),
        ..Default::default()
    }
}

impl<'a> Served<'a> {
    fn port(
        scope: &Scope<'_>,
        port: &'a InboundPort<'a>,
        mtls: &InboundMtls,
        matched: Option<u16>,
    ) -> Self {
        let ip = match port.ingress {
            Some(_) => port.bind.clone(),
            None => scope.any_address(),
        };
        Self {
            port: Some(port),
            cluster: inbound_cluster(port.number),
            listener: name::listener(&ip, port.number),
            matched,
            mode: mtls.on_port(port.number),
        }
    }

    /// TLS of a Sidecar's own, which holds where the mesh's is turned off.
    fn own_tls(&self) -> Option<&'a ServerTls> {
        let tls = self.port?.ingress?.tls.as_ref();
        tls.filter(|_| self.mode == MutualTlsMode::Disable)
    }

    fn protocol(&self) -> Protocol {
        let protocol = self.port.map_or(Protocol::Auto, |it| it.protocol);
        match (protocol, self.own_tls()) {
            (Protocol::Https, Some(_)) => Protocol::Http,
            (Protocol::Tls, Some(_)) => Protocol::Tcp,
            (protocol, _) => protocol,
        }
    }

    fn chain_name(&self, http: bool) -> String {
        if self.port.is_none() && http {
            format!("{VIRTUAL_INBOUND}-catchall-http")
        } else {
            self.listener.clone()
        }
    }
}

/// The chains of a port, one for each way in which a connection may begin.
fn chains(scope: &Scope<'_>, served: &Served<'_>) -> Vec<FilterChain> {
    let own_tls = served.own_tls();
    let beginnings = match own_tls {
        Some(_) => vec![Beginning::own_tls(served.protocol().is_http())],
        None => beginnings(scope, served.protocol(), served.mode),
    };
    beginnings
        .into_iter()
        .map(|beginning| {
            let Beginning {
                protocols,
                tls,
                opened,
                http,
            } = beginning;
            FilterChain {
                name: served.chain_name(http),
                filter_chain_match: Some(FilterChainMatch {
                    destination_port: served.matched.map(u32::from),
                    transport_protocol: if tls { "tls" } else { "raw_buffer" }.to_owned(),
                    application_protocols: protocols,
                    ..Default::default()
                }),
                transport_socket: match opened {
                    Opened::No => None,
                    Opened::Mesh => Some(mesh_socket(scope, http)),
                    Opened::Own => own_tls.map(|it| downstream::sidecar(scope.mesh(), it)),
                },
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

fn mesh_socket(scope: &Scope<'_>, http: bool) -> TransportSocket {
    let exchange = (!http && scope.node.filters.metadata_exchange).then_some("istio-peer-exchange");
    let alpn: Vec<_> = exchange.into_iter().chain(["h2", "http/1.1"]).collect();
    downstream::mesh(scope.mesh(), &alpn)
}

/// Whether the protocol has to be found out.
fn detects(protocol: Protocol) -> bool {
    protocol == Protocol::Auto
}

fn http_filters(scope: &Scope<'_>, served: &Served<'_>) -> Vec<Filter> {
    let prefix = match served.port {
        Some(_) => format!("inbound_{}", served.listener),
        None => served.cluster.clone(),
    };
    let protocol = served.protocol();
    let manager = HttpFilters {
        class: Class::Inbound,
        stat_prefix: stat_prefix(&prefix),
        routes: Routes::Inline(Box::new(inbound_routes(&served.cluster, served.port))),
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
fn except(filter: ListenerFilter, ports: &BTreeSet<u16>) -> ListenerFilter {
    let rule = |port: u16| ListenerFilterChainMatchPredicate {
        rule: Some(Rule::DestinationPortRange(Int32Range {
            start: i32::from(port),
            end: i32::from(port) + 1,
        })),
    };
    let mut rules: Vec<_> = ports.iter().copied().map(rule).collect();
    let disabled = match rules.len() {
        0 | 1 => rules.pop(),
        _ => Some(ListenerFilterChainMatchPredicate {
            rule: Some(Rule::OrMatch(MatchSet { rules })),
        }),
    };
    ListenerFilter {
        filter_disabled: disabled,
        ..filter
    }
}
