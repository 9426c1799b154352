//! One resource of any kind, and how it is named.
//!
//! In: the converted kinds. Out: [`Config`], what sources send and the snapshot indexes.

use std::fmt;
use std::sync::Arc;

use crate::{
    AuthorizationPolicy, ConfigMap, Deployment, DestinationRule, EndpointSlice, EnvoyFilter,
    Gateway, MeshConfig, Metadata, Namespace, NamespaceName, Node, PeerAuthentication,
    ProxyConfigRule, RequestAuthentication, Secret, Service, ServiceAccount, ServiceEntry, Sidecar,
    Telemetry, VirtualService, Workload, WorkloadEntry, WorkloadGroup,
};

/// The kinds of resource that the mesh takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Kubernetes `v1` Namespace.
    Namespace,
    /// Kubernetes `v1` Node.
    Node,
    /// Kubernetes `v1` Service.
    Service,
    /// Kubernetes `v1` ServiceAccount.
    ServiceAccount,
    /// Kubernetes `apps/v1` Deployment.
    Deployment,
    /// Kubernetes `v1` Pod.
    Pod,
    /// Kubernetes `v1` ConfigMap.
    ConfigMap,
    /// Kubernetes `v1` Secret.
    Secret,
    /// Istio `networking.istio.io` Gateway.
    Gateway,
    /// Istio `networking.istio.io` VirtualService.
    VirtualService,
    /// Istio `networking.istio.io` DestinationRule.
    DestinationRule,
    /// Kubernetes `discovery.k8s.io/v1` EndpointSlice.
    EndpointSlice,
    /// Istio `networking.istio.io` ServiceEntry.
    ServiceEntry,
    /// Istio `networking.istio.io` WorkloadEntry.
    WorkloadEntry,
    /// Istio `networking.istio.io` WorkloadGroup.
    WorkloadGroup,
    /// Istio `networking.istio.io` Sidecar.
    Sidecar,
    /// Istio `security.istio.io` PeerAuthentication.
    PeerAuthentication,
    /// Istio `networking.istio.io` EnvoyFilter.
    EnvoyFilter,
    /// Istio `networking.istio.io` ProxyConfig.
    ProxyConfig,
    /// Istio `telemetry.istio.io` Telemetry.
    Telemetry,
    /// Istio `security.istio.io` RequestAuthentication.
    RequestAuthentication,
    /// Istio `security.istio.io` AuthorizationPolicy.
    AuthorizationPolicy,
    /// Istio's mesh configuration: the ConfigMap `istio` of the root namespace.
    MeshConfig,
}

/// The identity of a resource: one of each may be in effect at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceId {
    /// What it is.
    pub kind: Kind,
    /// Where it is; empty for kinds without a namespace.
    pub namespace: NamespaceName,
    /// Its name.
    pub name: Arc<str>,
}

/// A valid resource.
#[expect(
    clippy::large_enum_variant,
    reason = "sources hand it around behind an `Arc`"
)]
#[derive(Debug, Clone, PartialEq)]
pub enum Config {
    /// A namespace.
    Namespace(Namespace),
    /// A machine on which workloads run.
    Node(Node),
    /// A service.
    Service(Service),
    /// A service account.
    ServiceAccount(ServiceAccount),
    /// A deployment with its workloads, one for each replica.
    Deployment(Deployment),
    /// A single workload written as a Pod.
    Pod(Box<Workload>),
    /// A config map that is not the mesh configuration.
    ConfigMap(ConfigMap),
    /// A secret.
    Secret(Secret),
    /// A gateway.
    Gateway(Gateway),
    /// A virtual service.
    VirtualService(VirtualService),
    /// A destination rule.
    DestinationRule(DestinationRule),
    /// An endpoint slice.
    EndpointSlice(EndpointSlice),
    /// A service entry.
    ServiceEntry(ServiceEntry),
    /// A workload entry.
    WorkloadEntry(WorkloadEntry),
    /// A workload group.
    WorkloadGroup(WorkloadGroup),
    /// A sidecar.
    Sidecar(Sidecar),
    /// A peer authentication.
    PeerAuthentication(PeerAuthentication),
    /// Patches to what proxies are sent.
    EnvoyFilter(EnvoyFilter),
    /// What proxies start with.
    ProxyConfig(ProxyConfigRule),
    /// What workloads tell of themselves.
    Telemetry(Telemetry),
    /// A request authentication.
    RequestAuthentication(RequestAuthentication),
    /// An authorization policy.
    AuthorizationPolicy(AuthorizationPolicy),
    /// The mesh configuration.
    MeshConfig(Box<MeshConfig>),
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 23] = [
        Self::Namespace,
        Self::Node,
        Self::Service,
        Self::ServiceAccount,
        Self::Deployment,
        Self::Pod,
        Self::ConfigMap,
        Self::Secret,
        Self::Gateway,
        Self::VirtualService,
        Self::DestinationRule,
        Self::EndpointSlice,
        Self::ServiceEntry,
        Self::WorkloadEntry,
        Self::WorkloadGroup,
        Self::Sidecar,
        Self::PeerAuthentication,
        Self::EnvoyFilter,
        Self::ProxyConfig,
        Self::Telemetry,
        Self::RequestAuthentication,
        Self::AuthorizationPolicy,
        Self::MeshConfig,
    ];

    /// Whether it is a kind of Istio's of which control planes of several revisions may each have their
    /// own, by the label `istio.io/rev`.
    pub fn has_revisions(self) -> bool {
        match self {
            Self::Namespace
            | Self::Node
            | Self::Service
            | Self::ServiceAccount
            | Self::Deployment
            | Self::Pod
            | Self::ConfigMap
            | Self::Secret
            | Self::EndpointSlice
            | Self::MeshConfig => false,
            Self::Gateway
            | Self::VirtualService
            | Self::DestinationRule
            | Self::ServiceEntry
            | Self::WorkloadEntry
            | Self::WorkloadGroup
            | Self::Sidecar
            | Self::PeerAuthentication
            | Self::EnvoyFilter
            | Self::ProxyConfig
            | Self::Telemetry
            | Self::RequestAuthentication
            | Self::AuthorizationPolicy => true,
        }
    }

    /// The kind as written in YAML (`MeshConfig` is written as a ConfigMap).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::Service => "Service",
            Self::ServiceAccount => "ServiceAccount",
            Self::Deployment => "Deployment",
            Self::Pod => "Pod",
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
            Self::Gateway => "Gateway",
            Self::VirtualService => "VirtualService",
            Self::DestinationRule => "DestinationRule",
            Self::EndpointSlice => "EndpointSlice",
            Self::ServiceEntry => "ServiceEntry",
            Self::WorkloadEntry => "WorkloadEntry",
            Self::WorkloadGroup => "WorkloadGroup",
            Self::Sidecar => "Sidecar",
            Self::PeerAuthentication => "PeerAuthentication",
            Self::EnvoyFilter => "EnvoyFilter",
            Self::ProxyConfig => "ProxyConfig",
            Self::Telemetry => "Telemetry",
            Self::RequestAuthentication => "RequestAuthentication",
            Self::AuthorizationPolicy => "AuthorizationPolicy",
            Self::MeshConfig => "MeshConfig",
        }
    }
}

impl ResourceId {
    /// The id of the resource of `kind` that has this metadata.
    pub fn of(kind: Kind, meta: &Metadata) -> Self {
        Self {
            kind,
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
        }
    }
}

impl Config {
    /// The kind of the resource.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Namespace(_) => Kind::Namespace,
            Self::Node(_) => Kind::Node,
            Self::Service(_) => Kind::Service,
            Self::ServiceAccount(_) => Kind::ServiceAccount,
            Self::Deployment(_) => Kind::Deployment,
            Self::Pod(_) => Kind::Pod,
            Self::ConfigMap(_) => Kind::ConfigMap,
            Self::Secret(_) => Kind::Secret,
            Self::Gateway(_) => Kind::Gateway,
            Self::VirtualService(_) => Kind::VirtualService,
            Self::DestinationRule(_) => Kind::DestinationRule,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::ServiceEntry(_) => Kind::ServiceEntry,
            Self::WorkloadEntry(_) => Kind::WorkloadEntry,
            Self::WorkloadGroup(_) => Kind::WorkloadGroup,
            Self::Sidecar(_) => Kind::Sidecar,
            Self::PeerAuthentication(_) => Kind::PeerAuthentication,
            Self::EnvoyFilter(_) => Kind::EnvoyFilter,
            Self::ProxyConfig(_) => Kind::ProxyConfig,
            Self::Telemetry(_) => Kind::Telemetry,
            Self::RequestAuthentication(_) => Kind::RequestAuthentication,
            Self::AuthorizationPolicy(_) => Kind::AuthorizationPolicy,
            Self::MeshConfig(_) => Kind::MeshConfig,
        }
    }

    /// The metadata of the resource.
    pub fn meta(&self) -> &Metadata {
        match self {
            Self::Namespace(it) => &it.meta,
            Self::Node(it) => &it.meta,
            Self::Service(it) => &it.meta,
            Self::ServiceAccount(it) => &it.meta,
            Self::Deployment(it) => &it.meta,
            Self::Pod(it) => &it.meta,
            Self::ConfigMap(it) => &it.meta,
            Self::Secret(it) => &it.meta,
            Self::Gateway(it) => &it.meta,
            Self::VirtualService(it) => &it.meta,
            Self::DestinationRule(it) => &it.meta,
            Self::EndpointSlice(it) => &it.meta,
            Self::ServiceEntry(it) => &it.meta,
            Self::WorkloadEntry(it) => &it.meta,
            Self::WorkloadGroup(it) => &it.meta,
            Self::Sidecar(it) => &it.meta,
            Self::PeerAuthentication(it) => &it.meta,
            Self::EnvoyFilter(it) => &it.meta,
            Self::ProxyConfig(it) => &it.meta,
            Self::Telemetry(it) => &it.meta,
            Self::RequestAuthentication(it) => &it.meta,
            Self::AuthorizationPolicy(it) => &it.meta,
            Self::MeshConfig(it) => &it.meta,
        }
    }

    /// The identity of the resource.
    pub fn id(&self) -> ResourceId {
        ResourceId::of(self.kind(), self.meta())
    }

    /// The workloads that the resource asks for: one of a Pod, one for each replica of a Deployment.
    pub fn workloads(&self) -> &[Workload] {
        match self {
            Self::Deployment(it) => &it.workloads,
            Self::Pod(it) => std::slice::from_ref(it),
            Self::Namespace(_)
            | Self::Node(_)
            | Self::Service(_)
            | Self::ServiceAccount(_)
            | Self::ConfigMap(_)
            | Self::Secret(_)
            | Self::Gateway(_)
            | Self::VirtualService(_)
            | Self::DestinationRule(_)
            | Self::EndpointSlice(_)
            | Self::ServiceEntry(_)
            | Self::WorkloadEntry(_)
            | Self::WorkloadGroup(_)
            | Self::Sidecar(_)
            | Self::PeerAuthentication(_)
            | Self::EnvoyFilter(_)
            | Self::ProxyConfig(_)
            | Self::Telemetry(_)
            | Self::RequestAuthentication(_)
            | Self::AuthorizationPolicy(_)
            | Self::MeshConfig(_) => &[],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.as_str().is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}
