//! What `/clusters` prints.

use std::net::SocketAddr;
use std::sync::Arc;

use meltemi_ir::{Address, CircuitBreakers, HealthStatus, Locality, Metadata};

use crate::host::{HostAttributes, sum};
use crate::{HealthFlags, Host, HostHealth};

/// What `/clusters` prints of a cluster.
#[derive(Clone, Debug)]
pub struct ClusterSnapshot {
    /// Its name.
    pub name: String,
    /// Whether its configuration came over xDS.
    pub added_via_api: bool,
    /// The limits.
    pub circuit_breakers: CircuitBreakers,
    /// Its hosts.
    pub hosts: Vec<HostSnapshot>,
}

/// What `/clusters` prints of a host.
#[derive(Clone, Debug)]
pub struct HostSnapshot {
    /// Its address.
    pub address: Address,
    /// Where a name points to at the moment.
    pub resolved: Option<SocketAddr>,
    /// Its host name.
    pub hostname: String,
    /// Whether it gets traffic.
    pub health: HostHealth,
    /// Everything that is said of its health.
    pub flags: HealthFlags,
    /// What the control plane says of it.
    pub eds_health: HealthStatus,
    /// Whether it is a canary.
    pub canary: bool,
    /// Its success rate in percent, or -1; see [`Host::success_rate`].
    pub success_rate: f64,
    /// The same for connections; see [`Host::local_origin_success_rate`].
    pub local_origin_success_rate: f64,
    /// Its weight.
    pub weight: u32,
    /// Its locality.
    pub locality: Locality,
    /// Its priority.
    pub priority: u32,
    /// Its metadata.
    pub metadata: Arc<Metadata>,
    /// Connections open.
    pub cx_active: u64,
    /// Connections that failed.
    pub cx_connect_fail: u64,
    /// Connections begun.
    pub cx_total: u64,
    /// Requests in flight.
    pub rq_active: u64,
    /// Requests that wait for a connection.
    pub rq_pending_active: u64,
    /// Requests that failed.
    pub rq_error: u64,
    /// Requests answered well.
    pub rq_success: u64,
    /// Requests that timed out.
    pub rq_timeout: u64,
    /// Requests.
    pub rq_total: u64,
}

impl HostSnapshot {
    pub(super) fn new(host: &Host) -> Self {
        let HostAttributes {
            metadata,
            weight,
            eds_health,
            priority,
        } = HostAttributes::clone(&host.attributes());
        let stats = host.stats_of_all();
        let total = |counter: fn(&crate::HostStats) -> &meltemi_telemetry::Counter| -> u64 {
            host.all_stats().map(|shard| counter(shard).get()).sum()
        };
        Self {
            address: host.address().clone(),
            resolved: host.socket_address(),
            hostname: host.hostname().to_owned(),
            health: host.health(),
            flags: host.flags(),
            canary: host.is_canary(),
            success_rate: host.success_rate(),
            local_origin_success_rate: host.local_origin_success_rate(),
            eds_health,
            weight,
            locality: host.locality().clone(),
            priority,
            metadata,
            cx_active: sum(stats, |stats| &stats.cx_active),
            rq_active: sum(stats, |stats| &stats.rq_active),
            rq_pending_active: sum(stats, |stats| &stats.rq_pending_active),
            cx_connect_fail: total(|stats| &stats.cx_connect_fail),
            cx_total: total(|stats| &stats.cx_total),
            rq_error: total(|stats| &stats.rq_error),
            rq_success: total(|stats| &stats.rq_success),
            rq_timeout: total(|stats| &stats.rq_timeout),
            rq_total: total(|stats| &stats.rq_total),
        }
    }
}
