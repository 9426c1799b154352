//! What a proxy starts with, and what it does with headers: ProxyConfig.
//!
//! In: `defaultConfig` of the mesh configuration, and over it what is written of some workloads, see
//! [`crate::effective_proxy_config`]. Out: [`ProxyConfig`].

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Probe;

/// The settings of a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyConfig {
    /// `discoveryAddress`.
    pub discovery_address: String,
    /// `concurrency`: worker threads, 0 for as many as there are cores; `None` leaves it to who starts
    /// the proxy.
    pub concurrency: Option<u32>,
    /// `terminationDrainDuration`; `None` leaves it to who starts the proxy.
    pub termination_drain_duration: Option<Duration>,
    /// `proxyAdminPort`, 15000.
    pub proxy_admin_port: u16,
    /// `statusPort`, 15020.
    pub status_port: u16,
    /// `proxyMetadata`: environment of the proxy.
    pub proxy_metadata: BTreeMap<String, String>,
    /// `gatewayTopology`.
    pub gateway_topology: GatewayTopology,
    /// `proxyHeaders`.
    pub proxy_headers: ProxyHeaders,
    /// `interceptionMode`, of a proxy that does not say it itself.
    pub interception_mode: Option<InterceptionMode>,
    /// What else it starts with.
    pub start: StartSettings,
}

/// What a proxy starts with and a control plane has nothing to do with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StartSettings {
    /// `proxyStatsMatcher.inclusionPrefixes`, or the annotation
    /// `sidecar.istio.io/statsInclusionPrefixes`.
    pub stats_prefixes: Vec<String>,
    /// `proxyStatsMatcher.inclusionSuffixes`, or the annotation
    /// `sidecar.istio.io/statsInclusionSuffixes`.
    pub stats_suffixes: Vec<String>,
    /// `proxyStatsMatcher.inclusionRegexps`, or the annotation
    /// `sidecar.istio.io/statsInclusionRegexps`.
    pub stats_regexps: Vec<String>,
    /// `extraStatTags`, and those of the annotation `sidecar.istio.io/extraStatTags`.
    pub extra_stat_tags: Vec<String>,
    /// `runtimeValues`.
    pub runtime_values: BTreeMap<String, String>,
    /// `caCertificatesPem`: roots that are trusted beside the mesh's, in PEM.
    pub ca_certificates: Vec<String>,
}

/// How connections come to a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InterceptionMode {
    /// Redirected by the kernel.
    Redirect,
    /// The same with the client's address kept.
    Tproxy,
    /// Not at all.
    None,
}

/// What was written of a proxy's settings; the rest is as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyConfigPatch {
    /// `discoveryAddress`.
    pub discovery_address: Option<String>,
    /// `concurrency`; 0 asks for as many as there are cores.
    pub concurrency: Option<u32>,
    /// `terminationDrainDuration`.
    pub termination_drain_duration: Option<Duration>,
    /// `proxyAdminPort`.
    pub proxy_admin_port: Option<u16>,
    /// `statusPort`.
    pub status_port: Option<u16>,
    /// `proxyMetadata`.
    pub proxy_metadata: BTreeMap<String, String>,
    /// `gatewayTopology`.
    pub gateway_topology: Option<GatewayTopology>,
    /// `proxyHeaders`.
    pub proxy_headers: Option<ProxyHeaders>,
    /// `interceptionMode`.
    pub interception_mode: Option<InterceptionMode>,
    /// `readinessProbe`, which an agent makes of the application beside it.
    pub readiness_probe: Option<Probe>,
    /// What else it starts with.
    pub start: StartSettingsPatch,
}

/// What was written of [`StartSettings`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StartSettingsPatch {
    /// Prefixes of statistics.
    pub stats_prefixes: Option<Vec<String>>,
    /// Suffixes of statistics.
    pub stats_suffixes: Option<Vec<String>>,
    /// Expressions for statistics.
    pub stats_regexps: Option<Vec<String>>,
    /// `extraStatTags`.
    pub extra_stat_tags: Option<Vec<String>>,
    /// Tags beside those, of the annotation.
    pub more_stat_tags: Vec<String>,
    /// `runtimeValues`.
    pub runtime_values: Option<BTreeMap<String, String>>,
    /// `caCertificatesPem`.
    pub ca_certificates: Option<Vec<String>>,
}

/// What stands before a gateway.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct GatewayTopology {
    /// `numTrustedProxies`: how many proxies before it write `x-forwarded-for` that can be believed.
    pub trusted_proxies: u32,
    /// `forwardClientCertDetails`; `None` for the gateway's own way.
    pub client_certificate: Option<ForwardedClientCertificate>,
    /// `proxyProtocol`: connections begin with the PROXY protocol.
    pub proxy_protocol: bool,
}

/// What happens to `x-forwarded-client-cert`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ForwardedClientCertificate {
    /// It is removed.
    Sanitize,
    /// It stays where the client is known by a certificate.
    ForwardOnly,
    /// The same with the client added.
    AppendForward,
    /// It is made anew.
    SanitizeSet,
    /// It stays.
    AlwaysForwardOnly,
}

/// Headers that proxies add.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ProxyHeaders {
    /// `forwardedClientCert`, of sidecars.
    pub client_certificate: Option<ForwardedClientCertificate>,
    /// `setCurrentClientCertDetails`, of sidecars.
    pub client_certificate_details: Option<ClientCertificateDetails>,
    /// `requestId.disabled`.
    pub no_request_id: bool,
    /// `server.disabled`.
    pub no_server: bool,
    /// `server.value`.
    pub server: Option<String>,
    /// `attemptCount.disabled`.
    pub no_attempt_count: bool,
    /// `envoyDebugHeaders.disabled`.
    pub no_envoy_headers: bool,
    /// `preserveHttp1HeaderCase`.
    pub preserve_case: bool,
    /// `xForwardedHost.enabled`.
    pub x_forwarded_host: bool,
    /// `xForwardedPort.enabled`.
    pub x_forwarded_port: bool,
    /// `metadataExchangeHeaders.mode` is `IN_MESH`: nothing outside the mesh is told who calls.
    pub metadata_in_mesh: bool,
}

/// What `x-forwarded-client-cert` says of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientCertificateDetails {
    /// `subject`.
    pub subject: bool,
    /// `cert`.
    pub certificate: bool,
    /// `chain`.
    pub chain: bool,
    /// `dns`.
    pub dns: bool,
    /// `uri`.
    pub uri: bool,
}

impl Default for ProxyConfig {
    fn default() -> Self {
        Self {
            discovery_address: "istiod.istio-system.svc:15012".to_owned(),
            concurrency: None,
            termination_drain_duration: None,
            proxy_admin_port: 15000,
            status_port: 15020,
            proxy_metadata: BTreeMap::new(),
            gateway_topology: GatewayTopology::default(),
            proxy_headers: ProxyHeaders::default(),
            interception_mode: None,
            start: StartSettings::default(),
        }
    }
}

impl ProxyConfig {
    /// These settings with what is written over them.
    #[must_use]
    pub fn with(self, patch: ProxyConfigPatch) -> Self {
        let ProxyConfigPatch {
            discovery_address,
            concurrency,
            termination_drain_duration,
            proxy_admin_port,
            status_port,
            proxy_metadata,
            gateway_topology,
            proxy_headers,
            interception_mode,
            // ignored: an agent goes by it, and a workload that `up` starts is of no WorkloadGroup.
            readiness_probe: _readiness_probe,
            start,
        } = patch;
        let mut metadata = self.proxy_metadata;
        metadata.extend(proxy_metadata);
        Self {
            discovery_address: discovery_address.unwrap_or(self.discovery_address),
            concurrency: concurrency.or(self.concurrency),
            termination_drain_duration: termination_drain_duration
                .or(self.termination_drain_duration),
            proxy_admin_port: proxy_admin_port.unwrap_or(self.proxy_admin_port),
            status_port: status_port.unwrap_or(self.status_port),
            proxy_metadata: metadata,
            gateway_topology: gateway_topology.unwrap_or(self.gateway_topology),
            proxy_headers: proxy_headers.unwrap_or(self.proxy_headers),
            interception_mode: interception_mode.or(self.interception_mode),
            start: self.start.with(start),
        }
    }
}

impl StartSettings {
    /// These settings with what is written over them.
    fn with(self, patch: StartSettingsPatch) -> Self {
        let StartSettingsPatch {
            stats_prefixes,
            stats_suffixes,
            stats_regexps,
            extra_stat_tags,
            more_stat_tags,
            runtime_values,
            ca_certificates,
        } = patch;
        let mut tags = extra_stat_tags.unwrap_or(self.extra_stat_tags);
        for tag in more_stat_tags {
            if !tags.contains(&tag) {
                tags.push(tag);
            }
        }
        Self {
            stats_prefixes: stats_prefixes.unwrap_or(self.stats_prefixes),
            stats_suffixes: stats_suffixes.unwrap_or(self.stats_suffixes),
            stats_regexps: stats_regexps.unwrap_or(self.stats_regexps),
            extra_stat_tags: tags,
            runtime_values: runtime_values.unwrap_or(self.runtime_values),
            ca_certificates: ca_certificates.unwrap_or(self.ca_certificates),
        }
    }
}

impl StartSettingsPatch {
    /// What a workload's annotations say, of which each stands in the place of a list.
    pub(crate) fn of_annotations(annotations: &BTreeMap<String, String>) -> Self {
        let list = |name: &str| {
            let text = annotations.get(&format!("sidecar.istio.io/{name}"))?;
            let texts = text.split(',').map(str::trim).filter(|it| !it.is_empty());
            let texts: Vec<_> = texts.map(str::to_owned).collect();
            (!texts.is_empty()).then_some(texts)
        };
        Self {
            stats_prefixes: list("statsInclusionPrefixes"),
            stats_suffixes: list("statsInclusionSuffixes"),
            stats_regexps: list("statsInclusionRegexps"),
            more_stat_tags: list("extraStatTags").unwrap_or_default(),
            ..Self::default()
        }
    }

    /// The same where annotations say more.
    #[must_use]
    pub(crate) fn annotated(self, annotations: Self) -> Self {
        Self {
            stats_prefixes: annotations.stats_prefixes.or(self.stats_prefixes),
            stats_suffixes: annotations.stats_suffixes.or(self.stats_suffixes),
            stats_regexps: annotations.stats_regexps.or(self.stats_regexps),
            more_stat_tags: annotations.more_stat_tags,
            ..self
        }
    }
}
