//! Outbound route tables of sidecars (FEATURES T9, T14, T15, T17, T18).
//!
//! In: a table's name: a port, `HOST:PORT` for a port whose protocol is detected, or `http_proxy` for
//! every service. Out: a virtual host for each service and for each further host of virtual services,
//! then the one for all other hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meltemi_model::{
    Bind, EgressListener, GatewayRef, Hostname, Protocol, Service, ServicePort, VirtualService,
};
use meltemi_xds::pb::envoy::config::route::v3::{Route, RouteConfiguration, VirtualHost, route};

use super::matching::everything;
use super::virtual_service::{Place, routes};
use super::{action, catch_all, decorator, domain, table};
use crate::name::{HTTP_PROXY, UNIX, host_port};
use crate::scope::{Resolution, Scope};

/// The port on which hosts that are no services are routed too.
const WEB_PORT: u16 = 80;

/// Which requests a table is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Addressed {
    /// Those to one port.
    Port(u16),
    /// Those that an explicit proxy gets, to any port.
    AnyPort,
}

/// A sidecar's table of this name.
pub(super) fn build(scope: &Scope<'_>, name: &str) -> Option<RouteConfiguration> {
    if name == HTTP_PROXY {
        let tables = Tables::new(scope, None);
        let hosts = tables.with_catch_all(Addressed::AnyPort);
        return Some(RouteConfiguration {
            // Ports tell services apart here.
            ignore_port_in_host_matching: false,
            ..table(name, hosts)
        });
    }
    if let Some(path) = name.strip_prefix(UNIX) {
        let tables = Tables::new(scope, Some(&|it| is_unix(it, path)));
        return Some(table(name, tables.with_catch_all(Addressed::AnyPort)));
    }
    if let Some((host, port)) = name.rsplit_once(':') {
        let tables = Tables::new(scope, None);
        return Some(table(name, tables.detected(host, port.parse().ok()?)?));
    }
    let port: u16 = name.parse().ok()?;
    let own = |it: &EgressListener| it.port.as_ref().is_some_and(|it| it.number == port);
    let mut listeners = scope.egress().iter().filter_map(|it| it.listener);
    let listener = listeners.find(|it| own(it));
    let tables = match listener {
        Some(_) => Tables::new(scope, Some(&own)),
        None => Tables::new(scope, Some(&|it| it.port.is_none())),
    };
    let proxy = listener.and_then(|it| it.port.as_ref());
    if proxy.is_some_and(|it| it.explicit_proxy) {
        return Some(RouteConfiguration {
            ignore_port_in_host_matching: false,
            ..table(name, tables.with_catch_all(Addressed::AnyPort))
        });
    }
    Some(table(name, tables.with_catch_all(Addressed::Port(port))))
}

/// The routes to a port of a service, whatever is spoken there.
pub(super) fn to_service(scope: &Scope<'_>, host: &str, port: u16) -> Option<VirtualHost> {
    let (service, _) = scope.service_port(host, port)?;
    let (_, host) = Tables::new(scope, None).virtual_host(&service, port);
    Some(host)
}

/// Whether a listener is bound to this Unix socket.
fn is_unix(listener: &EgressListener, path: &str) -> bool {
    matches!(&listener.bind, Some(Bind::Unix(it)) if it == path)
}

impl Addressed {
    fn includes(self, port: u16) -> bool {
        match self {
            Self::Port(it) => it == port,
            Self::AnyPort => true,
        }
    }

    /// The port to write into domains.
    fn suffix(self, port: u16) -> Option<u16> {
        match self {
            Self::Port(_) => None,
            Self::AnyPort => Some(port),
        }
    }

    /// The domains that mean a port: without one, a host means that of the web.
    fn meant(self, mut domains: Vec<String>, port: u16) -> Vec<String> {
        if self == Self::AnyPort && port != WEB_PORT {
            let tail = format!(":{port}");
            domains.retain(|it| it.ends_with(&tail));
        }
        domains
    }

    /// The port on which hosts that are no services are routed whatever else there is.
    fn always(self) -> Option<u16> {
        (self == Self::AnyPort).then_some(WEB_PORT)
    }

    /// The port on which further hosts are routed, if it is among these.
    fn web_port(self) -> Option<u16> {
        self.includes(WEB_PORT).then_some(WEB_PORT)
    }
}

/// Who has a name that several want, the lowest: the place of a virtual service, and whether it is for one
/// of the services.
type Rank = (usize, bool);

/// Makes tables for one proxy.
struct Tables<'s, 'a> {
    scope: &'s Scope<'a>,
    /// The services that are reached there, the oldest first; those with another name are not.
    services: Vec<&'s Arc<Service>>,
    /// The virtual services that apply there, the oldest first.
    virtual_services: Vec<&'a Arc<VirtualService>>,
    /// Where among them those are that name a host as it is,
    naming: BTreeMap<&'a Hostname, Vec<usize>>,
    /// and those that have a wildcard.
    wildcards: Vec<usize>,
}

impl<'s, 'a> Tables<'s, 'a> {
    /// With what is seen on some listeners of a Sidecar, or on all of them.
    fn new(scope: &'s Scope<'a>, wanted: Option<&dyn Fn(&EgressListener) -> bool>) -> Self {
        let here = scope
            .egress()
            .iter()
            .filter(|it| match (wanted, it.listener) {
                (Some(wanted), Some(listener)) => wanted(listener),
                (None, _) | (_, None) => true,
            });
        let mut services: Vec<&'s Arc<Service>> = Vec::new();
        let mut virtual_services: Vec<&'a Arc<VirtualService>> = Vec::new();
        let several = scope.egress().len() > 1;
        for egress in here {
            services.extend(egress.services.iter());
            for it in egress.virtual_services.iter().copied() {
                let known = |other: &&Arc<VirtualService>| Arc::ptr_eq(other, it);
                if !several || !virtual_services.iter().any(known) {
                    virtual_services.push(it);
                }
            }
        }
        services.retain(|it| scope.resolution(it) != Resolution::Alias);
        let mut naming = BTreeMap::<_, Vec<_>>::new();
        let mut wildcards = Vec::new();
        for (place, it) in virtual_services.iter().enumerate() {
            let (wild, exact): (Vec<_>, Vec<_>) = it.hosts.iter().partition(|it| it.is_wildcard());
            wildcards.extend((!wild.is_empty()).then_some(place));
            for host in exact {
                naming.entry(host).or_default().push(place);
            }
        }
        Self {
            scope,
            services,
            virtual_services,
            naming,
            wildcards,
        }
    }

    /// The virtual hosts of a shared table. A name belongs to the first that has it: virtual services go
    /// first, the oldest before others, and of one its hosts that are no services before its services.
    fn with_catch_all(&self, addressed: Addressed) -> Vec<VirtualHost> {
        let mut ranked = self.further_hosts(addressed);
        ranked.extend(self.services(addressed));
        ranked.sort_by_key(|(rank, _)| *rank);
        let mut hosts: Vec<_> = ranked.into_iter().map(|(_, host)| host).collect();
        let mut seen = BTreeSet::new();
        for host in &mut hosts {
            host.domains
                .retain(|it| seen.insert(it.to_ascii_lowercase()));
        }
        let mut names = BTreeSet::new();
        hosts.retain(|it| !it.domains.is_empty() && names.insert(it.name.clone()));
        hosts.sort_by(|left, right| left.name.cmp(&right.name));
        hosts.push(catch_all::virtual_host(self.scope));
        hosts
    }

    /// The virtual host of a service port whose protocol is detected: every request there is for it.
    fn detected(&self, host: &str, port: u16) -> Option<Vec<VirtualHost>> {
        let (service, service_port) = self.scope.service_port(host, port)?;
        if !is_routed(service_port.protocol) {
            return None;
        }
        Some(vec![VirtualHost {
            domains: vec!["*".to_owned()],
            ..self.virtual_host(&service, port).1
        }])
    }

    fn services(&self, addressed: Addressed) -> Vec<(Rank, VirtualHost)> {
        let services = self.services.iter();
        let full_names = services.map(|it| it.hostname.as_str()).collect();
        let mut hosts = Vec::new();
        for service in &self.services {
            for port in &service.ports {
                if !is_routed(port.protocol) || !addressed.includes(port.number) {
                    continue;
                }
                let suffix = addressed.suffix(port.number);
                let domains = domain::of_service(self.scope, service, suffix, &full_names);
                let domains = addressed.meant(domains, port.number);
                let (place, host) = self.virtual_host(service, port.number);
                hosts.push(((place, true), VirtualHost { domains, ..host }));
            }
        }
        hosts
    }

    /// The hosts of virtual services that are no services on the port: on each port of the services
    /// that a virtual service names beside them, else on that of the web.
    fn further_hosts(&self, addressed: Addressed) -> Vec<(Rank, VirtualHost)> {
        let mut here = BTreeMap::<&Hostname, Vec<&ServicePort>>::new();
        for service in &self.services {
            let ports = service.ports.iter();
            let mut ports = ports.filter(|it| addressed.includes(it.number)).peekable();
            if ports.peek().is_some() {
                here.entry(&service.hostname).or_default().extend(ports);
            }
        }
        let mut hosts = Vec::new();
        for (place, virtual_service) in self.virtual_services.iter().enumerate() {
            let mut ports: BTreeSet<u16> = addressed.always().into_iter().collect();
            let mut further = Vec::new();
            for host in &virtual_service.hosts {
                let matched: Vec<_> = match host.is_wildcard() {
                    true => here.iter().filter(|(it, _)| host.contains(it)).collect(),
                    false => here.get_key_value(host).into_iter().collect(),
                };
                if matched.is_empty() {
                    further.push(host);
                }
                let matched = matched.into_iter().flat_map(|(_, ports)| ports);
                ports.extend(
                    matched
                        .filter(|it| is_routed(it.protocol))
                        .map(|it| it.number),
                );
            }
            if further.is_empty() {
                continue;
            }
            if ports.is_empty() {
                ports.extend(addressed.web_port());
            }
            for port in ports {
                let routes = self.routes(virtual_service, port);
                if routes.is_empty() {
                    continue;
                }
                hosts.extend(further.iter().map(|host| {
                    let domains = domain::of_host(host.as_str(), addressed.suffix(port));
                    let made = VirtualHost {
                        name: host_port(host.as_str(), port),
                        domains: addressed.meant(domains, port),
                        routes: routes.clone(),
                        include_request_attempt_count: !self.scope.proxy_headers().no_attempt_count,
                        ..Default::default()
                    };
                    ((place, false), made)
                }));
            }
        }
        hosts
    }

    /// The virtual host of a service port, domains aside: with the routes of the first virtual service
    /// that has some for this proxy, else with one to the service; and the place of that virtual service.
    fn virtual_host(&self, service: &Service, port: u16) -> (usize, VirtualHost) {
        let claims = self.claiming(&service.hostname).into_iter();
        let (place, routes) = claims
            .map(|place| (place, self.routes(self.virtual_services[place], port)))
            .find(|(_, routes)| !routes.is_empty())
            .unwrap_or_else(|| (usize::MAX, vec![self.default_route(service, port)]));
        let host = VirtualHost {
            name: host_port(service.hostname.as_str(), port),
            routes,
            include_request_attempt_count: !self.scope.proxy_headers().no_attempt_count,
            ..Default::default()
        };
        (place, host)
    }

    /// The places of the virtual services for a host: those that name it, then those with a wildcard for
    /// it from the most specific, each the oldest first.
    fn claiming(&self, host: &Hostname) -> Vec<usize> {
        let named = self.naming.get(host).into_iter().flatten();
        let places: BTreeSet<_> = named.chain(&self.wildcards).copied().collect();
        let mut claims: Vec<_> = places
            .into_iter()
            .filter_map(|place| {
                let it = self.virtual_services[place];
                let claims = it.hosts.iter().filter(|claim| claim.contains(host));
                let best = claims.min_by(|left, right| left.by_specificity(right))?;
                Some((best, place))
            })
            .collect();
        claims.sort_by(|(left, _), (right, _)| left.by_specificity(right));
        claims.into_iter().map(|(_, place)| place).collect()
    }

    fn routes(&self, virtual_service: &VirtualService, port: u16) -> Vec<Route> {
        let place = Place {
            gateway: &GatewayRef::Mesh,
            port,
            tls: false,
        };
        routes(self.scope, virtual_service, &place)
    }

    fn default_route(&self, service: &Service, port: u16) -> Route {
        let host = service.hostname.as_str();
        Route {
            name: "default".to_owned(),
            r#match: Some(everything()),
            decorator: Some(decorator(format!("{}/*", host_port(host, port)))),
            action: Some(route::Action::Route(action::default(
                self.scope,
                &service.hostname,
                port,
            ))),
            ..Default::default()
        }
    }
}

/// Whether requests on a port of this protocol are routed by host.
fn is_routed(protocol: Protocol) -> bool {
    protocol.is_http() || protocol == Protocol::Auto
}
