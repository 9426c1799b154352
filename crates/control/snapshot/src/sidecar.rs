//! Which Sidecar holds for a workload (FEATURES T14).
//!
//! In: [`Sidecar`] resources. Out: the one that selects a workload, else its namespace's, else the root
//! namespace's; of each the oldest.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_model::{Labels, NamespaceName, Sidecar};

use crate::named::{ByName, ByNamespace};

/// The sidecars of the mesh.
#[derive(Debug, Clone, Default)]
pub struct SidecarIndex {
    pub(crate) named: ByName<Sidecar>,
    /// The oldest first.
    by_namespace: ByNamespace<Arc<[Arc<Sidecar>]>>,
}

impl SidecarIndex {
    /// The Sidecar of a workload with `labels` in `namespace`.
    pub fn of_workload(
        &self,
        namespace: &NamespaceName,
        labels: &Labels,
        root: &NamespaceName,
    ) -> Option<&Arc<Sidecar>> {
        let here = |place| self.by_namespace.of(place).iter();
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
        self.named.iter()
    }

    /// Sorts the resources of some namespaces again, after changes; how many.
    pub(crate) fn update(&mut self, namespaces: &BTreeSet<NamespaceName>) -> usize {
        self.by_namespace.update(&self.named, namespaces)
    }
}
