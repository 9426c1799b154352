//! Which tokens a workload takes (FEATURES S7).
//!
//! In: [`RequestAuthentication`] resources. Out: those that hold for a workload: of the root namespace,
//! then of its own, each the oldest first.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_model::{NamespaceName, PolicyWorkload, RequestAuthentication};

use crate::named::{ByName, ByNamespace};

/// The policies of the mesh.
#[derive(Debug, Clone, Default)]
pub struct RequestAuthenticationIndex {
    pub(crate) named: ByName<RequestAuthentication>,
    /// The oldest first.
    by_namespace: ByNamespace<Arc<[Arc<RequestAuthentication>]>>,
}

impl RequestAuthenticationIndex {
    /// The policies that hold for a workload.
    pub fn of_workload<'a>(
        &'a self,
        workload: PolicyWorkload<'a>,
        root: &'a NamespaceName,
    ) -> impl Iterator<Item = &'a Arc<RequestAuthentication>> {
        let own = (workload.namespace != root).then_some(workload.namespace);
        let places = std::iter::once(root).chain(own);
        places.flat_map(move |place| {
            let all = self.by_namespace.of(place).iter();
            all.filter(move |it| it.target.holds_for(place, &workload))
        })
    }

    /// The policies of a namespace, the oldest first.
    pub fn in_namespace(&self, namespace: &NamespaceName) -> &[Arc<RequestAuthentication>] {
        self.by_namespace.of(namespace)
    }

    /// Every policy, by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<RequestAuthentication>> {
        self.named.iter()
    }

    /// Sorts the resources of some namespaces again, after changes; how many.
    pub(crate) fn update(&mut self, namespaces: &BTreeSet<NamespaceName>) -> usize {
        self.by_namespace.update(&self.named, namespaces)
    }
}
