//! Services by name, host and namespace.
//!
//! In: [`Service`] resources. Out: the services that a namespace sees, and those of a workload.

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_model::{
    Hostname, Labels, NamespaceName, Protocol, Service, ServicePort, TargetPort, Workload,
};

/// The services of the mesh.
#[derive(Debug, Clone, Default)]
pub struct ServiceIndex {
    by_name: BTreeMap<(NamespaceName, Arc<str>), Arc<Service>>,
    by_host: BTreeMap<Hostname, Arc<Service>>,
    by_age: Vec<Arc<Service>>,
    /// ExternalName services by the service of the mesh that they stand for.
    aliases: BTreeMap<Hostname, Vec<Arc<Service>>>,
}

/// A port on which a workload serves a service.
#[derive(Debug, Clone)]
pub struct ServiceTarget {
    /// The service.
    pub service: Arc<Service>,
    /// The service's port.
    pub port: ServicePort,
    /// The workload's port.
    pub target: u16,
}

impl ServiceIndex {
    /// The service of this name.
    pub fn get(&self, namespace: &NamespaceName, name: &str) -> Option<&Arc<Service>> {
        self.by_name.get(&(namespace.clone(), name.into()))
    }

    /// The service with this host.
    pub fn by_host(&self, host: &str) -> Option<&Arc<Service>> {
        self.by_host.get(host)
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

    /// The ExternalName services that stand for the service with this host.
    pub fn aliases_of(&self, host: &Hostname) -> &[Arc<Service>] {
        self.aliases.get(host).map_or(&[], Vec::as_slice)
    }

    /// The service of the mesh that an ExternalName service stands for, if its name is that of one.
    pub fn concrete(&self, service: &Service) -> Option<&Arc<Service>> {
        let target = self.by_host.get(service.external_name.as_ref()?)?;
        target.external_name.is_none().then_some(target)
    }

    /// The ports on which a workload with `labels` in `namespace` serves, by the services that select
    /// it, the oldest first; UDP ports are left out. The workload itself is asked for named ports.
    pub fn targets(
        &self,
        namespace: &NamespaceName,
        labels: &Labels,
        workload: Option<&Workload>,
    ) -> Vec<ServiceTarget> {
        let mut targets = Vec::new();
        for service in &self.by_age {
            let selects = |selector: &Labels| !selector.is_empty() && selector.selects(labels);
            if service.meta.namespace != *namespace
                || !service.selector.as_ref().is_some_and(selects)
            {
                continue;
            }
            for port in &service.ports {
                if port.protocol == Protocol::Udp {
                    continue;
                }
                if let Some(target) = target_port(port, workload) {
                    targets.push(ServiceTarget {
                        service: service.clone(),
                        port: port.clone(),
                        target,
                    });
                }
            }
        }
        targets
    }

    pub(crate) fn in_namespace<'a>(
        &'a self,
        namespace: &'a NamespaceName,
    ) -> impl Iterator<Item = &'a Arc<Service>> {
        self.by_name
            .range((namespace.clone(), Arc::from(""))..)
            .take_while(move |((place, _), _)| place == namespace)
            .map(|(_, service)| service)
    }

    /// Whether the resource is here just so.
    pub(crate) fn has(&self, service: &Service) -> bool {
        self.by_name
            .get(&key(service))
            .is_some_and(|it| **it == *service)
    }

    pub(crate) fn insert(&mut self, service: Service) {
        self.by_name.insert(key(&service), Arc::new(service));
    }

    pub(crate) fn remove(&mut self, namespace: &NamespaceName, name: &Arc<str>) -> bool {
        self.by_name
            .remove(&(namespace.clone(), name.clone()))
            .is_some()
    }

    /// Makes the derived maps again, after changes.
    pub(crate) fn rebuild(&mut self) {
        self.by_age = self.by_name.values().cloned().collect();
        self.by_age.sort_by_cached_key(|it| it.meta.age_key());
        self.by_host.clear();
        for service in &self.by_age {
            self.by_host
                .entry(service.hostname.clone())
                .or_insert_with(|| service.clone());
        }
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
    match &port.target {
        TargetPort::Number(number) => Some(*number),
        TargetPort::Name(name) => workload?.named_port(name),
    }
}

fn key(service: &Service) -> (NamespaceName, Arc<str>) {
    (service.meta.namespace.clone(), service.meta.name.clone())
}
