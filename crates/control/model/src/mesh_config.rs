//! The mesh configuration.
//!
//! In: Istio MeshConfig, the key `mesh` of the ConfigMap `istio` in the root namespace. Out:
//! [`MeshConfig`]; [`MeshConfig::default`] is what holds where none is written.

mod convert;
mod convert_proxy;
mod needed;
mod of_node;
mod proxy_config;
mod selector;
mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use meltemi_spiffe::TrustDomain;

use crate::{
    DefaultExportTo, ExtensionProvider, H2UpgradePolicy, LocalityPreference, LocalitySetting,
    Metadata, NamespaceName, RetryPolicy, TcpKeepalive, TlsVersion,
};

pub(crate) use convert::convert;
pub(crate) use convert_proxy::convert as convert_proxy_config;
pub(crate) use needed::can_be_left_out;
pub use of_node::{proxy_config_of_node, readiness_probe_of_agent};
pub use proxy_config::{
    ClientCertificateDetails, ForwardedClientCertificate, GatewayTopology, InterceptionMode,
    ProxyConfig, ProxyConfigPatch, ProxyHeaders, StartSettings, StartSettingsPatch,
};
pub use selector::{LabelOperator, LabelRequirement, NamespaceSelector};
pub(crate) use support::SUPPORT;

/// Settings for the whole mesh.
#[derive(Debug, Clone, PartialEq)]
pub struct MeshConfig {
    /// The ConfigMap's metadata, `istio-system/istio`.
    pub meta: Metadata,
    /// `rootNamespace`.
    pub root_namespace: NamespaceName,
    /// `trustDomain`.
    pub trust_domain: TrustDomain,
    /// `trustDomainAliases`.
    pub trust_domain_aliases: Vec<TrustDomain>,
    /// The DNS domain of services, `cluster.local`.
    pub domain: String,
    /// `outboundTrafficPolicy.mode`.
    pub outbound_traffic_policy: OutboundTrafficPolicy,
    /// `inboundTrafficPolicy.mode: LOCALHOST`: requests come to the application at the loopback
    /// address rather than at the workload's own.
    pub inbound_to_localhost: bool,
    /// Istio's `PILOT_ENABLE_HEADLESS_FILTER_CHAIN_LISTENER`: the workloads of headless services are
    /// chains of one listener, and not a listener each. No field: whoever runs the control plane says it.
    pub headless_by_range: bool,
    /// `accessLogFile`, `accessLogFormat`, `accessLogEncoding`; `None` if the file is empty.
    pub access_log: Option<AccessLog>,
    /// `enableAutoMtls`.
    pub enable_auto_mtls: bool,
    /// `proxyListenPort`, 15001.
    pub proxy_listen_port: u16,
    /// `proxyInboundListenPort`, 15006.
    pub proxy_inbound_listen_port: u16,
    /// `proxyHttpPort`; 0 as written and `None` here mean no explicit proxy.
    pub proxy_http_port: Option<u16>,
    /// `connectTimeout`, 10 s.
    pub connect_timeout: Duration,
    /// `protocolDetectionTimeout`; zero means to wait for the first bytes without limit.
    pub protocol_detection_timeout: Duration,
    /// `tcpKeepalive`.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// `h2UpgradePolicy`.
    pub h2_upgrade_policy: H2UpgradePolicy,
    /// `defaultHttpRetryPolicy`.
    pub default_http_retry_policy: RetryPolicy,
    /// `localityLbSetting`; on and without preferences unless written.
    pub locality: LocalitySetting,
    /// `dnsRefreshRate`, 60 s.
    pub dns_refresh_rate: Duration,
    /// `ingressClass`, `ingressService`, `ingressSelector`, `ingressControllerMode` (off or not).
    pub ingress: IngressDefaults,
    /// `defaultConfig`.
    pub default_config: ProxyConfig,
    /// `meshMTLS.minProtocolVersion`, 1.2: of the connections of workloads with one another.
    pub mtls_min_version: TlsVersion,
    /// `meshMTLS.cipherSuites`: of those connections in TLS 1.2; empty for the mesh's own choice.
    pub mtls_cipher_suites: Vec<String>,
    /// `tlsDefaults`: of all other TLS, where a resource does not say it itself.
    pub tls_defaults: TlsDefaults,
    /// `discoverySelectors`: which namespaces are of the mesh; all if there are none.
    pub discovery_selectors: Vec<NamespaceSelector>,
    /// `defaultProviders.accessLogging`: the logs of workloads of which no Telemetry says anything.
    pub default_logs: Vec<String>,
    /// `extensionProviders`, in the order written.
    pub extension_providers: Vec<ExtensionProvider>,
    /// `pathNormalization.normalization` (FEATURES S11).
    pub path_normalization: PathNormalization,
    /// Who sees resources that do not say it themselves.
    pub default_export_to: DefaultExports,
    /// `inboundClusterStatName`, with its variables.
    pub inbound_stat_name: Option<String>,
    /// `outboundClusterStatName`, with its variables.
    pub outbound_stat_name: Option<String>,
}

/// TLS that is not the mesh's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsDefaults {
    /// `minProtocolVersion`.
    pub min_version: Option<TlsVersion>,
    /// `cipherSuites`.
    pub cipher_suites: Vec<String>,
    /// `ecdhCurves`.
    pub ecdh_curves: Vec<String>,
}

/// Who sees resources that do not say it themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DefaultExports {
    /// `defaultServiceExportTo`, also of service entries.
    pub services: DefaultExportTo,
    /// `defaultVirtualServiceExportTo`.
    pub virtual_services: DefaultExportTo,
    /// `defaultDestinationRuleExportTo`.
    pub destination_rules: DefaultExportTo,
}

/// What is done to a request's path before routes and policies see it (FEATURES S11).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum PathNormalization {
    /// Nothing.
    None,
    /// `.` and `..` are resolved and backslashes turned, as RFC 3986 has it.
    #[default]
    Base,
    /// As `Base`, and slashes in a row become one.
    MergeSlashes,
    /// As `MergeSlashes`, after `%2F` and `%5C` have become slashes.
    DecodeAndMergeSlashes,
}

/// What happens to requests for hosts that the mesh does not know (FEATURES T15).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum OutboundTrafficPolicy {
    /// They pass through.
    #[default]
    AllowAny,
    /// They are refused.
    RegistryOnly,
    /// HTTP requests go to where DNS says that their host is; everything else passes through.
    AllowAnyDynamicDns,
}

/// The mesh-wide access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// Where to, `/dev/stdout`.
    pub path: String,
    /// How a line looks.
    pub format: AccessLogFormat,
}

/// How a line of the access log looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// Text; `None` is Istio's default format.
    Text(Option<String>),
    /// JSON by name; `None` is Istio's default set.
    Json(Option<BTreeMap<String, String>>),
}

/// How Ingress resources are tied to a gateway; also the names of the default ingress gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngressDefaults {
    /// `ingressClass`.
    pub class: String,
    /// `ingressService`.
    pub service: String,
    /// `ingressSelector`: the value of the label `istio`.
    pub selector: String,
}

impl Default for MeshConfig {
    fn default() -> Self {
        Self {
            meta: Metadata::named("istio", "istio-system"),
            root_namespace: "istio-system".into(),
            trust_domain: "cluster.local".parse().expect("a trust domain"),
            trust_domain_aliases: Vec::new(),
            domain: "cluster.local".to_owned(),
            outbound_traffic_policy: OutboundTrafficPolicy::AllowAny,
            inbound_to_localhost: false,
            headless_by_range: false,
            access_log: Some(AccessLog::default()),
            enable_auto_mtls: true,
            proxy_listen_port: 15001,
            proxy_inbound_listen_port: 15006,
            proxy_http_port: None,
            connect_timeout: Duration::from_secs(10),
            protocol_detection_timeout: Duration::ZERO,
            tcp_keepalive: None,
            h2_upgrade_policy: H2UpgradePolicy::DoNotUpgrade,
            default_http_retry_policy: RetryPolicy::default(),
            locality: LocalitySetting {
                enabled: Some(true),
                preference: LocalityPreference::Nearest,
            },
            dns_refresh_rate: Duration::from_secs(60),
            ingress: IngressDefaults::default(),
            default_config: ProxyConfig::default(),
            mtls_min_version: TlsVersion::V1_2,
            mtls_cipher_suites: Vec::new(),
            tls_defaults: TlsDefaults::default(),
            discovery_selectors: Vec::new(),
            default_logs: Vec::new(),
            extension_providers: Vec::new(),
            path_normalization: PathNormalization::default(),
            default_export_to: DefaultExports::default(),
            inbound_stat_name: None,
            outbound_stat_name: None,
        }
    }
}

impl Default for AccessLog {
    fn default() -> Self {
        Self {
            path: "/dev/stdout".to_owned(),
            format: AccessLogFormat::Text(None),
        }
    }
}

impl Default for IngressDefaults {
    fn default() -> Self {
        Self {
            class: "istio".to_owned(),
            service: "istio-ingressgateway".to_owned(),
            selector: "ingressgateway".to_owned(),
        }
    }
}
