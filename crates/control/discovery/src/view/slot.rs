//! What is kept for a group of proxies, or for one proxy's own workload.
//!
//! In: snapshots, one after another. Out: a [`State`] for each, made from the one before. A session
//! holds on to the state that it answers from, so that all kinds of one push are of the same moment.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use meltemi_model::{Hostname, Workload};
use meltemi_snapshot::Snapshot;
use meltemi_translate::{Part, ProxyNode, Translator};
use meltemi_xds_server::Kind;

use super::history::Change;
use super::parts::{KeptPart, Parts, Step};
use super::{Kept, lock};

/// For how many changes it is remembered what they changed.
const LENGTH: usize = 32;

/// What is kept for a node.
pub(super) struct Slot {
    /// Unique while the control plane runs.
    pub number: u64,
    /// The proxy, or what the proxies of a group have in common.
    pub node: ProxyNode,
    /// The state of the latest snapshot that was asked for.
    state: Mutex<Option<Arc<State>>>,
}

/// What is kept at one moment.
pub(super) struct State {
    snapshot: Arc<Snapshot>,
    /// The node's workload in it.
    workload: Option<Arc<Workload>>,
    inner: Mutex<Inner>,
    /// What changed when, the latest last.
    log: Arc<VecDeque<Arc<Changes>>>,
    /// The log is complete after this version.
    since: u64,
}

struct Inner {
    /// Shared with the state before for as long as they are the same.
    parts: Arc<Parts>,
    /// There is a state of a later snapshot.
    superseded: bool,
    /// Something was made after that, of which the later state does not know.
    late: bool,
}

struct Changes {
    version: u64,
    names: BTreeSet<(Kind, Arc<str>)>,
}

impl Slot {
    /// Nothing yet.
    pub fn new(number: u64, node: ProxyNode) -> Self {
        Self {
            number,
            node,
            state: Mutex::default(),
        }
    }

    /// The state of this snapshot, or of a later one if there is one already.
    pub fn state(&self, snapshot: &Arc<Snapshot>, kept: &Kept) -> Arc<State> {
        let mut current = lock(&self.state);
        let state = match current.as_ref() {
            Some(known) if known.version() >= snapshot.version() => return known.clone(),
            Some(known) => known.advance(&self.node, snapshot, kept),
            None => State::new(snapshot.clone(), &self.node),
        };
        let state = Arc::new(state);
        *current = Some(state.clone());
        state
    }
}

impl State {
    fn new(snapshot: Arc<Snapshot>, node: &ProxyNode) -> Self {
        Self {
            since: snapshot.version(),
            workload: Translator::new(&snapshot, node).workload().cloned(),
            snapshot,
            inner: Mutex::new(Inner {
                parts: Arc::default(),
                superseded: false,
                late: false,
            }),
            log: Arc::default(),
        }
    }

    fn advance(&self, node: &ProxyNode, snapshot: &Arc<Snapshot>, kept: &Kept) -> Self {
        let change = kept.history.between(self.version(), snapshot.version());
        let mut inner = lock(&self.inner);
        inner.superseded = true;
        let may_be_touched = change.as_ref().is_none_or(|change| {
            self.has_other_workload(node, change) || inner.parts.may_be_touched(change)
        });
        if !may_be_touched {
            // Most changes concern most of thousands of workloads not at all.
            let (workload, parts) = (self.workload.clone(), inner.parts.clone());
            return Self::later(snapshot, workload, parts, self.log.clone(), self.since);
        }
        let before = self.translator(node);
        let after = before.later(snapshot);
        let change = change.as_deref();
        let next = inner.parts.advance(&before, &after, change, &kept.bodies);
        let (parts, step) = match next {
            Some((parts, step)) => (Arc::new(parts), step),
            None => (inner.parts.clone(), Step::default()),
        };
        drop(inner);
        let visited = before.visited() + after.visited();
        kept.history.examine(snapshot.version(), visited);
        let (mut log, mut since) = (self.log.clone(), self.since);
        if step.made > 0 {
            kept.history
                .add(snapshot.version(), step.made, &step.changed);
        }
        if !step.changed.is_empty() {
            let log = Arc::make_mut(&mut log);
            log.push_back(Arc::new(Changes {
                version: snapshot.version(),
                names: step.changed.into_iter().collect(),
            }));
            if log.len() > LENGTH
                && let Some(oldest) = log.pop_front()
            {
                since = oldest.version;
            }
        }
        Self::later(snapshot, after.workload().cloned(), parts, log, since)
    }

    fn later(
        snapshot: &Arc<Snapshot>,
        workload: Option<Arc<Workload>>,
        parts: Arc<Parts>,
        log: Arc<VecDeque<Arc<Changes>>>,
        since: u64,
    ) -> Self {
        Self {
            workload,
            snapshot: snapshot.clone(),
            inner: Mutex::new(Inner {
                parts,
                superseded: false,
                late: false,
            }),
            log,
            since,
        }
    }

    /// Whether a change may be one of the node's own workload. One that was not found by its name may be
    /// any that has the node's address.
    fn has_other_workload(&self, node: &ProxyNode, change: &Change) -> bool {
        let is_named = self.workload.as_ref().is_some_and(|it| {
            it.meta.name.as_ref() == node.workload && it.meta.namespace == node.namespace
        });
        match is_named {
            true => change.namespaces.contains(&node.namespace),
            false => !change.namespaces.is_empty(),
        }
    }

    fn translator<'a>(&'a self, node: &'a ProxyNode) -> Translator<'a> {
        Translator::of_workload(&self.snapshot, node, self.workload.as_ref())
    }

    /// The snapshot's version.
    pub fn version(&self) -> u64 {
        self.snapshot.version()
    }

    /// The node's workload.
    pub fn workload(&self) -> Option<&Arc<Workload>> {
        self.workload.as_ref()
    }

    /// Whether something became another since a version.
    pub fn has_changed_since(&self, version: u64) -> bool {
        self.log.back().is_some_and(|it| it.version > version)
    }

    /// The snapshot.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Parts, made now if they were not yet.
    pub fn parts(&self, node: &ProxyNode, parts: &[Part], kept: &Kept) -> Vec<Arc<KeptPart>> {
        let mut inner = lock(&self.inner);
        let mut translator = None;
        let mut late = false;
        let all = parts.iter().map(|part| {
            if let Some(known) = inner.parts.get(part) {
                return known.clone();
            }
            late = true;
            let translator = translator.get_or_insert_with(|| self.translator(node));
            Arc::make_mut(&mut inner.parts).make(part, translator, &kept.bodies)
        });
        let all = all.collect();
        inner.late |= late && inner.superseded;
        all
    }

    /// The hosts that have clusters.
    pub fn hosts(&self, node: &ProxyNode) -> Vec<Hostname> {
        let mut inner = lock(&self.inner);
        if let Some(known) = inner.parts.known_hosts() {
            return known.to_vec();
        }
        let translator = self.translator(node);
        let hosts = Arc::make_mut(&mut inner.parts).hosts(&translator);
        inner.late |= inner.superseded;
        hosts.0.clone()
    }

    /// Whether a later state knows of everything that was made here.
    pub fn is_comparable(&self) -> bool {
        !lock(&self.inner).late
    }

    /// The names of resources of a kind that changed after a version; `None` if that is not known.
    pub fn changed_since(&self, kind: Kind, version: u64) -> Option<BTreeSet<Arc<str>>> {
        (version >= self.since).then(|| {
            let later = self.log.iter().rev().take_while(|it| it.version > version);
            let of_kind = later.flat_map(|it| it.names.iter().filter(move |it| it.0 == kind));
            of_kind.map(|(_, name)| name.clone()).collect()
        })
    }
}
