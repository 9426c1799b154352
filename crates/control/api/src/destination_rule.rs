//! Istio DestinationRule as written (`networking.istio.io`).

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::virtual_service::{PortSelector, Unread};

/// `spec` of a DestinationRule.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DestinationRuleSpec {
    /// `host`.
    pub host: String,
    /// `trafficPolicy`.
    pub traffic_policy: Option<TrafficPolicy>,
    /// `subsets`.
    pub subsets: Vec<Subset>,
    /// `exportTo`.
    pub export_to: Vec<String>,
    /// `workloadSelector`.
    pub workload_selector: Option<WorkloadSelector>,
}

/// WorkloadSelector (`istio.type`).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadSelector {
    /// `matchLabels`.
    pub match_labels: BTreeMap<String, String>,
}

/// Subset.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Subset {
    /// `name`.
    pub name: String,
    /// `labels`.
    pub labels: BTreeMap<String, String>,
    /// `trafficPolicy`.
    pub traffic_policy: Option<TrafficPolicy>,
}

/// TrafficPolicy.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TrafficPolicy {
    /// `loadBalancer`.
    pub load_balancer: Option<LoadBalancerSettings>,
    /// `connectionPool`.
    pub connection_pool: Option<ConnectionPoolSettings>,
    /// `outlierDetection`.
    pub outlier_detection: Unread,
    /// `tls`.
    pub tls: Option<ClientTlsSettings>,
    /// `portLevelSettings`.
    pub port_level_settings: Vec<PortTrafficPolicy>,
    /// `tunnel`.
    pub tunnel: Unread,
    /// `proxyProtocol`.
    pub proxy_protocol: Unread,
    /// `retryBudget`.
    pub retry_budget: Unread,
}

/// PortTrafficPolicy.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PortTrafficPolicy {
    /// `port`.
    pub port: Option<PortSelector>,
    /// `loadBalancer`.
    pub load_balancer: Option<LoadBalancerSettings>,
    /// `connectionPool`.
    pub connection_pool: Option<ConnectionPoolSettings>,
    /// `outlierDetection`.
    pub outlier_detection: Unread,
    /// `tls`.
    pub tls: Option<ClientTlsSettings>,
}

/// LoadBalancerSettings.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancerSettings {
    /// `simple`.
    pub simple: Option<String>,
    /// `consistentHash`.
    pub consistent_hash: Unread,
    /// `localityLbSetting`.
    pub locality_lb_setting: Unread,
    /// `warmupDurationSecs`, deprecated.
    pub warmup_duration_secs: Unread,
    /// `warmup`.
    pub warmup: Unread,
}

/// ConnectionPoolSettings.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConnectionPoolSettings {
    /// `tcp`.
    pub tcp: Option<TcpSettings>,
    /// `http`.
    pub http: Option<HttpSettings>,
}

/// TCPSettings.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpSettings {
    /// `maxConnections`.
    pub max_connections: Option<i64>,
    /// `connectTimeout`.
    pub connect_timeout: Option<String>,
    /// `tcpKeepalive`.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// `maxConnectionDuration`.
    pub max_connection_duration: Option<String>,
    /// `idleTimeout`.
    pub idle_timeout: Option<String>,
}

/// TcpKeepalive.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpKeepalive {
    /// `probes`.
    pub probes: Option<i64>,
    /// `time`.
    pub time: Option<String>,
    /// `interval`.
    pub interval: Option<String>,
}

/// HTTPSettings.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpSettings {
    /// `http1MaxPendingRequests`.
    pub http1_max_pending_requests: Option<i64>,
    /// `http2MaxRequests`.
    pub http2_max_requests: Option<i64>,
    /// `maxRequestsPerConnection`.
    pub max_requests_per_connection: Option<i64>,
    /// `maxRetries`.
    pub max_retries: Option<i64>,
    /// `idleTimeout`.
    pub idle_timeout: Option<String>,
    /// `h2UpgradePolicy`.
    pub h2_upgrade_policy: Option<String>,
    /// `useClientProtocol`.
    pub use_client_protocol: bool,
    /// `maxConcurrentStreams`.
    pub max_concurrent_streams: Option<i64>,
}

/// ClientTLSSettings.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientTlsSettings {
    /// `mode`.
    pub mode: Option<String>,
    /// `clientCertificate`.
    pub client_certificate: Option<String>,
    /// `privateKey`.
    pub private_key: Option<String>,
    /// `caCertificates`.
    pub ca_certificates: Option<String>,
    /// `credentialName`.
    pub credential_name: Unread,
    /// `subjectAltNames`.
    pub subject_alt_names: Vec<String>,
    /// `sni`.
    pub sni: Option<String>,
    /// `insecureSkipVerify`.
    pub insecure_skip_verify: bool,
    /// `caCrl`.
    pub ca_crl: Unread,
}
