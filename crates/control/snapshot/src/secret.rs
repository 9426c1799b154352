//! Secrets by namespace and name.
//!
//! In: [`Secret`] resources. Out: the certificates of gateways.

use std::sync::Arc;

use meltemi_model::{NamespaceName, Secret};

use crate::named::ByName;

/// The secrets of the mesh.
#[derive(Debug, Clone, Default)]
pub struct SecretIndex {
    pub(crate) named: ByName<Secret>,
}

impl SecretIndex {
    /// The secret of this name in a namespace.
    pub fn get(&self, namespace: &NamespaceName, name: &str) -> Option<&Arc<Secret>> {
        self.named.get(namespace, name)
    }
}
