//! Names that requests ask for (`envoy.clusters.dynamic_forward_proxy`): looked up when first asked for,
//! and again and again while they are in use.
//!
//! Workers ask, the main thread looks up ([`look_up`]). A name that was not found is forgotten at once, so
//! that the next request tries again; one that was found once keeps its last good address.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderValue;
use http::uri::Authority;
use meltemi_ir::DnsCache as Settings;
use meltemi_lifecycle::{Clock, WorkerId};
use meltemi_telemetry::{DnsCacheStats, Sharded};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::dns;

/// A cache; one for each name of a cache in the configuration.
pub(crate) struct DnsCache {
    settings: Arc<Settings>,
    stats: Arc<Sharded<DnsCacheStats>>,
    clock: Clock,
    began: Instant,
    names: ArcSwap<HashMap<NameAndPort, Arc<Name>>>,
    /// Held by whoever adds or removes names.
    changing: Mutex<()>,
    pending: AtomicU32,
    begin: Begin,
}

/// Has the main thread look a name up.
pub(crate) type Begin = Box<dyn Fn(&Arc<DnsCache>, Arc<Name>) + Send + Sync>;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NameAndPort {
    /// A host name or an address.
    pub(crate) name: Box<str>,
    pub(crate) port: u16,
}

impl NameAndPort {
    /// What a request's authority names.
    pub(crate) fn of(authority: &HeaderValue, default_port: u16) -> Option<Self> {
        let authority: Authority = authority.to_str().ok()?.parse().ok()?;
        let host = authority.host();
        let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        Some(Self {
            name: bare.unwrap_or(host).to_ascii_lowercase().into(),
            port: authority.port_u16().unwrap_or(default_port),
        })
    }
}

/// A name that is in the cache.
pub(crate) struct Name {
    key: NameAndPort,
    found: watch::Sender<Found>,
    /// When it was last asked for, in milliseconds of the cache.
    used: AtomicU64,
    /// When it was last looked up, likewise; [`LOOKING`] during a lookup.
    looked_up: AtomicU64,
}

const LOOKING: u64 = u64::MAX;

/// What is known of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// Nothing yet.
    Pending,
    /// Where it is.
    At(SocketAddr),
    /// It has no address.
    Nothing,
}

/// What becomes of a request that asks for a name.
pub enum Demand {
    /// Its address is known.
    Known,
    /// It waits for a lookup.
    Waits(PendingName),
    /// The cache is full (`max_hosts`).
    Full,
    /// Too many wait (`dns_cache_circuit_breaker`).
    Overflow,
}

/// A request that waits for a lookup; counts until dropped.
pub struct PendingName {
    cache: Arc<DnsCache>,
    found: watch::Receiver<Found>,
}

impl PendingName {
    /// Whether the name has an address, once that is known.
    pub async fn is_found(mut self) -> bool {
        let found = self.found.wait_for(|found| *found != Found::Pending).await;
        found.is_ok_and(|found| matches!(*found, Found::At(_)))
    }
}

impl Drop for PendingName {
    fn drop(&mut self) {
        self.cache.pending.fetch_sub(1, Ordering::Relaxed);
    }
}

impl DnsCache {
    pub(crate) fn new(
        settings: Arc<Settings>,
        stats: Arc<Sharded<DnsCacheStats>>,
        clock: Clock,
        begin: Begin,
    ) -> Self {
        Self {
            settings,
            stats,
            clock,
            began: clock.now(),
            names: ArcSwap::default(),
            changing: Mutex::default(),
            pending: AtomicU32::new(0),
            begin,
        }
    }

    pub(crate) fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// Asks for a name.
    pub(crate) fn demand(self: &Arc<Self>, key: &NameAndPort, worker: WorkerId) -> Demand {
        let stats = self.stats.shard(worker);
        let known = self.names.load().get(key).cloned();
        let name = match known {
            Some(name) => name,
            None => match self.add(key) {
                Some((name, is_new)) => {
                    if is_new {
                        (self.begin)(self, Arc::clone(&name));
                    }
                    name
                }
                None => {
                    stats.host_overflow.inc();
                    return Demand::Full;
                }
            },
        };
        name.used.store(self.now(), Ordering::Relaxed);
        if matches!(*name.found.borrow(), Found::At(_)) {
            return Demand::Known;
        }
        let waiting = self.pending.fetch_add(1, Ordering::Relaxed);
        let pending = PendingName {
            cache: Arc::clone(self),
            found: name.found.subscribe(),
        };
        if waiting >= self.settings.max_pending {
            stats.dns_rq_pending_overflow.inc();
            return Demand::Overflow;
        }
        Demand::Waits(pending)
    }

    /// Where a name is, if it is known; counts as use of it.
    pub(crate) fn address(&self, key: &NameAndPort) -> Option<SocketAddr> {
        let names = self.names.load();
        let name = names.get(key)?;
        name.used.store(self.now(), Ordering::Relaxed);
        match *name.found.borrow() {
            Found::At(address) => Some(address),
            Found::Pending | Found::Nothing => None,
        }
    }

    /// The names that are to be looked up again; those that are no longer in use are forgotten.
    pub(crate) fn due(&self) -> Vec<Arc<Name>> {
        let now = self.now();
        let names = self.names.load();
        let unused = |name: &Name| {
            let since = now.saturating_sub(name.used.load(Ordering::Relaxed));
            is_over(since, self.settings.keep_unused)
        };
        let mut due = Vec::new();
        for name in names.values() {
            let looked_up = name.looked_up.load(Ordering::Relaxed);
            if looked_up == LOOKING {
                continue;
            }
            if unused(name) {
                self.remove(&name.key);
            } else if is_over(now.saturating_sub(looked_up), self.settings.refresh) {
                name.looked_up.store(LOOKING, Ordering::Relaxed);
                due.push(Arc::clone(name));
            }
        }
        due
    }

    fn add(&self, key: &NameAndPort) -> Option<(Arc<Name>, bool)> {
        let _one_at_a_time = self.lock();
        let names = self.names.load();
        if let Some(name) = names.get(key) {
            return Some((Arc::clone(name), false));
        }
        if names.len() >= self.settings.max_names as usize {
            return None;
        }
        let name = Arc::new(Name {
            key: key.clone(),
            found: watch::Sender::new(Found::Pending),
            used: AtomicU64::new(self.now()),
            looked_up: AtomicU64::new(LOOKING),
        });
        let mut changed = HashMap::clone(&names);
        changed.insert(key.clone(), Arc::clone(&name));
        self.names.store(Arc::new(changed));
        Some((name, true))
    }

    fn remove(&self, key: &NameAndPort) {
        let _one_at_a_time = self.lock();
        let mut changed = HashMap::clone(&self.names.load());
        if changed.remove(key).is_some() {
            self.stats.main().host_removed.inc();
            self.stats.main().num_hosts.set(changed.len() as u64);
        }
        self.names.store(Arc::new(changed));
    }

    fn now(&self) -> u64 {
        let since = self.clock.now().saturating_duration_since(self.began);
        u64::try_from(since.as_millis()).unwrap_or(LOOKING - 1)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks a name up once, on the main thread.
pub(crate) async fn look_up(cache: Arc<DnsCache>, name: Arc<Name>) {
    let stats = cache.stats.main();
    let is_new = *name.found.borrow() == Found::Pending;
    if is_new {
        stats.host_added.inc();
        stats.num_hosts.set(cache.names.load().len() as u64);
    }
    stats.dns_query_attempt.inc();
    let NameAndPort { name: host, port } = &name.key;
    let settings = &cache.settings;
    let lookup = dns::lookup(host, *port, settings.family);
    let first = match tokio::time::timeout(settings.query_timeout, lookup).await {
        Ok(Ok(addresses)) => addresses.first().copied(),
        Ok(Err(error)) => {
            tracing::debug!(cache = settings.name, name = %host, %error, "name not resolved");
            None
        }
        Err(_) => {
            stats.dns_query_timeout.inc();
            None
        }
    };
    name.looked_up.store(cache.now(), Ordering::Relaxed);
    match first {
        Some(address) => {
            stats.dns_query_success.inc();
            let before = name.found.send_replace(Found::At(address));
            if before != Found::At(address) {
                stats.host_address_changed.inc();
            }
        }
        None => {
            stats.dns_query_failure.inc();
            if is_new {
                cache.remove(&name.key);
                name.found.send_replace(Found::Nothing);
            }
        }
    }
}

fn is_over(milliseconds: u64, limit: Duration) -> bool {
    u128::from(milliseconds) >= limit.as_millis()
}

#[cfg(test)]
mod tests;
