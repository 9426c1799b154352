//! What a workload's proxy takes in, and what it sees of the mesh.
//!
//! In: Istio Sidecar (`networking.istio.io`). Out: [`Sidecar`] (FEATURES T14).

mod convert;

use std::net::IpAddr;

use crate::{
    ConnectionPool, Destination, Hostname, Labels, Metadata, NamespaceName, OutboundTrafficPolicy,
    Protocol, ServerTls,
};

pub(crate) use convert::{SUPPORT, convert};

/// A valid Istio Sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sidecar {
    /// Its metadata.
    pub meta: Metadata,
    /// The workloads of its namespace that it is for; `None` for all of them, and in the root
    /// namespace for those of every namespace that has no Sidecar of its own.
    pub workload_selector: Option<Labels>,
    /// Where the workload takes requests in; empty leaves what its services say.
    pub ingress: Vec<IngressListener>,
    /// What it sees of the mesh; empty leaves everything.
    pub egress: Vec<EgressListener>,
    /// `outboundTrafficPolicy`; `None` leaves the mesh's.
    pub outbound: Option<SidecarOutbound>,
    /// `inboundConnectionPool`.
    pub inbound_pool: Option<ConnectionPool>,
}

/// `outboundTrafficPolicy` of a Sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SidecarOutbound {
    /// `mode`.
    pub mode: OutboundTrafficPolicy,
    /// `egressProxy`: where unknown requests go instead of to where they are for.
    pub egress_proxy: Option<Destination>,
}

/// A port of a Sidecar's listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SidecarPort {
    /// Its number; 0 for a Unix socket.
    pub number: u16,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// Whether it is an explicit HTTP proxy (`HTTP_PROXY`).
    pub explicit_proxy: bool,
    /// Its name.
    pub name: String,
}

/// Where a listener is bound.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Bind {
    /// An address.
    Ip(IpAddr),
    /// A socket in the file system.
    Unix(String),
}

/// `captureMode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum CaptureMode {
    /// `DEFAULT`: as the workload's interception mode has it.
    #[default]
    Default,
    /// `IPTABLES`: connections are intercepted.
    Iptables,
    /// `NONE`: clients connect to the listener itself.
    None,
}

/// An entry of `ingress`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngressListener {
    /// `port`.
    pub port: SidecarPort,
    /// `bind`.
    pub bind: Option<IpAddr>,
    /// `captureMode`.
    pub capture_mode: CaptureMode,
    /// `defaultEndpoint`; `None` leaves the address that the client asked for.
    pub default_endpoint: Option<DefaultEndpoint>,
    /// `tls`: TLS that the proxy opens instead of the mesh's.
    pub tls: Option<ServerTls>,
    /// `connectionPool`.
    pub pool: Option<ConnectionPool>,
}

/// Where the application is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DefaultEndpoint {
    /// `127.0.0.1:PORT` or `[::1]:PORT`.
    Loopback(IpAddr, u16),
    /// `0.0.0.0:PORT` or `[::]:PORT`: the workload's own address.
    Instance(u16),
    /// `unix://PATH`.
    Unix(String),
}

/// An entry of `egress`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressListener {
    /// `port`; `None` for whatever port a service has.
    pub port: Option<SidecarPort>,
    /// `bind`.
    pub bind: Option<Bind>,
    /// `captureMode`.
    pub capture_mode: CaptureMode,
    /// `hosts`, at least one.
    pub hosts: Vec<ImportedHost>,
}

/// An entry of `hosts`: `NAMESPACE/HOST`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImportedHost {
    /// Where from.
    pub namespace: ImportedNamespace,
    /// The host, perhaps a wildcard.
    pub host: Hostname,
}

/// The namespace part of an imported host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ImportedNamespace {
    /// `*`: any.
    Any,
    /// `.`: that of the workload.
    Own,
    /// `~`: none, so that nothing is imported.
    Nothing,
    /// One.
    Named(NamespaceName),
}

impl ImportedHost {
    /// Whether resources of `namespace` are meant, for a workload in `own`.
    pub fn is_from(&self, namespace: &NamespaceName, own: &NamespaceName) -> bool {
        match &self.namespace {
            ImportedNamespace::Any => true,
            ImportedNamespace::Own => namespace == own,
            ImportedNamespace::Nothing => false,
            ImportedNamespace::Named(name) => namespace == name,
        }
    }
}
