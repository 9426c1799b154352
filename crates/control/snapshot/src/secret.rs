//! Secrets by namespace and name.
//!
//! In: [`Secret`] resources. Out: the certificates of gateways.

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_model::{NamespaceName, Secret};

/// The secrets of the mesh.
#[derive(Debug, Clone, Default)]
pub struct SecretIndex {
    by_name: BTreeMap<(NamespaceName, Arc<str>), Arc<Secret>>,
}

impl SecretIndex {
    /// The secret of this name in a namespace.
    pub fn get(&self, namespace: &NamespaceName, name: &str) -> Option<&Arc<Secret>> {
        self.by_name.get(&(namespace.clone(), name.into()))
    }

    pub(crate) fn insert(&mut self, secret: Secret) -> bool {
        let key = (secret.meta.namespace.clone(), secret.meta.name.clone());
        if self.by_name.get(&key).map(AsRef::as_ref) == Some(&secret) {
            return false;
        }
        self.by_name.insert(key, Arc::new(secret));
        true
    }

    pub(crate) fn remove(&mut self, namespace: &NamespaceName, name: &Arc<str>) -> bool {
        self.by_name
            .remove(&(namespace.clone(), name.clone()))
            .is_some()
    }
}
