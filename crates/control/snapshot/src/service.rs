//! Services by name, host and namespace.
//!
//! In: [`Service`] and [`ServiceEntry`] resources. Out: the services that a namespace sees. A service
//! entry is a service for each of its hosts.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use meltemi_model::{
    DefaultExportTo, Hostname, Metadata, NamespaceName, Service, ServiceEntry, ServicePort,
    TargetPort, Workload,
};

use rpds::RedBlackTreeMapSync;

use crate::aged::{Aged, Rank};
use crate::auto_address::{AutoAddresses, allocate, wants};
use crate::named::{ByName, Name};

/// The services of the mesh.
#[derive(Debug, Clone, Default)]
pub struct ServiceIndex {
    pub(crate) named: ByName<Service>,
    pub(crate) entries: ByName<ServiceEntry>,
    by_age: Aged<Service>,
    /// Those of Kubernetes first, then the oldest.
    by_host: RedBlackTreeMapSync<Hostname, Vec<(Rank, Arc<Service>)>>,
    /// ExternalName services by the name that they stand for, the oldest first.
    aliases: RedBlackTreeMapSync<Hostname, Vec<(Rank, Arc<Service>)>>,
    /// What was made of each resource.
    made: RedBlackTreeMapSync<Origin, Vec<(Rank, Arc<Service>)>>,
    auto_addresses: Arc<AutoAddresses>,
}

/// Of which resource services are made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    Service(Name),
    Entry(Name),
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
        self.all_by_host(host).next()
    }

    /// The services with this host, those of Kubernetes first, then the oldest.
    pub fn all_by_host(&self, host: &str) -> impl Iterator<Item = &Arc<Service>> + Clone {
        let here = self.by_host.get(host).into_iter().flatten();
        here.map(|(_, service)| service)
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

    /// The services of some namespaces that proxies of `namespace` see, the oldest first, ties by name.
    pub fn visible_of<'a>(
        &'a self,
        namespaces: &BTreeSet<&NamespaceName>,
        namespace: &NamespaceName,
    ) -> Vec<&'a Arc<Service>> {
        let mut here = self.by_age.in_namespaces(namespaces);
        here.retain(|it| it.export_to.is_visible_in(namespace));
        here
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.by_age.len()
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
    pub fn aliases_of<'a>(
        &'a self,
        host: &Hostname,
    ) -> impl Iterator<Item = &'a Arc<Service>> + use<'a> {
        let target = self.by_host(host.as_str());
        let is_concrete = target.is_some_and(|it| it.external_name.is_none());
        let aliases = self.aliases.get(host).filter(|_| is_concrete);
        aliases.into_iter().flatten().map(|(_, service)| service)
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
    ) -> impl Iterator<Item = &'a Arc<Service>> + use<'a> {
        self.by_age.in_namespace(namespace)
    }

    /// Makes everything again; how many.
    pub(crate) fn rebuild(&mut self, exports: &DefaultExportTo) -> usize {
        let services = self.named.iter().map(|it| Origin::Service(name(&it.meta)));
        let entries = self.entries.iter().map(|it| Origin::Entry(name(&it.meta)));
        let all = services.chain(entries).collect();
        self.by_age = Aged::default();
        self.by_host = RedBlackTreeMapSync::default();
        self.aliases = RedBlackTreeMapSync::default();
        self.made = RedBlackTreeMapSync::default();
        self.update(&all, exports)
    }

    /// Makes again what is made of some resources, after changes; how many, those counted to which addresses
    /// are given again.
    pub(crate) fn update(
        &mut self,
        origins: &BTreeSet<Origin>,
        exports: &DefaultExportTo,
    ) -> usize {
        let mut addresses_move = false;
        for origin in origins {
            let old = self.made.get(origin).cloned().unwrap_or_default();
            let new = self.make(origin, exports);
            addresses_move |= !wanting(&old).eq(wanting(&new));
            for (rank, service) in &old {
                self.remove(rank, service);
            }
            for (rank, service) in &new {
                self.add(rank, service);
            }
            if new.is_empty() {
                self.made.remove_mut(origin);
            } else {
                self.made.insert_mut(origin.clone(), new);
            }
        }
        // An address depends on which others there are, and on nothing else of them.
        if !addresses_move {
            return origins.len();
        }
        self.auto_addresses = Arc::new(allocate(self.by_age.iter().map(AsRef::as_ref)));
        origins.len() + self.by_age.len()
    }

    fn make(&self, origin: &Origin, exports: &DefaultExportTo) -> Vec<(Rank, Arc<Service>)> {
        let (mut services, first) = match origin {
            Origin::Service((namespace, name)) => {
                let service = self.named.get(namespace, name);
                (service.cloned().into_iter().collect::<Vec<_>>(), 0)
            }
            // Those of Kubernetes go before others.
            Origin::Entry((namespace, name)) => {
                let entry = self.entries.get(namespace, name);
                let services = entry.into_iter().flat_map(|it| it.services());
                (services.map(Arc::new).collect(), 1)
            }
        };
        for service in &mut services {
            if let Some(to) = exports.of(&service.export_to, &service.meta.namespace) {
                Arc::make_mut(service).export_to = to;
            }
        }
        let ranked = services.into_iter().enumerate();
        ranked
            .map(|(place, it)| (Rank::new(&it.meta, first + place), it))
            .collect()
    }

    fn add(&mut self, rank: &Rank, service: &Arc<Service>) {
        let namespace = &service.meta.namespace;
        self.by_age.insert(namespace, rank.clone(), service.clone());
        let key = |(rank, it): &(Rank, Arc<Service>)| (it.entry.is_some(), rank.clone());
        put(&mut self.by_host, &service.hostname, rank, service, key);
        if let Some(target) = &service.external_name {
            let key = |(rank, _): &(Rank, Arc<Service>)| (false, rank.clone());
            put(&mut self.aliases, target, rank, service, key);
        }
    }

    fn remove(&mut self, rank: &Rank, service: &Arc<Service>) {
        self.by_age.remove(&service.meta.namespace, rank);
        take(&mut self.by_host, &service.hostname, rank);
        if let Some(target) = &service.external_name {
            take(&mut self.aliases, target, rank);
        }
    }
}

type ByHost = RedBlackTreeMapSync<Hostname, Vec<(Rank, Arc<Service>)>>;

fn put(
    map: &mut ByHost,
    host: &Hostname,
    rank: &Rank,
    service: &Arc<Service>,
    key: impl Fn(&(Rank, Arc<Service>)) -> (bool, Rank),
) {
    let mut here = map.get(host).cloned().unwrap_or_default();
    here.push((rank.clone(), service.clone()));
    here.sort_by_cached_key(key);
    map.insert_mut(host.clone(), here);
}

fn take(map: &mut ByHost, host: &Hostname, rank: &Rank) {
    let mut here = map.get(host).cloned().unwrap_or_default();
    here.retain(|(it, _)| it != rank);
    if here.is_empty() {
        map.remove_mut(host);
    } else {
        map.insert_mut(host.clone(), here);
    }
}

/// What decides which addresses are found: the hosts that want some, and their ages.
fn wanting(
    made: &[(Rank, Arc<Service>)],
) -> impl Iterator<Item = (&Rank, &NamespaceName, &Hostname)> {
    let wanting = made.iter().filter(|(_, it)| wants(it));
    wanting.map(|(rank, it)| (rank, &it.meta.namespace, &it.hostname))
}

fn name(meta: &Metadata) -> Name {
    (meta.namespace.clone(), meta.name.clone())
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
