//! Workloads: what runs, has an address and gets a sidecar.
//!
//! In: Kubernetes Pod and Deployment. Out: [`Workload`] values that the snapshot joins with services
//! and namespaces, and that `meltemi up` starts.

mod convert;

use std::net::IpAddr;
use std::sync::Arc;

use crate::{EntryEndpoint, Injection, Labels, Metadata, ProxyConfigPatch};

pub(crate) use convert::{PROXY_CONFIG, convert_deployment, convert_node, convert_pod};

/// A Kubernetes Deployment, expanded to one workload for each replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// The deployment's own metadata; the workloads have that of its template.
    pub meta: Metadata,
    /// `replicas` workloads named `<deployment>-<suffix>-<n>`; the suffix depends on the template
    /// only, so that scaling keeps the workloads that stay.
    pub workloads: Vec<Workload>,
}

/// A Pod, or one replica of a Deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Its own metadata (a Deployment's template gives labels and annotations).
    pub meta: Metadata,
    /// The resource that asked for it.
    pub owner: Owner,
    /// `serviceAccountName`, `default` unless written.
    pub service_account: Arc<str>,
    /// `status.podIP` and `status.podIPs`; empty until the platform (`meltemi up`) gives one. The
    /// address that other workloads use, and that the sidecar listens on.
    pub addresses: Vec<IpAddr>,
    /// Where the application listens when that is not the workload's own address: in loopback mode
    /// the sidecar has the workload's address and the application a second one. Always `None` from a
    /// conversion; set by `meltemi up`.
    pub application_address: Option<IpAddr>,
    /// Its containers, init containers and hand-written `istio-proxy` containers excluded.
    pub containers: Vec<Container>,
    /// Whether it asks for a sidecar: label, then annotation `sidecar.istio.io/inject`; `Disabled`
    /// for `hostNetwork`. The namespace's wish is joined in by the snapshot, see
    /// [`Injection::decide`].
    pub injection: Injection,
    /// What its proxy is.
    pub role: WorkloadRole,
    /// The label `istio-locality`, otherwise the labels `topology.kubernetes.io/region`, `/zone` and
    /// `topology.istio.io/subzone` on the workload itself.
    pub locality: Option<Locality>,
    /// `spec.nodeName`.
    pub node: Option<String>,
    /// `spec.hostname`, the workload's name unless written, and `spec.subdomain`, without which it has no
    /// name in DNS.
    pub dns_name: Option<(Arc<str>, Arc<str>)>,
    /// The label `topology.istio.io/network`.
    pub network: Option<String>,
    /// Whether it may receive requests: condition `Ready` where a status is written, else true; not once it
    /// has ended or is being deleted.
    pub ready: bool,
    /// The annotation `proxy.istio.io/config`: what is written of its proxy's settings.
    pub proxy_config: Option<Arc<ProxyConfigPatch>>,
    /// What sets it apart if it is an endpoint of a ServiceEntry, or a WorkloadEntry.
    pub entry: Option<Arc<EntryEndpoint>>,
}

/// The resource that asked for a workload, used for its name in telemetry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    /// Its kind.
    pub kind: OwnerKind,
    /// Its name.
    pub name: Arc<str>,
}

/// Kinds that ask for workloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OwnerKind {
    /// A Pod of its own, or one of another controller, by the controller's name.
    Pod,
    /// A Deployment.
    Deployment,
    /// A ServiceEntry, WorkloadEntry or EndpointSlice: nothing that is run here.
    WorkloadEntry,
}

/// What the proxy of a workload is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum WorkloadRole {
    /// A sidecar beside an application, if injected.
    #[default]
    Application,
    /// A gateway: annotation `inject.istio.io/templates: gateway`.
    Gateway,
}

/// Where a workload is.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Locality {
    /// Region; may be empty.
    pub region: String,
    /// Zone; may be empty.
    pub zone: String,
    /// Sub-zone; may be empty.
    pub subzone: String,
}

/// A Kubernetes Node: where the workloads on it are that do not say so themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its metadata; `meta.namespace` is empty.
    pub meta: Metadata,
    /// The labels `topology.kubernetes.io/region`, `/zone` (or `failure-domain.beta.kubernetes.io/...`) and
    /// `topology.istio.io/subzone`.
    pub locality: Option<Locality>,
}

impl Locality {
    /// What it says under a label of topology; none for any other label.
    pub fn label(&self, key: &str) -> Option<&str> {
        match key {
            "topology.kubernetes.io/region" => Some(&self.region),
            "topology.kubernetes.io/zone" => Some(&self.zone),
            "topology.istio.io/subzone" => Some(&self.subzone),
            _ => None,
        }
    }
}

/// A container of a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// `command`; empty means the image's own.
    pub command: Vec<String>,
    /// `args`.
    pub args: Vec<String>,
    /// `env`, in order.
    pub env: Vec<EnvVar>,
    /// `workingDir`.
    pub working_dir: Option<String>,
    /// `ports`.
    pub ports: Vec<ContainerPort>,
}

/// An environment variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvVar {
    /// `value`.
    Value {
        /// Name of the variable.
        name: String,
        /// Its value, with `$(OTHER)` references still in it.
        value: String,
    },
    /// `valueFrom.fieldRef`, such as `metadata.name`, `status.podIP`.
    Field {
        /// Name of the variable.
        name: String,
        /// `fieldPath`.
        field: String,
    },
    /// `valueFrom.configMapKeyRef`.
    ConfigMapKey {
        /// Name of the variable.
        name: String,
        /// Name of the ConfigMap.
        config_map: String,
        /// Key in it.
        key: String,
    },
    /// `valueFrom.secretKeyRef`.
    SecretKey {
        /// Name of the variable.
        name: String,
        /// Name of the Secret.
        secret: String,
        /// Key in it.
        key: String,
    },
}

/// A port that a container listens on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ContainerPort {
    /// Its name; empty if it has none.
    pub name: String,
    /// Its number.
    pub number: u16,
    /// Whether it is a UDP port.
    pub udp: bool,
}

impl Workload {
    /// Whether a subset has it: by its labels, or by where it is under the labels of topology that it
    /// does not bear itself.
    pub fn is_of_subset(&self, labels: &Labels) -> bool {
        labels.iter().all(|(key, value)| {
            let place = || match key {
                "topology.istio.io/network" => self.network.as_deref(),
                _ => self.locality.as_ref()?.label(key),
            };
            self.meta.labels.get(key).or_else(place) == Some(value)
        })
    }

    /// The number of the container port named `name`.
    pub fn named_port(&self, name: &str) -> Option<u16> {
        self.containers
            .iter()
            .flat_map(|container| &container.ports)
            .find(|port| port.name == name)
            .map(|port| port.number)
    }

    /// Istio's canonical service name: the label `service.istio.io/canonical-name`, else
    /// `app.kubernetes.io/name`, else `app`, else the owner's name.
    pub fn canonical_name(&self) -> &str {
        let labels = &self.meta.labels;
        labels
            .get("service.istio.io/canonical-name")
            .or_else(|| labels.get("app.kubernetes.io/name"))
            .or_else(|| labels.get("app"))
            .unwrap_or(&self.owner.name)
    }

    /// Istio's canonical revision: the label `service.istio.io/canonical-revision`, else
    /// `app.kubernetes.io/version`, else `version`, else `latest`.
    pub fn canonical_revision(&self) -> &str {
        let labels = &self.meta.labels;
        labels
            .get("service.istio.io/canonical-revision")
            .or_else(|| labels.get("app.kubernetes.io/version"))
            .or_else(|| labels.get("version"))
            .unwrap_or("latest")
    }

    /// The workload's name in telemetry: that of its owner.
    pub fn workload_name(&self) -> &str {
        &self.owner.name
    }
}
