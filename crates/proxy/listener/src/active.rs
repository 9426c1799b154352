//! A listener in service: its sockets, its settings of the moment, its connections.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use meltemi_ir as ir;
use meltemi_lifecycle::{Drain, DrainSignal};
use meltemi_telemetry::{ListenerStats, Sharded};

use crate::runtime::ListenerRuntime;

/// A listener in service. Shared by all threads.
pub struct ActiveListener {
    name: String,
    runtime: ArcSwap<ListenerRuntime>,
    /// One set of sockets for each address, one socket for each worker.
    sockets: Vec<BoundAddress>,
    stats: Arc<Sharded<ListenerStats>>,
    /// Tells the accept loops to stop.
    stop: Drain,
    /// Tells connections that their time is over.
    end: Drain,
    added_via_api: bool,
    accepting: AtomicBool,
}

/// An address with its sockets.
#[derive(Debug)]
pub(crate) struct BoundAddress {
    /// As bound.
    pub bound: SocketAddr,
    /// A socket for each worker, until they are closed.
    sockets: Mutex<Vec<TcpListener>>,
}

impl BoundAddress {
    pub(crate) fn new(bound: SocketAddr, sockets: Vec<TcpListener>) -> Self {
        Self {
            bound,
            sockets: Mutex::new(sockets),
        }
    }

    /// Further descriptors of the sockets; none once they are closed.
    ///
    /// # Errors
    /// When the system has no more descriptors.
    pub(crate) fn copies(&self) -> io::Result<Vec<TcpListener>> {
        self.lock().iter().map(TcpListener::try_clone).collect()
    }

    /// Whether there still are sockets.
    pub(crate) fn is_open(&self) -> bool {
        !self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<TcpListener>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A listener as the administration endpoint shows it.
#[derive(Clone, Debug)]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// The addresses that it is bound to; that of the configuration where it has no socket.
    pub addresses: Vec<SocketAddr>,
    /// It came over xDS.
    pub added_via_api: bool,
    /// It accepts connections (it has warmed up).
    pub accepting: bool,
}

impl ActiveListener {
    pub(crate) fn new(
        runtime: Arc<ListenerRuntime>,
        sockets: Vec<BoundAddress>,
        stats: Arc<Sharded<ListenerStats>>,
        added_via_api: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: runtime.config.name.clone(),
            runtime: ArcSwap::new(runtime),
            sockets,
            stats,
            stop: Drain::new().0,
            end: Drain::new().0,
            added_via_api,
            accepting: AtomicBool::new(false),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its configuration of the moment.
    pub fn config(&self) -> Arc<ir::Listener> {
        Arc::clone(&self.runtime.load().config)
    }

    /// As the administration endpoint shows it.
    pub fn status(&self) -> ListenerStatus {
        let bound: Vec<SocketAddr> = self.sockets.iter().map(|address| address.bound).collect();
        let addresses = if bound.is_empty() {
            vec![self.config().address]
        } else {
            bound
        };
        ListenerStatus {
            name: self.name.clone(),
            addresses,
            added_via_api: self.added_via_api,
            accepting: self.accepting.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn runtime(&self) -> Arc<ListenerRuntime> {
        self.runtime.load_full()
    }

    pub(crate) fn replace(&self, runtime: Arc<ListenerRuntime>) {
        self.runtime.store(runtime);
    }

    pub(crate) fn stats(&self) -> &Arc<Sharded<ListenerStats>> {
        &self.stats
    }

    pub(crate) fn sockets(&self) -> &[BoundAddress] {
        &self.sockets
    }

    pub(crate) fn accepting(&self) {
        self.accepting.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_accepting(&self) -> bool {
        self.accepting.load(Ordering::Relaxed)
    }

    pub(crate) fn stop_signal(&self) -> DrainSignal {
        self.stop.signal()
    }

    pub(crate) fn end_signal(&self) -> DrainSignal {
        self.end.signal()
    }

    /// Accepts no more connections; those that are open go on.
    pub(crate) fn stop_accepting(&self) {
        self.stop.start();
        self.accepting.store(false, Ordering::Relaxed);
    }

    /// Closes the sockets, so that the system refuses whoever comes. Connections that wait in them to
    /// be accepted are lost, so accepting is stopped before.
    pub(crate) fn close_sockets(&self) {
        for address in &self.sockets {
            address.lock().clear();
        }
    }

    /// Asks every connection to close in peace, not all at once but over this time.
    pub(crate) fn start_draining(&self, over: Duration) {
        for chain in self.runtime.load().all_chains() {
            chain.drain.start_over(over);
        }
    }

    /// Closes every connection that is left.
    pub(crate) fn end_connections(&self) {
        self.end.start();
    }
}
