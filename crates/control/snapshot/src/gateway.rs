//! Gateways by name, and by the workloads that they select.
//!
//! In: [`Gateway`] resources. Out: the gateways of a proxy, the oldest first.

use std::sync::Arc;

use meltemi_model::{Gateway, GatewayName, Labels};

use crate::named::ByName;

/// The gateways of the mesh.
#[derive(Debug, Clone, Default)]
pub struct GatewayIndex {
    pub(crate) named: ByName<Gateway>,
    by_age: Vec<Arc<Gateway>>,
}

impl GatewayIndex {
    /// The gateway of this name.
    pub fn get(&self, name: &GatewayName) -> Option<&Arc<Gateway>> {
        self.named.get(&name.namespace, &name.name)
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

    /// Orders all of them by age again, after changes; how many.
    pub(crate) fn rebuild(&mut self) -> usize {
        self.by_age = self.named.by_age();
        self.by_age.len()
    }
}
