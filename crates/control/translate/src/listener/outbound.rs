//! Outbound listeners of service ports (FEATURES T14, T16, T17).
//!
//! In: the services that a proxy sees. Out: `0.0.0.0_PORT` for all HTTP services of a port together and
//! for those that have no address of their own, `VIP_PORT` for each other; none of them has a socket
//! unless a Sidecar asks for one, `virtualOutbound` hands connections to them by original destination.
//! Ports of which nothing is known get both kinds of chain and the inspectors that decide between them.
//! Where two services claim the same connections, the older has them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use meltemi_model::{
    AddressRange, Bind, CaptureMode, EgressListener, EndpointAddress, Protocol, Service,
    ServicePort,
};
use meltemi_xds::pb::envoy::config::core::v3::{Address, TrafficDirection};
use meltemi_xds::pb::envoy::config::listener::v3::{Filter, FilterChain, Listener};

use super::chain;
use super::l4::{self, L4Chain, Reached, is_detected};
use crate::filter::{
    Class, HttpFilters, Routes, connection_manager, http_inspector, tls_inspector,
};
use crate::name::{self, UNIX, host_port, loopback, stat_prefix};
use crate::proto::{address, duration, pipe, zero};
use crate::scope::{Egress, Resolution, Scope, has_ranges};

/// What stands at an address.
#[derive(Default)]
struct Plan {
    /// The route table of its HTTP requests.
    routes: Option<String>,
    /// Its chains of bytes.
    chains: Vec<L4Chain>,
    /// It has a socket.
    bound: bool,
    /// It is an explicit proxy.
    explicit_proxy: bool,
    /// It is there for the one workload that has this address, and for nothing else.
    of_workload: Option<IpAddr>,
    /// What the first that came speaks, if its servers speak first: then nobody else comes.
    server_first: Option<Protocol>,
}

/// Where clients connect to.
#[derive(Default)]
struct At {
    /// The address; none for any.
    ip: Option<IpAddr>,
    /// Within these.
    range: Option<AddressRange>,
    /// The address is that of a workload.
    of_workload: bool,
}

/// An address and a port, or the path of a Unix socket and 0.
type Key = (String, u16);

/// The listeners, those that are for one workload alone with its address.
pub(super) fn build(scope: &Scope<'_>) -> Vec<(Listener, Option<IpAddr>)> {
    let plans = plan(scope);
    plans
        .into_iter()
        .map(|(key, plan)| {
            let of_workload = plan.of_workload;
            (listener(scope, &key, plan), of_workload)
        })
        .collect()
}

/// The route tables that the listeners ask for.
pub(super) fn route_names(scope: &Scope<'_>) -> BTreeSet<String> {
    plan(scope)
        .into_values()
        .filter_map(|plan| plan.routes)
        .collect()
}

fn plan(scope: &Scope<'_>) -> BTreeMap<Key, Plan> {
    let mut plans = BTreeMap::new();
    // What a Sidecar says of a port goes before what services bring to it.
    for egress in scope.egress() {
        if let Some(listener) = egress.listener.filter(|it| it.port.is_some()) {
            plan_port(scope, egress, listener, &mut plans);
        }
    }
    let taken: BTreeSet<Key> = plans.keys().cloned().collect();
    if scope.binds() {
        return plans;
    }
    let rest = scope.egress().iter().filter(|it| {
        let listener = it.listener;
        listener.is_none_or(|it| it.port.is_none() && it.capture_mode != CaptureMode::None)
    });
    for egress in rest {
        for service in &egress.services {
            if scope.resolution(service) == Resolution::Alias {
                continue;
            }
            for port in service
                .ports
                .iter()
                .filter(|it| it.protocol != Protocol::Udp)
            {
                plan_service(scope, egress, (service, port), &taken, &mut plans);
            }
        }
    }
    plans
}

/// Plans a listener that a Sidecar defines.
fn plan_port(
    scope: &Scope<'_>,
    egress: &Egress<'_>,
    listener: &EgressListener,
    plans: &mut BTreeMap<Key, Plan>,
) {
    let Some(port) = &listener.port else {
        return;
    };
    // Nothing is heard where nothing is imported.
    if egress.services.is_empty() {
        return;
    }
    let bound = match listener.capture_mode {
        CaptureMode::Default => scope.binds(),
        CaptureMode::Iptables => false,
        CaptureMode::None => true,
    };
    let unix = matches!(listener.bind, Some(Bind::Unix(_)));
    if bound && !unix && !scope.node.may_bind(port.number) {
        return;
    }
    let key = match &listener.bind {
        Some(Bind::Ip(ip)) => (ip.to_string(), port.number),
        Some(Bind::Unix(path)) => (path.clone(), 0),
        None if bound => (loopback(Some(scope.ip())).to_owned(), port.number),
        None => (scope.any_address(), port.number),
    };
    let plan = plans.entry(key.clone()).or_default();
    plan.bound = bound || unix;
    plan.explicit_proxy = port.explicit_proxy;
    if port.protocol.is_http() || is_detected(port.protocol) {
        plan.routes = Some(match unix {
            true => format!("{UNIX}{}", key.0),
            false => port.number.to_string(),
        });
    }
    if port.protocol.is_http() {
        return;
    }
    for service in &egress.services {
        for service_port in service
            .ports
            .iter()
            .filter(|it| it.protocol != Protocol::Udp)
        {
            // What is spoken is as the Sidecar says.
            let service_port = ServicePort {
                protocol: port.protocol,
                ..service_port.clone()
            };
            let reached = Reached {
                service,
                port: &service_port,
                listen_port: port.number,
                range: None,
                anywhere: true,
                virtual_services: &egress.virtual_services,
            };
            plan.add(l4::chains(scope, &reached));
        }
    }
}

/// Plans for a service's port.
fn plan_service(
    scope: &Scope<'_>,
    egress: &Egress<'_>,
    (service, port): (&Arc<Service>, &ServicePort),
    taken: &BTreeSet<Key>,
    plans: &mut BTreeMap<Key, Plan>,
) {
    let anywhere = scope.any_address();
    if port.protocol.is_http() {
        let key = (anywhere, port.number);
        if !taken.contains(&key) {
            let plan = plans.entry(key).or_default();
            if plan.server_first.is_none() {
                plan.routes.get_or_insert_with(|| port.number.to_string());
            }
        }
        return;
    }
    for place in places(scope, service, port) {
        let At {
            ip,
            range,
            of_workload,
        } = place;
        let shared = ip.is_none();
        let address = ip.map_or_else(|| anywhere.clone(), |ip| ip.to_string());
        let key = (address, port.number);
        if taken.contains(&key) {
            continue;
        }
        let there = plans.get(&key);
        if there.is_some_and(|it| !it.admits(port.protocol)) {
            continue;
        }
        let reached = Reached {
            service,
            port,
            listen_port: port.number,
            range,
            anywhere: shared,
            virtual_services: &egress.virtual_services,
        };
        let chains = l4::chains(scope, &reached);
        let plan = plans.entry(key).or_insert_with(|| Plan {
            of_workload: ip,
            server_first: speaks_first(port.protocol).then_some(port.protocol),
            ..Plan::default()
        });
        plan.of_workload = plan.of_workload.filter(|_| of_workload);
        if is_detected(port.protocol) {
            let own = || host_port(service.hostname.as_str(), port.number);
            let table = if shared {
                port.number.to_string()
            } else {
                own()
            };
            plan.routes.get_or_insert(table);
        }
        plan.add(chains);
    }
}

/// Where clients connect to reach a service: its addresses, or the workloads of a headless one (but
/// for the proxy's own), or any address, perhaps within a range.
fn places(scope: &Scope<'_>, service: &Service, port: &ServicePort) -> Vec<At> {
    let at = |ip: IpAddr, of_workload| At {
        ip: Some(ip),
        range: None,
        of_workload,
    };
    let addresses = scope.addresses(service).into_iter();
    let mut places: Vec<_> = addresses.map(|ip| at(ip, false)).collect();
    let entry = service.entry.as_ref();
    let ranges = entry.map_or(&[][..], |it| it.addresses.as_slice());
    places.extend(
        ranges
            .iter()
            .filter(|it| it.as_single().is_none() && scope.node.has_family_of(it.ip))
            .map(|it| At {
                range: Some(it.canonical()),
                ..At::default()
            }),
    );
    if !places.is_empty() {
        return places;
    }
    if !service.cluster_ips().is_empty() || has_ranges(service) {
        // It has addresses, of another family.
        return places;
    }
    if scope.resolution(service) != Resolution::OriginalDestination {
        return vec![At::default()];
    }
    if service.entry.is_some() && service.selector.is_none() {
        return vec![At::default()];
    }
    let endpoints = scope.endpoints(service);
    let endpoints = endpoints.map_or(&[][..], |it| it.port(port.number)).iter();
    if scope.mesh().headless_by_range {
        // The proxy's own workload among them, as the listener is that of every proxy.
        let ranges: BTreeSet<_> = endpoints
            .filter_map(|it| match &it.address {
                EndpointAddress::Ip(ip) => Some(AddressRange::single(*ip)),
                _ => None,
            })
            .collect();
        let by_range = |range| At {
            range: Some(range),
            ..At::default()
        };
        return ranges.into_iter().map(by_range).collect();
    }
    let others = endpoints.filter_map(|it| match &it.address {
        EndpointAddress::Ip(ip) if !scope.node.ips.contains(ip) => Some(*ip),
        _ => None,
    });
    others.map(|ip| at(ip, true)).collect()
}

impl Plan {
    /// Whether a service of this protocol has a place beside those that are there. Inspectors, which a
    /// mixture needs, are nothing for servers that speak first; and of services whose protocol is
    /// detected the first has what is no HTTP.
    fn admits(&self, protocol: Protocol) -> bool {
        if let Some(first) = self.server_first {
            return first == protocol;
        }
        self.routes.is_none() || !(speaks_first(protocol) || is_detected(protocol))
    }

    /// Adds chains; what an older one takes is left out of a newer one.
    fn add(&mut self, chains: Vec<L4Chain>) {
        for mut chain in chains {
            let same_place = |it: &&L4Chain| canonical(&it.ranges) == canonical(&chain.ranges);
            let here: Vec<_> = self.chains.iter().filter(same_place).collect();
            if chain.server_names.is_empty() {
                if here.iter().any(|it| it.server_names.is_empty()) {
                    continue;
                }
            } else {
                let taken: BTreeSet<_> = here.iter().flat_map(|it| &it.server_names).collect();
                let mut free = chain.server_names.clone();
                free.retain(|it| !taken.contains(it));
                free.sort();
                free.dedup();
                if free.is_empty() {
                    continue;
                }
                chain.server_names = free;
            }
            self.chains.push(chain);
        }
    }
}

fn speaks_first(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Mysql | Protocol::Mongo)
}

fn canonical(ranges: &[AddressRange]) -> BTreeSet<AddressRange> {
    ranges.iter().map(|it| it.canonical()).collect()
}

fn listener(scope: &Scope<'_>, (host, port): &Key, plan: Plan) -> Listener {
    let Plan {
        routes,
        chains,
        bound,
        explicit_proxy,
        of_workload: _,  // ignored: said beside the listener
        server_first: _, // ignored: decided before
    } = plan;
    let unix = host.starts_with(['/', '@']);
    let name = match unix {
        true => name::listener(&format!("{UNIX}{host}"), *port),
        false => name::listener(host, *port),
    };
    let place: Address = if unix {
        pipe(host)
    } else {
        address(host, *port)
    };
    let by_name = chains.iter().any(|it| !it.server_names.is_empty());
    let mut filter_chains = Vec::new();
    let mut default = None;
    let mut filters = Vec::new();
    // At an address that somebody chose for HTTP there is nothing else.
    let http_alone = chains.is_empty() && *host != scope.any_address();
    if explicit_proxy || http_alone {
        let http = routes.map(|it| http(scope, &name, it, explicit_proxy));
        filter_chains.push(chain::any("", http.into_iter().collect()));
    } else {
        let detects = routes.is_some();
        if let Some(routes) = routes {
            filter_chains.push(FilterChain {
                filter_chain_match: Some(chain::plain_http(scope)),
                ..chain::any("", vec![http(scope, &name, routes, false)])
            });
            filters = vec![tls_inspector(), http_inspector()];
        } else if by_name {
            filters = vec![tls_inspector()];
        }
        let catch_all = chains.iter().any(L4Chain::is_catch_all);
        for chain in chains {
            if chain.is_catch_all() && detects {
                default = Some(chain.build());
            } else {
                filter_chains.push(chain.build());
            }
        }
        if !catch_all {
            default = Some(chain::any(
                "PassthroughFilterChain",
                chain::unknown_destination(scope),
            ));
        }
    }
    let timeout = match filters.is_empty() {
        true => zero(),
        false => duration(scope.mesh().protocol_detection_timeout),
    };
    Listener {
        name,
        address: Some(place),
        bind_to_port: (!bound).then_some(false),
        traffic_direction: TrafficDirection::Outbound.into(),
        continue_on_listener_filters_timeout: true,
        listener_filters: filters,
        listener_filters_timeout: Some(timeout),
        filter_chains,
        default_filter_chain: default,
        ..Default::default()
    }
}

fn http(scope: &Scope<'_>, listener: &str, routes: String, explicit_proxy: bool) -> Filter {
    let manager = HttpFilters {
        class: Class::Outbound,
        stat_prefix: stat_prefix(&format!("outbound_{listener}")),
        routes: Routes::Discovered(routes),
        http2: false,
        grpc_web: false,
        explicit_proxy,
    };
    connection_manager(scope, manager)
}
