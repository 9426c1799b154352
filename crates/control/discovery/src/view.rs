//! The mesh at one moment, as the xDS sessions see it.
//!
//! In: a snapshot, and what changed since the one before. Out: encoded resources for a proxy. What was
//! made for one push is kept for the next but for the parts that read something that changed
//! ([`parts`]); proxies of one group share the parts that do not depend on their workload, and equal
//! resources share their bytes. Called by `xds-server` for each push, and by `/debug/config_dump`.

mod bodies;
mod history;
mod member;
mod parts;
mod slot;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwapOption;
use meltemi_snapshot::{Delta, Snapshot};
use meltemi_translate::GroupKey;
use meltemi_xds::pb::envoy::config::core::v3::Node;
use meltemi_xds_server::{Kind, Mark, ProxyView, Resource, View, Wanted};

pub(crate) use bodies::Bodies;
pub(crate) use history::{History, Work};
use member::Member;
use slot::Slot;

/// What is kept from one moment to the next.
#[derive(Default)]
pub(crate) struct Kept {
    bodies: Bodies,
    history: History,
    groups: Mutex<HashMap<GroupKey, Weak<Slot>>>,
    /// The proxies that have asked, by node id, for as long as somebody holds what they see; a proxy
    /// and its agent may describe themselves differently.
    members: Mutex<HashMap<String, Vec<Weak<Member>>>>,
    slots: AtomicU64,
    /// What agents take: the trust bundle.
    bundle: ArcSwapOption<Resource>,
}

impl Kept {
    /// Agents take this from now on.
    pub fn set_bundle(&self, bundle: Resource) {
        self.bundle.store(Some(Arc::new(bundle)));
    }
}

/// The mesh at one moment.
pub(crate) struct MeshView {
    snapshot: Arc<Snapshot>,
    kept: Arc<Kept>,
}

impl MeshView {
    /// The mesh of this snapshot, which differs by `delta` from the one before it.
    pub fn new(snapshot: Arc<Snapshot>, delta: &Delta, kept: Arc<Kept>) -> Self {
        kept.history.push(snapshot.version(), delta);
        lock(&kept.groups).retain(|_, it| it.strong_count() > 0);
        lock(&kept.members).retain(|_, of_id| {
            of_id.retain(|it| it.strong_count() > 0);
            !of_id.is_empty()
        });
        kept.bodies.tidy();
        Self { snapshot, kept }
    }

    /// How many groups resources are kept for.
    pub fn groups(&self) -> usize {
        let groups = lock(&self.kept.groups);
        groups.values().filter(|it| it.strong_count() > 0).count()
    }

    /// What was done for each of the last pushes, the last one first.
    pub fn work(&self) -> Vec<(u64, Work)> {
        self.kept.history.work()
    }

    fn member(&self, node: &Arc<Node>) -> Arc<Member> {
        let mut members = lock(&self.kept.members);
        let known = members.get(&node.id).into_iter().flatten();
        let mut known = known.filter_map(Weak::upgrade);
        if let Some(known) = known.find(|it| it.is(node)) {
            return known;
        }
        drop(known);
        let of_id = members.entry(node.id.clone()).or_default();
        of_id.retain(|it| it.strong_count() > 0);
        let number = self.kept.slots.fetch_add(1, Ordering::Relaxed);
        let member = Arc::new(Member::new(node.clone(), number));
        of_id.push(Arc::downgrade(&member));
        member
    }

    fn group(&self, key: &GroupKey) -> Arc<Slot> {
        let mut groups = lock(&self.kept.groups);
        if let Some(known) = groups.get(key).and_then(Weak::upgrade) {
            return known;
        }
        let number = self.kept.slots.fetch_add(1, Ordering::Relaxed);
        let slot = Arc::new(Slot::new(number, key.node().clone()));
        groups.insert(key.clone(), Arc::downgrade(&slot));
        slot
    }
}

impl View for MeshView {
    fn version(&self) -> u64 {
        self.snapshot.version()
    }

    fn proxy(&self, node: &Arc<Node>) -> Arc<dyn ProxyView> {
        let member = self.member(node);
        let seen = member.see(&self.snapshot, &self.kept, |key| self.group(key));
        match seen {
            Some(seen) => Arc::new(seen),
            // Admission has let no other node in.
            None => Arc::new(Nothing(self.version())),
        }
    }
}

/// What somebody sees who is no proxy of the mesh.
struct Nothing(u64);

impl ProxyView for Nothing {
    fn version(&self) -> u64 {
        self.0
    }

    fn resources(&self, _kind: Kind, _wanted: &Wanted<'_>) -> Vec<Resource> {
        Vec::new()
    }

    fn changed_since(&self, _kind: Kind, _mark: Mark) -> Option<Vec<Arc<str>>> {
        None
    }

    fn mark(&self) -> Option<Mark> {
        None
    }
}

/// Resources of a kind in the order of their names.
type ByName = BTreeMap<Arc<str>, Resource>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod mesh;
#[cfg(test)]
mod model;
#[cfg(test)]
mod property;
#[cfg(test)]
mod references;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
