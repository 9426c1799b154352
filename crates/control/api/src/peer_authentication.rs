//! Istio PeerAuthentication as written (`security.istio.io`).

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::destination_rule::WorkloadSelector;

/// `spec` of a PeerAuthentication.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PeerAuthenticationSpec {
    /// `selector`.
    pub selector: Option<WorkloadSelector>,
    /// `mtls`.
    pub mtls: Option<MutualTls>,
    /// `portLevelMtls`.
    pub port_level_mtls: Option<BTreeMap<String, MutualTls>>,
}

/// MutualTLS.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MutualTls {
    /// `mode`.
    pub mode: Option<String>,
}
