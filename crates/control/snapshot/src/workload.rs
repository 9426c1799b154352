//! Workloads by name, namespace and address.
//!
//! In: the workloads of Deployments and Pods. Out: those of a namespace, and the one that a proxy
//! belongs to.

use std::net::IpAddr;
use std::sync::Arc;

use meltemi_model::{Metadata, NamespaceName, ResourceId, Workload};
use rpds::RedBlackTreeMapSync;

/// The workloads of the mesh. A copy shares everything with the original until it is changed.
#[derive(Debug, Clone, Default)]
pub struct WorkloadIndex {
    by_resource: RedBlackTreeMapSync<ResourceId, Vec<Arc<Workload>>>,
    by_name: RedBlackTreeMapSync<NamespaceName, Arc<ByName>>,
    by_address: RedBlackTreeMapSync<IpAddr, Claims>,
}

/// The workloads of a namespace.
type ByName = RedBlackTreeMapSync<Arc<str>, Claims>;

/// The workloads of one name or address, by the resource that asks for them; the last one has it.
type Claims = Vec<(ResourceId, Arc<Workload>)>;

impl WorkloadIndex {
    /// The workload of this name.
    pub fn get(&self, namespace: &NamespaceName, name: &str) -> Option<&Arc<Workload>> {
        let claims = self.by_name.get(namespace)?.get(name)?;
        claims.last().map(|(_, workload)| workload)
    }

    /// Whether a namespace's workloads are certainly those of another index; may say no where they are.
    pub fn shares_namespace(&self, other: &Self, namespace: &NamespaceName) -> bool {
        let here = (self.by_name.get(namespace), other.by_name.get(namespace));
        matches!(here, (Some(here), Some(there)) if Arc::ptr_eq(here, there))
    }

    /// The workload that has this address.
    pub fn by_address(&self, address: IpAddr) -> Option<&Arc<Workload>> {
        let claims = self.by_address.get(&address)?;
        claims.last().map(|(_, workload)| workload)
    }

    /// The workloads of a namespace, by name.
    pub fn in_namespace(&self, namespace: &NamespaceName) -> impl Iterator<Item = &Arc<Workload>> {
        let here = self.by_name.get(namespace);
        let claims = here.into_iter().flat_map(|it| it.values());
        claims.filter_map(|it| it.last().map(|(_, workload)| workload))
    }

    /// Every workload, by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Workload>> {
        let claims = self.by_name.values().flat_map(|it| it.values());
        claims.filter_map(|it| it.last().map(|(_, workload)| workload))
    }

    /// Whether the resource with this id asks for just these workloads.
    pub(crate) fn has(&self, id: &ResourceId, workloads: &[Workload]) -> bool {
        self.by_resource.get(id).is_some_and(|old| {
            old.len() == workloads.len()
                && old.iter().zip(workloads).all(|(old, new)| **old == *new)
        })
    }

    /// The workloads that a resource asks for.
    pub(crate) fn of_resource(&self, id: &ResourceId) -> &[Arc<Workload>] {
        self.by_resource.get(id).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn insert(&mut self, id: ResourceId, workloads: Vec<Workload>) {
        self.remove(&id);
        let workloads: Vec<_> = workloads.into_iter().map(Arc::new).collect();
        for workload in &workloads {
            self.in_names(&workload.meta, |it, name| claim(it, name, &id, workload));
            for address in &workload.addresses {
                claim(&mut self.by_address, *address, &id, workload);
            }
        }
        self.by_resource.insert_mut(id, workloads);
    }

    pub(crate) fn remove(&mut self, id: &ResourceId) -> bool {
        let Some(workloads) = self.by_resource.get(id).cloned() else {
            return false;
        };
        self.by_resource.remove_mut(id);
        for workload in &workloads {
            self.in_names(&workload.meta, |it, name| release(it, &name, id));
            for address in &workload.addresses {
                release(&mut self.by_address, address, id);
            }
        }
        true
    }

    /// Changes something about a name.
    fn in_names(&mut self, meta: &Metadata, change: impl FnOnce(&mut ByName, Arc<str>)) {
        let namespace = &meta.namespace;
        let here = self.by_name.get(namespace);
        let mut here = here.map_or_else(ByName::default, |it| ByName::clone(it));
        change(&mut here, meta.name.clone());
        if here.is_empty() {
            self.by_name.remove_mut(namespace);
        } else {
            self.by_name.insert_mut(namespace.clone(), Arc::new(here));
        }
    }
}

fn claim<K: Ord + Clone>(
    index: &mut RedBlackTreeMapSync<K, Claims>,
    key: K,
    id: &ResourceId,
    workload: &Arc<Workload>,
) {
    let mut claims = index.get(&key).cloned().unwrap_or_default();
    let place = claims.partition_point(|(other, _)| other <= id);
    claims.insert(place, (id.clone(), workload.clone()));
    index.insert_mut(key, claims);
}

fn release<K: Ord + Clone>(index: &mut RedBlackTreeMapSync<K, Claims>, key: &K, id: &ResourceId) {
    let mut claims = index.get(key).cloned().unwrap_or_default();
    claims.retain(|(other, _)| other != id);
    if claims.is_empty() {
        index.remove_mut(key);
    } else {
        index.insert_mut(key.clone(), claims);
    }
}
