//! `metadata` as written.
//!
//! Fields that only servers and controllers write (`uid`, `managedFields`, `ownerReferences`, ...)
//! are accepted and not kept; of Pods some are, see [`crate::kubernetes::PodMetadata`].

use std::collections::BTreeMap;

use serde::Deserialize;

/// Kubernetes ObjectMeta, the part that the mesh reads.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectMeta {
    /// `name`.
    pub name: String,
    /// `namespace`.
    pub namespace: Option<String>,
    /// `labels`.
    pub labels: BTreeMap<String, String>,
    /// `annotations`.
    pub annotations: BTreeMap<String, String>,
    /// `creationTimestamp`, RFC 3339.
    pub creation_timestamp: Option<String>,
}
