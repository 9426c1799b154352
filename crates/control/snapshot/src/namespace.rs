//! Namespaces by name.
//!
//! In: [`Namespace`] resources. Out: what they say of injection and network.

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_model::{Namespace, NamespaceName};

/// The namespaces of the mesh.
#[derive(Debug, Clone, Default)]
pub struct NamespaceIndex {
    by_name: BTreeMap<NamespaceName, Arc<Namespace>>,
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

    pub(crate) fn insert(&mut self, namespace: Namespace) -> bool {
        let name = namespace.name();
        if self.by_name.get(&name).map(AsRef::as_ref) == Some(&namespace) {
            return false;
        }
        self.by_name.insert(name, Arc::new(namespace));
        true
    }

    pub(crate) fn remove(&mut self, name: &str) -> bool {
        self.by_name.remove(name).is_some()
    }
}
