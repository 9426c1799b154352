//! The JSON answer, in the shape of the fake-service image: one hop, and the hops below it.
//!
//! Made by the handler; read back from upstreams that are such services themselves.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One hop of a call.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// `NAME` of the service.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// `VERSION` of the workload, when set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `POD_NAME` of the workload, when set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// What was asked: the path with its query, or in `upstream_calls` the configured URI.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uri: String,
    /// `HTTP`.
    #[serde(default, rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The workload's addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip_addresses: Vec<String>,
    /// When the request came, in UTC.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub start_time: String,
    /// When it was answered, in UTC.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub end_time: String,
    /// The time between, in Go's notation.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub duration: String,
    /// In `upstream_calls` the response's headers; at the top the request's, when asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// `MESSAGE`; of an upstream that is no such service, whatever it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// The hops below, by URI as configured.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub upstream_calls: BTreeMap<String, Report>,
    /// The status; -1 when an upstream gave no response.
    pub code: i32,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Report {
    /// What an upstream's body says: a report when it is one, otherwise its text or JSON as body.
    pub(crate) fn from_upstream(body: &[u8]) -> Self {
        if let Ok(report) = serde_json::from_slice(body) {
            return report;
        }
        let text = || Value::String(String::from_utf8_lossy(body).into_owned());
        let body =
            (!body.is_empty()).then(|| serde_json::from_slice(body).unwrap_or_else(|_| text()));
        Self {
            body,
            ..Self::default()
        }
    }

    /// The answer's bytes: indented JSON with a newline at its end.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let mut json =
            serde_json::to_vec_pretty(self).expect("strings and numbers always serialize");
        json.push(b'\n');
        json
    }
}
