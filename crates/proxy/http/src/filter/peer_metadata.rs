//! `envoy.filters.http.peer_metadata`: tells the peer who we are and learns who it is, by the
//! `x-envoy-peer-metadata` headers. What is learnt never goes on to the application.

use std::sync::Arc;

use http::HeaderMap;
use meltemi_ir as ir;
use meltemi_telemetry::PeerInfo;

use super::{Decision, HttpFilter, RequestContext, ResponseContext};
use crate::headers::names;
use crate::worker::WorkerContext;

/// Where what the mesh does not know goes.
const PASSTHROUGH: &str = "PassthroughCluster";

/// The filter with its settings.
#[derive(Debug)]
pub(crate) struct PeerMetadataFilter(ir::PeerMetadata);

/// Who is at each end of a stream, and what the downstream said of itself.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    pub(crate) downstream: Option<Arc<PeerInfo>>,
    pub(crate) upstream: Option<Arc<PeerInfo>>,
    told_id: bool,
    told_metadata: bool,
}

impl PeerMetadataFilter {
    pub(crate) fn new(config: ir::PeerMetadata) -> Self {
        Self(config)
    }
}

impl HttpFilter for PeerMetadataFilter {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Decision {
        let worker = &request.stream.connection.worker;
        let headers = &mut request.head.headers;
        let facts = &mut *request.stream.facts.borrow_mut();
        if self.0.downstream_discovery {
            let peers = &mut facts.notes.peers;
            peers.told_id = headers.remove(names::PEER_METADATA_ID).is_some();
            (peers.downstream, peers.told_metadata) = take(headers, worker);
        }
        let cluster = facts.cluster.as_ref();
        let skips = self.0.skip_external && cluster.is_some_and(|it| is_external(it.config()));
        if self.0.upstream_propagation && !skips {
            put(headers, worker, true, true);
        }
        Decision::Continue
    }

    fn on_response(&self, response: &mut ResponseContext<'_>) {
        let worker = &response.stream.connection.worker;
        let peers = &mut response.stream.facts.borrow_mut().notes.peers;
        if self.0.upstream_discovery && response.from_upstream {
            response.headers.remove(names::PEER_METADATA_ID);
            (peers.upstream, _) = take(response.headers, worker);
        }
        if self.0.downstream_propagation {
            let (id, metadata) = (peers.told_id, peers.told_metadata);
            put(response.headers, worker, id, metadata);
        }
    }
}

/// Takes the metadata header away: whom it describes, and whether it was there.
fn take(headers: &mut HeaderMap, worker: &WorkerContext) -> (Option<Arc<PeerInfo>>, bool) {
    match headers.remove(names::PEER_METADATA) {
        Some(value) => (worker.peers.get(value.as_bytes()), true),
        None => (None, false),
    }
}

fn put(headers: &mut HeaderMap, worker: &WorkerContext, id: bool, metadata: bool) {
    if id {
        headers.insert(names::PEER_METADATA_ID, worker.identity.id.clone());
    }
    if metadata {
        headers.insert(names::PEER_METADATA, worker.identity.metadata.clone());
    }
}

/// The cluster lies outside the mesh, and need not know what runs inside.
fn is_external(cluster: &ir::Cluster) -> bool {
    cluster.name == PASSTHROUGH
        || cluster.metadata.get("istio", "external") == Some(&ir::Value::Bool(true))
}
