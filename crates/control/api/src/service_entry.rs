//! Istio ServiceEntry, WorkloadEntry and WorkloadGroup as written (`networking.istio.io`).

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::gateway::Port;
use crate::metadata::ObjectMeta;

/// `spec` of a ServiceEntry.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceEntrySpec {
    /// `hosts`.
    pub hosts: Vec<String>,
    /// `addresses`.
    pub addresses: Vec<String>,
    /// `ports`.
    pub ports: Vec<Port>,
    /// `location`.
    pub location: Option<String>,
    /// `resolution`.
    pub resolution: Option<String>,
    /// `endpoints`.
    pub endpoints: Vec<WorkloadEntrySpec>,
    /// `workloadSelector`.
    pub workload_selector: Option<LabelSelector>,
    /// `exportTo`.
    pub export_to: Vec<String>,
    /// `subjectAltNames`.
    pub subject_alt_names: Vec<String>,
}

/// WorkloadSelector of `networking.istio.io`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// `labels`.
    pub labels: BTreeMap<String, String>,
}

/// `spec` of a WorkloadEntry, and an endpoint of a ServiceEntry.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadEntrySpec {
    /// `address`.
    pub address: String,
    /// `ports`.
    pub ports: BTreeMap<String, i64>,
    /// `labels`.
    pub labels: BTreeMap<String, String>,
    /// `network`.
    pub network: Option<String>,
    /// `locality`.
    pub locality: Option<String>,
    /// `weight`.
    pub weight: Option<i64>,
    /// `serviceAccount`.
    pub service_account: Option<String>,
}

/// `status` of a WorkloadEntry.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadEntryStatus {
    /// `conditions`.
    pub conditions: Vec<IstioCondition>,
}

/// IstioCondition.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IstioCondition {
    /// `type`.
    pub r#type: String,
    /// `status`.
    pub status: String,
}

/// `spec` of a WorkloadGroup.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadGroupSpec {
    /// `metadata`: labels and annotations of the entries.
    pub metadata: Option<ObjectMeta>,
    /// `template`.
    pub template: Option<WorkloadEntrySpec>,
    /// `probe`.
    pub probe: Option<ReadinessProbe>,
}

/// ReadinessProbe.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReadinessProbe {
    /// `initialDelaySeconds`.
    pub initial_delay_seconds: Option<i64>,
    /// `timeoutSeconds`.
    pub timeout_seconds: Option<i64>,
    /// `periodSeconds`.
    pub period_seconds: Option<i64>,
    /// `successThreshold`.
    pub success_threshold: Option<i64>,
    /// `failureThreshold`.
    pub failure_threshold: Option<i64>,
    /// `httpGet`.
    pub http_get: Option<HttpHealthCheck>,
    /// `tcpSocket`.
    pub tcp_socket: Option<TcpHealthCheck>,
    /// `exec`.
    pub exec: Option<ExecHealthCheck>,
    /// `grpc`.
    pub grpc: Option<GrpcHealthCheck>,
}

/// HTTPHealthCheckConfig.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpHealthCheck {
    /// `path`.
    pub path: Option<String>,
    /// `port`.
    pub port: Option<i64>,
    /// `host`.
    pub host: Option<String>,
    /// `scheme`.
    pub scheme: Option<String>,
    /// `httpHeaders`.
    pub http_headers: Vec<HttpHeader>,
}

/// HTTPHeader.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpHeader {
    /// `name`.
    pub name: String,
    /// `value`.
    pub value: String,
}

/// TCPHealthCheckConfig.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpHealthCheck {
    /// `host`.
    pub host: Option<String>,
    /// `port`.
    pub port: Option<i64>,
}

/// ExecHealthCheckConfig.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExecHealthCheck {
    /// `command`.
    pub command: Vec<String>,
}

/// GrpcHealthCheckConfig.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GrpcHealthCheck {
    /// `port`.
    pub port: Option<i64>,
    /// `service`.
    pub service: Option<String>,
}
