//! All clusters: configuration enters here, workers look clusters up.

use std::sync::Arc;

use meltemi_ir as ir;
use meltemi_lifecycle::{Clock, RandomSource};
use meltemi_telemetry::StatsRegistry;
use meltemi_tls::SecretStore;

use crate::Cluster;

/// What clusters are built with.
pub struct UpstreamContext {
    /// Where statistics are kept.
    pub stats: Arc<StatsRegistry>,
    /// Certificates and trust anchors.
    pub secrets: Arc<SecretStore>,
    /// How many workers there are.
    pub workers: usize,
    /// Seeds each worker's generator.
    pub random: Arc<RandomSource>,
    /// The time.
    pub clock: Clock,
}

/// Why a cluster's configuration is not served.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Its TLS settings cannot be served.
    #[error("{path}: {source}")]
    Tls {
        /// The field.
        path: String,
        /// Why.
        source: meltemi_tls::TlsError,
    },
}

/// All clusters. Shared by all threads.
pub struct ClusterManager {
    _context: UpstreamContext,
}

impl ClusterManager {
    /// No clusters yet.
    pub fn new(context: UpstreamContext) -> Arc<Self> {
        Arc::new(Self { _context: context })
    }
    /// Adds a cluster or replaces it once the new one's endpoints are known.
    /// `added_via_api` is false for `static_resources`.
    ///
    /// # Errors
    /// When it cannot be served; the old one stays.
    pub fn apply(&self, _cluster: ir::Cluster, _added_via_api: bool) -> Result<(), ClusterError> {
        unimplemented!()
    }
    /// Removes a cluster; its requests in flight end in peace.
    pub fn remove(&self, _name: &str) {
        unimplemented!()
    }
    /// The endpoints of every cluster with this EDS service name, now or later.
    pub fn apply_endpoints(&self, _assignment: ir::LoadAssignment) {
        unimplemented!()
    }
    /// The management server no longer has these endpoints.
    pub fn remove_endpoints(&self, _service_name: &str) {
        unimplemented!()
    }
    /// The cluster in service under this name.
    pub fn get(&self, _name: &str) -> Option<Arc<Cluster>> {
        unimplemented!()
    }
    /// All clusters in service, by name.
    pub fn clusters(&self) -> Vec<Arc<Cluster>> {
        unimplemented!()
    }
    /// All clusters that wait for their endpoints, by name.
    pub fn warming(&self) -> Vec<Arc<Cluster>> {
        unimplemented!()
    }
    /// The EDS service names that clusters, warming or in service, ask for.
    pub fn wanted_endpoints(&self) -> Vec<String> {
        unimplemented!()
    }
    /// Ends when no cluster is warming.
    pub async fn warmed(&self) {
        unimplemented!()
    }
    /// Resolves names and ends overdue warming until dropped; runs on the main runtime.
    pub async fn run(self: Arc<Self>) {
        unimplemented!()
    }
}
