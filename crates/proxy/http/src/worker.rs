//! What one worker's connections share: pools, randomness, clock, log buffers, who we are.
//! The worker makes one and hands it to every connection; nothing in it leaves the thread.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;
use meltemi_lifecycle::{Clock, Random, WorkerId};
use meltemi_telemetry::{IstioRecorder, LogBuffers, PeerCache, PeerInfo};
use meltemi_upstream::Pools;

use crate::timer::SleepPool;

/// What a worker's connections share.
pub struct WorkerContext {
    /// Which worker.
    pub worker: WorkerId,
    /// Clusters as this worker sees them, and its connections to them.
    pub pools: Rc<Pools>,
    /// Random numbers.
    pub random: Random,
    /// The time.
    pub clock: Clock,
    /// Where Istio's standard metrics are counted.
    pub recorder: IstioRecorder,
    /// Lines of access logs on their way to the files; the worker flushes them.
    pub logs: LogBuffers,
    /// Who this proxy is.
    pub identity: Identity,
    /// This machine's address, which stands for a client on the loopback interface in
    /// `x-forwarded-for`.
    pub local_ip: Option<IpAddr>,
    /// Peers known by their metadata header.
    pub peers: PeerCache,
    pub(crate) sleeps: Rc<SleepPool>,
}

/// Who this proxy is, as it tells its peers.
#[derive(Clone, Debug)]
pub struct Identity {
    /// This workload.
    pub peer: Arc<PeerInfo>,
    /// `node.id`, the value of `x-envoy-peer-metadata-id`.
    pub(crate) id: HeaderValue,
    /// The value of `x-envoy-peer-metadata`.
    pub(crate) metadata: HeaderValue,
}

/// What a worker is made of; see [`WorkerContext`] for the fields.
pub struct WorkerParts {
    /// Which worker.
    pub worker: WorkerId,
    /// Clusters and connections.
    pub pools: Rc<Pools>,
    /// Random numbers.
    pub random: Random,
    /// The time.
    pub clock: Clock,
    /// Istio's standard metrics.
    pub recorder: IstioRecorder,
    /// Who this proxy is.
    pub identity: Identity,
    /// This machine's address.
    pub local_ip: Option<IpAddr>,
}

impl Identity {
    /// A proxy with this node id that stands for this workload.
    pub fn new(node_id: &str, peer: Arc<PeerInfo>) -> Self {
        let value = |text: &str| {
            HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
        };
        Self {
            id: value(node_id),
            metadata: value(&peer.encode()),
            peer,
        }
    }
}

impl WorkerContext {
    /// A worker's context.
    pub fn new(parts: WorkerParts) -> Rc<Self> {
        let WorkerParts {
            worker,
            pools,
            random,
            clock,
            recorder,
            identity,
            local_ip,
        } = parts;
        Rc::new(Self {
            worker,
            pools,
            random,
            clock,
            recorder,
            logs: LogBuffers::default(),
            identity,
            local_ip,
            peers: PeerCache::default(),
            sleeps: Rc::new(SleepPool::default()),
        })
    }
}

impl std::fmt::Debug for WorkerContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerContext")
            .field("worker", &self.worker)
            .finish_non_exhaustive()
    }
}
