//! Parts that were made, and which of them a change touches.
//!
//! In: two moments of one proxy (or of a group's node), and what changed between them. Out: the parts of the later moment: those of the earlier one, but for the ones that
//! read something that is not the same. Everything here is shared between moments until it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meltemi_model::Hostname;
use meltemi_translate::{Made, Part, Read, ReadClass, Topics, Translator};
use meltemi_xds_server::{Kind, Resource};
use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync};

use super::Bodies;
use super::history::{Change, Place};

/// A part and what it depends on.
#[derive(Clone)]
pub(super) struct KeptPart {
    resources: Vec<Resource>,
    reads: Vec<Read>,
    /// For each resource that is a listener of one workload alone: its address.
    of_workload: Vec<Option<std::net::IpAddr>>,
}

/// The parts of one moment.
#[derive(Clone, Default)]
pub(super) struct Parts {
    made: RedBlackTreeMapSync<Part, Arc<KeptPart>>,
    /// The hosts of [`Part::ClustersOf`], once clusters have been asked for.
    hosts: Option<Arc<(Vec<Hostname>, Vec<Read>)>>,
    /// What is read by any of them, or was once.
    topics: Topics,
    /// Which parts read something, but for what every part reads.
    readers: BTreeMap<ReadClass, RedBlackTreeMapSync<Read, RedBlackTreeSetSync<Part>>>,
}

/// What became of the parts.
#[derive(Default)]
pub(super) struct Step {
    /// How many were made again.
    pub made: usize,
    /// The resources that are others, new or gone.
    pub changed: Vec<(Kind, Arc<str>)>,
}

impl KeptPart {
    /// The resources, but for listeners of the workload that has one of these addresses.
    pub fn resources(&self, own: &[std::net::IpAddr]) -> impl Iterator<Item = &Resource> {
        let all = self.resources.iter().zip(&self.of_workload);
        all.filter(|(_, workload)| workload.is_none_or(|it| !own.contains(&it)))
            .map(|(resource, _)| resource)
    }
}

impl Parts {
    /// A part, if it was made.
    pub fn get(&self, part: &Part) -> Option<&Arc<KeptPart>> {
        self.made.get(part)
    }

    /// The hosts that have clusters, if they have been asked for.
    pub fn known_hosts(&self) -> Option<&[Hostname]> {
        self.hosts.as_ref().map(|it| it.0.as_slice())
    }

    /// The hosts that have clusters.
    pub fn hosts(&mut self, translator: &Translator<'_>) -> Arc<(Vec<Hostname>, Vec<Read>)> {
        if let Some(known) = &self.hosts {
            return known.clone();
        }
        let hosts = Arc::new(translator.hosts());
        self.note(&hosts.1);
        self.hosts.insert(hosts).clone()
    }

    /// Whether a change may give something that was read another answer; what is read of the workload
    /// itself aside.
    pub fn may_be_touched(&self, change: &Change) -> bool {
        if self.topics.and(Topics::ALWAYS).meet(change.topics) {
            return true;
        }
        let Some(readers) = self.readers.get(&ReadClass::Endpoints) else {
            return false;
        };
        let mut reads = change.endpoints.iter().flat_map(reads_of);
        reads.any(|it| readers.contains_key(&it))
    }

    fn note(&mut self, reads: &[Read]) {
        let topics = reads.iter().map(Topics::of);
        self.topics = topics.fold(self.topics, Topics::and);
    }

    /// The parts of a later moment, `None` if they are the same. `change` is what changed in between, if
    /// that is known.
    pub fn advance(
        &self,
        before: &Translator<'_>,
        after: &Translator<'_>,
        change: Option<&Change>,
        bodies: &Bodies,
    ) -> Option<(Self, Step)> {
        let stale = self.stale(before, after, change);
        let same = |read: &Read| before.is_same(after, read);
        let other_hosts = self.hosts.as_ref().filter(|it| !it.1.iter().all(same));
        if stale.is_empty() && other_hosts.is_none() {
            return None;
        }
        let mut parts = self.clone();
        let mut step = Step::default();
        if let Some(hosts) = other_hosts {
            let now = Arc::new(after.hosts());
            let old: BTreeSet<_> = hosts.0.iter().collect();
            let new: BTreeSet<_> = now.0.iter().collect();
            for host in old.difference(&new) {
                parts.remove(&Part::ClustersOf((*host).clone()), &mut step);
            }
            for host in new.difference(&old) {
                parts.remake(&Part::ClustersOf((*host).clone()), after, bodies, &mut step);
            }
            parts.note(&now.1);
            parts.hosts = Some(now);
        }
        for part in &stale {
            if parts.made.contains_key(part) {
                parts.remake(part, after, bodies, &mut step);
            }
        }
        Some((parts, step))
    }

    /// The parts that read something that is not the same.
    fn stale(
        &self,
        before: &Translator<'_>,
        after: &Translator<'_>,
        change: Option<&Change>,
    ) -> BTreeSet<Part> {
        let same = |read: &Read| before.is_same(after, read);
        if !UNIVERSAL.iter().all(same) {
            return self.made.keys().cloned().collect();
        }
        let mut stale = BTreeSet::new();
        for (class, readers) in &self.readers {
            if !before.may_differ(after, *class) {
                continue;
            }
            let mut check = |read: &Read, parts: &RedBlackTreeSetSync<Part>| {
                if !same(read) {
                    stale.extend(parts.iter().cloned());
                }
            };
            match change.filter(|_| *class == ReadClass::Endpoints) {
                Some(change) => {
                    for read in change.endpoints.iter().flat_map(reads_of) {
                        if let Some(parts) = readers.get(&read) {
                            check(&read, parts);
                        }
                    }
                }
                None => readers.iter().for_each(|(read, parts)| check(read, parts)),
            }
        }
        stale
    }

    /// Makes a part again, and notes which of its resources are others.
    fn remake(
        &mut self,
        part: &Part,
        translator: &Translator<'_>,
        bodies: &Bodies,
        step: &mut Step,
    ) {
        let old = self.made.get(part).cloned();
        let new = self.make(part, translator, bodies);
        step.made += 1;
        let none = Vec::new();
        let old = old.as_ref().map_or(&none, |it| &it.resources);
        note_differences(kind(part), old, &new.resources, step);
    }

    fn remove(&mut self, part: &Part, step: &mut Step) {
        let Some(old) = self.made.get(part).cloned() else {
            return;
        };
        self.made.remove_mut(part);
        self.unlist(part, &old.reads);
        note_differences(kind(part), &old.resources, &[], step);
    }

    /// Makes a part.
    pub fn make(
        &mut self,
        part: &Part,
        translator: &Translator<'_>,
        bodies: &Bodies,
    ) -> Arc<KeptPart> {
        let Made { resources, reads } = translator.make(part);
        let mut known = BTreeSet::new();
        // The first of a name counts.
        let resources: Vec<_> = resources
            .into_iter()
            .filter(|it| known.insert(it.name.clone()))
            .collect();
        let of_workload = resources.iter().map(|it| it.of_workload).collect();
        let kept = Arc::new(KeptPart {
            resources: resources.into_iter().map(|it| bodies.share(it)).collect(),
            reads,
            of_workload,
        });
        let old = self.made.get(part).cloned();
        if old.as_ref().is_none_or(|old| old.reads != kept.reads) {
            if let Some(old) = old {
                self.unlist(part, &old.reads);
            }
            self.list(part, &kept.reads);
            self.note(&kept.reads);
        }
        self.made.insert_mut(part.clone(), kept.clone());
        kept
    }

    fn list(&mut self, part: &Part, reads: &[Read]) {
        for read in reads.iter().filter(|it| !UNIVERSAL.contains(it)) {
            let readers = self.readers.entry(read.class()).or_default();
            let mut parts = readers.get(read).cloned().unwrap_or_default();
            parts.insert_mut(part.clone());
            readers.insert_mut(read.clone(), parts);
        }
    }

    fn unlist(&mut self, part: &Part, reads: &[Read]) {
        for read in reads.iter().filter(|it| !UNIVERSAL.contains(it)) {
            let readers = self.readers.entry(read.class()).or_default();
            let Some(mut parts) = readers.get(read).cloned() else {
                continue;
            };
            parts.remove_mut(part);
            if parts.is_empty() {
                readers.remove_mut(read);
            } else {
                readers.insert_mut(read.clone(), parts);
            }
        }
    }
}

/// What is read of a service's endpoints.
fn reads_of(place: &Place) -> [Read; 2] {
    [
        Read::Endpoints(place.clone()),
        Read::Accounts(place.clone()),
    ]
}

/// What nearly every part reads, and what changes nearly all of them.
const UNIVERSAL: [Read; 3] = [Read::Own, Read::Mesh, Read::Patches];

/// The kind of a part's resources.
pub(super) fn kind(part: &Part) -> Kind {
    match part {
        Part::ClustersOf(_) | Part::Clusters | Part::OwnClusters => Kind::Cluster,
        Part::Listeners | Part::OwnListeners | Part::Listener(_) => Kind::Listener,
        Part::Routes(_) => Kind::Route,
        Part::Endpoints(_) => Kind::Endpoint,
        Part::Secret(_) => Kind::Secret,
        Part::Extension(_) => Kind::Extension,
        Part::Bootstrap => Kind::Bootstrap,
        Part::NameTable => Kind::NameTable,
    }
}

fn note_differences(kind: Kind, old: &[Resource], new: &[Resource], step: &mut Step) {
    let versions = |all: &[Resource]| -> BTreeMap<Arc<str>, _> {
        let all = all.iter();
        all.map(|it| (it.name.clone(), it.version)).collect()
    };
    let (old, new) = (versions(old), versions(new));
    let differs = |name: &&Arc<str>| old.get(*name) != new.get(*name);
    let names: BTreeSet<_> = old.keys().chain(new.keys()).filter(differs).collect();
    step.changed
        .extend(names.into_iter().map(|name| (kind, name.clone())));
}
