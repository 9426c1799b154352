//! Which callers a workload takes (FEATURES S5).
//!
//! In: [`PeerAuthentication`] resources. Out: [`InboundMtls`], what holds for a workload: the mesh's
//! policy, then that of its namespace, then its own; of each the oldest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meltemi_model::{Labels, MutualTlsMode, NamespaceName, PeerAuthentication};

use crate::named::{ByName, ByNamespace};

/// The policies of the mesh.
#[derive(Debug, Clone, Default)]
pub struct PeerAuthenticationIndex {
    pub(crate) named: ByName<PeerAuthentication>,
    /// The oldest first.
    by_namespace: ByNamespace<Arc<[Arc<PeerAuthentication>]>>,
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
        let here = |place| self.by_namespace.of(place).iter();
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

    /// The policies of a namespace, the oldest first.
    pub fn in_namespace(&self, namespace: &NamespaceName) -> &[Arc<PeerAuthentication>] {
        self.by_namespace.of(namespace)
    }

    /// Every policy, by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<PeerAuthentication>> {
        self.named.iter()
    }

    /// Sorts the resources of some namespaces again, after changes; how many.
    pub(crate) fn update(&mut self, namespaces: &BTreeSet<NamespaceName>) -> usize {
        self.by_namespace.update(&self.named, namespaces)
    }
}
