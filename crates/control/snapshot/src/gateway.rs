//! Gateways by name, and by the workloads that they select.
//!
//! In: [`Gateway`] resources. Out: the gateways of a proxy, the oldest first.

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_model::{Gateway, GatewayName, Labels};

/// The gateways of the mesh.
#[derive(Debug, Clone, Default)]
pub struct GatewayIndex {
    by_name: BTreeMap<GatewayName, Arc<Gateway>>,
    by_age: Vec<Arc<Gateway>>,
}

impl GatewayIndex {
    /// The gateway of this name.
    pub fn get(&self, name: &GatewayName) -> Option<&Arc<Gateway>> {
        self.by_name.get(name)
    }

    /// The gateways whose selector selects these labels, the oldest first.
    pub fn selecting<'a>(&'a self, labels: &'a Labels) -> impl Iterator<Item = &'a Arc<Gateway>> {
        self.by_age
            .iter()
            .filter(|gateway| gateway.selector.selects(labels))
    }

    /// Every gateway, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Gateway>> {
        self.by_age.iter()
    }

    /// Whether the resource is here just so.
    pub(crate) fn has(&self, gateway: &Gateway) -> bool {
        self.by_name
            .get(&key(gateway))
            .is_some_and(|it| **it == *gateway)
    }

    pub(crate) fn insert(&mut self, gateway: Gateway) {
        self.by_name.insert(key(&gateway), Arc::new(gateway));
    }

    pub(crate) fn remove(&mut self, name: &GatewayName) -> bool {
        self.by_name.remove(name).is_some()
    }

    /// Orders by age again, after changes.
    pub(crate) fn rebuild(&mut self) {
        self.by_age = self.by_name.values().cloned().collect();
        self.by_age.sort_by_cached_key(|it| it.meta.age_key());
    }
}

fn key(gateway: &Gateway) -> GatewayName {
    GatewayName {
        namespace: gateway.meta.namespace.clone(),
        name: gateway.meta.name.clone(),
    }
}
