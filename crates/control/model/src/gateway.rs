//! Gateways.
//!
//! In: Istio Gateway (`networking.istio.io`). Out: [`Gateway`] (FEATURES T1, T2 SIMPLE).

mod convert;

use crate::{Hostname, Labels, Metadata, NamespaceName};

pub(crate) use convert::{SUPPORT, convert};

/// A valid Istio Gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// Its metadata.
    pub meta: Metadata,
    /// The gateway workloads that it configures, in every namespace; empty selects all of them.
    pub selector: Labels,
    /// Its servers, at least one.
    pub servers: Vec<Server>,
}

/// A port of a gateway and what is served on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The port.
    pub port: GatewayPort,
    /// The hosts served, at least one.
    pub hosts: Vec<GatewayHost>,
    /// `tls.httpsRedirect`: answer plain HTTP with 301 to `https`.
    pub https_redirect: bool,
    /// TLS settings; present exactly if the protocol is HTTPS.
    pub tls: Option<ServerTls>,
    /// `name`, for reference only.
    pub name: Option<String>,
}

/// A gateway's port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayPort {
    /// Number that clients use.
    pub number: u16,
    /// Name, used in route names (`https.443.NAME.GW.NS`).
    pub name: String,
    /// What is spoken on it.
    pub protocol: GatewayProtocol,
}

/// The protocols of a gateway's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GatewayProtocol {
    /// HTTP, either version.
    Http,
    /// HTTP/2 in plain text; HTTP/1.1 is served too.
    Http2,
    /// gRPC in plain text.
    Grpc,
    /// gRPC-Web in plain text.
    GrpcWeb,
    /// HTTP in TLS that the gateway opens.
    Https,
}

/// An entry of `hosts`: `host`, `ns/host`, `./host`, `*/host`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GatewayHost {
    /// The namespaces from which VirtualServices bind to the host.
    pub namespace: HostNamespace,
    /// The host, perhaps a wildcard.
    pub host: Hostname,
}

/// The namespace part of a gateway host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostNamespace {
    /// `*/`, and the default.
    Any,
    /// One namespace, `./` resolved to the gateway's own.
    Only(NamespaceName),
}

/// TLS that a gateway opens, mode SIMPLE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// Where the certificate comes from.
    pub certificate: CertificateSource,
    /// Lowest version; `None` leaves the proxy's default.
    pub min_version: Option<TlsVersion>,
    /// Highest version; `None` leaves the proxy's default.
    pub max_version: Option<TlsVersion>,
    /// Cipher suites by their Envoy (BoringSSL) names, for TLS 1.2; empty leaves the default.
    pub cipher_suites: Vec<String>,
}

/// Where a server certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CertificateSource {
    /// `credentialName`: a Secret in the gateway workload's namespace.
    Secret(String),
    /// Files on the gateway.
    Files {
        /// `serverCertificate`.
        certificate: String,
        /// `privateKey`.
        key: String,
    },
}

/// TLS versions; 1.0 and 1.1 are not supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

impl GatewayProtocol {
    /// Whether the port is opened with TLS.
    pub fn is_tls(self) -> bool {
        self == Self::Https
    }
}

impl GatewayHost {
    /// Whether a VirtualService of `namespace` may bind to this host entry.
    pub fn admits(&self, namespace: &NamespaceName) -> bool {
        match &self.namespace {
            HostNamespace::Any => true,
            HostNamespace::Only(only) => only == namespace,
        }
    }
}
