//! What one worker's connections share: pools, randomness, clock, log buffers, who we are.
//! The worker makes one and hands it to every connection; nothing in it leaves the thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;
use meltemi_lifecycle::{Clock, Random, WorkerId};
use meltemi_telemetry::{GrpcMethodStats, IstioRecorder, LogBuffers, PeerCache, PeerInfo, Sharded};
use meltemi_upstream::Pools;

use crate::exchange::Lender;
use crate::headers::pool::HeaderPool;
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
    /// Where requests lie on their way upstream.
    pub(crate) lender: Lender,
    pub(crate) kept: HeaderPool,
    date: RefCell<(u64, HeaderValue)>,
    /// The server was told to fail health checks.
    failing: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Statistics of gRPC methods that were called here, by cluster and path.
    grpc: RefCell<HashMap<(String, String), MethodStats>>,
}

/// Statistics of one gRPC method.
type MethodStats = Arc<Sharded<GrpcMethodStats>>;

/// Who this proxy is, as it tells its peers.
#[derive(Clone, Debug)]
pub struct Identity {
    /// This workload.
    pub peer: Arc<PeerInfo>,
    /// `node.id`, the value of `x-envoy-peer-metadata-id`.
    pub(crate) id: HeaderValue,
    /// The value of `x-envoy-peer-metadata`.
    pub(crate) metadata: HeaderValue,
    /// `node.cluster`.
    pub(crate) cluster: HeaderValue,
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
    /// Whether the server was told to fail health checks.
    pub failing: Arc<dyn Fn() -> bool + Send + Sync>,
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
            cluster: value(""),
            peer,
        }
    }

    /// The same in this cluster (`node.cluster`).
    #[must_use]
    pub fn in_cluster(mut self, cluster: &str) -> Self {
        if let Ok(cluster) = HeaderValue::from_str(cluster) {
            self.cluster = cluster;
        }
        self
    }

    /// `node.cluster`.
    pub(crate) fn cluster_name(&self) -> String {
        self.cluster.to_str().unwrap_or_default().to_owned()
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
            failing,
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
            lender: Lender::default(),
            kept: HeaderPool::default(),
            date: RefCell::new((0, HeaderValue::from_static(""))),
            failing,
            grpc: RefCell::default(),
        })
    }

    /// Whether the server was told to fail health checks.
    pub(crate) fn is_failing(&self) -> bool {
        (self.failing)()
    }

    /// The time of day as a response says it.
    pub(crate) fn date(&self) -> HeaderValue {
        let now = self.clock.since_epoch();
        let mut date = self.date.borrow_mut();
        let (second, value) = &mut *date;
        if *second != now.as_secs() {
            *second = now.as_secs();
            let text = httpdate::fmt_http_date(std::time::UNIX_EPOCH + now);
            *value = HeaderValue::try_from(text).expect("a date is ASCII");
        }
        value.clone()
    }

    /// The statistics of a gRPC method, made at its first call.
    pub(crate) fn grpc_stats(
        &self,
        cluster: &str,
        path: &str,
        make: impl FnOnce() -> Arc<Sharded<GrpcMethodStats>>,
    ) -> Arc<Sharded<GrpcMethodStats>> {
        const MOST: usize = 4096;
        let mut known = self.grpc.borrow_mut();
        if known.len() >= MOST {
            known.clear();
        }
        let key = (cluster.to_owned(), path.to_owned());
        known.entry(key).or_insert_with(make).clone()
    }
}

impl std::fmt::Debug for WorkerContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerContext")
            .field("worker", &self.worker)
            .finish_non_exhaustive()
    }
}
