//! Endpoint slices by the service that they belong to.
//!
//! In: [`EndpointSlice`] resources. Out: those of a service.

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_model::{EndpointSlice, NamespaceName};

use crate::named::{ByName, Name};

/// The endpoint slices of the mesh.
#[derive(Debug, Clone, Default)]
pub struct EndpointSliceIndex {
    pub(crate) named: ByName<EndpointSlice>,
    by_service: BTreeMap<Name, Vec<Arc<EndpointSlice>>>,
}

impl EndpointSliceIndex {
    /// The slices of the Kubernetes service of this name, by their names.
    pub fn of_service(&self, namespace: &NamespaceName, name: &str) -> &[Arc<EndpointSlice>] {
        let key = (namespace.clone(), Arc::from(name));
        self.by_service.get(&key).map_or(&[], Vec::as_slice)
    }

    /// Sorts by service again, after changes.
    pub(crate) fn rebuild(&mut self) {
        self.by_service.clear();
        for slice in self.named.iter() {
            let service = (slice.meta.namespace.clone(), slice.service.clone());
            self.by_service
                .entry(service)
                .or_default()
                .push(slice.clone());
        }
    }
}
