//! Istio DestinationRule as written (`networking.istio.io`).

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::virtual_service::PortSelector;

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
    pub outlier_detection: Option<OutlierDetection>,
    /// `tls`.
    pub tls: Option<ClientTlsSettings>,
    /// `portLevelSettings`.
    pub port_level_settings: Vec<PortTrafficPolicy>,
    /// `tunnel`.
    pub tunnel: Option<TunnelSettings>,
    /// `proxyProtocol`.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// `retryBudget`.
    pub retry_budget: Option<RetryBudget>,
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
    pub outlier_detection: Option<OutlierDetection>,
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
    pub consistent_hash: Option<ConsistentHashLb>,
    /// `localityLbSetting`.
    pub locality_lb_setting: Option<LocalityLbSetting>,
    /// `warmupDurationSecs`, deprecated.
    pub warmup_duration_secs: Option<String>,
    /// `warmup`.
    pub warmup: Option<WarmupConfiguration>,
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
    /// `http2KeepAlive`.
    #[serde(rename = "http2KeepAlive")]
    pub http2_keep_alive: Option<Http2KeepAlive>,
}

/// `http2KeepAlive`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Http2KeepAlive {
    /// `interval`.
    pub interval: Option<String>,
    /// `timeout`.
    pub timeout: Option<String>,
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
    pub credential_name: Option<String>,
    /// `subjectAltNames`.
    pub subject_alt_names: Vec<String>,
    /// `sni`.
    pub sni: Option<String>,
    /// `insecureSkipVerify`.
    pub insecure_skip_verify: bool,
    /// `caCrl`.
    pub ca_crl: Option<String>,
}

/// ConsistentHashLB.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsistentHashLb {
    /// `httpHeaderName`.
    pub http_header_name: Option<String>,
    /// `httpCookie`.
    pub http_cookie: Option<HttpCookie>,
    /// `useSourceIp`.
    pub use_source_ip: bool,
    /// `httpQueryParameterName`.
    pub http_query_parameter_name: Option<String>,
    /// `ringHash`.
    pub ring_hash: Option<RingHash>,
    /// `maglev`.
    pub maglev: Option<MagLev>,
    /// `minimumRingSize`.
    pub minimum_ring_size: Option<i64>,
}

/// HTTPCookie.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpCookie {
    /// `name`.
    pub name: String,
    /// `path`.
    pub path: Option<String>,
    /// `ttl`.
    pub ttl: Option<String>,
    /// `attributes`.
    pub attributes: Vec<CookieAttribute>,
}

/// Attribute of an HTTPCookie.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CookieAttribute {
    /// `name`.
    pub name: String,
    /// `value`.
    pub value: String,
}

/// RingHash.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RingHash {
    /// `minimumRingSize`.
    pub minimum_ring_size: Option<i64>,
}

/// MagLev.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MagLev {
    /// `tableSize`.
    pub table_size: Option<i64>,
}

/// LocalityLoadBalancerSetting.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LocalityLbSetting {
    /// `distribute`.
    pub distribute: Vec<Distribute>,
    /// `failover`.
    pub failover: Vec<Failover>,
    /// `failoverPriority`.
    pub failover_priority: Vec<String>,
    /// `enabled`.
    pub enabled: Option<bool>,
}

/// Distribute.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Distribute {
    /// `from`.
    pub from: String,
    /// `to`.
    pub to: BTreeMap<String, i64>,
}

/// Failover.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Failover {
    /// `from`.
    pub from: String,
    /// `to`.
    pub to: String,
}

/// WarmupConfiguration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WarmupConfiguration {
    /// `duration`.
    pub duration: Option<String>,
    /// `minimumPercent`.
    pub minimum_percent: Option<f64>,
    /// `aggression`.
    pub aggression: Option<f64>,
}

/// OutlierDetection.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OutlierDetection {
    /// `consecutiveErrors`.
    pub consecutive_errors: Option<i64>,
    /// `splitExternalLocalOriginErrors`.
    pub split_external_local_origin_errors: bool,
    /// `consecutiveLocalOriginFailures`.
    pub consecutive_local_origin_failures: Option<i64>,
    /// `consecutiveGatewayErrors`.
    pub consecutive_gateway_errors: Option<i64>,
    /// `consecutive5xxErrors`.
    pub consecutive5xx_errors: Option<i64>,
    /// `interval`.
    pub interval: Option<String>,
    /// `baseEjectionTime`.
    pub base_ejection_time: Option<String>,
    /// `maxEjectionPercent`.
    pub max_ejection_percent: Option<i64>,
    /// `minHealthPercent`.
    pub min_health_percent: Option<i64>,
}

/// TunnelSettings.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TunnelSettings {
    /// `protocol`.
    pub protocol: Option<String>,
    /// `targetHost`.
    pub target_host: String,
    /// `targetPort`.
    pub target_port: Option<i64>,
}

/// ProxyProtocol.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyProtocol {
    /// `version`.
    pub version: Option<String>,
}

/// RetryBudget.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RetryBudget {
    /// `percent`.
    pub percent: Option<f64>,
    /// `minRetryConcurrency`.
    pub min_retry_concurrency: Option<i64>,
}
