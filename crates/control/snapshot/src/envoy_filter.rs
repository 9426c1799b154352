//! Which patches hold for a workload (FEATURES X1).
//!
//! In: [`EnvoyFilter`] resources. Out: those for a workload in the order in which they are applied: the
//! root namespace's before those of its own, in each by priority, then the oldest first.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_model::{EnvoyFilter, Labels, NamespaceName};

use crate::named::{ByName, ByNamespace};

/// The label of a gateway's workload that has the name of its Gateway.
pub(crate) const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

/// The patches of the mesh.
#[derive(Debug, Clone, Default)]
pub struct EnvoyFilterIndex {
    pub(crate) named: ByName<EnvoyFilter>,
    /// By priority, then the oldest first.
    by_namespace: ByNamespace<Arc<[Arc<EnvoyFilter>]>>,
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
            .flat_map(|place| self.by_namespace.of(place))
            .filter(|it| is_for(it, labels))
    }

    /// Every one, by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<EnvoyFilter>> {
        self.named.iter()
    }

    /// Sorts the resources of some namespaces again, after changes; how many.
    pub(crate) fn update(&mut self, namespaces: &BTreeSet<NamespaceName>) -> usize {
        let mut sorted = 0;
        for namespace in namespaces {
            let mut here = self.named.in_namespace(namespace);
            here.sort_by_key(|it| it.priority);
            sorted += here.len();
            let here = (!here.is_empty()).then(|| here.into());
            self.by_namespace.set(namespace, here);
        }
        sorted
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
