//! Which patches hold for a workload (FEATURES X1).
//!
//! In: [`EnvoyFilter`] resources. Out: those for a workload in the order in which they are applied: the
//! root namespace's before those of its own, in each by priority, then the oldest first.

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_model::{EnvoyFilter, Labels, NamespaceName};

use crate::named::ByName;

/// The label of a gateway's workload that has the name of its Gateway.
pub(crate) const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

/// The patches of the mesh.
#[derive(Debug, Clone, Default)]
pub struct EnvoyFilterIndex {
    pub(crate) named: ByName<EnvoyFilter>,
    /// By priority, then the oldest first.
    by_namespace: BTreeMap<NamespaceName, Vec<Arc<EnvoyFilter>>>,
}

impl EnvoyFilterIndex {
    /// Those for a workload with `labels` in `namespace`, in their order.
    pub fn of_workload<'a>(
        &'a self,
        namespace: &'a NamespaceName,
        labels: &'a Labels,
        root: &'a NamespaceName,
    ) -> impl Iterator<Item = &'a Arc<EnvoyFilter>> {
        let own = (namespace != root).then_some(namespace);
        let places = std::iter::once(root).chain(own);
        places
            .flat_map(|place| self.by_namespace.get(place))
            .flatten()
            .filter(|it| is_for(it, labels))
    }

    /// Every one, by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<EnvoyFilter>> {
        self.named.iter()
    }

    /// The labels of workloads that decide which patches hold for them.
    pub(crate) fn selecting_keys(&self) -> impl Iterator<Item = &str> {
        self.iter().flat_map(|it| {
            let of_selector = it.workload_selector.iter().flat_map(Labels::iter);
            let of_gateways = (!it.gateways.is_empty()).then_some(GATEWAY_NAME);
            of_selector.map(|(key, _)| key).chain(of_gateways)
        })
    }

    /// Sorts into namespaces again, after changes.
    pub(crate) fn rebuild(&mut self) {
        self.by_namespace = self.named.by_namespace();
        for filters in self.by_namespace.values_mut() {
            filters.sort_by_key(|it| it.priority);
        }
    }
}

fn is_for(filter: &EnvoyFilter, labels: &Labels) -> bool {
    if filter.gateways.is_empty() {
        let selector = filter.workload_selector.as_ref();
        return selector.is_none_or(|it| it.selects(labels));
    }
    let name = labels.get(GATEWAY_NAME);
    name.is_some_and(|name| filter.gateways.iter().any(|it| it == name))
}
