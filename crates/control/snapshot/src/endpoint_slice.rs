//! Endpoint slices by the service that they belong to.
//!
//! In: [`EndpointSlice`] resources. Out: those of a service.

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_model::{EndpointSlice, NamespaceName};

type Name = (NamespaceName, Arc<str>);

/// The endpoint slices of the mesh.
#[derive(Debug, Clone, Default)]
pub struct EndpointSliceIndex {
    by_name: BTreeMap<Name, Arc<EndpointSlice>>,
    by_service: BTreeMap<Name, Vec<Arc<EndpointSlice>>>,
}

impl EndpointSliceIndex {
    /// The slices of the Kubernetes service of this name, by their names.
    pub fn of_service(&self, namespace: &NamespaceName, name: &str) -> &[Arc<EndpointSlice>] {
        let key = (namespace.clone(), Arc::from(name));
        self.by_service.get(&key).map_or(&[], Vec::as_slice)
    }

    /// Whether the resource is here just so.
    pub(crate) fn has(&self, slice: &EndpointSlice) -> bool {
        self.by_name
            .get(&key(slice))
            .is_some_and(|it| **it == *slice)
    }

    pub(crate) fn insert(&mut self, slice: EndpointSlice) {
        self.by_name.insert(key(&slice), Arc::new(slice));
    }

    pub(crate) fn remove(&mut self, namespace: &NamespaceName, name: &Arc<str>) -> bool {
        self.by_name
            .remove(&(namespace.clone(), name.clone()))
            .is_some()
    }

    /// Sorts by service again, after changes.
    pub(crate) fn rebuild(&mut self) {
        self.by_service.clear();
        for slice in self.by_name.values() {
            let service = (slice.meta.namespace.clone(), slice.service.clone());
            self.by_service
                .entry(service)
                .or_default()
                .push(slice.clone());
        }
    }
}

fn key(slice: &EndpointSlice) -> Name {
    (slice.meta.namespace.clone(), slice.meta.name.clone())
}
