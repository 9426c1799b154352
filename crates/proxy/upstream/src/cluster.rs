//! A cluster as all workers share it: configuration, hosts, circuit breakers, statistics.

use std::sync::Arc;

use meltemi_ir as ir;
use meltemi_lifecycle::WorkerId;
use meltemi_telemetry::ClusterStats;

use crate::{HostHealth, HostSet};

/// A cluster; made by the manager, immutable but for its hosts.
#[derive(Debug)]
pub struct Cluster {
    config: ir::Cluster,
}

impl Cluster {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.config.name
    }
    /// Its configuration.
    pub fn config(&self) -> &ir::Cluster {
        &self.config
    }
    /// Its hosts now.
    pub fn hosts(&self) -> Arc<HostSet> {
        unimplemented!()
    }
    /// What `/clusters` prints.
    pub fn snapshot(&self) -> ClusterSnapshot {
        unimplemented!()
    }
    /// A worker's shard of its statistics.
    pub fn stats(&self, _worker: WorkerId) -> &ClusterStats {
        unimplemented!()
    }
}

/// What `/clusters` prints of a cluster.
#[derive(Clone, Debug)]
pub struct ClusterSnapshot {
    /// Its name.
    pub name: String,
    /// Whether its configuration came over xDS.
    pub added_via_api: bool,
    /// The limits.
    pub circuit_breakers: ir::CircuitBreakers,
    /// Its hosts.
    pub hosts: Vec<HostSnapshot>,
}

/// What `/clusters` prints of a host.
#[derive(Clone, Debug)]
pub struct HostSnapshot {
    /// Its address.
    pub address: ir::Address,
    /// Its host name.
    pub hostname: String,
    /// Whether it gets traffic.
    pub health: HostHealth,
    /// What the control plane says of it.
    pub eds_health: ir::HealthStatus,
    /// Its weight.
    pub weight: u32,
    /// Its locality.
    pub locality: ir::Locality,
    /// Its priority.
    pub priority: u32,
    /// Connections open.
    pub cx_active: u64,
    /// Connections that failed.
    pub cx_connect_fail: u64,
    /// Connections made.
    pub cx_total: u64,
    /// Requests in flight.
    pub rq_active: u64,
    /// Requests that failed.
    pub rq_error: u64,
    /// Requests answered well.
    pub rq_success: u64,
    /// Requests that timed out.
    pub rq_timeout: u64,
    /// Requests.
    pub rq_total: u64,
}
