//! Istio Telemetry as written (`telemetry.istio.io`).

use serde::Deserialize;

use crate::authorization_policy::PolicyTargetReference;
use crate::destination_rule::WorkloadSelector;

/// `spec` of a Telemetry.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TelemetrySpec {
    /// `selector`.
    pub selector: Option<WorkloadSelector>,
    /// `targetRef`, deprecated.
    pub target_ref: Option<PolicyTargetReference>,
    /// `targetRefs`.
    pub target_refs: Vec<PolicyTargetReference>,
    /// `tracing`.
    pub tracing: Vec<serde_json::Value>,
    /// `metrics`.
    pub metrics: Vec<serde_json::Value>,
    /// `accessLogging`.
    pub access_logging: Vec<AccessLogging>,
}

/// AccessLogging.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AccessLogging {
    /// `match`.
    #[serde(rename = "match")]
    pub matching: Option<LogSelector>,
    /// `providers`.
    pub providers: Vec<ProviderRef>,
    /// `disabled`.
    pub disabled: Option<bool>,
    /// `filter`.
    pub filter: Option<LogFilter>,
}

/// AccessLogging.LogSelector.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogSelector {
    /// `mode`.
    pub mode: Option<String>,
}

/// ProviderRef.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProviderRef {
    /// `name`.
    pub name: Option<String>,
}

/// AccessLogging.Filter.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogFilter {
    /// `expression`.
    pub expression: Option<String>,
}
