//! `istio.alpn`: tells the server by ALPN which protocol was found at the client, so that it
//! need not look for itself inside the mesh's mutual TLS.

use std::sync::Arc;

use meltemi_ir as ir;

use super::{Decision, HttpFilter, RequestContext};

/// The filter with its settings.
#[derive(Debug)]
pub(crate) struct AlpnFilter(Arc<ir::AlpnOverride>);

impl AlpnFilter {
    pub(crate) fn new(overrides: Arc<ir::AlpnOverride>) -> Self {
        Self(overrides)
    }
}

impl HttpFilter for AlpnFilter {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Decision {
        let facts = &mut *request.stream.facts.borrow_mut();
        let cluster = facts.cluster.as_ref();
        if !cluster.is_some_and(|cluster| keeps_its_own(&cluster.config().metadata)) {
            facts.notes.alpn = Some(self.0.clone());
        }
        Decision::Continue
    }
}

/// The cluster's TLS is not the mesh's own.
fn keeps_its_own(metadata: &ir::Metadata) -> bool {
    let said = metadata.get("istio", "alpn_override");
    matches!(said, Some(ir::Value::String(said)) if said == "false")
}
