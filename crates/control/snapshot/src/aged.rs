//! Resources in the order of their age, in which they win over one another: all of them, and those of each
//! namespace.
//!
//! In: resources that come and go one by one. Out: the oldest first, without sorting. A copy shares
//! everything with the original until it is changed, and a change copies a few nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meltemi_model::{Metadata, NamespaceName, Timestamp};
use rpds::RedBlackTreeMapSync;

/// Where a resource stands among others: its age, its name, and of what is made of one resource, which.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    created: Option<Timestamp>,
    name: Arc<str>,
    place: usize,
}

/// Resources, the oldest first, ties by name.
#[derive(Debug, Clone)]
pub(crate) struct Aged<T> {
    all: Ranked<T>,
    by_namespace: RedBlackTreeMapSync<NamespaceName, Ranked<T>>,
}

type Ranked<T> = RedBlackTreeMapSync<Rank, Arc<T>>;

impl Rank {
    /// Of what is made of the resource with this metadata, the one at `place`.
    pub fn new(meta: &Metadata, place: usize) -> Self {
        let (created, name) = meta.age_key();
        Self {
            created,
            name: name.into(),
            place,
        }
    }
}

impl<T> Default for Aged<T> {
    fn default() -> Self {
        Self {
            all: RedBlackTreeMapSync::default(),
            by_namespace: RedBlackTreeMapSync::default(),
        }
    }
}

impl<T> Aged<T> {
    /// Adds a resource of a namespace.
    pub fn insert(&mut self, namespace: &NamespaceName, rank: Rank, resource: Arc<T>) {
        let here = self.by_namespace.get(namespace);
        let mut here = here.cloned().unwrap_or_default();
        here.insert_mut(rank.clone(), resource.clone());
        self.by_namespace.insert_mut(namespace.clone(), here);
        self.all.insert_mut(rank, resource);
    }

    /// Removes a resource of a namespace.
    pub fn remove(&mut self, namespace: &NamespaceName, rank: &Rank) {
        self.all.remove_mut(rank);
        let Some(mut here) = self.by_namespace.get(namespace).cloned() else {
            return;
        };
        here.remove_mut(rank);
        if here.is_empty() {
            self.by_namespace.remove_mut(namespace);
        } else {
            self.by_namespace.insert_mut(namespace.clone(), here);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.size()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All of them.
    pub fn iter<'a>(&'a self) -> impl Iterator<Item = &'a Arc<T>> + use<'a, T> {
        self.all.values()
    }

    /// Those of a namespace.
    pub fn in_namespace<'a>(
        &'a self,
        namespace: &NamespaceName,
    ) -> impl Iterator<Item = &'a Arc<T>> + use<'a, T> {
        let here = self.by_namespace.get(namespace);
        here.into_iter().flat_map(RedBlackTreeMapSync::values)
    }

    /// Those of some namespaces.
    pub fn in_namespaces(&self, namespaces: &BTreeSet<&NamespaceName>) -> Vec<&Arc<T>> {
        let mut here = namespaces
            .iter()
            .filter_map(|it| self.by_namespace.get(*it));
        match (here.next(), here.next()) {
            (None, _) => Vec::new(),
            (Some(one), None) => one.values().collect(),
            (Some(first), Some(second)) => {
                let all = [first, second].into_iter().chain(here);
                let ranked: BTreeMap<_, _> = all.flatten().collect();
                ranked.into_values().collect()
            }
        }
    }
}
