//! What filters remember of a stream between its events, and what they leave for others:
//! metadata and filter state.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderValue;
use meltemi_ir as ir;

use super::peer_metadata::Peers;

/// What filters remember of a stream. Nothing is allocated while nobody remembers anything.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) peers: Peers,
    /// ALPN to offer upstream in place of the cluster's.
    pub(crate) alpn: Option<Arc<ir::AlpnOverride>>,
    /// The origin that may read the response.
    pub(crate) allowed_origin: Option<HeaderValue>,
    /// The request asks for this proxy's health.
    pub(crate) health_check: bool,
    /// The route is to be looked for again when the filters have seen the request.
    pub(crate) reroute: bool,
    /// Who could compress the response.
    pub(crate) offers: super::compressor::Offers,
    shared: Option<Box<Shared>>,
    own: Vec<(usize, Box<dyn Any>)>,
}

/// What filters leave for others.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Dynamic metadata.
    pub(crate) metadata: ir::Metadata,
    /// Filter state, as text.
    pub(crate) state: BTreeMap<String, String>,
}

impl Notes {
    /// Keeps what the filter at this position remembers.
    pub(crate) fn remember<T: 'static>(&mut self, position: usize, state: T) {
        self.own.push((position, Box::new(state)));
    }

    /// Takes what the filter at this position remembers.
    pub(crate) fn recall<T: 'static>(&mut self, position: usize) -> Option<T> {
        let at = self
            .own
            .iter()
            .position(|(owner, state)| *owner == position && state.is::<T>())?;
        let (_, state) = self.own.swap_remove(at);
        state.downcast().ok().map(|state| *state)
    }

    /// Forgets what filters remember for themselves.
    pub(crate) fn forget(&mut self) {
        self.own.clear();
    }

    /// What filters left, if anything.
    pub(crate) fn shared(&self) -> Option<&Shared> {
        self.shared.as_deref()
    }

    /// What filters leave.
    pub(crate) fn shared_mut(&mut self) -> &mut Shared {
        self.shared.get_or_insert_default()
    }
}
