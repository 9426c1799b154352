//! Services by name, host and namespace.
//!
//! In: [`Service`] and [`ServiceEntry`] resources. Out: the services that a namespace sees. A service
//! entry is a service for each of its hosts.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use meltemi_model::{
    DefaultExportTo, Hostname, NamespaceName, Service, ServiceEntry, ServicePort, TargetPort,
    Workload,
};

use crate::auto_address::{AutoAddresses, allocate};
use crate::named::ByName;

/// The services of the mesh.
#[derive(Debug, Clone, Default)]
pub struct ServiceIndex {
    pub(crate) named: ByName<Service>,
    pub(crate) entries: ByName<ServiceEntry>,
    by_host: BTreeMap<Hostname, Vec<Arc<Service>>>,
    by_age: Vec<Arc<Service>>,
    by_namespace: BTreeMap<NamespaceName, Vec<Arc<Service>>>,
    /// ExternalName services by the service of the mesh that they stand for.
    aliases: BTreeMap<Hostname, Vec<Arc<Service>>>,
    auto_addresses: AutoAddresses,
}

/// A port on which a workload serves a service.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceTarget {
    /// The service.
    pub service: Arc<Service>,
    /// The service's port.
    pub port: ServicePort,
    /// The workload's port.
    pub target: u16,
}

impl ServiceIndex {
    /// The Kubernetes service of this name.
    pub fn get(&self, namespace: &NamespaceName, name: &str) -> Option<&Arc<Service>> {
        self.named.get(namespace, name)
    }

    /// The service with this host: the oldest, those of Kubernetes before others.
    pub fn by_host(&self, host: &str) -> Option<&Arc<Service>> {
        self.all_by_host(host).first()
    }

    /// The services with this host, those of Kubernetes first, then the oldest.
    pub fn all_by_host(&self, host: &str) -> &[Arc<Service>] {
        self.by_host.get(host).map_or(&[], Vec::as_slice)
    }

    /// The services that proxies of `namespace` see, the oldest first, ties by name.
    pub fn visible_in<'a>(
        &'a self,
        namespace: &'a NamespaceName,
    ) -> impl Iterator<Item = &'a Arc<Service>> {
        self.by_age
            .iter()
            .filter(|it| it.export_to.is_visible_in(namespace))
    }

    /// Every service, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.by_age.iter()
    }

    /// The service entries, by namespace and name.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<ServiceEntry>> {
        self.entries.iter()
    }

    /// The ExternalName services that stand for the service with this host.
    pub fn aliases_of(&self, host: &Hostname) -> &[Arc<Service>] {
        self.aliases.get(host).map_or(&[], Vec::as_slice)
    }

    /// The service of the mesh that an ExternalName service stands for, if its name is that of one.
    pub fn concrete(&self, service: &Service) -> Option<&Arc<Service>> {
        let target = self.by_host(service.external_name.as_ref()?.as_str())?;
        target.external_name.is_none().then_some(target)
    }

    /// The addresses, IPv4 and IPv6, that were found for a service that has none.
    pub fn auto_addresses(&self, service: &Service) -> &[IpAddr] {
        match &service.entry {
            Some(_) => self.auto_addresses_of(&service.meta.namespace, &service.hostname),
            None => &[],
        }
    }

    /// The addresses that were found for a host of a namespace's service entries.
    pub fn auto_addresses_of(&self, namespace: &NamespaceName, host: &Hostname) -> &[IpAddr] {
        let key = (namespace.clone(), host.clone());
        let found = self.auto_addresses.get(&key);
        found.map_or(&[], |it| it.as_slice())
    }

    /// The services of a namespace, the oldest first.
    pub(crate) fn in_namespace<'a>(
        &'a self,
        namespace: &NamespaceName,
    ) -> impl Iterator<Item = &'a Arc<Service>> {
        self.by_namespace.get(namespace).into_iter().flatten()
    }

    /// Makes the derived maps again, after changes.
    pub(crate) fn rebuild(&mut self, exports: &DefaultExportTo) {
        let entries = self.entries.iter();
        let of_entries = entries.flat_map(|it| it.services()).map(Arc::new);
        self.by_age = self.named.iter().cloned().chain(of_entries).collect();
        for service in &mut self.by_age {
            if let Some(to) = exports.of(&service.export_to, &service.meta.namespace) {
                Arc::make_mut(service).export_to = to;
            }
        }
        self.by_age.sort_by_cached_key(|it| it.meta.age_key());
        self.by_host.clear();
        self.by_namespace.clear();
        for service in &self.by_age {
            self.by_host
                .entry(service.hostname.clone())
                .or_default()
                .push(service.clone());
            self.by_namespace
                .entry(service.meta.namespace.clone())
                .or_default()
                .push(service.clone());
        }
        for services in self.by_host.values_mut() {
            services.sort_by_key(|it| it.entry.is_some());
        }
        self.auto_addresses = allocate(self.by_age.iter().map(AsRef::as_ref));
        self.aliases.clear();
        for service in &self.by_age {
            let concrete = self.concrete(service).map(|it| it.hostname.clone());
            if let Some(host) = concrete {
                self.aliases.entry(host).or_default().push(service.clone());
            }
        }
    }
}

/// The number of the workload's port that a service port leads to.
pub(crate) fn target_port(port: &ServicePort, workload: Option<&Workload>) -> Option<u16> {
    if let Some(entry) = workload.and_then(|it| it.entry.as_ref()) {
        return Some(entry.port(port));
    }
    match &port.target {
        TargetPort::Number(number) => Some(*number),
        TargetPort::Name(name) => workload?.named_port(name),
    }
}
