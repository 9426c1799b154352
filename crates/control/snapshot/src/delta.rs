//! What changed between two snapshots.
//!
//! In: the changes that a [`crate::Store`] took since its last commit. Out: [`Delta`], by which the
//! push layer tells what it must send again.

use std::collections::BTreeSet;

use meltemi_model::{Hostname, Kind, NamespaceName, ResourceId};

/// The difference between a snapshot and the one before it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    /// Resources that were added, changed or removed.
    pub changed: BTreeSet<ResourceId>,
    /// Services whose endpoints are others than before, for whatever reason.
    pub endpoints: BTreeSet<(NamespaceName, Hostname)>,
}

impl Delta {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.endpoints.is_empty()
    }

    /// Whether a resource of this kind changed.
    pub fn has(&self, kind: Kind) -> bool {
        self.changed.iter().any(|id| id.kind == kind)
    }

    /// Whether nothing but endpoints changed: only EDS (and what is made of the endpoints' identities)
    /// has to be sent again.
    pub fn only_endpoints(&self) -> bool {
        self.changed
            .iter()
            .all(|id| matches!(id.kind, Kind::Deployment | Kind::Pod | Kind::EndpointSlice))
    }

    /// Adds a later difference to this one.
    pub fn merge(&mut self, later: Self) {
        self.changed.extend(later.changed);
        self.endpoints.extend(later.endpoints);
    }
}
