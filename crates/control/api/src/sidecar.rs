//! Istio Sidecar as written (`networking.istio.io`).

use serde::Deserialize;

use crate::destination_rule::ConnectionPoolSettings;
use crate::gateway::{Port, ServerTlsSettings};
use crate::service_entry::LabelSelector;
use crate::virtual_service::Destination;

/// `spec` of a Sidecar.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SidecarSpec {
    /// `workloadSelector`.
    pub workload_selector: Option<LabelSelector>,
    /// `ingress`.
    pub ingress: Vec<IstioIngressListener>,
    /// `egress`.
    pub egress: Vec<IstioEgressListener>,
    /// `inboundConnectionPool`.
    pub inbound_connection_pool: Option<ConnectionPoolSettings>,
    /// `outboundTrafficPolicy`.
    pub outbound_traffic_policy: Option<OutboundTrafficPolicy>,
}

/// IstioIngressListener.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IstioIngressListener {
    /// `port`.
    pub port: Option<Port>,
    /// `bind`.
    pub bind: Option<String>,
    /// `captureMode`.
    pub capture_mode: Option<String>,
    /// `defaultEndpoint`.
    pub default_endpoint: Option<String>,
    /// `tls`.
    pub tls: Option<ServerTlsSettings>,
    /// `connectionPool`.
    pub connection_pool: Option<ConnectionPoolSettings>,
}

/// IstioEgressListener.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IstioEgressListener {
    /// `port`.
    pub port: Option<Port>,
    /// `bind`.
    pub bind: Option<String>,
    /// `captureMode`.
    pub capture_mode: Option<String>,
    /// `hosts`.
    pub hosts: Vec<String>,
}

/// OutboundTrafficPolicy.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OutboundTrafficPolicy {
    /// `mode`.
    pub mode: Option<String>,
    /// `egressProxy`.
    pub egress_proxy: Option<Destination>,
}
