//! What a caller sees who has proven nothing: everything but secrets.
//!
//! In: what the proxy would see that it says it is. Out: the same without private keys, for whoever
//! speaks plain text. istiod does the same. Called by `service`.

use std::sync::Arc;

use crate::{Kind, Mark, ProxyView, Resource, Wanted};

/// The mesh as somebody sees it who may be anybody.
pub(crate) struct Unproven(pub Arc<dyn ProxyView>);

impl ProxyView for Unproven {
    fn version(&self) -> u64 {
        self.0.version()
    }

    fn resources(&self, kind: Kind, wanted: &Wanted<'_>) -> Vec<Resource> {
        match kind {
            Kind::Secret => Vec::new(),
            kind => self.0.resources(kind, wanted),
        }
    }

    fn changed_since(&self, kind: Kind, mark: Mark) -> Option<Vec<Arc<str>>> {
        self.0.changed_since(kind, mark)
    }

    fn mark(&self) -> Option<Mark> {
        self.0.mark()
    }

    fn is_outdated(&self) -> bool {
        self.0.is_outdated()
    }
}
