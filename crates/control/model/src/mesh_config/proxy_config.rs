//! What a proxy starts with, and what it does with headers: ProxyConfig.
//!
//! In: `defaultConfig` of the mesh configuration, and over it what is written of some workloads, see
//! [`crate::effective_proxy_config`]. Out: [`ProxyConfig`].

use std::collections::BTreeMap;
use std::time::Duration;

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
        }
    }
}
