//! What changed in the last pushes, and what was done for them.
//!
//! In: the delta of each push, and counts of the work. Out: the services whose endpoints changed since
//! an earlier push, by which parts are found that depend on them; and the counts, for
//! `/debug/push_status`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use meltemi_model::{Hostname, NamespaceName};
use meltemi_snapshot::Delta;
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
    endpoints: Arc<BTreeSet<Place>>,
    work: Work,
}

/// What was done for a push.
#[derive(Clone, Debug, Default)]
pub(crate) struct Work {
    /// What it was for.
    pub cause: Delta,
    /// Parts that were made again.
    pub made: usize,
    /// How many resources of a kind became others by that, over all groups and workloads.
    pub changed: BTreeMap<Kind, usize>,
    /// Some of their names.
    pub examples: BTreeSet<String>,
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
            endpoints: Arc::new(delta.endpoints.clone()),
            work: Work {
                cause: delta.clone(),
                ..Work::default()
            },
        });
    }

    /// The services whose endpoints changed after the push `before`, up to `after`; `None` if that is
    /// not known any more.
    pub fn endpoints(&self, before: u64, after: u64) -> Option<Arc<BTreeSet<Place>>> {
        let pushes = lock(&self.0);
        let known = pushes.front().is_some_and(|it| it.version <= before + 1);
        known.then(|| {
            let here = |it: &&Push| before < it.version && it.version <= after;
            let mut here = pushes.iter().filter(here);
            // Nearly always there is one.
            let first = here.next().map(|it| it.endpoints.clone());
            let mut all = first.unwrap_or_default();
            for push in here {
                Arc::make_mut(&mut all).extend(push.endpoints.iter().cloned());
            }
            all
        })
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
