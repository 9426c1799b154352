//! Endpoints as the data plane sees them: identity, address, health, counters.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use meltemi_ir::{Address, EndpointHealthCheck, HealthStatus, Locality, Metadata, SlowStart};
use meltemi_lifecycle::WorkerId;
use meltemi_telemetry::{Counter, Gauge, Sharded};
use tokio::time::Instant;

use crate::outlier::{Monitor, Outcome};
use crate::transport::Transport;

mod flags;
mod set;

pub use flags::{HealthFlags, HostHealth};
pub(crate) use set::SetSettings;
pub use set::{HostEntry, HostSet, PriorityHosts};

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// An endpoint. The same value lives on while updates keep the endpoint, so that its pools
/// and counters do.
#[derive(Debug)]
pub struct Host {
    id: u64,
    address: Address,
    hostname: String,
    locality: Locality,
    transport: Transport,
    attributes: ArcSwap<HostAttributes>,
    attributes_version: AtomicU64,
    health_check: Option<Box<EndpointHealthCheck>>,
    /// Where it is reached besides, should that fail or take long.
    additional_addresses: Vec<SocketAddr>,
    /// Where a logical name points to at the moment.
    resolved: ArcSwapOption<SocketAddr>,
    /// What outlier detection and health checks say.
    flags: AtomicU32,
    /// Since when it is healthy, for slow start.
    healthy_since: ArcSwapOption<Instant>,
    /// Counts failures, where the cluster detects outliers.
    monitor: Option<Box<Monitor>>,
    stats: Sharded<HostStats>,
}

/// What an update may change of a host that stays.
#[derive(Clone, Debug, PartialEq)]
pub struct HostAttributes {
    /// Such as `istio` workload names.
    pub metadata: Arc<Metadata>,
    /// Its weight, at least 1.
    pub weight: u32,
    /// What the control plane says of its health.
    pub eds_health: HealthStatus,
    /// 0 is preferred.
    pub priority: u32,
}

/// What is counted of a host, by worker.
#[derive(Debug, Default)]
pub struct HostStats {
    /// Connections open.
    pub cx_active: Gauge,
    /// Connections that failed before they were made.
    pub cx_connect_fail: Counter,
    /// Connections begun.
    pub cx_total: Counter,
    /// Requests in flight.
    pub rq_active: Gauge,
    /// Requests that wait for a connection.
    pub rq_pending_active: Gauge,
    /// Requests answered with 5xx, or not.
    pub rq_error: Counter,
    /// Requests answered with anything else.
    pub rq_success: Counter,
    /// Requests that timed out.
    pub rq_timeout: Counter,
    /// Requests.
    pub rq_total: Counter,
    /// What outlier detection counts of answers.
    pub(crate) answers: RateStats,
    /// What it counts of connections, where these are counted apart.
    pub(crate) connections: RateStats,
}

/// How many of some events went well.
#[derive(Debug, Default)]
pub(crate) struct RateStats {
    pub(crate) total: Counter,
    pub(crate) success: Counter,
}

/// An endpoint to become a host.
#[derive(Clone, Debug)]
pub(crate) struct NewHost {
    pub(crate) address: Address,
    pub(crate) hostname: String,
    pub(crate) locality: Locality,
    pub(crate) locality_weight: Option<u32>,
    pub(crate) resolved: Option<SocketAddr>,
    pub(crate) additional_addresses: Vec<SocketAddr>,
    pub(crate) health_check: Option<Box<EndpointHealthCheck>>,
    pub(crate) attributes: HostAttributes,
}

impl Host {
    pub(crate) fn new(
        new: NewHost,
        transport: Transport,
        workers: usize,
        monitor: Option<Monitor>,
    ) -> Self {
        let NewHost {
            address,
            hostname,
            locality,
            locality_weight: _, // ignored: the host set's, which may change
            resolved,
            additional_addresses,
            health_check,
            attributes,
        } = new;
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            address,
            hostname,
            locality,
            transport,
            attributes: ArcSwap::from_pointee(attributes),
            attributes_version: AtomicU64::new(1),
            resolved: ArcSwapOption::from_pointee(resolved),
            additional_addresses,
            health_check,
            flags: AtomicU32::new(0),
            healthy_since: ArcSwapOption::from_pointee(Instant::now()),
            monitor: monitor.map(Box::new),
            stats: Sharded::new(workers),
        }
    }

    /// A number that no other host of this process has or had.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Where it is reached; a name for a host of a `LOGICAL_DNS` cluster.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Where it is reached at the moment, if over IP.
    pub fn socket_address(&self) -> Option<SocketAddr> {
        match self.address {
            Address::Socket(address) => Some(address),
            Address::Name { .. } => self.resolved.load().as_deref().copied(),
            Address::Pipe(_) => None,
        }
    }

    /// Where its name points to now.
    pub(crate) fn resolve_to(&self, address: SocketAddr) {
        if self.resolved.load().as_deref() != Some(&address) {
            self.resolved.store(Some(Arc::new(address)));
        }
    }

    /// Where it is reached besides.
    pub(crate) fn additional_addresses(&self) -> &[SocketAddr] {
        &self.additional_addresses
    }

    /// Its host name, for `auto_host_rewrite`; empty where unknown.
    pub fn hostname(&self) -> &str {
        &self.hostname
    }

    /// What updates may change. Cheap; do not hold it over an `await`.
    #[inline]
    pub fn attributes(&self) -> Guard<Arc<HostAttributes>> {
        self.attributes.load()
    }

    /// Such as `istio` workload names.
    pub fn metadata(&self) -> Arc<Metadata> {
        self.attributes().metadata.clone()
    }

    /// Where it is.
    pub fn locality(&self) -> &Locality {
        &self.locality
    }

    /// Requests and TCP connections in flight, over all workers.
    #[inline]
    pub fn active_requests(&self) -> u64 {
        sum(&self.stats, |stats| &stats.rq_active)
    }

    /// Whether it gets traffic.
    pub fn health(&self) -> HostHealth {
        self.flags().health()
    }

    /// Everything that is said of its health.
    pub fn flags(&self) -> HealthFlags {
        let said = HealthFlags::from(self.attributes().eds_health);
        HealthFlags(self.flags.load(Ordering::Acquire)) | said
    }

    /// Whether it is a canary (`envoy.lb` metadata).
    pub fn is_canary(&self) -> bool {
        let attributes = self.attributes();
        attributes.metadata.get("envoy.lb", "canary") == Some(&meltemi_ir::Value::Bool(true))
    }

    /// Its success rate in the last interval of outlier detection, in percent; -1 where it
    /// had too few requests.
    pub fn success_rate(&self) -> f64 {
        self.monitor
            .as_ref()
            .map_or(-1.0, |m| m.answers.success_rate())
    }

    /// The same of connections, where they are counted apart.
    pub fn local_origin_success_rate(&self) -> f64 {
        self.monitor
            .as_ref()
            .map_or(-1.0, |m| m.connections.success_rate())
    }

    /// Where its health is asked for, if not at its address.
    pub(crate) fn health_check(&self) -> Option<&EndpointHealthCheck> {
        self.health_check.as_deref()
    }

    pub(crate) fn monitor(&self) -> Option<&Monitor> {
        self.monitor.as_deref()
    }

    /// Tells outlier detection what became of a request or connection.
    #[inline]
    pub fn report(self: &Arc<Self>, outcome: Outcome, worker: WorkerId) {
        if let Some(monitor) = &self.monitor {
            monitor.report(self, outcome, worker);
        }
    }

    /// Adds and removes flags; true if that changed anything.
    pub(crate) fn change_flags(&self, add: HealthFlags, remove: HealthFlags) -> bool {
        let change = |flags: u32| Some((flags | add.0) & !remove.0);
        let old = self
            .flags
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, change);
        old.is_ok_and(|old| change(old) != Some(old))
    }

    /// Whether it may stay though discovery has removed it.
    pub(crate) fn may_stay(&self) -> bool {
        let failed = HealthFlags::FAILED_ACTIVE_HC | HealthFlags::FAILED_EDS_HEALTH;
        !self.flags().intersects(failed)
    }

    /// From now on it is healthy.
    pub(crate) fn healthy_now(&self) {
        self.healthy_since.store(Some(Arc::new(Instant::now())));
    }

    /// The share of its weight that a host has that became healthy not long ago.
    pub(crate) fn ramp(&self, slow_start: &SlowStart, now: Instant) -> f64 {
        let SlowStart {
            window,
            aggression,
            min_weight_percent,
        } = *slow_start;
        let Some(since) = self.healthy_since.load().as_deref().copied() else {
            return 1.0;
        };
        let age = now.saturating_duration_since(since);
        if age >= window || self.health() != HostHealth::Healthy {
            return 1.0;
        }
        let age = age.as_secs_f64().max(0.001);
        let factor = (age / window.as_secs_f64()).powf(1.0 / aggression);
        factor.max(min_weight_percent / 100.0)
    }

    /// Whether connections to it are TLS.
    pub fn is_tls(&self) -> bool {
        self.transport.tls.is_some()
    }

    /// Whether connections to it begin with whom they stand for, so that each stands for one.
    #[inline]
    pub fn is_told_clients(&self) -> bool {
        self.transport.header.is_some()
    }

    /// What one worker counted.
    #[inline]
    pub fn stats(&self, worker: WorkerId) -> &HostStats {
        self.stats.shard(worker)
    }

    /// What all workers counted.
    pub fn all_stats(&self) -> impl Iterator<Item = &HostStats> {
        self.stats.iter()
    }

    /// Grows with every change of the attributes.
    #[inline]
    pub(crate) fn attributes_version(&self) -> u64 {
        self.attributes_version.load(Ordering::Acquire)
    }

    pub(crate) fn stats_of_all(&self) -> &Sharded<HostStats> {
        &self.stats
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Whether this host can stand for that endpoint too.
    pub(crate) fn is(&self, new: &NewHost, transport: &Transport) -> bool {
        self.address == new.address
            && self.hostname == new.hostname
            && self.locality == new.locality
            && self.health_check == new.health_check
            && self.additional_addresses == new.additional_addresses
            && self.transport.is(transport)
    }

    /// Takes over what an update may change; true if anything did.
    pub(crate) fn update(&self, new: &NewHost) -> bool {
        if let Some(resolved) = new.resolved
            && self.resolved.load().as_deref() != Some(&resolved)
        {
            self.resolved.store(Some(Arc::new(resolved)));
        }
        if **self.attributes.load() == new.attributes {
            return false;
        }
        self.attributes.store(Arc::new(new.attributes.clone()));
        self.attributes_version.fetch_add(1, Ordering::Release);
        true
    }
}

/// The sum of a gauge over all workers, which is never negative for long.
pub(crate) fn sum<T>(stats: &Sharded<T>, gauge: impl Fn(&T) -> &Gauge) -> u64 {
    let total: i64 = stats.iter().map(|shard| gauge(shard).get()).sum();
    u64::try_from(total).unwrap_or_default()
}
