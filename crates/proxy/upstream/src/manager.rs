//! All clusters: configuration enters here, workers look clusters up.
//!
//! A cluster whose endpoints are not known yet warms: it is not in service, and if it
//! replaces another the old one serves on.

mod delivered;
mod map;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use meltemi_ir::{
    BindConfig, Cluster as Config, Discovery, DnsCache as CacheSettings, LoadAssignment,
    ResourceSource,
};
use meltemi_lifecycle::{Clock, Random, RandomSource, WorkerId};
use meltemi_telemetry::{StatsRegistry, UpdateOutcome};
use meltemi_tls::SecretStore;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::dns_cache::{self, DnsCache};
use crate::endpoints::{self, Names, Resolved};
use crate::host::{NewHost, SetSettings};
use crate::{Cluster, dns, health_check, outlier};
use map::ClusterMap;

/// A cluster whose endpoints no discovery service delivers waits no longer than this for its hosts.
const WARMING_LIMIT: Duration = Duration::from_secs(15);

/// How often hosts made on demand and limits are looked over.
const CLEANUP: Duration = Duration::from_secs(1);

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
    /// Where connections of clusters come from that do not say so themselves.
    pub bind: Option<BindConfig>,
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
    /// Its connections cannot be made as it says.
    #[error("{0}")]
    Bind(String),
    /// Another cluster or filter has a DNS cache of the same name and other settings.
    #[error(
        "cluster_type.typed_config.dns_cache_config: the DNS cache {0:?} is in use with other settings; \
         give it another name"
    )]
    DnsCache(String),
}

/// All clusters. Shared by all threads; looking one up takes no lock.
pub struct ClusterManager {
    context: UpstreamContext,
    active: ArcSwap<ClusterMap>,
    generation: AtomicU64,
    state: Mutex<State>,
    work: mpsc::UnboundedSender<Work>,
    warming_count: watch::Sender<usize>,
}

/// The source of endpoints, and their EDS service name there.
type Service = (ResourceSource, String);

#[derive(Default)]
struct State {
    warming: BTreeMap<String, Warming>,
    /// The last delivered endpoints by EDS service name, so that a changed cluster has
    /// them at once.
    assignments: HashMap<Service, Arc<LoadAssignment>>,
    /// Who asks for endpoints by EDS service name, in the order of their coming.
    services: HashMap<Service, Vec<Weak<Cluster>>>,
    todo: Option<mpsc::UnboundedReceiver<Work>>,
    /// By name; those that nothing uses go.
    dns_caches: HashMap<String, Weak<DnsCache>>,
}

impl State {
    /// The cluster asks for endpoints no longer.
    fn forget_service(&mut self, cluster: &Arc<Cluster>) {
        let Some(service) = service_of(cluster) else {
            return;
        };
        if let Some(asking) = self.services.get_mut(&service) {
            asking.retain(|it| it.strong_count() > 0 && it.as_ptr() != Arc::as_ptr(cluster));
            if asking.is_empty() {
                self.services.remove(&service);
                // whoever asks again is told again
                self.assignments.remove(&service);
            }
        }
    }
}

struct Warming {
    cluster: Arc<Cluster>,
    /// For ever where there is none.
    until: Option<Instant>,
}

/// What [`ClusterManager::run`] is asked to do.
enum Work {
    Resolve(Weak<Cluster>),
    Detect(Weak<Cluster>),
    Check(Weak<Cluster>),
    Warm(String, Instant),
    LookUp(Arc<DnsCache>, Arc<dns_cache::Name>),
}

impl ClusterManager {
    /// No clusters yet.
    pub fn new(context: UpstreamContext) -> Arc<Self> {
        let (work, todo) = mpsc::unbounded_channel();
        Arc::new(Self {
            context,
            active: ArcSwap::default(),
            generation: AtomicU64::new(1),
            state: Mutex::new(State {
                todo: Some(todo),
                ..State::default()
            }),
            work,
            warming_count: watch::Sender::new(0),
        })
    }

    /// Adds a cluster, or replaces it once the new one's endpoints are known; the same
    /// configuration again changes nothing. `added_via_api` is false for `static_resources`.
    ///
    /// # Errors
    /// When it cannot be served; the old one stays.
    pub fn apply(
        &self,
        config: impl Into<Arc<Config>>,
        added_via_api: bool,
    ) -> Result<(), ClusterError> {
        self.apply_shared(config.into(), added_via_api)
    }

    fn apply_shared(&self, config: Arc<Config>, added_via_api: bool) -> Result<(), ClusterError> {
        let name = config.name.clone();
        let mut state = self.lock();
        if let Some(warming) = state.warming.get(&name) {
            if *warming.cluster.config() == config {
                return Ok(());
            }
        } else if self
            .get(&name)
            .is_some_and(|active| *active.config() == config)
        {
            return Ok(());
        }
        let dns_cache = match &config.discovery {
            Discovery::ForwardProxy(settings) => Some(self.dns_cache(&mut state, settings)),
            _ => None,
        };
        let differs = |cache: &Arc<DnsCache>| !matches!(&config.discovery, Discovery::ForwardProxy(it) if it == cache.settings());
        if let Some(cache) = dns_cache.as_ref().filter(|it| differs(it)) {
            return Err(ClusterError::DnsCache(cache.settings().name.clone()));
        }
        let stat_name = config.alt_stat_name.as_deref().unwrap_or(&name);
        let stats = self.context.stats.cluster(stat_name);
        let cluster = Arc::new(Cluster::new(
            config,
            added_via_api,
            self.context.workers,
            stats,
            &self.context.secrets,
            self.context.bind.as_ref(),
            dns_cache,
        )?);
        let manager = self.context.stats.cluster_manager();
        if self.active.load().get(&name).is_some() || state.warming.contains_key(&name) {
            manager.cluster_modified.inc();
        } else {
            manager.cluster_added.inc();
        }
        if let Some(superseded) = state.warming.remove(&name) {
            superseded.cluster.retire();
        }
        if cluster.detector().is_some() {
            self.send(Work::Detect(Arc::downgrade(&cluster)));
        }
        if cluster.checker().is_some() {
            self.send(Work::Check(Arc::downgrade(&cluster)));
        }
        if let Some(service) = service_of(&cluster) {
            // those of a file are counted when it is read
            if !matches!(service.0, ResourceSource::Path(_)) {
                cluster.stats(WorkerId::MAIN).update_attempt.inc();
            }
            cluster.stats(WorkerId::MAIN).eds.get();
            let asking = state.services.entry(service).or_default();
            asking.retain(|it| it.strong_count() > 0);
            asking.push(Arc::downgrade(&cluster));
        }
        if self.prepare(&state, &cluster) && !cluster.awaits_more() {
            self.put_in_service(&cluster);
        } else {
            let until = warming_limit(&cluster).map(|limit| self.context.clock.now() + limit);
            cluster.stats(WorkerId::MAIN).warming_state.set(1);
            state
                .warming
                .insert(name.clone(), Warming { cluster, until });
            if let Some(until) = until {
                self.send(Work::Warm(name, until));
            }
        }
        self.show_counts(&state);
        Ok(())
    }

    /// Removes a cluster; its requests in flight end in peace.
    pub fn remove(&self, name: &str) {
        let mut state = self.lock();
        let warming = state.warming.remove(name);
        let active = self.get(name);
        if warming.is_none() && active.is_none() {
            return;
        }
        for cluster in warming.into_iter().map(|w| w.cluster).chain(active) {
            cluster.retire();
            state.forget_service(&cluster);
            let config = cluster.config();
            let stat_name = config.alt_stat_name.as_deref().unwrap_or(name);
            self.context.stats.remove_cluster(stat_name);
        }
        self.edit(|clusters| clusters.remove(name));
        self.context.stats.cluster_manager().cluster_removed.inc();
        self.show_counts(&state);
    }

    /// The cluster in service under this name.
    pub fn get(&self, name: &str) -> Option<Arc<Cluster>> {
        self.active.load().get(name).cloned()
    }

    /// All clusters in service, by name.
    pub fn clusters(&self) -> Vec<Arc<Cluster>> {
        let mut clusters: Vec<_> = self.active.load().values().cloned().collect();
        clusters.sort_by(|left, right| left.name().cmp(right.name()));
        clusters
    }

    /// All clusters that wait for their endpoints, by name.
    pub fn warming(&self) -> Vec<Arc<Cluster>> {
        let state = self.lock();
        let warming = state.warming.values();
        warming.map(|entry| entry.cluster.clone()).collect()
    }

    /// Puts clusters in service that have their hosts and waited for secrets which are there now.
    pub fn promote_secured(&self) {
        let mut state = self.lock();
        let warming = state.warming.values();
        let ready: Vec<_> = warming
            .map(|warming| &warming.cluster)
            .filter(|cluster| cluster.has_had_hosts() && !cluster.awaits_more())
            .cloned()
            .collect();
        for cluster in ready {
            self.end_warming(&mut state, &cluster);
        }
    }

    /// Ends when no cluster is warming.
    pub async fn warmed(&self) {
        let mut count = self.warming_count.subscribe();
        // The sender is `self`'s, hence there until this future ends.
        let _ = count.wait_for(|count| *count == 0).await;
    }

    /// Resolves names, ends overdue warming and forgets unused hosts, until dropped. Runs
    /// once, on the main runtime.
    pub async fn run(self: Arc<Self>) {
        let Some(mut todo) = self.lock().todo.take() else {
            return;
        };
        let mut tasks = tokio::task::JoinSet::new();
        let mut cleanup = tokio::time::interval(CLEANUP);
        loop {
            tokio::select! {
                work = todo.recv() => match work {
                    None => return,
                    Some(Work::Resolve(cluster)) => {
                        let manager = Arc::downgrade(&self);
                        tasks.spawn(dns::follow(cluster, move |cluster, hosts| {
                            if let Some(manager) = manager.upgrade() {
                                manager.resolved(cluster, hosts);
                            }
                        }));
                    }
                    Some(Work::Detect(cluster)) => {
                        tasks.spawn(outlier::watch(cluster, self.next_random()));
                    }
                    Some(Work::Check(cluster)) => {
                        let manager = Arc::downgrade(&self);
                        let random = self.context.random.clone();
                        tasks.spawn(health_check::watch(cluster, random, move |cluster| {
                            if let Some(manager) = manager.upgrade() {
                                manager.checked(cluster);
                            }
                        }));
                    }
                    Some(Work::LookUp(cache, name)) => {
                        tasks.spawn(dns_cache::look_up(cache, name));
                    }
                    Some(Work::Warm(name, until)) => {
                        let manager = Arc::downgrade(&self);
                        tasks.spawn(async move {
                            tokio::time::sleep_until(until).await;
                            if let Some(manager) = manager.upgrade() {
                                manager.overdue(&name);
                            }
                        });
                    }
                },
                Some(_) = tasks.join_next() => {}
                _ = cleanup.tick() => {
                    for cluster in self.active.load().values() {
                        cluster.forget_unused();
                        cluster.show_limits();
                    }
                    let caches: Vec<_> = self.lock().dns_caches.values().cloned().collect();
                    for cache in caches.iter().filter_map(Weak::upgrade) {
                        for name in cache.due() {
                            tasks.spawn(dns_cache::look_up(cache.clone(), name));
                        }
                    }
                }
            }
        }
    }

    /// The DNS cache of this name, made at its first use.
    fn dns_cache(&self, state: &mut State, settings: &Arc<CacheSettings>) -> Arc<DnsCache> {
        let known = state.dns_caches.get(&settings.name);
        if let Some(cache) = known.and_then(Weak::upgrade) {
            return cache;
        }
        let stats = self.context.stats.dns_cache(&settings.name);
        let work = self.work.clone();
        let begin = move |cache: &Arc<DnsCache>, name| {
            // Once `run` is over nobody listens, and the name stays unknown.
            let _ = work.send(Work::LookUp(Arc::clone(cache), name));
        };
        let clock = self.context.clock;
        let cache = DnsCache::new(settings.clone(), stats, clock, Box::new(begin));
        let cache = Arc::new(cache);
        state.dns_caches.retain(|_, it| it.strong_count() > 0);
        let name = settings.name.clone();
        state.dns_caches.insert(name, Arc::downgrade(&cache));
        cache
    }

    /// Grows with every change of the clusters in service.
    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(crate) fn next_random(&self) -> Random {
        self.context.random.next()
    }

    pub(crate) fn clock(&self) -> Clock {
        self.context.clock
    }

    /// Whether the cluster can serve at once.
    fn prepare(&self, state: &State, cluster: &Arc<Cluster>) -> bool {
        match &cluster.config().discovery {
            Discovery::Static(assignment) => {
                let hosts = endpoints::hosts(assignment, Names::EachAddress, &Resolved::new());
                cluster.set_hosts(hosts, endpoints::settings(assignment));
                true
            }
            Discovery::Eds { .. } => {
                let service = service_of(cluster);
                let known = service.and_then(|service| state.assignments.get(&service));
                let Some(assignment) = known else {
                    return false;
                };
                set_endpoints(cluster, assignment);
                true
            }
            Discovery::StrictDns { .. } | Discovery::LogicalDns { .. } => {
                self.send(Work::Resolve(Arc::downgrade(cluster)));
                false
            }
            Discovery::OriginalDst { .. } | Discovery::ForwardProxy(_) => true,
        }
    }

    fn deliver(&self, state: &mut State, service: &Service, assignment: &LoadAssignment) {
        let asking = state.services.get_mut(service);
        let Some(asking) = asking else { return };
        asking.retain(|cluster| cluster.strong_count() > 0);
        let asking: Vec<_> = asking.iter().filter_map(Weak::upgrade).collect();
        for cluster in asking {
            let active = self.active.load();
            let is = |other: &Arc<Cluster>| Arc::ptr_eq(other, &cluster);
            let warming = state.warming.get(cluster.name());
            if active.get(cluster.name()).is_some_and(is) {
                set_endpoints(&cluster, assignment);
            } else if warming.is_some_and(|warming| is(&warming.cluster)) {
                set_endpoints(&cluster, assignment);
                if !cluster.awaits_more() {
                    state.warming.remove(cluster.name());
                    self.put_in_service(&cluster);
                }
            }
        }
    }

    /// A host of the cluster was checked: if it was the last, a warming cluster can serve.
    fn checked(&self, cluster: &Arc<Cluster>) {
        if cluster.stats(WorkerId::MAIN).warming_state.get() == 0 || cluster.awaits_more() {
            return;
        }
        let mut state = self.lock();
        self.end_warming(&mut state, cluster);
    }

    /// Puts the cluster in service, if it is warming.
    fn end_warming(&self, state: &mut State, cluster: &Arc<Cluster>) {
        let is_warming = state
            .warming
            .get(cluster.name())
            .is_some_and(|warming| Arc::ptr_eq(&warming.cluster, cluster));
        if is_warming {
            state.warming.remove(cluster.name());
            self.put_in_service(cluster);
            self.show_counts(state);
        }
    }

    fn resolved(&self, cluster: &Arc<Cluster>, hosts: Option<Vec<NewHost>>) {
        let mut state = self.lock();
        if cluster.is_retired() {
            return;
        }
        if let Some(hosts) = hosts {
            let settings = match &cluster.config().discovery {
                Discovery::StrictDns {
                    load_assignment, ..
                }
                | Discovery::LogicalDns {
                    load_assignment, ..
                } => endpoints::settings(load_assignment),
                _ => SetSettings::default(),
            };
            cluster.set_hosts(hosts, settings);
        }
        if !cluster.awaits_more() {
            self.end_warming(&mut state, cluster);
        }
    }

    /// Puts a cluster that waited long enough in service as it is.
    fn overdue(&self, name: &str) {
        let mut state = self.lock();
        let now = self.context.clock.now();
        let due = |warming: &Warming| warming.until.is_some_and(|until| until <= now);
        if state.warming.get(name).is_some_and(due)
            && let Some(Warming { cluster, until: _ }) = state.warming.remove(name)
        {
            tracing::warn!(cluster = name, "no endpoints came in time");
            if cluster.eds().is_some() {
                let stats = cluster.stats(WorkerId::MAIN);
                stats.count_update(UpdateOutcome::Late);
            }
            self.put_in_service(&cluster);
            self.show_counts(&state);
        }
    }

    fn put_in_service(&self, cluster: &Arc<Cluster>) {
        cluster.stats(WorkerId::MAIN).warming_state.set(0);
        if let Some(old) = self.get(cluster.name()) {
            old.retire();
        }
        self.edit(|clusters| clusters.insert(cluster.clone()));
    }

    fn edit(&self, edit: impl FnOnce(&mut ClusterMap)) {
        // The state's lock is held, so nobody else edits.
        let mut clusters = ClusterMap::clone(&self.active.load());
        edit(&mut clusters);
        self.active.store(Arc::new(clusters));
        self.generation.fetch_add(1, Ordering::Release);
    }

    fn show_counts(&self, state: &State) {
        let stats = self.context.stats.cluster_manager();
        stats.active_clusters.set(self.active.load().len() as u64);
        stats.warming_clusters.set(state.warming.len() as u64);
        self.warming_count.send_replace(state.warming.len());
    }

    fn send(&self, work: Work) {
        // Once `run` is over nobody listens, and nothing needs doing.
        let _ = self.work.send(work);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn service_of(cluster: &Arc<Cluster>) -> Option<Service> {
    let (source, name) = cluster.eds()?;
    Some((source.from.clone(), name.to_owned()))
}

/// How long a cluster waits for its hosts; for ever where there is no limit.
fn warming_limit(cluster: &Cluster) -> Option<Duration> {
    match cluster.eds() {
        None => Some(WARMING_LIMIT),
        Some((source, _)) => Some(source.initial_fetch_timeout).filter(|it| !it.is_zero()),
    }
}

fn set_endpoints(cluster: &Cluster, assignment: &LoadAssignment) {
    let hosts = endpoints::hosts(assignment, Names::EachAddress, &Resolved::new());
    cluster.set_hosts(hosts, endpoints::settings(assignment));
}
