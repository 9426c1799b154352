//! Endpoints as the data plane sees them: identity, address, health, counters.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use meltemi_ir::{Address, HealthStatus, Locality, Metadata};
use meltemi_lifecycle::WorkerId;
use meltemi_telemetry::{Counter, Gauge, Sharded};
use meltemi_tls::ClientContext;

use crate::lb::priority::{PriorityCounts, PriorityLoads};

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Whether a host gets traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostHealth {
    /// It does.
    Healthy,
    /// Only where no healthy one is.
    Degraded,
    /// Only in panic.
    Unhealthy,
}

impl From<HealthStatus> for HostHealth {
    fn from(status: HealthStatus) -> Self {
        match status {
            HealthStatus::Healthy => Self::Healthy,
            HealthStatus::Degraded => Self::Degraded,
            HealthStatus::Unhealthy | HealthStatus::Draining => Self::Unhealthy,
        }
    }
}

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
    /// Where a logical name points to at the moment.
    resolved: ArcSwapOption<SocketAddr>,
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

/// How connections to a host are secured; decided once for each host.
#[derive(Clone)]
pub(crate) enum Transport {
    Plaintext,
    Tls(Arc<ClientContext>),
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
    /// Requests answered with 5xx, or not.
    pub rq_error: Counter,
    /// Requests answered with anything else.
    pub rq_success: Counter,
    /// Requests that timed out.
    pub rq_timeout: Counter,
    /// Requests.
    pub rq_total: Counter,
}

/// The hosts of a cluster at one time, with how traffic is split among priorities.
#[derive(Debug, Default)]
pub struct HostSet {
    /// By priority, 0 first; a gap in the priorities is an empty set.
    pub priorities: Vec<PriorityHosts>,
    pub(crate) loads: PriorityLoads,
}

/// The hosts of one priority.
#[derive(Debug, Default)]
pub struct PriorityHosts {
    /// All of them.
    pub hosts: Vec<HostEntry>,
}

/// A host with what balancing wants to know at the time of the set.
#[derive(Clone, Debug)]
pub struct HostEntry {
    /// The host.
    pub host: Arc<Host>,
    /// Its weight, at least 1.
    pub weight: u32,
    /// Whether it gets traffic.
    pub health: HostHealth,
    /// Its locality's weight; none is no weight at all.
    pub locality_weight: Option<u32>,
}

/// An endpoint to become a host.
#[derive(Clone, Debug)]
pub(crate) struct NewHost {
    pub(crate) address: Address,
    pub(crate) hostname: String,
    pub(crate) locality: Locality,
    pub(crate) locality_weight: Option<u32>,
    pub(crate) resolved: Option<SocketAddr>,
    pub(crate) attributes: HostAttributes,
}

impl Host {
    pub(crate) fn new(new: NewHost, transport: Transport, workers: usize) -> Self {
        let NewHost {
            address,
            hostname,
            locality,
            locality_weight: _, // ignored: the host set's, which may change
            resolved,
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
        self.attributes().eds_health.into()
    }

    /// Whether connections to it are TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self.transport, Transport::Tls(_))
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

impl Transport {
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Plaintext, Self::Plaintext) => true,
            (Self::Tls(left), Self::Tls(right)) => Arc::ptr_eq(left, right),
            _ => false,
        }
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plaintext => "Plaintext",
            Self::Tls(_) => "Tls",
        })
    }
}

impl HostSet {
    pub(crate) fn new(entries: Vec<(u32, HostEntry)>, panic_threshold: f64) -> Self {
        let mut priorities: Vec<PriorityHosts> = Vec::new();
        for (priority, entry) in entries {
            let index = priority as usize;
            if priorities.len() <= index {
                priorities.resize_with(index + 1, PriorityHosts::default);
            }
            priorities[index].hosts.push(entry);
        }
        let counts: Vec<_> = priorities.iter().map(PriorityHosts::counts).collect();
        Self {
            priorities,
            loads: PriorityLoads::new(&counts, panic_threshold),
        }
    }

    /// Every host.
    pub fn iter(&self) -> impl Iterator<Item = &HostEntry> {
        self.priorities.iter().flat_map(|hosts| &hosts.hosts)
    }
}

impl PriorityHosts {
    fn counts(&self) -> PriorityCounts {
        let count = |health| {
            let fitting = self.hosts.iter().filter(|entry| entry.health == health);
            u32::try_from(fitting.count()).unwrap_or(u32::MAX)
        };
        PriorityCounts {
            total: u32::try_from(self.hosts.len()).unwrap_or(u32::MAX),
            healthy: count(HostHealth::Healthy),
            degraded: count(HostHealth::Degraded),
        }
    }
}

/// The sum of a gauge over all workers, which is never negative for long.
pub(crate) fn sum<T>(stats: &Sharded<T>, gauge: impl Fn(&T) -> &Gauge) -> u64 {
    let total: i64 = stats.iter().map(|shard| gauge(shard).get()).sum();
    u64::try_from(total).unwrap_or_default()
}
