//! Which definition of a resource counts when there are several.
//!
//! In: resources from the mesh configuration file, Kubernetes, the directories, and the program itself. Out: for
//! each id the definition of the highest layer. Called by [`crate::mesh`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meltemi_model::{Config, KeySource, ResourceId};
use tokio::sync::mpsc;

/// Where a definition comes from; a later layer goes before an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Layer {
    /// What holds where nothing else is said.
    Base,
    /// The API server of a cluster.
    Kubernetes,
    /// The directories.
    Files,
    /// The program: [`crate::Options::resources`] and [`Resources`].
    Program,
}

/// All definitions.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    by_id: BTreeMap<ResourceId, BTreeMap<Layer, Arc<Config>>>,
}

/// A change by the program itself.
#[derive(Debug)]
pub(crate) enum Change {
    /// A resource is new or has changed.
    Apply(Box<Config>),
    /// A resource is gone.
    Delete(ResourceId),
    /// The workload of a WorkloadEntry is healthy, or is not; `None` where that is not known any more.
    Health(ResourceId, Option<bool>),
    /// An issuer's keys were fetched, or could not be.
    Keys(KeySource, Result<Arc<str>, String>),
}

/// Resources of the program itself, which go before those of the directories.
#[derive(Clone, Debug)]
pub struct Resources(pub(crate) mpsc::UnboundedSender<Change>);

impl Resources {
    /// The way to the mesh, and its other end.
    pub(crate) fn channel() -> (Self, mpsc::UnboundedReceiver<Change>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Adds a resource or replaces the one with its id.
    pub fn apply(&self, config: Config) {
        // Without a receiver the control plane has ended and nobody is left to be told.
        let _ = self.0.send(Change::Apply(Box::new(config)));
    }

    /// Takes a resource back; one of the same id in the directories counts again.
    pub fn delete(&self, id: ResourceId) {
        let _ = self.0.send(Change::Delete(id));
    }
}

impl Layers {
    /// Sets (or with `None` removes) a definition; the answer is the one that counts now.
    pub fn set(
        &mut self,
        layer: Layer,
        id: &ResourceId,
        config: Option<Arc<Config>>,
    ) -> Option<Arc<Config>> {
        let definitions = self.by_id.entry(id.clone()).or_default();
        match config {
            Some(config) => definitions.insert(layer, config),
            None => definitions.remove(&layer),
        };
        let winner = definitions.values().next_back().cloned();
        if winner.is_none() {
            self.by_id.remove(id);
        }
        winner
    }

    /// The definition of a resource that counts, if there is one.
    pub fn get(&self, id: &ResourceId) -> Option<Arc<Config>> {
        self.by_id.get(id)?.values().next_back().cloned()
    }

    /// Every definition that counts.
    pub fn counting(&self) -> Vec<(ResourceId, Arc<Config>)> {
        let last = self.by_id.iter();
        last.filter_map(|(id, it)| Some((id.clone(), it.values().next_back()?.clone())))
            .collect()
    }

    /// The ids that have a definition in this layer.
    pub fn ids(&self, layer: Layer) -> BTreeSet<ResourceId> {
        self.by_id
            .iter()
            .filter(|(_, definitions)| definitions.contains_key(&layer))
            .map(|(id, _)| id.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests;
