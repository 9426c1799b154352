//! Joins services with workloads: the endpoints of each service port.
//!
//! In: services, workloads, namespaces. Out: [`ServiceEndpoints`], made again only for namespaces
//! where something changed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use meltemi_model::{Hostname, Labels, Namespace, NamespaceName, Protocol, Service, Workload};

use crate::service::target_port;
use crate::{NamespaceIndex, ServiceIndex, WorkloadIndex, accepts_mtls};

/// Where a workload serves a service port.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Whether it takes mutual TLS.
    pub mtls: bool,
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

/// The endpoints of every service.
#[derive(Debug, Clone, Default)]
pub struct EndpointIndex {
    by_namespace: BTreeMap<NamespaceName, BTreeMap<Hostname, Arc<ServiceEndpoints>>>,
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

impl EndpointIndex {
    /// The endpoints of a service.
    pub fn of(&self, service: &Service) -> Option<&Arc<ServiceEndpoints>> {
        self.by_namespace
            .get(&service.meta.namespace)?
            .get(&service.hostname)
    }

    /// Makes the endpoints of these namespaces again; answers with the services whose endpoints
    /// differ from before.
    pub(crate) fn rebuild(
        &mut self,
        dirty: &BTreeSet<NamespaceName>,
        services: &ServiceIndex,
        workloads: &WorkloadIndex,
        namespaces: &NamespaceIndex,
    ) -> BTreeSet<Hostname> {
        let mut changed = BTreeSet::new();
        for name in dirty {
            let old = self.by_namespace.remove(name).unwrap_or_default();
            let namespace = namespaces.get(name).map(AsRef::as_ref);
            let mut new = BTreeMap::new();
            for service in services.in_namespace(name) {
                let made = join(service, workloads.in_namespace(name), namespace);
                let kept = match old.get(&service.hostname) {
                    Some(before) if **before == made => before.clone(),
                    Some(_) | None => {
                        changed.insert(service.hostname.clone());
                        Arc::new(made)
                    }
                };
                new.insert(service.hostname.clone(), kept);
            }
            changed.extend(old.into_keys().filter(|host| !new.contains_key(host)));
            if !new.is_empty() {
                self.by_namespace.insert(name.clone(), new);
            }
        }
        changed
    }
}

fn join<'a>(
    service: &Service,
    workloads: impl Iterator<Item = &'a Arc<Workload>>,
    namespace: Option<&Namespace>,
) -> ServiceEndpoints {
    let selects = |labels: &Labels| {
        let selector = service.selector.as_ref();
        selector.is_some_and(|it| !it.is_empty() && it.selects(labels))
    };
    let selected: Vec<_> = workloads
        .filter(|it| selects(&it.meta.labels))
        .filter(|it| it.ready || service.publish_not_ready)
        .collect();
    let ports = service.ports.iter();
    ServiceEndpoints {
        ports: ports
            .filter(|port| port.protocol != Protocol::Udp)
            .map(|port| PortEndpoints {
                port: port.number,
                endpoints: selected
                    .iter()
                    .filter_map(|workload| {
                        Some(Endpoint {
                            address: *workload.addresses.first()?,
                            port: target_port(port, Some(workload))?,
                            mtls: accepts_mtls(namespace, workload),
                            workload: (*workload).clone(),
                        })
                    })
                    .collect(),
            })
            .collect(),
        accounts: selected
            .iter()
            .map(|workload| ServiceAccountName {
                namespace: workload.meta.namespace.clone(),
                name: workload.service_account.clone(),
            })
            .collect(),
    }
}
