//! Istio MeshConfig as written: the text under the key `mesh` of the ConfigMap `istio`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::destination_rule::{LocalityLbSetting, TcpKeepalive};
use crate::extension_provider::ExtensionProvider;
use crate::service_entry::ReadinessProbe;
use crate::virtual_service::{HttpRetry, Unread};

/// MeshConfig (`istio.mesh.v1alpha1`).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshConfig {
    /// `rootNamespace`.
    pub root_namespace: Option<String>,
    /// `trustDomain`.
    pub trust_domain: Option<String>,
    /// `trustDomainAliases`.
    pub trust_domain_aliases: Vec<String>,
    /// `outboundTrafficPolicy`.
    pub outbound_traffic_policy: Option<TrafficPolicyMode>,
    /// `inboundTrafficPolicy`.
    pub inbound_traffic_policy: Option<TrafficPolicyMode>,
    /// `accessLogFile`.
    pub access_log_file: Option<String>,
    /// `accessLogFormat`.
    pub access_log_format: Option<String>,
    /// `accessLogEncoding`.
    pub access_log_encoding: Option<String>,
    /// `enableEnvoyAccessLogService`.
    pub enable_envoy_access_log_service: bool,
    /// `disableEnvoyListenerLog`.
    pub disable_envoy_listener_log: Unread,
    /// `enableAutoMtls`.
    pub enable_auto_mtls: Option<bool>,
    /// `enableTracing`.
    pub enable_tracing: Option<bool>,
    /// `enablePrometheusMerge`.
    pub enable_prometheus_merge: Unread,
    /// `proxyListenPort`.
    pub proxy_listen_port: Option<i64>,
    /// `proxyInboundListenPort`.
    pub proxy_inbound_listen_port: Option<i64>,
    /// `proxyHttpPort`.
    pub proxy_http_port: Option<i64>,
    /// `connectTimeout`.
    pub connect_timeout: Option<String>,
    /// `protocolDetectionTimeout`.
    pub protocol_detection_timeout: Option<String>,
    /// `tcpKeepalive`.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// `h2UpgradePolicy`.
    pub h2_upgrade_policy: Option<String>,
    /// `defaultHttpRetryPolicy`.
    pub default_http_retry_policy: Option<HttpRetry>,
    /// `ingressClass`.
    pub ingress_class: Option<String>,
    /// `ingressService`.
    pub ingress_service: Option<String>,
    /// `ingressSelector`.
    pub ingress_selector: Option<String>,
    /// `ingressControllerMode`.
    pub ingress_controller_mode: Unread,
    /// `defaultConfig`.
    pub default_config: Option<ProxyConfig>,
    /// `defaultServiceExportTo`.
    pub default_service_export_to: Option<Vec<String>>,
    /// `defaultVirtualServiceExportTo`.
    pub default_virtual_service_export_to: Option<Vec<String>>,
    /// `defaultDestinationRuleExportTo`.
    pub default_destination_rule_export_to: Option<Vec<String>>,
    /// `defaultProviders`.
    pub default_providers: Option<DefaultProviders>,
    /// `extensionProviders`.
    pub extension_providers: Vec<ExtensionProvider>,
    /// `discoverySelectors`.
    pub discovery_selectors: Vec<NamespaceSelector>,
    /// `localityLbSetting`.
    pub locality_lb_setting: Option<LocalityLbSetting>,
    /// `pathNormalization`.
    pub path_normalization: Option<ProxyPathNormalization>,
    /// `serviceSettings`.
    pub service_settings: Unread,
    /// `serviceScopeConfigs`.
    pub service_scope_configs: Unread,
    /// `configSources`.
    pub config_sources: Unread,
    /// `ca`.
    pub ca: Unread,
    /// `caCertificates`.
    pub ca_certificates: Unread,
    /// `certificates`.
    pub certificates: Unread,
    /// `dnsRefreshRate`.
    pub dns_refresh_rate: Option<String>,
    /// `inboundClusterStatName`.
    pub inbound_cluster_stat_name: Option<String>,
    /// `outboundClusterStatName`.
    pub outbound_cluster_stat_name: Option<String>,
    /// `meshMTLS`.
    #[serde(rename = "meshMTLS")]
    pub mesh_mtls: Option<MeshTls>,
    /// `tlsDefaults`.
    pub tls_defaults: Option<MeshTls>,
    /// `hboneIdleTimeout`.
    pub hbone_idle_timeout: Unread,
    /// `verifyCertificateAtClient`.
    pub verify_certificate_at_client: Unread,
}

/// LabelSelector of `discoverySelectors`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespaceSelector {
    /// `matchLabels`.
    pub match_labels: BTreeMap<String, String>,
    /// `matchExpressions`.
    pub match_expressions: Vec<LabelRequirement>,
}

/// LabelSelectorRequirement.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelRequirement {
    /// `key`.
    pub key: String,
    /// `operator`.
    pub operator: String,
    /// `values`.
    pub values: Vec<String>,
}

/// TLSConfig of `meshMTLS` and `tlsDefaults`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshTls {
    /// `minProtocolVersion`.
    pub min_protocol_version: Option<String>,
    /// `ecdhCurves`.
    pub ecdh_curves: Vec<String>,
    /// `cipherSuites`.
    pub cipher_suites: Vec<String>,
}

/// DefaultProviders.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DefaultProviders {
    /// `accessLogging`.
    pub access_logging: Vec<String>,
    /// `metrics`.
    pub metrics: Vec<String>,
    /// `tracing`.
    pub tracing: Vec<String>,
}

/// OutboundTrafficPolicy.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TrafficPolicyMode {
    /// `mode`.
    pub mode: Option<String>,
}

/// ProxyPathNormalization.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyPathNormalization {
    /// `normalization`.
    pub normalization: Option<String>,
}

/// ProxyConfig, as `defaultConfig`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyConfig {
    /// `discoveryAddress`.
    pub discovery_address: Option<String>,
    /// `concurrency`.
    pub concurrency: Option<i64>,
    /// `drainDuration`.
    pub drain_duration: Unread,
    /// `parentShutdownDuration`.
    pub parent_shutdown_duration: Unread,
    /// `terminationDrainDuration`.
    pub termination_drain_duration: Option<String>,
    /// `proxyAdminPort`.
    pub proxy_admin_port: Option<i64>,
    /// `statusPort`.
    pub status_port: Option<i64>,
    /// `proxyMetadata`.
    pub proxy_metadata: BTreeMap<String, String>,
    /// `binaryPath`.
    pub binary_path: Unread,
    /// `configPath`.
    pub config_path: Unread,
    /// `serviceCluster`.
    pub service_cluster: Unread,
    /// `controlPlaneAuthPolicy`.
    pub control_plane_auth_policy: Unread,
    /// `holdApplicationUntilProxyStarts`.
    pub hold_application_until_proxy_starts: Unread,
    /// `tracing`.
    pub tracing: Unread,
    /// `zipkinAddress`, deprecated.
    pub zipkin_address: Unread,
    /// `tracingServiceName`.
    pub tracing_service_name: Unread,
    /// `proxyStatsMatcher`.
    pub proxy_stats_matcher: Option<ProxyStatsMatcher>,
    /// `extraStatTags`.
    pub extra_stat_tags: Option<Vec<String>>,
    /// `gatewayTopology`.
    pub gateway_topology: Option<GatewayTopology>,
    /// `interceptionMode`.
    pub interception_mode: Option<String>,
    /// `envoyAccessLogService`.
    pub envoy_access_log_service: Unread,
    /// `envoyMetricsService`.
    pub envoy_metrics_service: Unread,
    /// `customConfigFile`.
    pub custom_config_file: Unread,
    /// `proxyBootstrapTemplatePath`.
    pub proxy_bootstrap_template_path: Unread,
    /// `proxyHeaders`.
    pub proxy_headers: Option<ProxyHeaders>,
    /// `privateKeyProvider`.
    pub private_key_provider: Unread,
    /// `readinessProbe`.
    pub readiness_probe: Option<ReadinessProbe>,
    /// `runtimeValues`.
    pub runtime_values: Option<BTreeMap<String, String>>,
    /// `statNameLength`.
    pub stat_name_length: Unread,
    /// `statsdUdpAddress`.
    pub statsd_udp_address: Unread,
    /// `caCertificatesPem`.
    pub ca_certificates_pem: Option<Vec<String>>,
    /// `image`.
    pub image: Unread,
    /// `meshId`.
    pub mesh_id: Unread,
}

/// Topology, as `gatewayTopology`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayTopology {
    /// `numTrustedProxies`.
    pub num_trusted_proxies: Option<i64>,
    /// `forwardClientCertDetails`.
    pub forward_client_cert_details: Option<String>,
    /// `proxyProtocol`.
    pub proxy_protocol: Unread,
}

/// ProxyHeaders.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyHeaders {
    /// `forwardedClientCert`.
    pub forwarded_client_cert: Option<String>,
    /// `setCurrentClientCertDetails`.
    pub set_current_client_cert_details: Option<ClientCertDetails>,
    /// `requestId`.
    pub request_id: Option<ProxyHeader>,
    /// `server`.
    pub server: Option<ServerHeader>,
    /// `attemptCount`.
    pub attempt_count: Option<ProxyHeader>,
    /// `envoyDebugHeaders`.
    pub envoy_debug_headers: Option<ProxyHeader>,
    /// `metadataExchangeHeaders`.
    pub metadata_exchange_headers: Option<MetadataExchangeHeaders>,
    /// `preserveHttp1HeaderCase`.
    pub preserve_http1_header_case: Option<bool>,
    /// `xForwardedHost`.
    pub x_forwarded_host: Option<ForwardedHeader>,
    /// `xForwardedPort`.
    pub x_forwarded_port: Option<ForwardedHeader>,
}

/// ProxyStatsMatcher.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyStatsMatcher {
    /// `inclusionPrefixes`.
    pub inclusion_prefixes: Vec<String>,
    /// `inclusionSuffixes`.
    pub inclusion_suffixes: Vec<String>,
    /// `inclusionRegexps`.
    pub inclusion_regexps: Vec<String>,
}

/// MetadataExchangeHeaders.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MetadataExchangeHeaders {
    /// `mode`.
    pub mode: Option<String>,
}

/// A header that can be turned on.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ForwardedHeader {
    /// `enabled`.
    pub enabled: Option<bool>,
}

/// SetCurrentClientCertDetails.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientCertDetails {
    /// `subject`.
    pub subject: Option<bool>,
    /// `cert`.
    pub cert: Option<bool>,
    /// `chain`.
    pub chain: Option<bool>,
    /// `dns`.
    pub dns: Option<bool>,
    /// `uri`.
    pub uri: Option<bool>,
}

/// A header that can be turned off.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyHeader {
    /// `disabled`.
    pub disabled: Option<bool>,
}

/// `server`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServerHeader {
    /// `disabled`.
    pub disabled: Option<bool>,
    /// `value`.
    pub value: Option<String>,
}
