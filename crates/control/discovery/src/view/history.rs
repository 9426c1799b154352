//! What changed in the last pushes, and what was done for them.
//!
//! In: the delta of each push, and counts of the work. Out: [`Change`]: what changed since an earlier
//! push, by which parts are found that depend on it; and the counts, for `/debug/push_status`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use meltemi_model::{Hostname, Kind as ResourceKind, NamespaceName};
use meltemi_snapshot::Delta;
use meltemi_translate::Topics;
use meltemi_xds_server::Kind;

use super::lock;

/// How many pushes are remembered.
const LENGTH: usize = 64;

/// A service whose endpoints changed.
pub(crate) type Place = (NamespaceName, Hostname);

/// The last pushes.
#[derive(Default)]
pub(crate) struct History(Mutex<VecDeque<Push>>);

struct Push {
    version: u64,
    change: Arc<Change>,
    work: Work,
}

/// What changed between two moments, as what was made is compared with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    /// What reads may have other answers, those of workloads and endpoints aside.
    pub topics: Topics,
    /// Whose workloads changed.
    pub namespaces: BTreeSet<NamespaceName>,
    /// The services whose endpoints changed.
    pub endpoints: BTreeSet<Place>,
}

/// What was done for a push.
#[derive(Clone, Debug, Default)]
pub(crate) struct Work {
    /// What it was for.
    pub cause: Delta,
    /// Groups of proxies, and workloads, of which was found out what it is for them; to the others it
    /// could be nothing.
    pub examined: usize,
    /// How many proxies were told.
    pub told: usize,
    /// How many services and virtual services were gone through to find what proxies see.
    pub visited: usize,
    /// Parts that were made again.
    pub made: usize,
    /// How many resources of a kind became others by that, over all groups and workloads.
    pub changed: BTreeMap<Kind, usize>,
    /// Some of their names.
    pub examples: BTreeSet<String>,
}

impl Change {
    fn of(delta: &Delta) -> Self {
        let changed = || delta.changed.iter();
        let workloads = changed().filter(|it| is_of_workloads(it.kind));
        Self {
            topics: changed()
                .map(|it| Topics::of_change(it.kind))
                .fold(Topics::default(), Topics::and),
            namespaces: workloads.map(|it| it.namespace.clone()).collect(),
            endpoints: delta.endpoints.clone(),
        }
    }

    fn add(&mut self, later: &Self) {
        self.topics = self.topics.and(later.topics);
        self.namespaces.extend(later.namespaces.iter().cloned());
        self.endpoints.extend(later.endpoints.iter().cloned());
    }
}

fn is_of_workloads(kind: ResourceKind) -> bool {
    matches!(
        kind,
        ResourceKind::Deployment | ResourceKind::Pod | ResourceKind::WorkloadEntry
    )
}

impl History {
    /// A push is made.
    pub fn push(&self, version: u64, delta: &Delta) {
        let mut pushes = lock(&self.0);
        if pushes.back().is_some_and(|it| it.version >= version) {
            return;
        }
        if pushes.len() == LENGTH {
            pushes.pop_front();
        }
        pushes.push_back(Push {
            version,
            change: Arc::new(Change::of(delta)),
            work: Work {
                cause: delta.clone(),
                ..Work::default()
            },
        });
    }

    /// What changed after the push `before`, up to `after`; `None` if that is not known any more.
    pub fn between(&self, before: u64, after: u64) -> Option<Arc<Change>> {
        let pushes = lock(&self.0);
        let known = pushes.front().is_some_and(|it| it.version <= before + 1);
        known.then(|| {
            let here = |it: &&Push| before < it.version && it.version <= after;
            let mut here = pushes.iter().filter(here);
            // Nearly always there is one.
            let first = here.next().map(|it| it.change.clone());
            let mut all = first.unwrap_or_default();
            for push in here {
                Arc::make_mut(&mut all).add(&push.change);
            }
            all
        })
    }

    /// It is known now whom a push concerns.
    pub fn tell(&self, version: u64, told: usize) {
        let mut pushes = lock(&self.0);
        if let Some(push) = pushes.iter_mut().rev().find(|it| it.version == version) {
            push.work.told += told;
        }
    }

    /// Something was compared with a push, for which so much was gone through.
    pub fn examine(&self, version: u64, visited: usize) {
        let mut pushes = lock(&self.0);
        if let Some(push) = pushes.iter_mut().rev().find(|it| it.version == version) {
            push.work.examined += 1;
            push.work.visited += visited;
        }
    }

    /// Something was done for a push.
    pub fn add(&self, version: u64, made: usize, changed: &[(Kind, Arc<str>)]) {
        let mut pushes = lock(&self.0);
        let Some(push) = pushes.iter_mut().rev().find(|it| it.version == version) else {
            return;
        };
        push.work.made += made;
        for (kind, name) in changed {
            *push.work.changed.entry(*kind).or_default() += 1;
            if push.work.examples.len() < LENGTH {
                push.work.examples.insert(format!("{kind} {name}"));
            }
        }
    }

    /// What was done for each push, the last one first.
    pub fn work(&self) -> Vec<(u64, Work)> {
        let pushes = lock(&self.0);
        let all = pushes.iter().rev();
        all.map(|it| (it.version, it.work.clone())).collect()
    }
}
