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

    /// Whether the resource is here just so.
    pub(crate) fn has(&self, secret: &Secret) -> bool {
        self.by_name
            .get(&key(secret))
            .is_some_and(|it| **it == *secret)
    }

    pub(crate) fn insert(&mut self, secret: Secret) {
        self.by_name.insert(key(&secret), Arc::new(secret));
    }

    pub(crate) fn remove(&mut self, namespace: &NamespaceName, name: &Arc<str>) -> bool {
        self.by_name
            .remove(&(namespace.clone(), name.clone()))
            .is_some()
    }
}

fn key(secret: &Secret) -> (NamespaceName, Arc<str>) {
    (secret.meta.namespace.clone(), secret.meta.name.clone())
}
