//! What is said of a workload's telemetry (FEATURES O3).
//!
//! In: [`Telemetry`] resources. Out: those that hold for a workload, the later over the earlier: the
//! mesh's, its namespace's, and its own; of each the oldest.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_model::{Labels, NamespaceName, Telemetry};

use crate::envoy_filter::GATEWAY_NAME;
use crate::named::{ByName, ByNamespace};

/// The telemetries of the mesh.
#[derive(Debug, Clone, Default)]
pub struct TelemetryIndex {
    pub(crate) named: ByName<Telemetry>,
    /// The oldest first.
    by_namespace: ByNamespace<Arc<[Arc<Telemetry>]>>,
}

impl TelemetryIndex {
    /// Those for a workload with `labels` in `namespace`.
    pub fn of_workload(
        &self,
        namespace: &NamespaceName,
        labels: &Labels,
        root: &NamespaceName,
    ) -> Vec<&Arc<Telemetry>> {
        let here = |place| self.by_namespace.of(place).iter();
        let is_whole = |it: &&Arc<Telemetry>| it.selector.is_none() && it.gateways.is_empty();
        let selects = |it: &&Arc<Telemetry>| {
            let selector = it.selector.as_ref();
            let gateway = labels.get(GATEWAY_NAME);
            selector.is_some_and(|it| it.selects(labels))
                || gateway.is_some_and(|name| it.gateways.iter().any(|it| it == name))
        };
        let mesh = here(root).find(is_whole);
        let whole = (namespace != root).then(|| here(namespace).find(is_whole));
        let own = here(namespace).find(selects);
        mesh.into_iter().chain(whole.flatten()).chain(own).collect()
    }

    /// Every one, by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Telemetry>> {
        self.named.iter()
    }

    /// Sorts the resources of some namespaces again, after changes; how many.
    pub(crate) fn update(&mut self, namespaces: &BTreeSet<NamespaceName>) -> usize {
        self.by_namespace.update(&self.named, namespaces)
    }
}
