//! Destination rules.
//!
//! In: Istio DestinationRule (`networking.istio.io`). Out: [`DestinationRule`] (FEATURES T11, R1 to R4,
//! R7, S6).

mod balancer;
mod convert;
mod convert_balancer;
mod convert_outlier;
mod convert_tls;
mod outlier;

use std::time::Duration;

use crate::{ExportTo, Hostname, Labels, Metadata, SubsetName};

pub(crate) use convert::{SUPPORT, convert, convert_keepalive, convert_pool, convert_upgrade};
pub(crate) use convert_balancer::convert_locality_setting;

pub use balancer::{
    BalancerPolicy, ConsistentHash, Distribute, HashAlgorithm, HashKey, LoadBalancer,
    LocalityPreference, LocalitySetting, PriorityLabel, Warmup,
};
pub use outlier::{OutlierDetection, ProxyProtocol, RetryBudget, Tunnel};

/// A valid Istio DestinationRule.
#[derive(Debug, Clone, PartialEq)]
pub struct DestinationRule {
    /// Its metadata.
    pub meta: Metadata,
    /// The service it is for, fully qualified, perhaps a wildcard.
    pub host: Hostname,
    /// For all of the service's traffic.
    pub traffic_policy: TrafficPolicy,
    /// Its subsets; names are unique.
    pub subsets: Vec<Subset>,
    /// The client workloads, in the rule's own namespace, that it applies to; `None` for all.
    pub workload_selector: Option<Labels>,
    /// Who sees it.
    pub export_to: ExportTo,
}

/// A named part of a service's endpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct Subset {
    /// Its name.
    pub name: SubsetName,
    /// Labels that its endpoints have.
    pub labels: Labels,
    /// Its own policy; what it leaves out comes from the rule's, see [`TrafficPolicy::refined_by`].
    pub traffic_policy: TrafficPolicy,
}

/// `trafficPolicy`; every part that is `None` was not written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TrafficPolicy {
    /// What may be said for one port alone as well.
    pub settings: PolicySettings,
    /// `portLevelSettings`; port numbers are unique.
    pub ports: Vec<PortPolicy>,
    /// `tunnel`.
    pub tunnel: Option<Tunnel>,
    /// `proxyProtocol`.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// `retryBudget`.
    pub retry_budget: Option<RetryBudget>,
}

/// What a traffic policy says for a destination, or for one of its ports.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PolicySettings {
    /// `loadBalancer`.
    pub load_balancer: Option<LoadBalancer>,
    /// `connectionPool`.
    pub connection_pool: Option<ConnectionPool>,
    /// `outlierDetection`.
    pub outlier_detection: Option<OutlierDetection>,
    /// `tls`.
    pub tls: Option<ClientTls>,
}

/// Settings for one port; they replace the destination's own as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct PortPolicy {
    /// The service port.
    pub port: u16,
    /// The settings.
    pub settings: PolicySettings,
}

/// `connectionPool`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectionPool {
    /// `tcp`.
    pub tcp: TcpPool,
    /// `http`.
    pub http: HttpPool,
}

/// `connectionPool.tcp`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TcpPool {
    /// `maxConnections`.
    pub max_connections: Option<u32>,
    /// `connectTimeout`; `None` leaves the mesh's.
    pub connect_timeout: Option<Duration>,
    /// `tcpKeepalive`.
    pub keepalive: Option<TcpKeepalive>,
    /// `maxConnectionDuration`.
    pub max_connection_duration: Option<Duration>,
    /// `idleTimeout`, for TCP.
    pub idle_timeout: Option<Duration>,
}

/// `tcpKeepalive`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TcpKeepalive {
    /// `probes`.
    pub probes: Option<u32>,
    /// `time`.
    pub time: Option<Duration>,
    /// `interval`.
    pub interval: Option<Duration>,
}

/// `connectionPool.http`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpPool {
    /// `http1MaxPendingRequests`.
    pub max_pending_requests: Option<u32>,
    /// `http2MaxRequests`.
    pub max_requests: Option<u32>,
    /// `maxRequestsPerConnection`.
    pub max_requests_per_connection: Option<u32>,
    /// `maxRetries`.
    pub max_retries: Option<u32>,
    /// `idleTimeout`.
    pub idle_timeout: Option<Duration>,
    /// `h2UpgradePolicy`.
    pub h2_upgrade_policy: H2UpgradePolicy,
    /// `useClientProtocol`.
    pub use_client_protocol: bool,
    /// `maxConcurrentStreams`.
    pub max_concurrent_streams: Option<u32>,
    /// `http2KeepAlive`.
    pub http2_keepalive: Option<Http2Keepalive>,
}

/// `http2KeepAlive`: whether the other end of an HTTP/2 connection still answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2Keepalive {
    /// `interval`: how often it is asked.
    pub interval: Duration,
    /// `timeout`: after how long without an answer the connection is given up.
    pub timeout: Duration,
}

/// `h2UpgradePolicy`: whether upstream HTTP/1.1 becomes HTTP/2.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum H2UpgradePolicy {
    /// `DEFAULT`: what the mesh configuration says.
    #[default]
    Default,
    /// `DO_NOT_UPGRADE`.
    DoNotUpgrade,
    /// `UPGRADE`.
    Upgrade,
}

/// `tls`: how connections to the destination are secured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientTls {
    /// `DISABLE`: plain text.
    Disable,
    /// `SIMPLE`: TLS with no client certificate.
    Simple(ServerVerification),
    /// `MUTUAL`: TLS with a client certificate.
    Mutual {
        /// How the server is verified.
        server: ServerVerification,
        /// The client's certificate and key; `None` where `credentialName` names them.
        files: Option<CertificateFiles>,
    },
    /// `ISTIO_MUTUAL`: mutual TLS with the workload's own certificate.
    IstioMutual {
        /// `sni`.
        sni: Option<String>,
        /// `subjectAltNames`; empty means the service accounts of the destination's workloads.
        subject_alt_names: Vec<String>,
    },
}

/// How a server outside the mesh is verified.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerVerification {
    /// `sni`.
    pub sni: Option<String>,
    /// `subjectAltNames`.
    pub subject_alt_names: Vec<String>,
    /// `caCertificates`: a file; `None` means the system's roots, or those of the credential.
    pub ca_certificates: Option<String>,
    /// `caCrl`: a file of revoked certificates.
    pub ca_crl: Option<String>,
    /// `insecureSkipVerify`.
    pub insecure_skip_verify: bool,
    /// `credentialName`: a Secret with the roots and, for MUTUAL, the certificate.
    pub credential_name: Option<String>,
}

/// A certificate and its key in files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CertificateFiles {
    /// `clientCertificate`.
    pub certificate: String,
    /// `privateKey`.
    pub key: String,
}

impl DestinationRule {
    /// The subset named `name`.
    pub fn subset(&self, name: &str) -> Option<&Subset> {
        self.subsets.iter().find(|subset| subset.name == name)
    }
}

impl PolicySettings {
    /// These settings where `narrower` does not say otherwise.
    fn refined_by(&self, narrower: &Self) -> Self {
        let Self {
            load_balancer,
            connection_pool,
            outlier_detection,
            tls,
        } = self.clone();
        let narrower = narrower.clone();
        Self {
            load_balancer: narrower.load_balancer.or(load_balancer),
            connection_pool: narrower.connection_pool.or(connection_pool),
            outlier_detection: narrower.outlier_detection.or(outlier_detection),
            tls: narrower.tls.or(tls),
        }
    }
}

impl TrafficPolicy {
    /// This policy as a subset's policy refines it: what the subset writes wins part by part, also
    /// over this policy's settings for single ports; the subset's own settings for a port replace
    /// everything for it.
    pub fn refined_by(&self, subset: &Self) -> Self {
        let mut ports = subset.ports.clone();
        for PortPolicy { port, settings } in &self.ports {
            if subset.ports.iter().all(|own| own.port != *port) {
                ports.push(PortPolicy {
                    port: *port,
                    settings: settings.refined_by(&subset.settings),
                });
            }
        }
        Self {
            settings: self.settings.refined_by(&subset.settings),
            ports,
            tunnel: subset.tunnel.clone().or_else(|| self.tunnel.clone()),
            proxy_protocol: subset.proxy_protocol.or(self.proxy_protocol),
            retry_budget: subset.retry_budget.or(self.retry_budget),
        }
    }

    /// The settings for one service port: the port's own as a whole if it has any, otherwise the
    /// destination's.
    pub fn for_port(&self, port: u16) -> &PolicySettings {
        let own = self.ports.iter().find(|it| it.port == port);
        own.map_or(&self.settings, |it| &it.settings)
    }
}
