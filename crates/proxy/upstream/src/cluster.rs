//! A cluster as all workers share it: configuration, hosts, circuit breakers, statistics.
//!
//! The manager makes it and sets its hosts; workers see a change by the generation.

mod snapshot;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use meltemi_ir::{
    Address, BindConfig, Cluster as Config, ConfigSource, Discovery, HealthStatus, LbPolicy,
    Locality, Metadata, Priority, ProxyHeader, TransportSocketMatch, UpstreamTls, Value,
};
use meltemi_lifecycle::WorkerId;
use meltemi_telemetry::{ClusterStats, Sharded};
use meltemi_tls::{ClientContext, SecretStore};

use crate::breaker::Breakers;
pub use snapshot::{ClusterSnapshot, HostSnapshot};

use crate::binding::Binding;
use crate::dns_cache::DnsCache;
use crate::health_check::Checker;
use crate::host::{HostAttributes, NewHost, SetSettings, sum};
use crate::lb::subset::Subsets;
use crate::outlier::Detector;
use crate::transport::Transport;
use crate::{ClusterError, HealthFlags, Host, HostEntry, HostHealth, HostSet};

const SOCKET_MATCH: &str = "envoy.transport_socket_match";

/// A cluster; immutable but for its hosts.
pub struct Cluster {
    config: Arc<Config>,
    added_via_api: bool,
    workers: usize,
    stats: Arc<Sharded<ClusterStats>>,
    transport: Transport,
    transport_matches: Vec<(BTreeMap<String, Value>, Transport)>,
    binding: Binding,
    hosts: ArcSwap<HostSet>,
    /// Hosts made on demand, for original destinations and for names.
    by_destination: Mutex<HashMap<Address, Arc<Host>>>,
    /// Where the names are that requests ask for.
    dns_cache: Option<Arc<DnsCache>>,
    /// Held by whoever makes another set of hosts.
    changing: Mutex<()>,
    generation: AtomicU64,
    breakers: Breakers,
    detector: Option<Detector>,
    checker: Option<Checker>,
    retired: AtomicBool,
}

impl Cluster {
    pub(crate) fn new(
        config: Arc<Config>,
        added_via_api: bool,
        workers: usize,
        stats: Arc<Sharded<ClusterStats>>,
        secrets: &Arc<SecretStore>,
        bind: Option<&BindConfig>,
        dns_cache: Option<Arc<DnsCache>>,
    ) -> Result<Self, ClusterError> {
        let binding = Binding::new(config.bind.as_ref(), bind).map_err(ClusterError::Bind)?;
        let transport =
            |tls: Option<&UpstreamTls>, header: &Option<ProxyHeader>, path: &dyn Fn() -> String| {
                let context = tls.map(|tls| ClientContext::new(tls, secrets.clone()));
                let tls = context.transpose().map_err(|source| ClusterError::Tls {
                    path: path(),
                    source,
                })?;
                let header = header.clone().map(Arc::new);
                Ok::<_, ClusterError>(Transport { tls, header })
            };
        let mut transport_matches = Vec::with_capacity(config.transport_socket_matches.len());
        for (index, entry) in config.transport_socket_matches.iter().enumerate() {
            let TransportSocketMatch {
                name: _, // ignored: a label for people
                matches,
                tls,
                proxy_header,
            } = entry;
            let path = || format!("transport_socket_matches[{index}].transport_socket");
            transport_matches.push((
                matches.clone(),
                transport(tls.as_ref(), proxy_header, &path)?,
            ));
        }
        let matched = config.transport_socket_matches.iter();
        if config.tls.is_some() || matched.into_iter().any(|entry| entry.tls.is_some()) {
            // It is there from the beginning, as in Envoy.
            stats.main().ssl.get().handshake.add(0);
        }
        Ok(Self {
            transport: transport(config.tls.as_deref(), &config.proxy_header, &|| {
                "transport_socket".to_owned()
            })?,
            transport_matches,
            binding,
            breakers: Breakers::new(&config.circuit_breakers),
            detector: config.outlier_detection.as_deref().map(|settings| {
                // It is there from the beginning, as in Envoy.
                stats.main().outlier_detection.get().ejections_active.add(0);
                Detector::new(*settings)
            }),
            checker: config.health_checks.first().map(|settings| {
                stats.main().health_check.get().healthy.set(0);
                Checker::new(settings.clone())
            }),
            config,
            added_via_api,
            workers,
            stats,
            hosts: ArcSwap::default(),
            changing: Mutex::default(),
            by_destination: Mutex::default(),
            dns_cache,
            generation: AtomicU64::new(1),
            retired: AtomicBool::new(false),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Its configuration.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Whether its configuration came over xDS.
    pub fn added_via_api(&self) -> bool {
        self.added_via_api
    }

    /// The EDS service name that it asks for, if any.
    pub fn eds_service(&self) -> Option<&str> {
        self.eds().map(|(_, name)| name)
    }

    /// The source and the EDS service name that it asks for, if any.
    pub fn eds(&self) -> Option<(&ConfigSource, &str)> {
        match &self.config.discovery {
            Discovery::Eds {
                service_name,
                source,
            } => {
                let own = service_name.is_empty();
                Some((source, if own { self.name() } else { service_name }))
            }
            Discovery::Static(_)
            | Discovery::StrictDns { .. }
            | Discovery::LogicalDns { .. }
            | Discovery::OriginalDst { .. }
            | Discovery::ForwardProxy(_) => None,
        }
    }

    /// Its hosts now. Cheap; do not hold it over an `await`.
    pub fn hosts(&self) -> Guard<Arc<HostSet>> {
        self.hosts.load()
    }

    /// A worker's shard of its statistics.
    #[inline]
    pub fn stats(&self, worker: WorkerId) -> &ClusterStats {
        self.stats.shard(worker)
    }

    /// What `/clusters` prints.
    pub fn snapshot(&self) -> ClusterSnapshot {
        let mut hosts: Vec<_> = self
            .hosts
            .load()
            .iter()
            .map(|entry| HostSnapshot::new(&entry.host))
            .collect();
        let on_demand = self.lock_destinations();
        hosts.extend(on_demand.values().map(|host| HostSnapshot::new(host)));
        drop(on_demand);
        ClusterSnapshot {
            name: self.name().to_owned(),
            added_via_api: self.added_via_api,
            circuit_breakers: self.config.circuit_breakers.clone(),
            hosts,
        }
    }

    /// Where its connections come from.
    pub(crate) fn binding(&self) -> &Binding {
        &self.binding
    }

    pub(crate) fn breakers(&self) -> &Breakers {
        &self.breakers
    }

    /// Grows with every new set of hosts.
    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// It was removed or replaced; whoever works for it stops.
    pub(crate) fn retire(&self) {
        if !self.retired.swap(true, Ordering::AcqRel) {
            self.forget_ejections(&self.hosts.load(), &[]);
        }
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Makes these its hosts. An endpoint that was there before keeps its host.
    pub(crate) fn set_hosts(&self, endpoints: Vec<NewHost>, settings: SetSettings) {
        let _one_at_a_time = self.lock_hosts();
        let old = self.hosts.load_full();
        let mut known: HashMap<&Address, &Arc<Host>> = HashMap::new();
        for entry in old.iter() {
            known.insert(entry.host.address(), &entry.host);
        }
        let mut changed = old.iter().count() == 0 || old.settings != settings;
        let mut taken: HashMap<Address, ()> = HashMap::with_capacity(endpoints.len());
        let mut entries = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            // As in Envoy, an address that comes twice counts once.
            if taken.insert(endpoint.address.clone(), ()).is_some() {
                continue;
            }
            let transport = self.transport_for(&endpoint.attributes.metadata);
            let kept = known
                .remove(&endpoint.address)
                .filter(|host| host.is(&endpoint, transport));
            let weight = endpoint.attributes.weight.max(1);
            let priority = endpoint.attributes.priority;
            let locality_weight = endpoint.locality_weight;
            let host = match kept {
                Some(host) => {
                    let was = host.health();
                    changed |= host.update(&endpoint);
                    if was != HostHealth::Healthy && host.health() == HostHealth::Healthy {
                        host.healthy_now();
                    }
                    Arc::clone(host)
                }
                None => {
                    changed = true;
                    Arc::new(self.new_host(endpoint, transport.clone()))
                }
            };
            host.change_flags(HealthFlags::NONE, HealthFlags::PENDING_DYNAMIC_REMOVAL);
            entries.push((
                priority,
                HostEntry {
                    health: host.health(),
                    host,
                    weight,
                    locality_weight,
                },
            ));
        }
        if self.keeps_healthy_hosts() {
            for (priority, entry) in old.entries() {
                let is_gone = known.contains_key(entry.host.address());
                if is_gone && entry.host.may_stay() {
                    let removal = HealthFlags::PENDING_DYNAMIC_REMOVAL;
                    entry.host.change_flags(removal, HealthFlags::NONE);
                    entries.push((priority, entry.clone()));
                }
            }
        }
        changed |= !old
            .iter()
            .map(|entry| entry.locality_weight)
            .eq(entries.iter().map(|(_, entry)| entry.locality_weight));
        changed |= entries.len() != old.iter().count();
        let stats = self.stats.main();
        if !changed {
            stats.update_no_rebuild.inc();
            return;
        }
        stats.membership_change.inc();
        self.forget_ejections(&old, &entries);
        self.publish(entries, settings);
        if let Some(checker) = &self.checker {
            checker.hosts_changed();
        }
    }

    /// Whether a host that discovery removed stays until its health checks fail.
    fn keeps_healthy_hosts(&self) -> bool {
        let is_dynamic = matches!(
            self.config.discovery,
            Discovery::Eds { .. } | Discovery::StrictDns { .. }
        );
        self.checker.is_some() && is_dynamic && !self.config.ignore_health_on_host_removal
    }

    /// A health check changed what is said of a host.
    pub(crate) fn checks_changed(&self) {
        let is_over = |entry: &HostEntry| {
            let flags = entry.host.flags();
            flags.intersects(HealthFlags::PENDING_DYNAMIC_REMOVAL) && !entry.host.may_stay()
        };
        let gone = self.hosts.load().iter().any(is_over);
        if gone {
            let _one_at_a_time = self.lock_hosts();
            let old = self.hosts.load_full();
            let stay = old.entries().filter(|(_, entry)| !is_over(entry));
            let entries: Vec<_> = stay.map(|(at, entry)| (at, entry.clone())).collect();
            self.stats.main().membership_change.inc();
            self.forget_ejections(&old, &entries);
            self.publish(entries, old.settings);
            if let Some(checker) = &self.checker {
                checker.hosts_changed();
            }
        }
        self.health_changed();
    }

    /// Its health check, if it has one.
    pub(crate) fn checker(&self) -> Option<&Checker> {
        self.checker.as_ref()
    }

    /// Whether a host waits for its first health check.
    pub(crate) fn awaits_checks(&self) -> bool {
        let hosts = self.hosts.load();
        let waits = |entry: &HostEntry| {
            let flags = entry.host.flags();
            flags.intersects(HealthFlags::PENDING_ACTIVE_HC)
        };
        self.checker.is_some() && hosts.iter().any(waits)
    }

    /// Whether it has its hosts but must not serve them yet.
    pub(crate) fn awaits_more(&self) -> bool {
        self.awaits_checks() || self.awaits_secrets()
    }

    /// Whether a secret that its connections need has not come yet.
    fn awaits_secrets(&self) -> bool {
        let matched = self
            .transport_matches
            .iter()
            .map(|(_, transport)| transport);
        let mut all = std::iter::once(&self.transport).chain(matched);
        all.any(|transport| {
            let tls = transport.tls.as_ref();
            tls.is_some_and(|context| context.is_waiting())
        })
    }

    /// Whether its hosts, or that it has none, are known.
    pub(crate) fn has_had_hosts(&self) -> bool {
        self.generation() > 1
            || matches!(
                self.config.discovery,
                Discovery::OriginalDst { .. } | Discovery::ForwardProxy(_)
            )
    }

    /// Whether a connection was ever begun, checks aside.
    pub(crate) fn had_connections(&self) -> bool {
        self.stats
            .iter()
            .any(|stats| stats.upstream_cx_total.get() > 0)
    }

    /// TLS for endpoints whose metadata has these values.
    pub(crate) fn transport_matching(&self, values: &BTreeMap<String, Value>) -> &Transport {
        self.transport_where(|key| values.get(key))
    }

    /// A host's health changed: traffic is split anew.
    pub(crate) fn health_changed(&self) {
        let _one_at_a_time = self.lock_hosts();
        let old = self.hosts.load_full();
        let entries = old.entries().map(|(priority, entry)| {
            let health = entry.host.health();
            if entry.health != HostHealth::Healthy && health == HostHealth::Healthy {
                entry.host.healthy_now();
            }
            let entry = HostEntry {
                health,
                ..entry.clone()
            };
            (priority, entry)
        });
        self.publish(entries.collect(), old.settings);
    }

    fn publish(&self, entries: Vec<(u32, HostEntry)>, settings: SetSettings) {
        let stats = self.stats.main();
        let subsets = self.config.subsets.as_ref();
        let subsets = subsets
            .map(|subsets| Box::new(Subsets::new(subsets, &entries, settings, &self.config)));
        let mut hosts = HostSet::new(entries, settings, &self.config);
        if let Some(subsets) = &subsets {
            let count = subsets.count() as u64;
            let before = u64::try_from(stats.lb_subsets_active.get()).unwrap_or_default();
            stats.lb_subsets_created.add(count.saturating_sub(before));
            stats.lb_subsets_removed.add(before.saturating_sub(count));
            stats.lb_subsets_active.set(count);
        }
        hosts.subsets = subsets;
        let count = |health| {
            let fitting = hosts.iter().filter(|entry| entry.health == health);
            fitting.count() as u64
        };
        stats.membership_total.set(hosts.iter().count() as u64);
        stats.membership_healthy.set(count(HostHealth::Healthy));
        stats.membership_degraded.set(count(HostHealth::Degraded));
        let excluded = HealthFlags::EXCLUDED_VIA_IMMEDIATE_HC_FAIL
            | if self.config.lb_settings.ignore_new_hosts_until_first_check {
                HealthFlags::PENDING_ACTIVE_HC
            } else {
                HealthFlags::NONE
            };
        let is_excluded = |entry: &&HostEntry| entry.host.flags().intersects(excluded);
        stats
            .membership_excluded
            .set(hosts.iter().filter(is_excluded).count() as u64);
        let heaviest = hosts.iter().map(|entry| entry.weight).max();
        stats
            .max_host_weight
            .set(u64::from(heaviest.unwrap_or_default()));
        if self.checker.is_some() {
            let without = |flag| {
                let hosts = hosts.iter();
                hosts
                    .filter(|entry| !entry.host.flags().intersects(flag))
                    .count() as u64
            };
            let shown = stats.health_check.get();
            shown.healthy.set(without(HealthFlags::FAILED_ACTIVE_HC));
            let all = hosts.iter().count() as u64;
            shown
                .degraded
                .set(all - without(HealthFlags::DEGRADED_ACTIVE_HC));
        }
        if let Some(table) = hosts.table_stats() {
            match &self.config.lb {
                LbPolicy::Maglev(_) => {
                    let shown = stats.maglev_lb.get();
                    shown.min_entries_per_host.set(table.min_per_host);
                    shown.max_entries_per_host.set(table.max_per_host);
                }
                _ => {
                    let shown = stats.ring_hash_lb.get();
                    shown.size.set(table.size);
                    shown.min_hashes_per_host.set(table.min_per_host);
                    shown.max_hashes_per_host.set(table.max_per_host);
                }
            }
        }
        self.hosts.store(Arc::new(hosts));
        self.generation.fetch_add(1, Ordering::Release);
    }

    fn new_host(&self, endpoint: NewHost, transport: Transport) -> Host {
        let monitor = self.detector.as_ref().map(Detector::monitor);
        let host = Host::new(endpoint, transport, self.workers, monitor);
        if self.checker.is_some() {
            host.change_flags(Checker::flags_of_new(&host), HealthFlags::NONE);
        }
        host
    }

    /// Ejected hosts that go are ejected no longer.
    fn forget_ejections(&self, old: &HostSet, entries: &[(u32, HostEntry)]) {
        if self.detector.is_none() {
            return;
        }
        let stays = |host: &Arc<Host>| {
            let same = |(_, entry): &(u32, HostEntry)| Arc::ptr_eq(&entry.host, host);
            entries.iter().any(same)
        };
        let gone = old.iter().filter(|entry| {
            let flags = entry.host.flags();
            flags.intersects(HealthFlags::FAILED_OUTLIER_CHECK) && !stays(&entry.host)
        });
        let stats = self.stats.main().outlier_detection.get();
        stats.ejections_active.sub(gone.count() as u64);
    }

    /// Its outlier detection, if it has any.
    pub(crate) fn detector(&self) -> Option<&Detector> {
        self.detector.as_ref()
    }

    /// Requests in flight, over all workers.
    pub(crate) fn active_requests(&self) -> u64 {
        sum(&self.stats, |stats| &stats.upstream_rq_active)
    }

    /// Where the names are that requests ask for.
    pub(crate) fn dns_cache(&self) -> Option<&Arc<DnsCache>> {
        self.dns_cache.as_ref()
    }

    /// The host for an original destination or a name, made at its first use.
    pub(crate) fn host_for(&self, destination: &Address) -> Arc<Host> {
        let mut hosts = self.lock_destinations();
        let host = hosts.entry(destination.clone()).or_insert_with(|| {
            let endpoint = NewHost {
                address: destination.clone(),
                hostname: match destination {
                    Address::Name { host, .. } => host.clone(),
                    Address::Socket(_) | Address::Pipe(_) => String::new(),
                },
                locality: Locality::default(),
                locality_weight: None,
                resolved: None,
                additional_addresses: Vec::new(),
                health_check: None,
                attributes: HostAttributes {
                    metadata: Arc::default(),
                    weight: 1,
                    eds_health: HealthStatus::Healthy,
                    priority: 0,
                },
            };
            Arc::new(self.new_host(endpoint, self.transport.clone()))
        });
        Arc::clone(host)
    }

    /// Shows in statistics which limits are reached; for the main thread.
    pub(crate) fn show_limits(&self) {
        let stats = &self.stats.main().circuit_breakers;
        self.breakers.of(Priority::Default).show(&stats.default);
        self.breakers.of(Priority::High).show(&stats.high);
    }

    /// Forgets hosts made on demand that no worker uses any more.
    pub(crate) fn forget_unused(&self) {
        self.lock_destinations()
            .retain(|_, host| Arc::strong_count(host) > 1);
    }

    fn transport_for(&self, metadata: &Metadata) -> &Transport {
        self.transport_where(|key| metadata.get(SOCKET_MATCH, key))
    }

    fn transport_where<'v>(&self, value_of: impl Fn(&str) -> Option<&'v Value>) -> &Transport {
        self.transport_matches
            .iter()
            .find(|(matches, _)| {
                matches
                    .iter()
                    .all(|(key, value)| value_of(key) == Some(value))
            })
            .map_or(&self.transport, |(_, transport)| transport)
    }

    fn lock_hosts(&self) -> std::sync::MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_destinations(&self) -> std::sync::MutexGuard<'_, HashMap<Address, Arc<Host>>> {
        self.by_destination
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("name", &self.config.name)
            .finish_non_exhaustive()
    }
}
