//! Joins services with workloads: the endpoints of each service port.
//!
//! In: services, workloads, endpoint slices, namespaces. Out: [`ServiceEndpoints`], made again only for
//! services that a change may touch.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use meltemi_model::{
    EndpointAddress, EntryEndpoint, Hostname, Labels, Locality, NamespaceName, Protocol, Service,
    ServicePort, SliceEndpoint, Workload,
};

use rpds::RedBlackTreeMapSync;

use crate::service::target_port;
use crate::{EndpointSliceIndex, NamespaceIndex, ServiceIndex, WorkloadIndex, accepts_mtls};

/// Where a workload serves a service port.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// Its address.
    pub address: EndpointAddress,
    /// Its port.
    pub port: u16,
    /// Whether it takes mutual TLS.
    pub mtls: bool,
    /// Its share.
    pub weight: u32,
    /// The workload.
    pub workload: Arc<Workload>,
}

/// Who a workload is, as far as its certificate says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceAccountName {
    /// Its namespace.
    pub namespace: NamespaceName,
    /// Its service account.
    pub name: Arc<str>,
}

/// The endpoints of one port of a service.
#[derive(Debug, Clone, PartialEq)]
pub struct PortEndpoints {
    /// The service port.
    pub port: u16,
    /// Its endpoints, by workload name.
    pub endpoints: Vec<Endpoint>,
}

/// The endpoints of a service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServiceEndpoints {
    /// By port, in the service's order; UDP ports are left out.
    pub ports: Vec<PortEndpoints>,
    /// The identities of the workloads.
    pub accounts: BTreeSet<ServiceAccountName>,
}

/// A namespace and a host: several services may share them.
pub(crate) type Place = (NamespaceName, Hostname);

/// The endpoints of every service. A copy shares everything with the original until it is changed.
#[derive(Debug, Clone, Default)]
pub struct EndpointIndex {
    by_place: RedBlackTreeMapSync<Place, Arc<ServiceEndpoints>>,
    /// Where services select workloads and have ports without any: how many ports.
    lacking: RedBlackTreeMapSync<Place, usize>,
    /// How many that is altogether.
    lacking_ports: usize,
}

impl ServiceEndpoints {
    /// The endpoints of the service port with this number.
    pub fn port(&self, number: u16) -> &[Endpoint] {
        self.ports
            .iter()
            .find(|it| it.port == number)
            .map_or(&[], |it| it.endpoints.as_slice())
    }
}

impl ServiceEndpoints {
    /// These endpoints and those of another resource for the same host.
    fn joined(self, other: Self) -> Self {
        let mut all = self;
        for of_port in other.ports {
            match all.ports.iter_mut().find(|it| it.port == of_port.port) {
                Some(port) => port.endpoints.extend(of_port.endpoints),
                None => all.ports.push(of_port),
            }
        }
        all.accounts.extend(other.accounts);
        all
    }
}

impl EndpointIndex {
    /// The endpoints of the services of a namespace that have this host.
    pub fn of(&self, namespace: &NamespaceName, host: &Hostname) -> Option<&Arc<ServiceEndpoints>> {
        self.by_place.get(&(namespace.clone(), host.clone()))
    }

    /// How many ports of services that select workloads have no endpoint.
    pub fn lacking_ports(&self) -> usize {
        self.lacking_ports
    }

    /// Makes the endpoints of these places again; answers with those whose endpoints differ from
    /// before.
    pub(crate) fn rebuild(
        &mut self,
        dirty: BTreeSet<Place>,
        sources: &Sources<'_>,
    ) -> BTreeSet<Place> {
        let differs = |place: &Place| {
            let mut services: Vec<_> = sources
                .services
                .all_by_host(place.1.as_str())
                .filter(|it| it.meta.namespace == place.0)
                .collect();
            services.sort_by_cached_key(|it| it.meta.age_key());
            let selecting = services.iter().filter(|it| it.selector.is_some());
            let selecting = selecting.count();
            let made = services
                .into_iter()
                .map(|service| join(service, sources))
                .reduce(|earlier, later| earlier.joined(later));
            let ports = made.iter().flat_map(|it| &it.ports);
            let empty = ports.filter(|it| it.endpoints.is_empty()).count();
            self.note_lacking(place, selecting * empty);
            match (self.by_place.get(place), made) {
                (Some(before), Some(made)) if **before == made => false,
                (None, None) => false,
                (_, Some(made)) => {
                    self.by_place.insert_mut(place.clone(), Arc::new(made));
                    true
                }
                (Some(_), None) => self.by_place.remove_mut(place),
            }
        };
        let mut dirty = Vec::from_iter(dirty);
        dirty.retain(differs);
        dirty.into_iter().collect()
    }

    fn note_lacking(&mut self, place: &Place, ports: usize) {
        let before = self.lacking.get(place).copied().unwrap_or_default();
        self.lacking_ports = self.lacking_ports + ports - before;
        if ports == 0 {
            self.lacking.remove_mut(place);
        } else {
            self.lacking.insert_mut(place.clone(), ports);
        }
    }

    /// The places of a namespace.
    pub(crate) fn places(&self, namespace: &NamespaceName) -> impl Iterator<Item = &Place> {
        let first = (namespace.clone(), Hostname::new(""));
        self.by_place
            .range(first..)
            .map(|(place, _)| place)
            .take_while(move |place| place.0 == *namespace)
    }
}

/// What the endpoints of services are made of.
pub(crate) struct Sources<'a> {
    pub services: &'a ServiceIndex,
    pub workloads: &'a WorkloadIndex,
    pub namespaces: &'a NamespaceIndex,
    pub slices: &'a EndpointSliceIndex,
}

/// A workload that serves a service, and its port for each port of the service.
struct Server {
    workload: Arc<Workload>,
    address: EndpointAddress,
    ports: Vec<Option<u16>>,
    /// Whether it is an endpoint. Of one that is not, clients know the identity still, so that they are
    /// told of its endpoints alone when it comes and goes.
    serves: bool,
}

fn join(service: &Service, sources: &Sources<'_>) -> ServiceEndpoints {
    let place = &service.meta.namespace;
    let namespace = sources.namespaces.get(place).map(AsRef::as_ref);
    let mut servers = selected(service, sources);
    if let Some(entry) = &service.entry {
        servers.extend(entry.endpoints.iter().map(|it| {
            Server {
                workload: Arc::new(it.workload(&service.meta)),
                address: it.address.clone(),
                ports: service
                    .ports
                    .iter()
                    .map(|port| Some(it.port(port)))
                    .collect(),
                serves: true,
            }
        }));
    } else {
        servers.extend(sliced(service, sources, &servers));
    }
    let ports = service.ports.iter().enumerate();
    ServiceEndpoints {
        ports: ports
            .filter(|(_, port)| port.protocol != Protocol::Udp)
            .map(|(index, port)| PortEndpoints {
                port: port.number,
                endpoints: servers
                    .iter()
                    .filter(|it| it.serves && it.address != EndpointAddress::Absent)
                    .filter_map(|it| {
                        let weight = it.workload.entry.as_ref().map_or(1, |it| it.weight);
                        Some(Endpoint {
                            address: it.address.clone(),
                            port: it.ports[index]?,
                            mtls: !service.is_external() && accepts_mtls(namespace, &it.workload),
                            weight,
                            workload: it.workload.clone(),
                        })
                    })
                    .collect(),
            })
            .collect(),
        accounts: servers
            .iter()
            .filter(|it| {
                let entry = it.workload.entry.as_ref();
                entry.is_none_or(|it| it.service_account.is_some())
            })
            .map(|it| ServiceAccountName {
                namespace: it.workload.meta.namespace.clone(),
                name: it.workload.service_account.clone(),
            })
            .collect(),
    }
}

/// The workloads that the service selects.
fn selected(service: &Service, sources: &Sources<'_>) -> Vec<Server> {
    let Some(selector) = service.selector.as_ref().filter(|it| !it.is_empty()) else {
        return Vec::new();
    };
    sources
        .workloads
        .in_namespace(&service.meta.namespace)
        .filter(|it| selector.selects(&it.meta.labels))
        .filter_map(|workload| {
            let serves = workload.ready || service.publish_not_ready;
            if !serves && workload.entry.is_none() {
                return None;
            }
            let address = match &workload.entry {
                Some(entry) => entry.address.clone(),
                None => EndpointAddress::Ip(*workload.addresses.first()?),
            };
            let ports = service.ports.iter();
            Some(Server {
                address,
                ports: ports.map(|it| target_port(it, Some(workload))).collect(),
                workload: workload.clone(),
                serves,
            })
        })
        .collect()
}

/// The endpoints of the service's slices, but for those that were found by its selector.
fn sliced(service: &Service, sources: &Sources<'_>, found: &[Server]) -> Vec<Server> {
    let meta = &service.meta;
    let mut servers = Vec::new();
    for slice in sources.slices.of_service(&meta.namespace, &meta.name) {
        let number = |port: &ServicePort| {
            let named = slice.ports.iter().find(|(name, _)| *name == port.name);
            named.map(|(_, number)| *number)
        };
        let ready = |it: &&SliceEndpoint| it.ready || service.publish_not_ready;
        for endpoint in slice.endpoints.iter().filter(ready) {
            let Some(ip) = endpoint.addresses.first() else {
                continue;
            };
            let address = EndpointAddress::Ip(*ip);
            if found.iter().any(|it| it.serves && it.address == address) {
                continue;
            }
            let known = sources.workloads.by_address(*ip).cloned();
            servers.push(Server {
                workload: known.unwrap_or_else(|| Arc::new(unknown(service, endpoint))),
                address,
                ports: service.ports.iter().map(number).collect(),
                serves: true,
            });
        }
    }
    servers
}

/// What is known of an endpoint that is no workload of the mesh.
fn unknown(service: &Service, endpoint: &SliceEndpoint) -> Workload {
    let address = endpoint.addresses.first().copied();
    let locality = endpoint.zone.as_ref().map(|zone| Locality {
        zone: zone.clone(),
        ..Locality::default()
    });
    EntryEndpoint {
        address: EndpointAddress::Ip(address.unwrap_or(IpAddr::from([0, 0, 0, 0]))),
        ports: BTreeMap::new(),
        labels: Labels::default(),
        network: None,
        locality,
        weight: 1,
        service_account: None,
    }
    .workload(&service.meta)
}
