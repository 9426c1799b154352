//! Which Sidecar holds for a workload (FEATURES T14).
//!
//! In: [`Sidecar`] resources. Out: the one that selects a workload, else its namespace's, else the root
//! namespace's; of each the oldest.

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_model::{Labels, NamespaceName, Sidecar};

/// The sidecars of the mesh.
#[derive(Debug, Clone, Default)]
pub struct SidecarIndex {
    by_name: BTreeMap<(NamespaceName, Arc<str>), Arc<Sidecar>>,
    /// The oldest first.
    by_namespace: BTreeMap<NamespaceName, Vec<Arc<Sidecar>>>,
}

impl SidecarIndex {
    /// The Sidecar of a workload with `labels` in `namespace`.
    pub fn of_workload(
        &self,
        namespace: &NamespaceName,
        labels: &Labels,
        root: &NamespaceName,
    ) -> Option<&Arc<Sidecar>> {
        let here = |place| self.by_namespace.get(place).into_iter().flatten();
        let selects = |it: &&Arc<Sidecar>| {
            let selector = it.workload_selector.as_ref();
            selector.is_some_and(|it| it.selects(labels))
        };
        let whole = |place| here(place).find(|it| it.workload_selector.is_none());
        here(namespace)
            .find(selects)
            .or_else(|| whole(namespace))
            .or_else(|| whole(root))
    }

    /// Every Sidecar, by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Sidecar>> {
        self.by_name.values()
    }

    /// Whether the resource is here just so.
    pub(crate) fn has(&self, sidecar: &Sidecar) -> bool {
        self.by_name
            .get(&key(sidecar))
            .is_some_and(|it| **it == *sidecar)
    }

    pub(crate) fn insert(&mut self, sidecar: Sidecar) {
        self.by_name.insert(key(&sidecar), Arc::new(sidecar));
    }

    pub(crate) fn remove(&mut self, namespace: &NamespaceName, name: &Arc<str>) -> bool {
        self.by_name
            .remove(&(namespace.clone(), name.clone()))
            .is_some()
    }

    /// Sorts into namespaces again, after changes.
    pub(crate) fn rebuild(&mut self) {
        let mut by_age: Vec<_> = self.by_name.values().collect();
        by_age.sort_by_cached_key(|it| it.meta.age_key());
        self.by_namespace.clear();
        for sidecar in by_age {
            let namespace = sidecar.meta.namespace.clone();
            self.by_namespace
                .entry(namespace)
                .or_default()
                .push(sidecar.clone());
        }
    }
}

fn key(sidecar: &Sidecar) -> (NamespaceName, Arc<str>) {
    (sidecar.meta.namespace.clone(), sidecar.meta.name.clone())
}
