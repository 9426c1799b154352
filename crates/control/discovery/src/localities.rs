//! Where workloads are that do not say so themselves: where their Node is (FEATURES R2).
//!
//! In: Nodes and workloads, as they come and go. Out: workloads with a locality, and those to look at
//! again. Called by [`crate::mesh`].

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_model::{Config, Locality, ResourceId, Workload};

/// Where Nodes are, and what runs on them.
#[derive(Debug, Default)]
pub(crate) struct Localities {
    nodes: BTreeMap<Arc<str>, Locality>,
    /// The Nodes of resources whose workloads do not say where they are.
    node_of: BTreeMap<ResourceId, String>,
}

impl Localities {
    /// Notes a Node, or that it is gone: the resources whose workloads are elsewhere now.
    pub fn follow(&mut self, name: &Arc<str>, node: Option<&Arc<Config>>) -> Vec<ResourceId> {
        let locality = match node.map(AsRef::as_ref) {
            Some(Config::Node(node)) => node.locality.clone(),
            Some(_) | None => None,
        };
        if self.nodes.get(name) == locality.as_ref() {
            return Vec::new();
        }
        match locality {
            Some(locality) => self.nodes.insert(name.clone(), locality),
            None => self.nodes.remove(name),
        };
        let here = self.node_of.iter().filter(|(_, node)| **node == **name);
        here.map(|(id, _)| id.clone()).collect()
    }

    /// Gives the workloads of a resource the locality of their Node.
    pub fn place(&mut self, id: &ResourceId, mut config: Config) -> Config {
        self.forget(id);
        let workloads: &mut [Workload] = match &mut config {
            Config::Pod(pod) => std::slice::from_mut(pod),
            Config::Deployment(deployment) => &mut deployment.workloads,
            _ => &mut [],
        };
        for workload in workloads {
            if let (None, Some(node)) = (&workload.locality, &workload.node) {
                workload.locality = self.nodes.get(node.as_str()).cloned();
                self.node_of.insert(id.clone(), node.clone());
            }
        }
        config
    }

    /// A resource is gone.
    pub fn forget(&mut self, id: &ResourceId) {
        self.node_of.remove(id);
    }
}
