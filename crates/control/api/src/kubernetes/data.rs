//! ConfigMap and Secret as written; their data stands beside `metadata`.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A ConfigMap.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigMap {
    /// `data`.
    pub data: BTreeMap<String, String>,
}

/// A Secret. No [`Debug`], so that no secret is printed.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Secret {
    /// `type`.
    pub r#type: Option<String>,
    /// `data`, base64.
    pub data: BTreeMap<String, String>,
    /// `stringData`.
    pub string_data: BTreeMap<String, String>,
}
