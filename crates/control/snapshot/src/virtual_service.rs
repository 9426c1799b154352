//! Virtual services by the gateways where they apply, in order of precedence.
//!
//! In: [`VirtualService`] resources. Out: those that apply at a gateway or in the mesh and that a
//! namespace sees, the oldest first, which is the order in which they win.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_model::{
    DefaultExportTo, DelegateName, GatewayRef, HttpAction, NamespaceName, VirtualService,
};
use rpds::RedBlackTreeMapSync;

use crate::aged::{Aged, Rank};
use crate::delegate::merged;
use crate::named::{ByName, Name};

/// The virtual services of the mesh.
#[derive(Debug, Clone, Default)]
pub struct VirtualServiceIndex {
    pub(crate) named: ByName<VirtualService>,
    by_gateway: RedBlackTreeMapSync<GatewayRef, Arc<Aged<VirtualService>>>,
    /// What was made of each, as it is in `by_gateway`.
    made: RedBlackTreeMapSync<Name, Arc<VirtualService>>,
    /// Those that delegate to one that may be there, by its name.
    delegating: RedBlackTreeMapSync<Name, BTreeSet<Name>>,
    /// The same the other way round.
    delegates: RedBlackTreeMapSync<Name, BTreeSet<Name>>,
}

impl VirtualServiceIndex {
    /// The virtual service of this name.
    pub fn get(&self, namespace: &NamespaceName, name: &str) -> Option<&Arc<VirtualService>> {
        self.named.get(namespace, name)
    }

    /// The virtual services that apply at `gateway` and that proxies of `namespace` see, the oldest
    /// first, ties by name.
    pub fn at<'a>(
        &'a self,
        gateway: &GatewayRef,
        namespace: &'a NamespaceName,
    ) -> impl Iterator<Item = &'a Arc<VirtualService>> + use<'a> {
        let here = self.by_gateway.get(gateway).into_iter();
        here.flat_map(|it| it.iter())
            .filter(|it| it.export_to.is_visible_in(namespace))
    }

    /// The same, of those that are in some namespaces.
    pub fn at_of<'a>(
        &'a self,
        gateway: &GatewayRef,
        namespaces: &BTreeSet<&NamespaceName>,
        namespace: &NamespaceName,
    ) -> Vec<&'a Arc<VirtualService>> {
        let here = self.by_gateway.get(gateway);
        let mut here = here.map_or_else(Vec::new, |it| it.in_namespaces(namespaces));
        here.retain(|it| it.export_to.is_visible_in(namespace));
        here
    }

    /// Whether those that apply at `gateway` are certainly those of another index; may say no where they
    /// are.
    pub fn shares_gateway(&self, other: &Self, gateway: &GatewayRef) -> bool {
        let here = (self.by_gateway.get(gateway), other.by_gateway.get(gateway));
        match here {
            (Some(here), Some(there)) => Arc::ptr_eq(here, there),
            (here, there) => here.is_none() && there.is_none(),
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.named.len()
    }

    /// Every virtual service, by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<VirtualService>> {
        self.named.iter()
    }

    /// Makes everything again; how many.
    pub(crate) fn rebuild(&mut self, exports: &DefaultExportTo) -> usize {
        let all = self.named.iter().map(|it| name(it)).collect();
        self.by_gateway = RedBlackTreeMapSync::default();
        self.made = RedBlackTreeMapSync::default();
        self.delegating = RedBlackTreeMapSync::default();
        self.delegates = RedBlackTreeMapSync::default();
        self.update(&all, exports)
    }

    /// Sorts into gateways again what changed, and what has delegates that did; how many.
    pub(crate) fn update(&mut self, changed: &BTreeSet<Name>, exports: &DefaultExportTo) -> usize {
        let mut dirty = changed.clone();
        for name in changed {
            dirty.extend(self.delegating.get(name).into_iter().flatten().cloned());
        }
        for name in &dirty {
            if let Some(old) = self.made.get(name).cloned() {
                self.made.remove_mut(name);
                self.remove(&old);
            }
            let Some(written) = self.named.get(&name.0, &name.1).cloned() else {
                self.note_delegates(name, BTreeSet::new());
                continue;
            };
            self.note_delegates(name, delegates(&written));
            let service = self.make(&written, exports);
            self.made.insert_mut(name.clone(), service.clone());
            self.add(&service);
        }
        dirty.len()
    }

    fn make(
        &self,
        written: &Arc<VirtualService>,
        exports: &DefaultExportTo,
    ) -> Arc<VirtualService> {
        let find = |it: &DelegateName| {
            let delegate = self.named.get(&it.namespace, &it.name);
            let home = &written.meta.namespace;
            let visible = |it: &VirtualService| {
                let to = exports.of(&it.export_to, &it.meta.namespace);
                to.is_none_or(|it| it.is_visible_in(home))
            };
            delegate.filter(|it| it.hosts.is_empty() && visible(it))
        };
        let service = merged(written, find).map_or_else(|| written.clone(), Arc::new);
        exported(service, exports)
    }

    fn add(&mut self, service: &Arc<VirtualService>) {
        let rank = Rank::new(&service.meta, 0);
        // A gateway may be named twice.
        for gateway in &service.gateways {
            let here = self.by_gateway.get(gateway);
            let mut here = here.map_or_else(Aged::default, |it| Aged::clone(it));
            here.insert(&service.meta.namespace, rank.clone(), service.clone());
            self.by_gateway.insert_mut(gateway.clone(), Arc::new(here));
        }
    }

    fn remove(&mut self, service: &VirtualService) {
        let rank = Rank::new(&service.meta, 0);
        for gateway in &service.gateways {
            let Some(here) = self.by_gateway.get(gateway) else {
                continue;
            };
            let mut here = Aged::clone(here);
            here.remove(&service.meta.namespace, &rank);
            if here.is_empty() {
                self.by_gateway.remove_mut(gateway);
            } else {
                self.by_gateway.insert_mut(gateway.clone(), Arc::new(here));
            }
        }
    }

    /// Notes to which others a virtual service delegates now.
    fn note_delegates(&mut self, root: &Name, now: BTreeSet<Name>) {
        let before: Vec<_> = match self.delegates.get(root) {
            Some(before) => before.iter().cloned().collect(),
            None => Vec::new(),
        };
        for delegate in before {
            let mut roots = self.delegating.get(&delegate).cloned().unwrap_or_default();
            roots.remove(root);
            if roots.is_empty() {
                self.delegating.remove_mut(&delegate);
            } else {
                self.delegating.insert_mut(delegate, roots);
            }
        }
        for delegate in &now {
            let mut roots = self.delegating.get(delegate).cloned().unwrap_or_default();
            roots.insert(root.clone());
            self.delegating.insert_mut(delegate.clone(), roots);
        }
        if now.is_empty() {
            self.delegates.remove_mut(root);
        } else {
            self.delegates.insert_mut(root.clone(), now);
        }
    }
}

fn name(service: &VirtualService) -> Name {
    (service.meta.namespace.clone(), service.meta.name.clone())
}

/// To which others a virtual service delegates.
fn delegates(service: &VirtualService) -> BTreeSet<Name> {
    let actions = service.http.iter().map(|it| &it.action);
    let names = actions.filter_map(|it| match it {
        HttpAction::Delegate(it) => Some((it.namespace.clone(), it.name.clone())),
        _ => None,
    });
    names.collect()
}

/// The virtual service as who may see it is decided by the mesh configuration.
fn exported(mut service: Arc<VirtualService>, exports: &DefaultExportTo) -> Arc<VirtualService> {
    if let Some(to) = exports.of(&service.export_to, &service.meta.namespace) {
        Arc::make_mut(&mut service).export_to = to;
    }
    service
}
