//! Which callers a workload takes (FEATURES S5).
//!
//! In: [`PeerAuthentication`] resources. Out: [`InboundMtls`], what holds for a workload: the mesh's
//! policy, then that of its namespace, then its own; of each the oldest.

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_model::{Labels, MutualTlsMode, NamespaceName, PeerAuthentication};

/// The policies of the mesh.
#[derive(Debug, Clone, Default)]
pub struct PeerAuthenticationIndex {
    by_name: BTreeMap<(NamespaceName, Arc<str>), Arc<PeerAuthentication>>,
    /// The oldest first.
    by_namespace: BTreeMap<NamespaceName, Vec<Arc<PeerAuthentication>>>,
}

/// What holds for the callers of a workload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InboundMtls {
    /// On ports that are not named.
    pub mode: MutualTlsMode,
    /// On single ports of the workload.
    pub ports: BTreeMap<u16, MutualTlsMode>,
}

impl InboundMtls {
    /// What holds on one of the workload's ports.
    pub fn on_port(&self, port: u16) -> MutualTlsMode {
        self.ports.get(&port).copied().unwrap_or(self.mode)
    }
}

impl PeerAuthenticationIndex {
    /// What holds for a workload with `labels` in `namespace`.
    pub fn of_workload(
        &self,
        namespace: &NamespaceName,
        labels: &Labels,
        root: &NamespaceName,
    ) -> InboundMtls {
        let here = |place| self.by_namespace.get(place).into_iter().flatten();
        let whole = |place| here(place).find(|it| it.selector.is_none());
        let mesh = whole(root).and_then(|it| it.mode);
        let of_namespace = (namespace != root)
            .then(|| whole(namespace).and_then(|it| it.mode))
            .flatten();
        let selects = |it: &&Arc<PeerAuthentication>| {
            let selector = it.selector.as_ref();
            selector.is_some_and(|it| it.selects(labels))
        };
        let own = (namespace != root)
            .then(|| here(namespace).find(selects))
            .flatten();
        let mode = own
            .and_then(|it| it.mode)
            .or(of_namespace)
            .or(mesh)
            .unwrap_or_default();
        let ports = own.into_iter().flat_map(|it| &it.ports);
        InboundMtls {
            mode,
            ports: ports
                .map(|(port, own)| (*port, own.unwrap_or(mode)))
                .collect(),
        }
    }

    /// Every policy, by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<PeerAuthentication>> {
        self.by_name.values()
    }

    /// Whether the resource is here just so.
    pub(crate) fn has(&self, policy: &PeerAuthentication) -> bool {
        self.by_name
            .get(&key(policy))
            .is_some_and(|it| **it == *policy)
    }

    pub(crate) fn insert(&mut self, policy: PeerAuthentication) {
        self.by_name.insert(key(&policy), Arc::new(policy));
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
        for policy in by_age {
            let namespace = policy.meta.namespace.clone();
            self.by_namespace
                .entry(namespace)
                .or_default()
                .push(policy.clone());
        }
    }
}

fn key(policy: &PeerAuthentication) -> (NamespaceName, Arc<str>) {
    (policy.meta.namespace.clone(), policy.meta.name.clone())
}
