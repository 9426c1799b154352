//! Workloads by name, namespace and address.
//!
//! In: the workloads of Deployments and Pods. Out: those of a namespace, and the one that a proxy
//! belongs to.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use meltemi_model::{NamespaceName, ResourceId, Workload};

/// The workloads of the mesh.
#[derive(Debug, Clone, Default)]
pub struct WorkloadIndex {
    by_resource: BTreeMap<ResourceId, Vec<Arc<Workload>>>,
    by_name: BTreeMap<(NamespaceName, Arc<str>), Arc<Workload>>,
    by_address: BTreeMap<IpAddr, Arc<Workload>>,
}

impl WorkloadIndex {
    /// The workload of this name.
    pub fn get(&self, namespace: &NamespaceName, name: &str) -> Option<&Arc<Workload>> {
        self.by_name.get(&(namespace.clone(), name.into()))
    }

    /// The workload that has this address.
    pub fn by_address(&self, address: IpAddr) -> Option<&Arc<Workload>> {
        self.by_address.get(&address)
    }

    /// The workloads of a namespace, by name.
    pub fn in_namespace<'a>(
        &'a self,
        namespace: &'a NamespaceName,
    ) -> impl Iterator<Item = &'a Arc<Workload>> {
        self.by_name
            .range((namespace.clone(), Arc::from(""))..)
            .take_while(move |((place, _), _)| place == namespace)
            .map(|(_, workload)| workload)
    }

    /// Every workload, by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.by_name.values()
    }

    /// Whether the resource with this id asks for just these workloads.
    pub(crate) fn has(&self, id: &ResourceId, workloads: &[Workload]) -> bool {
        self.by_resource.get(id).is_some_and(|old| {
            old.len() == workloads.len()
                && old.iter().zip(workloads).all(|(old, new)| **old == *new)
        })
    }

    pub(crate) fn insert(&mut self, id: ResourceId, workloads: Vec<Workload>) {
        self.by_resource
            .insert(id, workloads.into_iter().map(Arc::new).collect());
    }

    pub(crate) fn remove(&mut self, id: &ResourceId) -> bool {
        self.by_resource.remove(id).is_some()
    }

    /// Makes the derived maps again, after changes.
    pub(crate) fn rebuild(&mut self) {
        self.by_name.clear();
        self.by_address.clear();
        for workload in self.by_resource.values().flatten() {
            let meta = &workload.meta;
            self.by_name.insert(
                (meta.namespace.clone(), meta.name.clone()),
                workload.clone(),
            );
            for address in &workload.addresses {
                self.by_address.insert(*address, workload.clone());
            }
        }
    }
}
