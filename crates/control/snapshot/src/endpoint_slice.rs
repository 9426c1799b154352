//! Endpoint slices by the service that they belong to.
//!
//! In: [`EndpointSlice`] resources. Out: those of a service.

use std::sync::Arc;

use meltemi_model::{EndpointSlice, NamespaceName};
use rpds::RedBlackTreeMapSync;

use crate::named::{ByName, Name};

/// The endpoint slices of the mesh.
#[derive(Debug, Clone, Default)]
pub struct EndpointSliceIndex {
    named: ByName<EndpointSlice>,
    by_service: RedBlackTreeMapSync<Name, Vec<Arc<EndpointSlice>>>,
}

impl EndpointSliceIndex {
    /// The slices of the Kubernetes service of this name, by their names.
    pub fn of_service(&self, namespace: &NamespaceName, name: &str) -> &[Arc<EndpointSlice>] {
        let key = (namespace.clone(), Arc::from(name));
        self.by_service.get(&key).map_or(&[], Vec::as_slice)
    }

    /// The slice of this name.
    pub(crate) fn get(&self, namespace: &NamespaceName, name: &str) -> Option<&Arc<EndpointSlice>> {
        self.named.get(namespace, name)
    }

    /// Whether the resource is here just so.
    pub(crate) fn has(&self, slice: &EndpointSlice) -> bool {
        self.named.has(slice)
    }

    pub(crate) fn insert(&mut self, slice: EndpointSlice) {
        let (namespace, name) = (slice.meta.namespace.clone(), slice.meta.name.clone());
        self.remove(&namespace, &name);
        self.named.insert(slice);
        let Some(slice) = self.named.get(&namespace, &name).cloned() else {
            return;
        };
        let service = (namespace, slice.service.clone());
        let mut slices = self.by_service.get(&service).cloned().unwrap_or_default();
        let place = slices.partition_point(|it| it.meta.name < slice.meta.name);
        slices.insert(place, slice);
        self.by_service.insert_mut(service, slices);
    }

    pub(crate) fn remove(&mut self, namespace: &NamespaceName, name: &Arc<str>) -> bool {
        let Some(slice) = self.named.get(namespace, name) else {
            return false;
        };
        let service = (namespace.clone(), slice.service.clone());
        self.named.remove(namespace, name);
        let mut slices = self.by_service.get(&service).cloned().unwrap_or_default();
        slices.retain(|it| it.meta.name != *name);
        if slices.is_empty() {
            self.by_service.remove_mut(&service);
        } else {
            self.by_service.insert_mut(service, slices);
        }
        true
    }
}
