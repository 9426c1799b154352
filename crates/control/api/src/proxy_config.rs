//! Istio ProxyConfig as written (`networking.istio.io`).

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::destination_rule::WorkloadSelector;

/// `spec` of a ProxyConfig.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyConfigSpec {
    /// `selector`.
    pub selector: Option<WorkloadSelector>,
    /// `concurrency`.
    pub concurrency: Option<i64>,
    /// `environmentVariables`.
    pub environment_variables: BTreeMap<String, String>,
    /// `image`.
    pub image: Option<ProxyImage>,
}

/// ProxyImage.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyImage {
    /// `imageType`.
    pub image_type: Option<String>,
}
