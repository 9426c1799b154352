//! Gateways.
//!
//! In: Istio Gateway (`networking.istio.io`). Out: [`Gateway`] (FEATURES T1 to T3).

mod convert;
mod convert_tls;

use std::net::IpAddr;

use crate::{Hostname, Labels, Metadata, NamespaceName};

pub(crate) use convert::{SUPPORT, convert};
pub(crate) use convert_tls::{convert_tls, convert_versions};

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
    /// TLS settings; present exactly if the protocol is HTTPS or TLS.
    pub tls: Option<ServerTls>,
    /// `bind`: the address that the listener has; `None` for every address.
    pub bind: Option<IpAddr>,
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
    /// HTTP in TLS.
    Https,
    /// Bytes.
    Tcp,
    /// Bytes in TLS.
    Tls,
    /// MongoDB, bytes here.
    Mongo,
    /// MySQL, bytes here.
    Mysql,
    /// Redis, bytes here.
    Redis,
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

/// What a server does about TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerTls {
    /// `PASSTHROUGH`: it is not opened; routes go by the server name.
    Passthrough,
    /// `AUTO_PASSTHROUGH`: the same; the server name is that of a cluster.
    AutoPassthrough,
    /// `SIMPLE`.
    Simple(TlsTermination),
    /// `MUTUAL`: a client certificate is required.
    Mutual(TlsTermination),
    /// `OPTIONAL_MUTUAL`: one is verified if it comes.
    OptionalMutual(TlsTermination),
    /// `ISTIO_MUTUAL`: the mesh's mutual TLS.
    IstioMutual(TlsVersions),
}

/// TLS that is opened with certificates of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsTermination {
    /// Where the certificates come from, at least one; several are for clients of different kinds.
    pub certificates: Vec<CertificateSource>,
    /// Where the roots come from by which clients are verified; `None` where the credential has them,
    /// or none are.
    pub ca: Option<CaSource>,
    /// `caCrl`: a file of revoked certificates.
    pub ca_crl: Option<String>,
    /// `subjectAltNames` that a client's certificate may have.
    pub subject_alt_names: Vec<String>,
    /// `verifyCertificateSpki`.
    pub spki_hashes: Vec<String>,
    /// `verifyCertificateHash`.
    pub certificate_hashes: Vec<String>,
    /// Versions and suites.
    pub versions: TlsVersions,
}

/// Versions and suites of TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsVersions {
    /// Lowest version; `None` leaves the proxy's default.
    pub min: Option<TlsVersion>,
    /// Highest version; `None` leaves the proxy's default.
    pub max: Option<TlsVersion>,
    /// Cipher suites by their Envoy (BoringSSL) names, for TLS 1.2; empty leaves the default.
    pub cipher_suites: Vec<String>,
}

/// Where the roots come from by which clients are verified.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CaSource {
    /// `caCertificates`.
    File(String),
    /// `caCertCredentialName`.
    Secret(String),
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
    /// Whether connections to the port begin with TLS.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Tls)
    }

    /// Whether requests on the port are read as HTTP where its TLS, if any, is opened.
    pub fn is_http(self) -> bool {
        matches!(
            self,
            Self::Http | Self::Http2 | Self::Grpc | Self::GrpcWeb | Self::Https
        )
    }
}

impl ServerTls {
    /// Whether the TLS goes on to the destination as it is.
    pub fn passes_through(&self) -> bool {
        matches!(self, Self::Passthrough | Self::AutoPassthrough)
    }

    /// The certificates of its own.
    pub fn termination(&self) -> Option<&TlsTermination> {
        match self {
            Self::Simple(it) | Self::Mutual(it) | Self::OptionalMutual(it) => Some(it),
            Self::Passthrough | Self::AutoPassthrough | Self::IstioMutual(_) => None,
        }
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
