//! The mesh, as the xDS sessions see it.
//!
//! In: a snapshot, and what changed since the one before. Out: encoded resources for a proxy. What was
//! made for one push is kept for the next but for the parts that read something that changed
//! ([`parts`]); proxies of one group share the parts that do not depend on their workload, and equal
//! resources share their bytes. Called by `xds-server` for each proxy, and by `/debug/config_dump`.
//!
//! A push ([`MeshView::publish`]) finds out first which groups and which workloads it concerns, and tells
//! the sessions of those; nobody else is woken. That nobody misses anything rests on an order: the new
//! snapshot is there before any proxy is compared with it. One that has looked before that is compared, one
//! that looks later sees it, and one that makes something of an old one after that is told so by what it
//! makes it of ([`meltemi_xds_server::ProxyView::is_outdated`]).

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
use meltemi_xds_server::{Kind, Mark, ProxyView, Resource, View, Viewer, Wanted};
use tokio::sync::watch;

pub(crate) use bodies::Bodies;
pub(crate) use history::{History, Work};
use member::Member;
use slot::Slot;

/// The mesh, and whoever looks at it.
pub(crate) struct MeshView(Arc<Kept>);

/// What there is now, and what is kept from one moment to the next.
struct Kept {
    bodies: Bodies,
    history: History,
    audience: Mutex<Audience>,
    slots: AtomicU64,
    /// What agents take: the trust bundle.
    bundle: ArcSwapOption<Resource>,
}

/// What there is to be seen, and by whom. Held for a moment at a time, and while nothing else is asked
/// for that has a lock.
struct Audience {
    snapshot: Arc<Snapshot>,
    groups: HashMap<GroupKey, Weak<Slot>>,
    /// The proxies that have asked, by node id, for as long as somebody looks for them; a proxy and its
    /// agent may describe themselves differently.
    members: HashMap<String, Vec<Weak<Member>>>,
}

impl MeshView {
    /// The mesh of this snapshot.
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        Self(Arc::new(Kept {
            bodies: Bodies::default(),
            history: History::default(),
            audience: Mutex::new(Audience {
                snapshot,
                groups: HashMap::new(),
                members: HashMap::new(),
            }),
            slots: AtomicU64::new(0),
            bundle: ArcSwapOption::empty(),
        }))
    }

    /// This is the mesh from now on, which differs by `delta` from what it was. The sessions of proxies for
    /// which it is another one are told.
    pub fn publish(&self, snapshot: &Arc<Snapshot>, delta: &Delta) {
        let kept = &self.0;
        kept.history.push(snapshot.version(), delta);
        kept.bodies.tidy();
        let members = lock(&kept.audience).follow(snapshot);
        let told = members.iter().filter(|it| it.follow(snapshot, kept));
        kept.history.tell(snapshot.version(), told.count());
    }

    /// Agents take this from now on.
    pub fn set_bundle(&self, bundle: Resource) {
        self.0.bundle.store(Some(Arc::new(bundle)));
    }

    /// How many groups resources are kept for.
    pub fn groups(&self) -> usize {
        let audience = lock(&self.0.audience);
        let groups = audience.groups.values();
        groups.filter(|it| it.strong_count() > 0).count()
    }

    /// What was done for each of the last pushes, the last one first.
    pub fn work(&self) -> Vec<(u64, Work)> {
        self.0.history.work()
    }
}

impl Audience {
    /// The snapshot is another one; who has to be compared with it.
    fn follow(&mut self, snapshot: &Arc<Snapshot>) -> Vec<Arc<Member>> {
        self.snapshot = snapshot.clone();
        self.groups.retain(|_, it| it.strong_count() > 0);
        let mut members = Vec::with_capacity(self.members.len());
        self.members.retain(|_, of_id| {
            of_id.retain(|it| {
                members.extend(it.upgrade());
                it.strong_count() > 0
            });
            !of_id.is_empty()
        });
        members
    }
}

impl Kept {
    /// What there is now.
    fn snapshot(&self) -> Arc<Snapshot> {
        lock(&self.audience).snapshot.clone()
    }

    fn member(&self, node: &Arc<Node>) -> Arc<Member> {
        let mut audience = lock(&self.audience);
        let known = audience.members.get(&node.id).into_iter().flatten();
        let mut known = known.filter_map(Weak::upgrade);
        if let Some(known) = known.find(|it| it.is(node)) {
            return known;
        }
        drop(known);
        let of_id = audience.members.entry(node.id.clone()).or_default();
        of_id.retain(|it| it.strong_count() > 0);
        let number = self.slots.fetch_add(1, Ordering::Relaxed);
        let member = Arc::new(Member::new(node.clone(), number));
        of_id.push(Arc::downgrade(&member));
        member
    }

    fn group(&self, key: &GroupKey) -> Arc<Slot> {
        let mut audience = lock(&self.audience);
        if let Some(known) = audience.groups.get(key).and_then(Weak::upgrade) {
            return known;
        }
        let number = self.slots.fetch_add(1, Ordering::Relaxed);
        let slot = Arc::new(Slot::new(number, key.node().clone()));
        audience.groups.insert(key.clone(), Arc::downgrade(&slot));
        slot
    }
}

impl View for MeshView {
    fn viewer(self: Arc<Self>, node: &Arc<Node>) -> Arc<dyn Viewer> {
        Arc::new(Place {
            member: self.0.member(node),
            kept: self.0.clone(),
        })
    }
}

/// The place of a proxy among those that look.
struct Place {
    member: Arc<Member>,
    kept: Arc<Kept>,
}

impl Viewer for Place {
    fn look(&self) -> Arc<dyn ProxyView> {
        match self.member.look(&self.kept) {
            Some(seen) => Arc::new(seen),
            // Admission has let no other node in.
            None => Arc::new(Nothing(self.kept.snapshot().version())),
        }
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.member.changes()
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

    fn is_outdated(&self) -> bool {
        false
    }
}

/// Resources of a kind in the order of their names.
type ByName = BTreeMap<Arc<str>, Resource>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod cost;
#[cfg(test)]
mod mesh;
#[cfg(test)]
mod model;
#[cfg(test)]
mod property;
#[cfg(test)]
mod racing;
#[cfg(test)]
mod references;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
