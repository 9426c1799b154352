//! Namespaces by name.
//!
//! In: [`Namespace`] resources. Out: what they say of injection and network.

use std::sync::Arc;

use meltemi_model::{Namespace, NamespaceName};
use rpds::RedBlackTreeMapSync;

/// The namespaces of the mesh.
#[derive(Debug, Clone, Default)]
pub struct NamespaceIndex {
    by_name: RedBlackTreeMapSync<NamespaceName, Arc<Namespace>>,
}

impl NamespaceIndex {
    /// The namespace, if it was declared.
    pub fn get(&self, name: &NamespaceName) -> Option<&Arc<Namespace>> {
        self.by_name.get(name)
    }

    /// Every declared namespace, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Namespace>> {
        self.by_name.values()
    }

    /// Whether the resource is here just so.
    pub(crate) fn has(&self, namespace: &Namespace) -> bool {
        self.by_name
            .get(&key(namespace))
            .is_some_and(|it| **it == *namespace)
    }

    pub(crate) fn insert(&mut self, namespace: Namespace) {
        self.by_name
            .insert_mut(key(&namespace), Arc::new(namespace));
    }

    pub(crate) fn remove(&mut self, name: &str) -> bool {
        self.by_name.remove_mut(name)
    }
}

fn key(namespace: &Namespace) -> NamespaceName {
    namespace.name()
}
