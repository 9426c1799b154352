//! All listeners: configuration enters here, sockets go to the workers.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use meltemi_ir as ir;
use meltemi_net::{BindOptions, Keepalive, MOST_SOCKETS, bind, bind_more};
use meltemi_telemetry::StatsRegistry;
use meltemi_upstream::socket_option;
use tokio::sync::mpsc::UnboundedSender;
use tracing::{info, warn};

use crate::active::BoundAddress;
use crate::runtime::{Built, ListenerRuntime, WantedRoutes};
use crate::{Accept, ActiveListener, ListenerShared};

/// How connections are drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainPlan {
    /// How long they have to end.
    pub time: Duration,
    /// They are asked to one after the other, over that time, and not all at once.
    pub gradual: bool,
}

impl DrainPlan {
    /// Over which time they are asked.
    fn over(self) -> Duration {
        if self.gradual {
            self.time
        } else {
            Duration::ZERO
        }
    }
}

/// Why a listener is not served.
#[derive(Debug, thiserror::Error)]
pub enum ListenerError {
    /// Something inside it cannot be served.
    #[error("{path}: {problem}")]
    Chain {
        /// The field.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// Its address cannot be bound.
    #[error(
        "socket_options[{index}]: level {level} and name {name} are no option that the proxy knows, or its value is of another kind"
    )]
    SocketOption {
        /// Which option.
        index: usize,
        /// Its level.
        level: i64,
        /// Its name.
        name: i64,
    },
    /// An address cannot be bound.
    #[error("address: cannot bind '{address}': {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// Listeners by the address that a redirected connection names.
pub(crate) type AddressMap = HashMap<SocketAddr, Arc<ActiveListener>>;

/// All listeners. Shared by all threads; changes are made on the main thread.
pub struct ListenerManager {
    shared: ListenerShared,
    workers: Vec<UnboundedSender<Accept>>,
    state: Mutex<State>,
    by_address: Arc<ArcSwap<AddressMap>>,
    drain: DrainPlan,
    /// Sockets of the process before, by the addresses that no listener has claimed yet.
    inherited: Mutex<HashMap<SocketAddr, Vec<TcpListener>>>,
    /// Nothing goes into service yet.
    held: AtomicBool,
}

#[derive(Default)]
struct State {
    active: BTreeMap<String, Arc<ActiveListener>>,
    /// New settings that wait for their route tables or secrets.
    warming: BTreeMap<String, Warming>,
    draining: Vec<Arc<ActiveListener>>,
}

struct Warming {
    built: Built,
    /// None where the settings go into an active listener.
    fresh: Option<Arc<ActiveListener>>,
}

impl ListenerManager {
    /// No listeners yet. `workers` takes sockets, one channel a worker; connections of a
    /// removed listener have the time of `drain` to end.
    pub fn new(
        shared: ListenerShared,
        workers: Vec<UnboundedSender<Accept>>,
        drain: DrainPlan,
    ) -> Arc<Self> {
        let by_address = Arc::new(ArcSwap::from_pointee(AddressMap::new()));
        Arc::new(Self {
            shared,
            workers,
            state: Mutex::default(),
            by_address,
            drain,
            inherited: Mutex::default(),
            held: AtomicBool::new(false),
        })
    }

    /// Takes the sockets of a process whose place this one takes; listeners of those addresses
    /// bind no others.
    pub fn inherit(&self, sockets: HashMap<SocketAddr, Vec<TcpListener>>) {
        *self.lock_inherited() = sockets;
    }

    /// Lets no listener accept until [`ListenerManager::release`]: where one cannot be served, a
    /// process that takes another's place must not have accepted anybody on the others.
    pub fn hold(&self) {
        self.held.store(true, Ordering::Relaxed);
    }

    /// Puts what was held into service.
    pub fn release(&self) {
        self.held.store(false, Ordering::Relaxed);
        self.promote();
    }

    /// Closes what no listener has claimed.
    pub fn forget_inherited(&self) {
        self.lock_inherited().clear();
    }

    /// The sockets of every listener that accepts, for a process that takes this one's place.
    ///
    /// # Errors
    /// When the system has no more descriptors.
    pub fn hand_over(&self) -> io::Result<Vec<(SocketAddr, Vec<TcpListener>)>> {
        let listeners = self.listeners();
        let accepting = listeners.iter().filter(|listener| listener.is_accepting());
        let addresses = accepting.flat_map(|listener| listener.sockets());
        let copied = addresses.map(|address| {
            let mut sockets = address.copies()?;
            sockets.truncate(MOST_SOCKETS);
            Ok((address.bound, sockets))
        });
        copied.collect()
    }

    fn lock_inherited(&self) -> MutexGuard<'_, HashMap<SocketAddr, Vec<TcpListener>>> {
        self.inherited
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Sockets that the process before had at an address, as many as there are workers at least.
    fn inherited(
        &self,
        address: SocketAddr,
        options: BindOptions,
    ) -> Option<io::Result<Vec<TcpListener>>> {
        let mut sockets = self.lock_inherited().remove(&address)?;
        let missing = self.workers.len().saturating_sub(sockets.len());
        Some(bind_more(address, missing, options).map(|more| {
            sockets.extend(more);
            sockets
        }))
    }

    pub(crate) fn by_address(&self) -> &Arc<ArcSwap<AddressMap>> {
        &self.by_address
    }

    /// Adds a listener or changes it in place. It goes into service at once, or when its
    /// route tables and secrets have arrived ([`ListenerManager::promote`]).
    ///
    /// # Errors
    /// When it cannot be served; the old one stays.
    pub fn apply(&self, config: ir::Listener, added_via_api: bool) -> Result<(), ListenerError> {
        let config = Arc::new(config);
        let mut state = self.lock();
        let before = state.active.get(&config.name).cloned();
        let in_place = before.filter(|active| has_same_sockets(&active.config(), &config));
        let stats = self.shared.http.stats.listener_manager();
        let warming = match &in_place {
            Some(active) => {
                if *active.config() == *config {
                    state.warming.remove(&config.name);
                    return Ok(());
                }
                let built = ListenerRuntime::build(
                    Arc::clone(&config),
                    Some(&active.runtime()),
                    &self.shared,
                )?;
                stats.listener_modified.inc();
                stats.listener_in_place_updated.inc();
                Warming { built, fresh: None }
            }
            None => {
                let built = ListenerRuntime::build(Arc::clone(&config), None, &self.shared)?;
                let sockets = self.bind(&config, &state)?;
                let name = StatsRegistry::listener_name(&config);
                let listener_stats = self.shared.http.stats.listener(&name);
                let fresh = ActiveListener::new(
                    Arc::clone(&built.runtime),
                    sockets,
                    listener_stats,
                    added_via_api,
                );
                stats.listener_added.inc();
                stats.listener_create_success.inc();
                Warming {
                    built,
                    fresh: Some(fresh),
                }
            }
        };
        state.warming.insert(config.name.clone(), warming);
        self.promote_ready(&mut state);
        Ok(())
    }

    /// Puts warming listeners into service whose route tables and secrets have arrived, or are not
    /// waited for any more.
    pub fn promote(&self) {
        self.promote_ready(&mut self.lock());
    }

    fn promote_ready(&self, state: &mut State) {
        if self.held.load(Ordering::Relaxed) {
            return;
        }
        let ready: Vec<String> = state
            .warming
            .iter()
            .filter(|(_, warming)| {
                let runtime = &warming.built.runtime;
                self.routes_are_there(runtime) && !runtime.awaits_secrets()
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in ready {
            let Some(warming) = state.warming.remove(&name) else {
                continue;
            };
            match warming.fresh {
                Some(fresh) => {
                    warming.built.swap();
                    if let Some(old) = state.active.insert(name, Arc::clone(&fresh)) {
                        self.retire(state, old);
                    }
                    self.start(&fresh);
                }
                None => {
                    let Some(active) = state.active.get(&name) else {
                        continue;
                    };
                    let before = active.runtime();
                    let after = warming.built.swap();
                    active.replace(Arc::clone(&after));
                    before.drain_chains_missing_in(&after, self.drain.over());
                }
            }
        }
        self.publish(state);
    }

    fn routes_are_there(&self, runtime: &ListenerRuntime) -> bool {
        runtime
            .route_names()
            .iter()
            .all(|name| self.shared.http.routes.is_ready(name))
    }

    fn start(&self, listener: &Arc<ActiveListener>) {
        for address in listener.sockets() {
            let sockets = address.copies().unwrap_or_else(|error| {
                warn!(
                    listener = listener.name(),
                    "cannot hand sockets to workers: {error}"
                );
                Vec::new()
            });
            for (worker, socket) in self.workers.iter().cycle().zip(sockets) {
                drop(worker.send(Accept {
                    listener: Arc::clone(listener),
                    socket,
                }));
            }
        }
        listener.accepting();
        info!(listener = listener.name(), addresses = ?listener.status().addresses, "listening");
    }

    /// Binds the listener's addresses, or takes over the sockets of a listener that has them.
    fn bind(
        &self,
        config: &ir::Listener,
        state: &State,
    ) -> Result<Vec<BoundAddress>, ListenerError> {
        if !config.bind_to_port {
            return Ok(Vec::new());
        }
        let known = config
            .socket_options
            .iter()
            .enumerate()
            .map(|(index, one)| {
                socket_option(one).ok_or(ListenerError::SocketOption {
                    index,
                    level: one.level,
                    name: one.name,
                })
            });
        let further: Vec<_> = known.collect::<Result<_, _>>()?;
        let options = BindOptions {
            options: &further,
            backlog: config.tcp_backlog,
            transparent: config.transparent,
            freebind: config.freebind,
            keepalive: config.tcp_keepalive.map(|keepalive| {
                let ir::TcpKeepalive {
                    probes,
                    time,
                    interval,
                } = keepalive;
                Keepalive {
                    probes,
                    time,
                    interval,
                }
            }),
        };
        let held = || state.active.values().chain(&state.draining);
        let mut bound = Vec::new();
        for configured in
            std::iter::once(config.address).chain(config.additional_addresses.iter().copied())
        {
            let failed = |source| ListenerError::Bind {
                address: configured,
                source,
            };
            let taken = held()
                .filter(|other| other.name() == config.name || !other.is_accepting())
                .flat_map(|other| other.sockets())
                .find(|other| {
                    configured.port() != 0 && other.bound == configured && other.is_open()
                });
            let sockets = match taken {
                Some(other) => other.copies(),
                None => self
                    .inherited(configured, options)
                    .unwrap_or_else(|| bind(configured, self.workers.len(), options)),
            }
            .map_err(failed)?;
            let address = sockets
                .first()
                .map(TcpListener::local_addr)
                .transpose()
                .map_err(failed)?;
            bound.push(BoundAddress::new(address.unwrap_or(configured), sockets));
        }
        Ok(bound)
    }

    /// Removes a listener: it accepts no more, and its connections have the drain time.
    pub fn remove(&self, name: &str) {
        let mut state = self.lock();
        state.warming.remove(name);
        if let Some(old) = state.active.remove(name) {
            self.shared
                .http
                .stats
                .listener_manager()
                .listener_removed
                .inc();
            self.retire(&mut state, old);
        }
        self.publish(&state);
    }

    fn retire(&self, state: &mut State, old: Arc<ActiveListener>) {
        info!(listener = old.name(), "draining");
        old.stop_accepting();
        old.start_draining(self.drain.over());
        state.draining.push(old);
    }

    /// Ends the connections of listeners whose drain time is over. To be called when
    /// [`ListenerManager::remove`] or a replacement has been made, and awaited on the side.
    pub async fn finish_draining(&self) {
        let draining = std::mem::take(&mut self.lock().draining);
        if draining.is_empty() {
            return;
        }
        // whoever listens in their place has taken their sockets by now
        for listener in &draining {
            listener.close_sockets();
        }
        self.shared
            .http
            .stats
            .listener_manager()
            .total_listeners_draining
            .add(draining.len() as u64);
        tokio::time::sleep(self.drain.time).await;
        for listener in &draining {
            listener.end_connections();
        }
        self.shared
            .http
            .stats
            .listener_manager()
            .total_listeners_draining
            .sub(draining.len() as u64);
    }

    /// Asks the connections of every listener, or of the inbound ones only, to close in
    /// peace.
    pub fn drain(&self, inbound_only: bool) {
        for listener in self.chosen(inbound_only) {
            listener.start_draining(self.drain.over());
        }
    }

    /// Asks every connection to close in peace, now.
    pub fn drain_at_once(&self) {
        for listener in self.chosen(false) {
            listener.start_draining(Duration::ZERO);
        }
    }

    /// Accepts no more connections on any listener, or on the inbound ones only.
    pub fn stop_accepting(&self, inbound_only: bool) {
        for listener in self.chosen(inbound_only) {
            listener.stop_accepting();
            listener.close_sockets();
            self.shared
                .http
                .stats
                .listener_manager()
                .listener_stopped
                .inc();
        }
    }

    fn chosen(&self, inbound_only: bool) -> Vec<Arc<ActiveListener>> {
        let listeners = self.listeners().into_iter();
        let wanted = |listener: &Arc<ActiveListener>| {
            !inbound_only || listener.config().direction == ir::TrafficDirection::Inbound
        };
        listeners.filter(wanted).collect()
    }

    /// Opens the access logs anew.
    ///
    /// # Errors
    /// When a file cannot be opened.
    pub fn reopen_logs(&self) -> io::Result<()> {
        self.shared.http.files.reopen()
    }

    /// Downstream connections open now.
    pub fn connections(&self) -> u64 {
        let open = |listener: &Arc<ActiveListener>| -> i64 {
            listener
                .stats()
                .iter()
                .map(|shard| {
                    shard.downstream_cx_active.get() + shard.downstream_pre_cx_active.get()
                })
                .sum()
        };
        let total: i64 = self.listeners().iter().map(open).sum();
        u64::try_from(total).unwrap_or(0)
    }

    /// The listeners in service, by name.
    pub fn listeners(&self) -> Vec<Arc<ActiveListener>> {
        self.lock().active.values().cloned().collect()
    }

    /// The names of listeners that came over xDS, warming ones included.
    pub fn dynamic_names(&self) -> Vec<String> {
        let state = self.lock();
        let dynamic = |listener: &&Arc<ActiveListener>| listener.status().added_via_api;
        let mut names: Vec<String> = state
            .active
            .values()
            .filter(dynamic)
            .map(|listener| listener.name().to_owned())
            .collect();
        names.extend(
            state
                .warming
                .keys()
                .filter(|name| !state.active.contains_key(*name))
                .cloned(),
        );
        names
    }

    /// How many listeners wait for their route tables or secrets.
    pub fn warming(&self) -> usize {
        self.lock().warming.len()
    }

    /// The listeners that wait, each with the route tables and the secrets that have not come.
    pub fn unready(&self) -> Vec<(String, Vec<String>, Vec<String>)> {
        let state = self.lock();
        let warming = state.warming.iter().map(|(name, warming)| {
            let runtime = &warming.built.runtime;
            let mut routes = runtime.route_names();
            routes.retain(|name| !self.shared.http.routes.is_ready(name));
            (name.clone(), routes, runtime.awaited_secrets())
        });
        warming.collect()
    }

    /// The route tables that listeners, warming or in service, ask for over RDS, each with the name
    /// of the listener.
    pub fn wanted_routes(&self) -> Vec<(String, WantedRoutes)> {
        let state = self.lock();
        let warming = state.warming.iter();
        let warming = warming.map(|(name, it)| (name.clone(), it.built.runtime.wanted_routes()));
        let active = state.active.values();
        let active = active.map(|it| (it.name().to_owned(), it.runtime().wanted_routes()));
        let mut wanted: Vec<_> = warming
            .chain(active)
            .flat_map(|(listener, wanted)| wanted.into_iter().map(move |it| (listener.clone(), it)))
            .collect();
        wanted.sort();
        wanted.dedup();
        wanted
    }

    fn publish(&self, state: &State) {
        let map = state
            .active
            .values()
            .flat_map(|listener| {
                let config = listener.config();
                let addresses =
                    std::iter::once(config.address).chain(config.additional_addresses.clone());
                addresses
                    .map(|address| (address, Arc::clone(listener)))
                    .collect::<Vec<_>>()
            })
            .collect();
        self.by_address.store(Arc::new(map));
        let stats = self.shared.http.stats.listener_manager();
        stats.total_listeners_active.set(state.active.len() as u64);
        stats
            .total_listeners_warming
            .set(state.warming.len() as u64);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether one listener's sockets serve the other.
fn has_same_sockets(left: &ir::Listener, right: &ir::Listener) -> bool {
    left.address == right.address
        && left.additional_addresses == right.additional_addresses
        && left.bind_to_port == right.bind_to_port
        && left.transparent == right.transparent
        && left.freebind == right.freebind
        && left.tcp_keepalive == right.tcp_keepalive
        && left.socket_options == right.socket_options
        && left.stat_prefix == right.stat_prefix
}
