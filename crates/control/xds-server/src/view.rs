//! What a session serves from: the state of the mesh at one moment, for one proxy.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_xds::pb::envoy::config::core::v3::Node;
use prost_types::Any;

use crate::Kind;

/// A resource, encoded once and shared by every proxy that sees the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// Its name.
    pub name: String,
    /// Changes exactly when its content does.
    pub version: String,
    /// The message.
    pub body: Arc<Any>,
    /// A cluster of this kind serves only once these endpoints have arrived.
    pub needs_endpoints: bool,
}

/// Which resources of a kind a proxy wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// All that the proxy should have.
    All,
    /// Those of these names that exist.
    Names(&'a BTreeSet<String>),
}

/// The state of the mesh at one moment. Pure: the same question gives the same answer.
pub trait View: Send + Sync {
    /// A number that grows with every change, for display.
    fn version(&self) -> u64;

    /// The resources of a kind for a proxy, sorted by name.
    fn resources(&self, node: &Node, kind: Kind, wanted: &Wanted<'_>) -> Vec<Resource>;
}
