//! One worker's view of the clusters: load balancing state and connection pools.

use std::net::SocketAddr;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use meltemi_ir as ir;
use meltemi_lifecycle::WorkerId;
use meltemi_telemetry::ClusterStats;

use crate::{
    Cluster, ClusterManager, ConnectFailure, Host, HttpLease, HttpVersion, UpstreamStream,
};

/// All pools of one worker.
pub struct Pools {
    _private: (),
}

impl Pools {
    /// The pools of one worker. Call inside the worker's `LocalSet`: it spawns the sweep of
    /// idle connections there, which ends when the pools are dropped.
    pub fn new(_manager: Arc<ClusterManager>, _worker: WorkerId) -> Rc<Self> {
        unimplemented!()
    }
    /// The cluster in service under this name.
    pub fn cluster(&self, _name: &str) -> Option<Rc<WorkerCluster>> {
        unimplemented!()
    }
}

/// What load balancing looks at besides the hosts.
#[derive(Clone, Copy, Debug, Default)]
pub struct LbContext<'a> {
    /// The downstream connection's original destination, for such clusters.
    pub original_destination: Option<SocketAddr>,
    /// The request's headers, for an original destination in a header.
    pub headers: Option<&'a http::HeaderMap>,
    /// Ids of hosts tried before, which to avoid.
    pub avoid: &'a [u64],
    /// How often to choose again to avoid one (`host_selection_retry_max_attempts`).
    pub max_attempts: u32,
}

/// A cluster with this worker's balancing state. Dereferences to the shared [`Cluster`].
pub struct WorkerCluster {
    shared: Arc<Cluster>,
}

impl Deref for WorkerCluster {
    type Target = Arc<Cluster>;
    fn deref(&self) -> &Arc<Cluster> {
        &self.shared
    }
}

impl WorkerCluster {
    /// Chooses a host; none where no host may get traffic (flag `UH`).
    pub fn choose(&self, _context: &LbContext<'_>) -> Option<Rc<WorkerHost>> {
        unimplemented!()
    }
    /// A connection to send one request on.
    ///
    /// # Errors
    /// When a circuit breaker is open or no connection could be made.
    pub async fn http(
        self: &Rc<Self>,
        _host: &Rc<WorkerHost>,
        _downstream: HttpVersion,
        _priority: ir::Priority,
    ) -> Result<HttpLease, ConnectFailure> {
        unimplemented!()
    }
    /// A connection of its own, for TCP proxying.
    ///
    /// # Errors
    /// When a circuit breaker is open or no connection could be made.
    pub async fn tcp(
        self: &Rc<Self>,
        _host: &Rc<WorkerHost>,
    ) -> Result<UpstreamStream, ConnectFailure> {
        unimplemented!()
    }
    /// The right to retry once more, if `max_retries` has room (else `UO`,
    /// `upstream_rq_retry_overflow`); hold it until the retry's response has ended.
    pub fn retry(self: &Rc<Self>, _priority: ir::Priority) -> Option<RetryGuard> {
        unimplemented!()
    }
    /// This worker's shard of the cluster's statistics.
    pub fn stats(&self) -> &ClusterStats {
        unimplemented!()
    }
}

/// Counts as an active retry until dropped.
#[derive(Debug)]
pub struct RetryGuard {
    _private: (),
}

/// A host with this worker's connection pools. Dereferences to the shared [`Host`].
pub struct WorkerHost {
    shared: Arc<Host>,
}

impl Deref for WorkerHost {
    type Target = Arc<Host>;
    fn deref(&self) -> &Arc<Host> {
        &self.shared
    }
}

impl WorkerHost {
    /// Counts a response for `/clusters`: a 5xx, reset or failed connection is an error.
    pub fn record_response(&self, _success: bool) {
        unimplemented!()
    }
    /// Counts a timeout for `/clusters`.
    pub fn record_timeout(&self) {
        unimplemented!()
    }
}
