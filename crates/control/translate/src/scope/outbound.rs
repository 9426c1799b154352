//! What a proxy sees, by listener (FEATURES T14).
//!
//! In: the proxy's Sidecar, if it has one. Out: an [`Egress`] for each of its egress listeners with the
//! services and virtual services that it imports; without one, a single one with everything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meltemi_model::{
    Destination, EgressListener, GatewayRef, Hostname, HttpAction, ImportedHost, ImportedNamespace,
    NamespaceName, Service, ServicePort, Sidecar, VirtualService,
};
use meltemi_snapshot::Snapshot;

/// What is seen on one listener.
pub(crate) struct Egress<'a> {
    /// The listener as the Sidecar has it; `None` for whatever port a service has.
    pub listener: Option<&'a EgressListener>,
    /// The services, the oldest first; of a listener with a port, with just that port.
    pub services: Vec<Arc<Service>>,
    /// The virtual services, the oldest first.
    pub virtual_services: Vec<&'a Arc<VirtualService>>,
}

/// What a proxy in `namespace` with this Sidecar sees; and how many services and virtual services were gone
/// through for that.
pub(super) fn egress<'a>(
    snapshot: &'a Snapshot,
    namespace: &'a NamespaceName,
    sidecar: Option<&'a Arc<Sidecar>>,
) -> (Vec<Egress<'a>>, usize) {
    let virtual_services = snapshot.virtual_services();
    let listeners = sidecar.map_or(&[][..], |it| it.egress.as_slice());
    if listeners.is_empty() {
        let everything = Egress {
            listener: None,
            services: snapshot.services().visible_in(namespace).cloned().collect(),
            virtual_services: virtual_services.at(&GatewayRef::Mesh, namespace).collect(),
        };
        let visited = everything.services.len() + everything.virtual_services.len();
        return (vec![everything], visited);
    }
    let mut visited = 0;
    let egress = listeners
        .iter()
        .map(|listener| {
            let imports = |it: &&Arc<VirtualService>| imports(listener, it, namespace);
            let mesh = &GatewayRef::Mesh;
            let seen = match sources(listener, namespace) {
                Some(sources) => virtual_services.at_of(mesh, &sources, namespace),
                None => virtual_services.at(mesh, namespace).collect(),
            };
            let services = visible(snapshot, listener, namespace);
            visited += services.len() + seen.len();
            Egress {
                listener: Some(listener),
                services: imported(services, listener, namespace),
                virtual_services: seen.into_iter().filter(imports).collect(),
            }
        })
        .collect();
    (egress, visited)
}

/// Every service of these, and those to which their virtual services lead.
pub(super) fn services(
    snapshot: &Snapshot,
    namespace: &NamespaceName,
    sidecar: Option<&Arc<Sidecar>>,
    egress: &[Egress<'_>],
) -> Vec<Arc<Service>> {
    if sidecar.is_none_or(|it| it.egress.is_empty()) {
        return egress
            .first()
            .map_or_else(Vec::new, |it| it.services.clone());
    }
    let mut all = Collected::default();
    for here in egress {
        here.services.iter().for_each(|it| all.add(it));
    }
    for here in egress {
        for destination in here.virtual_services.iter().flat_map(|it| destinations(it)) {
            let seen = snapshot.services().all_by_host(destination.host.as_str());
            let mut visible = seen.filter(|it| it.export_to.is_visible_in(namespace));
            let own = visible.clone().find(|it| it.meta.namespace == *namespace);
            if let Some(service) = own.or_else(|| visible.next()) {
                match destination.port {
                    Some(port) => all.add(&with_ports(service, |it| it.number == port)),
                    None => all.add(service),
                }
            }
        }
    }
    all.services
}

/// Services in the order in which they came; those of one host and namespace as one.
#[derive(Default)]
struct Collected {
    services: Vec<Arc<Service>>,
    places: BTreeMap<(Hostname, NamespaceName), usize>,
}

impl Collected {
    fn add(&mut self, service: &Arc<Service>) {
        let key = (service.hostname.clone(), service.meta.namespace.clone());
        let Some(place) = self.places.get(&key) else {
            self.places.insert(key, self.services.len());
            self.services.push(service.clone());
            return;
        };
        let known = &mut self.services[*place];
        let missing: Vec<ServicePort> = service
            .ports
            .iter()
            .filter(|it| known.port(it.number).is_none())
            .cloned()
            .collect();
        if !missing.is_empty() {
            Arc::make_mut(known).ports.extend(missing);
        }
    }
}

/// The namespaces from which a listener imports, if they are named. What is in others need not be looked
/// at.
fn sources<'a>(
    listener: &'a EgressListener,
    own: &'a NamespaceName,
) -> Option<BTreeSet<&'a NamespaceName>> {
    let mut sources = BTreeSet::new();
    for host in &listener.hosts {
        match &host.namespace {
            ImportedNamespace::Any => return None,
            ImportedNamespace::Own => drop(sources.insert(own)),
            ImportedNamespace::Named(namespace) => drop(sources.insert(namespace)),
            ImportedNamespace::Nothing => {}
        }
    }
    Some(sources)
}

/// The services among which are all that a listener imports.
fn visible<'a>(
    snapshot: &'a Snapshot,
    listener: &'a EgressListener,
    own: &'a NamespaceName,
) -> Vec<&'a Arc<Service>> {
    let all = snapshot.services();
    match sources(listener, own) {
        Some(sources) => all.visible_of(&sources, own),
        None => all.visible_in(own).collect(),
    }
}

/// Those of these services that a listener imports.
fn imported(
    seen: Vec<&Arc<Service>>,
    listener: &EgressListener,
    own: &NamespaceName,
) -> Vec<Arc<Service>> {
    let port = listener.port.as_ref().filter(|it| !it.explicit_proxy);
    let port = port.map(|it| it.number).filter(|it| *it != 0);
    let mut services = Vec::new();
    for service in seen {
        let wanted = |it: &&ImportedHost| it.host.contains(&service.hostname);
        // A host of its own namespace decides before one of any namespace.
        let (any, named): (Vec<_>, Vec<_>) = listener
            .hosts
            .iter()
            .filter(wanted)
            .partition(|it| it.namespace == ImportedNamespace::Any);
        let from = |it: &&ImportedHost| it.is_from(&service.meta.namespace, own);
        if !named.into_iter().chain(any).any(|it| from(&it)) {
            continue;
        }
        match port {
            Some(port) if service.port(port).is_none() => {}
            Some(port) => services.push(with_ports(service, |it| it.number == port)),
            None => services.push(service.clone()),
        }
    }
    one_namespace_for_each_host(services, own)
}

/// Where a host is in several namespaces, those of the proxy's own, else of the first.
fn one_namespace_for_each_host(
    services: Vec<Arc<Service>>,
    own: &NamespaceName,
) -> Vec<Arc<Service>> {
    let mut chosen: BTreeMap<Hostname, NamespaceName> = BTreeMap::new();
    for service in &services {
        let namespace = &service.meta.namespace;
        let known = chosen
            .entry(service.hostname.clone())
            .or_insert_with(|| namespace.clone());
        if namespace == own {
            known.clone_from(namespace);
        }
    }
    services
        .into_iter()
        .filter(|it| chosen.get(&it.hostname) == Some(&it.meta.namespace))
        .collect()
}

/// The service with these of its ports.
fn with_ports(service: &Arc<Service>, wanted: impl Fn(&ServicePort) -> bool) -> Arc<Service> {
    if service.ports.iter().all(&wanted) {
        return service.clone();
    }
    let mut narrowed = Service::clone(service);
    narrowed.ports.retain(wanted);
    Arc::new(narrowed)
}

/// Whether a listener imports a virtual service: one of its hosts is one of those imported, or holds
/// it.
fn imports(listener: &EgressListener, service: &VirtualService, own: &NamespaceName) -> bool {
    listener
        .hosts
        .iter()
        .filter(|it| it.is_from(&service.meta.namespace, own))
        .any(|it| service.hosts.iter().any(|host| it.host.overlaps(host)))
}

/// Where the routes of a virtual service lead.
fn destinations(service: &VirtualService) -> Vec<&Destination> {
    let mut all = Vec::new();
    for route in &service.http {
        if let HttpAction::Forward(destinations) = &route.action {
            all.extend(destinations.iter().map(|it| &it.destination));
        }
        all.extend(route.mirrors.iter().map(|it| &it.destination));
    }
    let of_tls = service.tls.iter().flat_map(|it| &it.destinations);
    let of_tcp = service.tcp.iter().flat_map(|it| &it.destinations);
    all.extend(of_tls.chain(of_tcp).map(|it| &it.destination));
    all
}
