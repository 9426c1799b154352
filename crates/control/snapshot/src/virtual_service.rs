//! Virtual services by the gateways where they apply, in order of precedence.
//!
//! In: [`VirtualService`] resources. Out: those that apply at a gateway or in the mesh and that a
//! namespace sees, the oldest first, which is the order in which they win.

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_model::{DefaultExportTo, DelegateName, GatewayRef, NamespaceName, VirtualService};

use crate::delegate::merged;
use crate::named::ByName;

/// The virtual services of the mesh.
#[derive(Debug, Clone, Default)]
pub struct VirtualServiceIndex {
    pub(crate) named: ByName<VirtualService>,
    by_gateway: BTreeMap<GatewayRef, Vec<Arc<VirtualService>>>,
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
        self.by_gateway
            .get(gateway)
            .into_iter()
            .flatten()
            .filter(|it| it.export_to.is_visible_in(namespace))
    }

    /// Every virtual service, by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<VirtualService>> {
        self.named.iter()
    }

    /// Sorts into gateways again, after changes.
    pub(crate) fn rebuild(&mut self, exports: &DefaultExportTo) {
        self.by_gateway.clear();
        for service in &self.named.by_age() {
            let find = |it: &DelegateName| {
                let delegate = self.named.get(&it.namespace, &it.name);
                let home = &service.meta.namespace;
                let visible = |it: &VirtualService| {
                    let to = exports.of(&it.export_to, &it.meta.namespace);
                    to.is_none_or(|it| it.is_visible_in(home))
                };
                delegate.filter(|it| it.hosts.is_empty() && visible(it))
            };
            let service = merged(service, find).map_or_else(|| service.clone(), Arc::new);
            let service = &exported(service, exports);
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

/// The virtual service as who may see it is decided by the mesh configuration.
fn exported(mut service: Arc<VirtualService>, exports: &DefaultExportTo) -> Arc<VirtualService> {
    if let Some(to) = exports.of(&service.export_to, &service.meta.namespace) {
        Arc::make_mut(&mut service).export_to = to;
    }
    service
}
