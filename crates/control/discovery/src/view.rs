//! The mesh at one moment, as the xDS sessions see it.
//!
//! In: a snapshot. Out: encoded resources for a node. Proxies of one group share what was made for
//! the first of them, and equal resources of successive moments share their bytes. Called by
//! `xds-server` for each push, and by `/debug/config_dump`.

mod bodies;
mod group;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use meltemi_snapshot::Snapshot;
use meltemi_translate::{GroupKey, ProxyNode, group_key};
use meltemi_xds::pb::envoy::config::core::v3::Node;
use meltemi_xds_server::{Kind, Resource, View, Wanted};

pub(crate) use bodies::Bodies;
use group::Group;

/// The mesh at one moment.
pub(crate) struct MeshView {
    snapshot: Arc<Snapshot>,
    bodies: Arc<Bodies>,
    groups: Mutex<HashMap<GroupKey, Arc<Group>>>,
    /// The group of each proxy that has asked, by node id.
    members: Mutex<HashMap<String, (ProxyNode, Arc<Group>)>>,
}

impl MeshView {
    /// The mesh of this snapshot.
    pub fn new(snapshot: Arc<Snapshot>, bodies: Arc<Bodies>) -> Self {
        Self {
            snapshot,
            bodies,
            groups: Mutex::default(),
            members: Mutex::default(),
        }
    }

    /// How many groups have been translated for.
    pub fn groups(&self) -> usize {
        lock(&self.groups).len()
    }

    fn group(&self, proxy: &ProxyNode) -> Arc<Group> {
        if let Some((known, group)) = lock(&self.members).get(&proxy.id)
            && known == proxy
        {
            return Arc::clone(group);
        }
        let key = group_key(&self.snapshot, proxy);
        let group = Arc::clone(
            lock(&self.groups)
                .entry(key)
                .or_insert_with(|| Arc::new(Group::new(proxy.clone()))),
        );
        let member = (proxy.clone(), Arc::clone(&group));
        lock(&self.members).insert(proxy.id.clone(), member);
        group
    }
}

impl View for MeshView {
    fn version(&self) -> u64 {
        self.snapshot.version()
    }

    fn resources(&self, node: &Node, kind: Kind, wanted: &Wanted<'_>) -> Vec<Resource> {
        // Admission has let no other node in.
        let Ok(proxy) = ProxyNode::parse(node) else {
            return Vec::new();
        };
        self.group(&proxy)
            .resources(&self.snapshot, &self.bodies, kind, wanted)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
