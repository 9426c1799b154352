//! One worker's view of the clusters: balancing state and connection pools.
//!
//! The HTTP and TCP proxies look clusters up here. Nothing in it leaves its thread; it
//! follows the shared state by comparing generations.

mod balancing;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Deref;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use meltemi_ir::{Address, Discovery, Metadata, Priority, SubsetKeys};
use meltemi_lifecycle::{Clock, Random, WorkerId};
use meltemi_telemetry::ClusterStats;
use meltemi_tls::Wishes;
use tokio::time::Instant;

use self::balancing::Balancing;
use crate::connect::Asked;
use crate::dns_cache::NameAndPort;
use crate::outlier::Outcome;
use crate::pool::{HostPools, PoolKey};
use crate::stream::CountedConnection;
use crate::{
    Breaker, Cluster, ClusterManager, ConnectFailure, Demand, Host, HostStats, HttpLease,
    HttpOptions, Proxied, UpstreamStream, connect,
};

/// Idle connections are looked over this often, or twice in the shortest idle timeout.
const SWEEP: Duration = Duration::from_secs(1);
const SHORTEST_SWEEP: Duration = Duration::from_millis(20);

/// A host of an original-destination cluster is forgotten when unused for this long.
const DESTINATION_IDLE: Duration = Duration::from_secs(5);

/// All pools of one worker.
pub struct Pools {
    manager: Arc<ClusterManager>,
    worker: WorkerId,
    random: Rc<Random>,
    clock: Clock,
    generation: Cell<u64>,
    clusters: RefCell<HashMap<Box<str>, Rc<WorkerCluster>>>,
    coarse: Rc<CoarseTime>,
}

/// The time of the last sweep; precise enough for idleness, and free.
#[derive(Debug)]
pub(crate) struct CoarseTime(Cell<Instant>);

impl CoarseTime {
    pub(crate) fn now(&self) -> Instant {
        self.0.get()
    }
}

impl Pools {
    /// The pools of one worker. Call inside the worker's runtime: it spawns the sweep of
    /// idle connections there, which ends when the pools are dropped.
    pub fn new(manager: Arc<ClusterManager>, worker: WorkerId) -> Rc<Self> {
        let clock = manager.clock();
        let pools = Rc::new(Self {
            worker,
            random: Rc::new(manager.next_random()),
            generation: Cell::new(manager.generation()),
            clusters: RefCell::default(),
            coarse: Rc::new(CoarseTime(Cell::new(clock.now()))),
            clock,
            manager,
        });
        tokio::task::spawn_local(sweep(Rc::downgrade(&pools)));
        pools
    }

    /// The cluster in service under this name.
    pub fn cluster(&self, name: &str) -> Option<Rc<WorkerCluster>> {
        self.sync();
        if let Some(cluster) = self.clusters.borrow().get(name) {
            return Some(Rc::clone(cluster));
        }
        let shared = self.manager.get(name)?;
        let cluster = Rc::new(WorkerCluster::new(shared, self));
        self.clusters
            .borrow_mut()
            .insert(Box::from(name), Rc::clone(&cluster));
        Some(cluster)
    }

    /// Forgets clusters that are no longer in service.
    fn sync(&self) {
        let generation = self.manager.generation();
        if generation == self.generation.get() {
            return;
        }
        self.generation.set(generation);
        self.clusters.borrow_mut().retain(|_, cluster| {
            let stays = !cluster.shared.is_retired();
            if !stays {
                cluster.drain();
            }
            stays
        });
    }

    fn sweep(&self) -> Duration {
        let now = self.clock.now();
        self.coarse.0.set(now);
        self.sync();
        let mut next = SWEEP;
        for cluster in self.clusters.borrow().values() {
            cluster.sweep(now);
            let config = cluster.shared.config();
            for limit in [config.idle_timeout, config.max_connection_duration] {
                next = next.min(limit.map_or(SWEEP, |limit| limit / 2));
            }
        }
        next.max(SHORTEST_SWEEP)
    }
}

async fn sweep(pools: Weak<Pools>) {
    loop {
        let Some(next) = pools.upgrade().map(|pools| pools.sweep()) else {
            return;
        };
        tokio::time::sleep(next).await;
    }
}

/// What load balancing looks at besides the hosts.
#[derive(Clone, Copy, Debug, Default)]
pub struct LbContext<'a> {
    /// The downstream connection's original destination, for such clusters.
    pub original_destination: Option<SocketAddr>,
    /// The request's headers, for an original destination in a header.
    pub headers: Option<&'a HeaderMap>,
    /// The host that the request names, for clusters that forward there.
    pub authority: Option<&'a HeaderValue>,
    /// The request's hash, for policies that go by one; at random where there is none.
    pub hash: Option<u64>,
    /// The route's criteria for subsets (`envoy.lb` of `metadata_match`).
    pub metadata_match: Option<&'a SubsetKeys>,
    /// Ids of hosts tried before, which to avoid.
    pub avoid: &'a [u64],
    /// Avoid canaries.
    pub avoid_canaries: bool,
    /// Avoid hosts with any of these metadata.
    pub avoid_metadata: &'a [Metadata],
    /// How often to choose again to avoid one (`host_selection_retry_max_attempts`).
    pub max_attempts: u32,
    /// Priorities tried before, as bits; avoided while there are others.
    pub tried_priorities: u128,
}

impl LbContext<'_> {
    fn rejects_some(&self) -> bool {
        !self.avoid.is_empty() || self.avoid_canaries || !self.avoid_metadata.is_empty()
    }

    fn rejects(&self, host: &Host) -> bool {
        self.avoid.contains(&host.id())
            || (self.avoid_canaries && host.is_canary())
            || (!self.avoid_metadata.is_empty() && {
                let own = host.metadata();
                self.avoid_metadata.iter().any(|unwanted| {
                    unwanted.0.iter().all(|(filter, values)| {
                        values
                            .iter()
                            .all(|(key, value)| own.get(filter, key) == Some(value))
                    })
                })
            })
    }
}

/// A cluster with this worker's balancing state. Dereferences to the shared [`Cluster`].
pub struct WorkerCluster {
    shared: Arc<Cluster>,
    worker: WorkerId,
    random: Rc<Random>,
    coarse: Rc<CoarseTime>,
    balancing: RefCell<Balancing>,
    memo: RefCell<Option<Rc<dyn Any>>>,
}

impl Deref for WorkerCluster {
    type Target = Arc<Cluster>;

    fn deref(&self) -> &Arc<Cluster> {
        &self.shared
    }
}

impl WorkerCluster {
    fn new(shared: Arc<Cluster>, pools: &Pools) -> Self {
        Self {
            shared,
            worker: pools.worker,
            random: Rc::clone(&pools.random),
            coarse: Rc::clone(&pools.coarse),
            balancing: RefCell::default(),
            memo: RefCell::default(),
        }
    }

    /// Whether requests go to the hosts that they name.
    pub fn forwards_to_names(&self) -> bool {
        self.shared.dns_cache().is_some()
    }

    /// Asks where the host of a request is, before the request can go there; nothing where requests go
    /// elsewhere, and for what is no host.
    pub fn demand(&self, authority: &HeaderValue) -> Option<Demand> {
        let cache = self.shared.dns_cache()?;
        Some(cache.demand(&self.name(authority)?, self.worker))
    }

    /// The host and port that an authority names.
    fn name(&self, authority: &HeaderValue) -> Option<NameAndPort> {
        let is_secure = self.shared.config().tls.is_some();
        NameAndPort::of(authority, if is_secure { 443 } else { 80 })
    }

    /// This worker's shard of the cluster's statistics.
    #[inline]
    pub fn stats(&self) -> &ClusterStats {
        self.shared.stats(self.worker)
    }

    /// Chooses a host; none where no host may get traffic (flag `UH`).
    pub fn choose(&self, context: &LbContext<'_>) -> Option<Rc<WorkerHost>> {
        if let Some(cache) = self.shared.dns_cache() {
            let key = self.name(context.authority?)?;
            let address = cache.address(&key)?;
            let host = self.host_for(Address::Name {
                host: key.name.into(),
                port: key.port,
            });
            host.resolve_to(address);
            return Some(host);
        }
        if let Discovery::OriginalDst {
            http_header,
            port_override,
        } = &self.shared.config().discovery
        {
            let from_header = http_header.as_ref().and_then(|name| {
                let value = context.headers?.get(name)?.to_str().ok()?;
                let parsed = value.parse().ok();
                if parsed.is_none() {
                    self.stats().original_dst_host_invalid.inc();
                }
                parsed
            });
            let mut destination = from_header.or(context.original_destination)?;
            if let Some(port) = port_override {
                destination.set_port(*port);
            }
            return Some(self.host_for(Address::Socket(destination)));
        }
        let mut balancing = self.balancing.borrow_mut();
        balancing.follow(self);
        balancing.choose(self, context)
    }

    /// A connection to send one request on.
    ///
    /// # Errors
    /// When a circuit breaker is open or no connection could be made.
    #[inline]
    pub async fn http(
        self: &Rc<Self>,
        host: &Rc<WorkerHost>,
        options: HttpOptions<'_>,
    ) -> Result<HttpLease, ConnectFailure> {
        let protocol = self.shared.config().http.protocol;
        let key = PoolKey::new(protocol, host, options);
        if let Some(ready) = host.pools.take(self, host, key) {
            return ready;
        }
        // Boxed, so that the usual way's future is small.
        Box::pin(HostPools::wait(self, host, key)).await
    }

    /// A connection of its own for the connection that is proxied. It counts as a request in
    /// flight of the host until dropped.
    ///
    /// # Errors
    /// When a circuit breaker is open or no connection could be made.
    pub async fn tcp(
        self: &Rc<Self>,
        host: &Rc<WorkerHost>,
        proxied: &Proxied,
    ) -> Result<UpstreamStream, ConnectFailure> {
        let priority = Priority::Default;
        let breakers = self.shared.breakers().of(priority);
        if !breakers.connections.has_room() {
            self.stats().upstream_cx_overflow.inc();
            return Err(ConnectFailure::Overflow(Breaker::Connections));
        }
        let (shared, host) = (&self.shared, &host.shared);
        let count = CountedConnection::begin(shared, host, self.worker, priority);
        let wishes = Wishes {
            host: host.hostname(),
            ..Wishes::default()
        };
        let asked = Asked {
            wishes,
            proxied: Some(proxied),
        };
        let connected = connect::connect(shared, host, self.worker, count, asked).await;
        host.report(
            match &connected {
                Ok(_) => Outcome::ConnectedFinally,
                Err(ConnectFailure::Timeout) => Outcome::Timeout(None),
                Err(_) => Outcome::Failed,
            },
            self.worker,
        );
        connected.map(UpstreamStream::counted_as_request)
    }

    /// A connection that many clients' requests share. It counts as a connection and not as a
    /// request, and is made whatever the circuit breakers say, as Envoy's Redis proxy does;
    /// outlier detection hears of its end from the caller.
    ///
    /// # Errors
    /// When no connection could be made.
    pub async fn shared(
        self: &Rc<Self>,
        host: &Rc<WorkerHost>,
    ) -> Result<UpstreamStream, ConnectFailure> {
        let (shared, host) = (&self.shared, &host.shared);
        let count = CountedConnection::begin(shared, host, self.worker, Priority::Default);
        let wishes = Wishes {
            host: host.hostname(),
            ..Wishes::default()
        };
        let asked = Asked {
            wishes,
            proxied: None,
        };
        connect::connect(shared, host, self.worker, count, asked).await
    }

    /// The right to retry once more, if `max_retries` has room (else `UO`,
    /// `upstream_rq_retry_overflow`); hold it until the retry's response has ended.
    pub fn retry(self: &Rc<Self>, priority: Priority) -> Option<RetryGuard> {
        let breakers = self.shared.breakers().of(priority);
        if !breakers.may_retry() {
            self.stats().upstream_rq_retry_overflow.inc();
            return None;
        }
        breakers.retries.take();
        Some(RetryGuard {
            cluster: Arc::clone(&self.shared),
            priority,
        })
    }

    /// What `make` makes of this cluster, made once and kept with it. There is one slot:
    /// a caller of another type replaces it.
    pub fn memo<T: 'static>(&self, make: impl FnOnce(&Cluster) -> T) -> Rc<T> {
        memo(&self.memo, || make(&self.shared))
    }

    pub(crate) fn worker(&self) -> WorkerId {
        self.worker
    }

    pub(crate) fn now(&self) -> Instant {
        self.coarse.now()
    }

    fn host_for(&self, destination: Address) -> Rc<WorkerHost> {
        let mut balancing = self.balancing.borrow_mut();
        let hosts = &mut balancing.by_destination;
        let host = hosts.entry(destination).or_insert_with_key(|destination| {
            Rc::new(WorkerHost::new(self.shared.host_for(destination), self))
        });
        host.used.set(self.now());
        Rc::clone(host)
    }

    /// Closes idle connections and takes no more; those in use end in peace.
    fn drain(&self) {
        let balancing = self.balancing.borrow();
        for host in balancing.hosts() {
            host.pools.drain();
        }
        for host in balancing.by_destination.values() {
            host.pools.drain();
        }
    }

    fn sweep(&self, now: Instant) {
        let mut balancing = self.balancing.borrow_mut();
        if balancing.is_followed() {
            balancing.follow(self);
        }
        for host in balancing.hosts() {
            host.pools.sweep(self, now);
        }
        balancing.by_destination.retain(|_, host| {
            host.pools.sweep(self, now);
            let unused = now.duration_since(host.used.get()) > DESTINATION_IDLE;
            !(unused && host.stats().cx_active.get() <= 0)
        });
    }
}

/// Counts as an active retry until dropped.
#[derive(Debug)]
pub struct RetryGuard {
    cluster: Arc<Cluster>,
    priority: Priority,
}

impl Drop for RetryGuard {
    fn drop(&mut self) {
        let breakers = self.cluster.breakers().of(self.priority);
        breakers.retries.give_back();
    }
}

/// A host with this worker's connection pools. Dereferences to the shared [`Host`].
pub struct WorkerHost {
    shared: Arc<Host>,
    worker: WorkerId,
    pub(crate) pools: HostPools,
    used: Cell<Instant>,
    memo: RefCell<Option<Rc<dyn Any>>>,
    /// The version of the attributes at the memo's time.
    memo_of: Cell<u64>,
}

impl Deref for WorkerHost {
    type Target = Arc<Host>;

    fn deref(&self) -> &Arc<Host> {
        &self.shared
    }
}

impl WorkerHost {
    fn new(shared: Arc<Host>, cluster: &WorkerCluster) -> Self {
        Self {
            shared,
            worker: cluster.worker,
            pools: HostPools::default(),
            used: Cell::new(cluster.now()),
            memo: RefCell::default(),
            memo_of: Cell::new(0),
        }
    }

    /// This worker's shard of the host's counters.
    #[inline]
    pub fn stats(&self) -> &HostStats {
        self.shared.stats(self.worker)
    }

    /// Counts a response for `/clusters`: a 5xx, reset or failed connection is an error.
    #[inline]
    pub fn record_response(&self, success: bool) {
        if success {
            self.stats().rq_success.inc();
        } else {
            self.stats().rq_error.inc();
        }
    }

    /// Tells outlier detection what became of a request.
    #[inline]
    pub fn report(&self, outcome: Outcome) {
        self.shared.report(outcome, self.worker);
    }

    /// An answer of the host said that it is not well (`x-envoy-immediate-health-check-fail`):
    /// it gets no more requests until a health check goes well. Without health checks that
    /// means nothing.
    pub fn fail_health_check(&self, cluster: &WorkerCluster) {
        if let Some(checker) = cluster.shared.checker() {
            checker.fail(self.id());
        }
    }

    /// Counts a timeout for `/clusters`.
    pub fn record_timeout(&self) {
        self.stats().rq_timeout.inc();
    }

    /// What `make` makes of this host, kept until its attributes change. There is one slot:
    /// a caller of another type replaces it.
    pub fn memo<T: 'static>(&self, make: impl FnOnce(&Host) -> T) -> Rc<T> {
        let version = self.shared.attributes_version();
        if self.memo_of.replace(version) != version {
            self.memo.replace(None);
        }
        memo(&self.memo, || make(&self.shared))
    }
}

fn memo<T: 'static>(slot: &RefCell<Option<Rc<dyn Any>>>, make: impl FnOnce() -> T) -> Rc<T> {
    let kept = slot.borrow().clone();
    if let Some(made) = kept.and_then(|kept| kept.downcast::<T>().ok()) {
        return made;
    }
    let made = Rc::new(make());
    slot.replace(Some(Rc::clone(&made) as Rc<dyn Any>));
    made
}
