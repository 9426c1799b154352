//! What a cluster would add to the manifests: addresses, readiness, an ingress gateway.
//!
//! In: the events of the source, and which pods are ready. Out: the events as the control plane gets
//! them, and the pods that are to run ([`Platform::pods`]). Pure: starts nothing, listens nowhere.
//! Called by the mesh's loop.

mod gateway;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meltemi_model::{
    AccessLog, Config, ConfigMap, Deployment, Kind, Labels, MeshConfig, Namespace, NamespaceName,
    ProxyConfig, ResourceId, Secret, Service, ServiceAddresses, Workload, WorkloadRole,
    effective_proxy_config,
};
use meltemi_snapshot::is_injected;
use meltemi_source::Event;

use crate::addresses::{Addresses, Exhausted, Loopback};
use crate::pod::{Pod, PodName, ProxyKind, Values};

pub(crate) use gateway::GatewayPort;

/// Whether sidecars and gateways write an access log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AccessLogging {
    /// As the mesh configuration says; on if there is none.
    #[default]
    Configured,
    /// Yes, to their standard output unless the mesh configuration names another file.
    On,
    /// No.
    Off,
}

/// The state of the platform.
#[derive(Debug)]
pub(crate) struct Platform {
    addresses: Addresses,
    access_log: AccessLogging,
    /// As the source says.
    written: BTreeMap<ResourceId, Arc<Config>>,
    /// What the manifests lack.
    added: BTreeMap<ResourceId, Arc<Config>>,
    /// As the control plane was told.
    told: BTreeMap<ResourceId, Arc<Config>>,
    /// Pods of an earlier template, kept until those of the new one are ready.
    retiring: BTreeMap<ResourceId, Vec<Workload>>,
    ready: BTreeSet<PodName>,
    /// While the mesh starts, pods count as ready, so that it starts with the endpoints that it will
    /// have.
    starting: bool,
    /// The source has said everything that was there at the beginning.
    complete: bool,
    warnings: Vec<String>,
}

const CANONICAL_NAME: &str = "service.istio.io/canonical-name";
const CANONICAL_REVISION: &str = "service.istio.io/canonical-revision";

impl Values for Platform {
    fn config_map(&self, namespace: &str, name: &str, key: &str) -> Option<String> {
        match self.find(Kind::ConfigMap, namespace, name) {
            Some(Config::ConfigMap(ConfigMap { data, .. })) => data.get(key).cloned(),
            Some(_) | None => None,
        }
    }

    fn secret(&self, namespace: &str, name: &str, key: &str) -> Option<String> {
        match self.find(Kind::Secret, namespace, name) {
            Some(Config::Secret(Secret { data, .. })) => {
                String::from_utf8(data.get(key)?.to_vec()).ok()
            }
            Some(_) | None => None,
        }
    }
}

impl Platform {
    pub(crate) fn new(loopback: Loopback, access_log: AccessLogging) -> Self {
        Self {
            addresses: Addresses::new(loopback),
            access_log,
            written: BTreeMap::new(),
            added: BTreeMap::new(),
            told: BTreeMap::new(),
            retiring: BTreeMap::new(),
            ready: BTreeSet::new(),
            starting: true,
            complete: false,
            warnings: Vec::new(),
        }
    }

    /// Takes an event of the source, gives those for the control plane.
    pub(crate) fn on(&mut self, event: Event) -> Vec<Event> {
        match event {
            Event::Init => {
                self.complete = false;
                vec![Event::Init]
            }
            Event::Apply(config) => self.apply(config),
            Event::Delete(id) => self.delete(&id),
            Event::Problems(problems) => vec![Event::Problems(problems)],
            Event::Ready => {
                self.complete = true;
                let mut events = self.complement();
                events.push(Event::Ready);
                events
            }
        }
    }

    /// Notes whether a pod is ready to take requests, gives what changes for the control plane.
    pub(crate) fn set_ready(&mut self, pod: &PodName, ready: bool) -> Vec<Event> {
        let changed = if ready {
            self.ready.insert(pod.clone())
        } else {
            self.ready.remove(pod)
        };
        let of_pod = |config: &Config| {
            let mut workloads = config.workloads().iter();
            workloads.any(|it| PodName::of(it) == *pod)
        };
        let holders = self.told.iter().filter(|(_, config)| of_pod(config));
        let holder = holders.map(|(id, _)| id.clone()).next();
        match holder {
            Some(id) if changed => self.tell(&id),
            Some(_) | None => Vec::new(),
        }
    }

    /// The mesh has started: from now on only pods that are ready get requests.
    pub(crate) fn started(&mut self) -> Vec<Event> {
        self.starting = false;
        let holders = self
            .told
            .iter()
            .filter(|(_, config)| !config.workloads().is_empty());
        let holders: Vec<_> = holders.map(|(id, _)| id.clone()).collect();
        holders.iter().flat_map(|id| self.tell(id)).collect()
    }

    /// The pods that are to run, those that are about to be replaced included.
    pub(crate) fn pods(&self) -> Vec<Pod> {
        let workloads = self.told.values().flat_map(|config| config.workloads());
        let pods = workloads.map(|workload| Pod {
            proxy: self.proxy_of(workload),
            workload: Arc::new(workload.clone()),
        });
        pods.collect()
    }

    /// The ports that gateways serve, as their services name them.
    pub(crate) fn gateway_ports(&self) -> Vec<GatewayPort> {
        gateway::ports(&self.told)
    }

    /// What is said of a workload's proxy.
    pub(crate) fn proxy_config(&self, workload: &Workload) -> ProxyConfig {
        let mesh = self.written.values().find_map(|it| match it.as_ref() {
            Config::MeshConfig(mesh) => Some(mesh.as_ref()),
            _ => None,
        });
        let rules = self.written.values().filter_map(|it| match it.as_ref() {
            Config::ProxyConfig(rule) => Some(rule),
            _ => None,
        });
        match mesh {
            Some(mesh) => effective_proxy_config(mesh, rules, workload),
            None => effective_proxy_config(&MeshConfig::default(), rules, workload),
        }
    }

    /// Takes back the address of a pod that has stopped.
    pub(crate) fn forget(&mut self, pod: &PodName) {
        self.ready.remove(pod);
        self.addresses.return_pod(&pod.to_string());
    }

    /// What went wrong since the last call.
    pub(crate) fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    fn find(&self, kind: Kind, namespace: &str, name: &str) -> Option<&Config> {
        let id = ResourceId {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        };
        self.written.get(&id).map(AsRef::as_ref)
    }

    fn apply(&mut self, config: Arc<Config>) -> Vec<Event> {
        let id = config.id();
        self.retire(&id, &config);
        self.written.insert(id.clone(), config);
        let mut events = self.tell(&id);
        if id.kind == Kind::Namespace {
            events.extend(self.tell_workloads(&NamespaceName::new(id.name.clone())));
        }
        if self.complete {
            events.extend(self.complement());
        }
        events
    }

    fn delete(&mut self, id: &ResourceId) -> Vec<Event> {
        self.written.remove(id);
        self.retiring.remove(id);
        let mut events = self.withdraw(id);
        if id.kind == Kind::Namespace {
            events.extend(self.tell_workloads(&NamespaceName::new(id.name.clone())));
        }
        if self.complete {
            events.extend(self.complement());
        }
        events
    }

    /// Keeps the ready pods of a Deployment that `next` no longer has, until its own are ready.
    fn retire(&mut self, id: &ResourceId, next: &Config) {
        let Some(told) = self.told.get(id) else {
            return;
        };
        let stays = |old: &&Workload| {
            let mut workloads = next.workloads().iter();
            workloads.any(|it| it.meta.name == old.meta.name)
        };
        let leaving = told.workloads().iter().filter(|it| !stays(it));
        let ready = leaving.filter(|it| it.ready);
        let ready: Vec<_> = ready.cloned().collect();
        self.retiring.insert(id.clone(), ready);
    }

    /// Says a resource as it is now, if that is different from what was said.
    fn tell(&mut self, id: &ResourceId) -> Vec<Event> {
        let written = self.written.get(id).or_else(|| self.added.get(id));
        let Some(written) = written.cloned() else {
            return Vec::new();
        };
        match self.adjust(&written) {
            Ok(config) => self.say(Arc::new(config)),
            Err(exhausted) => {
                self.warnings.push(exhausted.to_string());
                Vec::new()
            }
        }
    }

    fn say(&mut self, config: Arc<Config>) -> Vec<Event> {
        let id = config.id();
        if self.told.get(&id) == Some(&config) {
            return Vec::new();
        }
        self.told.insert(id, config.clone());
        vec![Event::Apply(config)]
    }

    fn withdraw(&mut self, id: &ResourceId) -> Vec<Event> {
        if id.kind == Kind::Service {
            self.addresses.return_service(&id.to_string());
        }
        match self.told.remove(id) {
            Some(_) => vec![Event::Delete(id.clone())],
            None => Vec::new(),
        }
    }

    /// Says the workloads of a namespace again, whose sidecars depend on it.
    fn tell_workloads(&mut self, namespace: &NamespaceName) -> Vec<Event> {
        let inside = |id: &&ResourceId| {
            id.namespace == *namespace && matches!(id.kind, Kind::Deployment | Kind::Pod)
        };
        let ids: Vec<_> = self.told.keys().filter(inside).cloned().collect();
        ids.iter().flat_map(|id| self.tell(id)).collect()
    }

    /// What the manifests lack: an ingress gateway, a mesh configuration to set the access log in.
    fn complement(&mut self) -> Vec<Event> {
        let wanted = gateway::complement(&self.written);
        let mesh = self.written.keys().any(|id| id.kind == Kind::MeshConfig);
        let deviates = self.access_log != AccessLogging::Configured;
        let mesh = (!mesh && deviates).then(|| Config::MeshConfig(Box::default()));
        let wanted = wanted.into_iter().chain(mesh);
        self.added = wanted.map(|it| (it.id(), Arc::new(it))).collect();
        let ids: Vec<_> = self.added.keys().cloned().collect();
        let mut events: Vec<_> = ids.iter().flat_map(|id| self.tell(id)).collect();
        let has = |id: &ResourceId| self.written.contains_key(id) || self.added.contains_key(id);
        let gone: Vec<_> = self.told.keys().filter(|id| !has(id)).cloned().collect();
        for id in gone {
            events.extend(self.withdraw(&id));
        }
        events
    }

    fn adjust(&mut self, config: &Config) -> Result<Config, Exhausted> {
        Ok(match config {
            Config::Service(service) => Config::Service(self.service(service)?),
            Config::Deployment(deployment) => {
                let Deployment { meta, workloads } = deployment;
                let id = config.id();
                let workloads = workloads.iter().map(|it| self.workload(it));
                let mut workloads: Vec<_> = workloads.collect::<Result<_, _>>()?;
                if workloads.iter().all(|it| it.ready) {
                    self.retiring.remove(&id);
                }
                let retiring = self.retiring.get(&id).into_iter().flatten();
                workloads.extend(retiring.cloned());
                Config::Deployment(Deployment {
                    meta: meta.clone(),
                    workloads,
                })
            }
            Config::Pod(pod) => Config::Pod(Box::new(self.workload(pod)?)),
            Config::MeshConfig(mesh) => {
                let mut mesh: MeshConfig = mesh.as_ref().clone();
                match self.access_log {
                    AccessLogging::Configured => {}
                    AccessLogging::On => mesh.access_log = mesh.access_log.or_else(log_to_stdout),
                    AccessLogging::Off => mesh.access_log = None,
                }
                Config::MeshConfig(Box::new(mesh))
            }
            Config::Namespace(_)
            | Config::Node(_)
            | Config::ServiceAccount(_)
            | Config::ConfigMap(_)
            | Config::Secret(_)
            | Config::Gateway(_)
            | Config::VirtualService(_)
            | Config::DestinationRule(_)
            | Config::EndpointSlice(_)
            | Config::ServiceEntry(_)
            | Config::WorkloadEntry(_)
            | Config::WorkloadGroup(_)
            | Config::Sidecar(_)
            | Config::PeerAuthentication(_)
            | Config::EnvoyFilter(_)
            | Config::ProxyConfig(_)
            | Config::Telemetry(_)
            | Config::RequestAuthentication(_)
            | Config::AuthorizationPolicy(_) => config.clone(),
        })
    }

    fn service(&mut self, written: &Service) -> Result<Service, Exhausted> {
        let mut service = written.clone();
        let needs_one =
            service.addresses == ServiceAddresses::Unassigned && service.external_name.is_none();
        if needs_one {
            let id = ResourceId::of(Kind::Service, &service.meta);
            let ip = self.addresses.service(&id.to_string())?;
            service.addresses = ServiceAddresses::Assigned(vec![ip]);
        }
        Ok(service)
    }

    fn workload(&mut self, written: &Workload) -> Result<Workload, Exhausted> {
        let name = PodName::of(written);
        let ip = self.addresses.pod(&name.to_string())?;
        let mut workload = written.clone();
        // an address that a cluster once gave means nothing on this machine
        workload.addresses = vec![ip];
        if gateway::is_gateway(written) {
            workload.role = WorkloadRole::Gateway;
        }
        let proxy = self.proxy_of(&workload);
        if proxy != ProxyKind::None {
            workload.meta.labels = workload.meta.labels.with(&canonical_labels(written));
        }
        let sidecar = proxy == ProxyKind::Sidecar;
        workload.application_address = sidecar.then(|| Loopback::application(ip));
        workload.ready = written.ready && (self.starting || self.ready.contains(&name));
        Ok(workload)
    }

    fn proxy_of(&self, workload: &Workload) -> ProxyKind {
        if workload.role == WorkloadRole::Gateway {
            return ProxyKind::Router;
        }
        let injected = is_injected(self.namespace(&workload.meta.namespace), workload);
        if injected {
            ProxyKind::Sidecar
        } else {
            ProxyKind::None
        }
    }

    fn namespace(&self, name: &NamespaceName) -> Option<&Namespace> {
        match self.find(Kind::Namespace, "", name.as_str()) {
            Some(Config::Namespace(it)) => Some(it),
            Some(_) | None => None,
        }
    }
}

/// The labels that Istio's injector gives to every pod with a proxy: what it is called in telemetry.
fn canonical_labels(workload: &Workload) -> Labels {
    let labels = [
        (CANONICAL_NAME, workload.canonical_name()),
        (CANONICAL_REVISION, workload.canonical_revision()),
    ];
    labels.into_iter().collect()
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of the field")]
fn log_to_stdout() -> Option<AccessLog> {
    Some(AccessLog::default())
}

#[cfg(test)]
mod tests;
