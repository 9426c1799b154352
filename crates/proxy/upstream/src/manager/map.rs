//! The clusters in service by name, as one value that readers share: a change makes another that
//! shares almost all of its parts with the one before.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use crate::Cluster;

/// Parts. A change copies one of them, and the list of all.
const PARTS: usize = 256;

/// Clusters by name.
#[derive(Clone)]
pub(super) struct ClusterMap {
    parts: Box<[Part]>,
    len: usize,
}

type Part = Arc<HashMap<Arc<str>, Arc<Cluster>>>;

impl Default for ClusterMap {
    fn default() -> Self {
        let none = Part::default();
        Self {
            parts: vec![none; PARTS].into(),
            len: 0,
        }
    }
}

impl ClusterMap {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, name: &str) -> Option<&Arc<Cluster>> {
        self.parts[part(name)].get(name)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Arc<Cluster>> {
        self.parts.iter().flat_map(|part| part.values())
    }

    pub(super) fn insert(&mut self, cluster: Arc<Cluster>) {
        let name = Arc::from(cluster.name());
        let part = Arc::make_mut(&mut self.parts[part(&name)]);
        self.len += usize::from(part.insert(name, cluster).is_none());
    }

    pub(super) fn remove(&mut self, name: &str) {
        let part = Arc::make_mut(&mut self.parts[part(name)]);
        self.len -= usize::from(part.remove(name).is_some());
    }
}

fn part(name: &str) -> usize {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the low bits are as good as any"
    )]
    let hash = hasher.finish() as usize;
    hash % PARTS
}
