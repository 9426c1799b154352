//! Virtual services by the gateways where they apply, in order of precedence.
//!
//! In: [`VirtualService`] resources. Out: those that apply at a gateway or in the mesh and that a
//! namespace sees, the oldest first, which is the order in which they win.

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_model::{DelegateName, GatewayRef, NamespaceName, VirtualService};

use crate::delegate::merged;

/// The virtual services of the mesh.
#[derive(Debug, Clone, Default)]
pub struct VirtualServiceIndex {
    by_name: BTreeMap<(NamespaceName, Arc<str>), Arc<VirtualService>>,
    by_gateway: BTreeMap<GatewayRef, Vec<Arc<VirtualService>>>,
}

impl VirtualServiceIndex {
    /// The virtual service of this name.
    pub fn get(&self, namespace: &NamespaceName, name: &str) -> Option<&Arc<VirtualService>> {
        self.by_name.get(&(namespace.clone(), name.into()))
    }

    /// The virtual services that apply at `gateway` and that proxies of `namespace` see, the oldest
    /// first, ties by name.
    pub fn at<'a>(
        &'a self,
        gateway: &GatewayRef,
        namespace: &'a NamespaceName,
    ) -> impl Iterator<Item = &'a Arc<VirtualService>> {
        self.by_gateway
            .get(gateway)
            .into_iter()
            .flatten()
            .filter(|it| it.export_to.is_visible_in(namespace))
    }

    /// Every virtual service, by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<VirtualService>> {
        self.by_name.values()
    }

    /// Whether the resource is here just so.
    pub(crate) fn has(&self, service: &VirtualService) -> bool {
        self.by_name
            .get(&key(service))
            .is_some_and(|it| **it == *service)
    }

    pub(crate) fn insert(&mut self, service: VirtualService) {
        self.by_name.insert(key(&service), Arc::new(service));
    }

    pub(crate) fn remove(&mut self, namespace: &NamespaceName, name: &Arc<str>) -> bool {
        self.by_name
            .remove(&(namespace.clone(), name.clone()))
            .is_some()
    }

    /// Sorts into gateways again, after changes.
    pub(crate) fn rebuild(&mut self) {
        let mut by_age: Vec<_> = self.by_name.values().collect();
        by_age.sort_by_cached_key(|it| it.meta.age_key());
        self.by_gateway.clear();
        for service in by_age {
            let find = |it: &DelegateName| {
                let key = (it.namespace.clone(), it.name.clone());
                self.by_name.get(&key).filter(|it| it.hosts.is_empty())
            };
            let service = &merged(service, find).map_or_else(|| service.clone(), Arc::new);
            for gateway in &service.gateways {
                let here = self.by_gateway.entry(gateway.clone()).or_default();
                // A gateway may be named twice.
                if !here.last().is_some_and(|last| Arc::ptr_eq(last, service)) {
                    here.push(service.clone());
                }
            }
        }
    }
}

fn key(service: &VirtualService) -> (NamespaceName, Arc<str>) {
    (service.meta.namespace.clone(), service.meta.name.clone())
}
