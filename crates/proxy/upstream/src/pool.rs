//! Connection pools of one worker to one host.
//!
//! A request takes an idle HTTP/1 connection (the last used first) or a place on an HTTP/2 one; where
//! there is none it waits, and as many connections are opened as those waiting need. Whichever
//! connection is free first serves whoever waits longest.

mod http1;
mod http2;
mod key;
mod lease;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use meltemi_ir::{AlpnProtocols, Priority};
use meltemi_tls::{Alpn, Wishes};
use tokio::sync::oneshot;
use tokio::time::Instant;

use http1::Http1Lease;
pub(crate) use http1::{Http1Body, Http1Upgrade};
pub(crate) use http2::{Http2Lease, reason as http2_reason};
pub(crate) use key::PoolKey;
use key::PoolKind;
pub use key::{Called, HttpOptions, HttpVersion};
pub use lease::HttpLease;
use lease::{ActiveRequest, Connection};

use http1::Http1Connection;
use http2::Http2Connection;

use crate::connect::Asked;
use crate::host::sum;
use crate::stream::CountedConnection;
use crate::{Breaker, ConnectFailure, Proxied, WorkerCluster, WorkerHost, connect};

/// A connection that was idle for less is taken without a look: no upstream closes it so soon.
const STALE_AFTER: Duration = Duration::from_millis(3);

/// The pools of one host; each is made at its first use.
#[derive(Default)]
pub(crate) struct HostPools {
    slots: [OnceCell<Rc<HttpPool>>; 6],
    /// Those whose requests bring an ALPN, a server name or a client of their own.
    overriding: RefCell<Vec<Rc<HttpPool>>>,
    draining: Cell<bool>,
}

impl HostPools {
    /// A free connection, if there is one at once.
    #[inline]
    pub(crate) fn take(
        &self,
        cluster: &Rc<WorkerCluster>,
        host: &Rc<WorkerHost>,
        key: PoolKey<'_>,
    ) -> Option<Result<HttpLease, ConnectFailure>> {
        if !key.is_usual() {
            let pool = self.overriding(key)?;
            let connection = pool.take(Look::Not)?;
            return Some(pool.attach(cluster, host, connection));
        }
        let pool = self.slots[key.index()].get()?;
        let connection = pool.take(Look::Not)?;
        Some(pool.attach(cluster, host, connection))
    }

    fn existing(&self, key: PoolKey<'_>) -> Option<Rc<HttpPool>> {
        if key.is_usual() {
            self.slots[key.index()].get().cloned()
        } else {
            self.overriding(key)
        }
    }

    fn overriding(&self, key: PoolKey<'_>) -> Option<Rc<HttpPool>> {
        let pools = self.overriding.borrow();
        pools.iter().find(|pool| pool.serves(key)).cloned()
    }

    /// The pool of this key, made if it is not there yet.
    fn pool(&self, key: PoolKey<'_>) -> Rc<HttpPool> {
        let make = || Rc::new(HttpPool::new(key, self.draining.get()));
        if key.is_usual() {
            return Rc::clone(self.slots[key.index()].get_or_init(make));
        }
        self.overriding(key).unwrap_or_else(|| {
            let pool = make();
            self.overriding.borrow_mut().push(Rc::clone(&pool));
            pool
        })
    }

    fn each(&self, mut act: impl FnMut(&HttpPool)) {
        for pool in self.slots.iter().filter_map(OnceCell::get) {
            act(pool);
        }
        for pool in self.overriding.borrow().iter() {
            act(pool);
        }
    }

    /// A connection when one is free, which is opened if necessary.
    pub(crate) async fn wait(
        cluster: &Rc<WorkerCluster>,
        host: &Rc<WorkerHost>,
        key: PoolKey<'_>,
    ) -> Result<HttpLease, ConnectFailure> {
        if let Some(pool) = host.pools.existing(key)
            && pool.has_free()
        {
            // It lay idle. What the system knows of it by now reaches its task before this
            // goes on, so that one that the upstream has closed is not taken.
            tokio::task::yield_now().await;
            if let Some(connection) = pool.take(Look::Done) {
                return pool.attach(cluster, host, connection);
            }
        }
        let stats = cluster.stats();
        let pending = &cluster.breakers().of(key.priority).pending;
        if !pending.has_room() {
            stats.upstream_rq_pending_overflow.inc();
            return Err(ConnectFailure::Overflow(Breaker::PendingRequests));
        }
        let mut pending = PendingRequest::new(cluster, host, key.priority);
        let pool = host.pools.pool(key);
        let (serve, served) = oneshot::channel();
        pool.waiting.borrow_mut().push_back(Waiter {
            cluster: Rc::clone(cluster),
            host: Rc::clone(host),
            serve,
        });
        pool.open_as_needed();
        let served = served.await;
        pending.is_over = true;
        match served {
            Ok(result) => result,
            // Only a pool that is gone forgets who waits; its worker is ending.
            Err(_) => Err(ConnectFailure::Transport(Arc::from(
                "connection pool closed",
            ))),
        }
    }

    /// The host or cluster is gone: idle connections are closed, those in use when they
    /// become free.
    pub(crate) fn drain(&self) {
        self.draining.set(true);
        self.each(|pool| {
            pool.draining.set(true);
            pool.idle.take();
            pool.shared.take();
        });
    }

    /// Closes idle connections; those in use serve on.
    pub(crate) fn drain_idle(&self) {
        self.each(|pool| {
            pool.idle.take();
            let mut shared = pool.shared.borrow_mut();
            shared.retain(|connection| !connection.is_idle());
        });
    }

    /// Closes what has been idle for too long, or is too old.
    pub(crate) fn sweep(&self, cluster: &WorkerCluster, now: Instant) {
        let config = cluster.config();
        let reaches = |limit: Option<Duration>, since: Instant| {
            limit.is_some_and(|limit| now.saturating_duration_since(since) >= limit)
        };
        // Names come from clients: what nobody uses any more must not stay.
        self.overriding
            .borrow_mut()
            .retain(|pool| Rc::strong_count(pool) > 1 || !pool.is_empty());
        if config.idle_timeout.is_none() && config.max_connection_duration.is_none() {
            return;
        }
        self.each(|pool| {
            let (mut idle, mut old) = (0, 0);
            let mut stays = |opened: Instant, since: Instant| {
                if reaches(config.max_connection_duration, opened) {
                    old += 1;
                    return false;
                }
                let is_idle = reaches(config.idle_timeout, since);
                idle += u64::from(is_idle);
                !is_idle
            };
            pool.idle
                .borrow_mut()
                .retain(|connection| stays(connection.opened(), connection.idle_since()));
            pool.shared.borrow_mut().retain(|connection| {
                // One in use takes no more requests when it is too old.
                !connection.is_idle() || stays(connection.opened(), connection.idle_since())
            });
            cluster.stats().upstream_cx_idle_timeout.add(idle);
            cluster.stats().upstream_cx_max_duration_reached.add(old);
        });
    }
}

/// The connections of one kind and priority.
pub(crate) struct HttpPool {
    kind: PoolKind,
    priority: Priority,
    alpn: Option<AlpnProtocols>,
    called: Option<Called>,
    proxied: Option<Proxied>,
    draining: Cell<bool>,
    /// The last used is the last.
    idle: RefCell<Vec<Http1Connection>>,
    shared: RefCell<Vec<Rc<Http2Connection>>>,
    waiting: RefCell<VecDeque<Waiter>>,
    connecting: Cell<usize>,
    /// ALPN has chosen HTTP/1.1 before, so that a connection will serve only one.
    speaks_http1: Cell<bool>,
    /// Places are being given away; one that becomes free meanwhile is seen by that.
    serving: Cell<bool>,
}

/// Whether the runtime has just looked at the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Not,
    Done,
}

/// A request that waits for a connection.
struct Waiter {
    cluster: Rc<WorkerCluster>,
    host: Rc<WorkerHost>,
    serve: oneshot::Sender<Result<HttpLease, ConnectFailure>>,
}

impl HttpPool {
    fn new(key: PoolKey<'_>, draining: bool) -> Self {
        Self {
            kind: key.kind,
            priority: key.priority,
            alpn: key.alpn.cloned(),
            called: key.called.cloned(),
            proxied: key.proxied.cloned(),
            draining: Cell::new(draining),
            idle: RefCell::default(),
            shared: RefCell::default(),
            waiting: RefCell::default(),
            connecting: Cell::new(0),
            speaks_http1: Cell::new(false),
            serving: Cell::new(false),
        }
    }

    fn serves(&self, key: PoolKey<'_>) -> bool {
        self.kind == key.kind
            && self.priority == key.priority
            && self.alpn.as_ref() == key.alpn
            && self.called.as_ref() == key.called
            && self.proxied.as_ref() == key.proxied
    }

    /// Whether nothing is in it, on its way into it or waiting for it.
    fn is_empty(&self) -> bool {
        self.connecting.get() == 0
            && self.idle.borrow().is_empty()
            && self.shared.borrow().is_empty()
            && self.waiting.borrow().is_empty()
    }

    /// A connection that can take a request now; one that lay idle only after a look at it.
    #[inline]
    fn take(self: &Rc<Self>, look: Look) -> Option<Connection> {
        if self.kind != PoolKind::Http2 {
            let mut idle = self.idle.borrow_mut();
            while let Some(connection) = idle.pop() {
                if !connection.is_usable() {
                    continue;
                }
                if look == Look::Not && connection.is_stale() {
                    idle.push(connection);
                    return None;
                }
                return Some(Connection::Http1(connection));
            }
        }
        if self.kind != PoolKind::Http1 {
            return self.take_shared(look);
        }
        None
    }

    fn take_shared(self: &Rc<Self>, look: Look) -> Option<Connection> {
        let mut shared = self.shared.borrow_mut();
        let mut index = 0;
        while index < shared.len() {
            let connection = &shared[index];
            if connection.has_room() {
                if look == Look::Not && connection.is_stale() {
                    return None;
                }
                return Some(Connection::Http2(Http2Connection::occupy(connection, self)));
            }
            if connection.is_spent() {
                shared.swap_remove(index);
            } else {
                index += 1;
            }
        }
        None
    }

    /// Whether there is a connection that may be free.
    fn has_free(&self) -> bool {
        !self.idle.borrow().is_empty() || !self.shared.borrow().is_empty()
    }

    /// Makes a lease of a free connection.
    #[inline]
    fn attach(
        self: &Rc<Self>,
        cluster: &Rc<WorkerCluster>,
        host: &Rc<WorkerHost>,
        connection: Connection,
    ) -> Result<HttpLease, ConnectFailure> {
        let requests = &cluster.breakers().of(self.priority).requests;
        if !requests.has_room() {
            self.give_back(connection);
            cluster.stats().upstream_rq_pending_overflow.inc();
            return Err(ConnectFailure::Overflow(Breaker::Requests));
        }
        let active = ActiveRequest::new(cluster, host, self.priority);
        Ok(HttpLease::new(connection, Rc::clone(self), active))
    }

    /// Takes back a connection that is free again, and gives it to whoever waits longest.
    pub(crate) fn put_http1(self: &Rc<Self>, connection: Http1Connection) {
        if self.draining.get() && self.waiting.borrow().is_empty() {
            return;
        }
        let mut connection = Connection::Http1(connection);
        while let Some(waiter) = self.next_waiter() {
            let result = self.attach(&waiter.cluster, &waiter.host, connection);
            let is_refused = result.is_err();
            let unused = match waiter.serve.send(result) {
                Ok(()) if !is_refused => return,
                Err(Ok(lease)) => lease.into_connection(),
                // Refused by a circuit breaker, which put it among the idle.
                Ok(()) | Err(Err(_)) => self.idle.borrow_mut().pop().map(Connection::Http1),
            };
            match unused {
                Some(unused) => connection = unused,
                None => return,
            }
        }
        self.give_back(connection);
    }

    /// A place on an HTTP/2 connection became free.
    fn put_http2(self: &Rc<Self>) {
        if self.waiting.borrow().is_empty() || self.serving.replace(true) {
            return;
        }
        while let Some(waiter) = self.next_waiter() {
            let Some(connection) = self.take_shared(Look::Done) else {
                self.waiting.borrow_mut().push_front(waiter);
                break;
            };
            let result = self.attach(&waiter.cluster, &waiter.host, connection);
            // Unheard, the lease is dropped and its place is free again.
            let _ = waiter.serve.send(result);
        }
        self.serving.set(false);
        self.open_as_needed();
    }

    fn give_back(&self, connection: Connection) {
        match connection {
            Connection::Http1(mut connection) => {
                if !self.draining.get() {
                    connection.lie_idle();
                    self.idle.borrow_mut().push(connection);
                }
            }
            // Its place is free as soon as it is dropped.
            Connection::Http2(_) => {}
        }
    }

    fn next_waiter(&self) -> Option<Waiter> {
        let mut waiting = self.waiting.borrow_mut();
        while let Some(waiter) = waiting.pop_front() {
            if !waiter.serve.is_closed() {
                return Some(waiter);
            }
        }
        None
    }

    /// Opens connections until those on the way suffice for those who wait.
    fn open_as_needed(self: &Rc<Self>) {
        loop {
            let (cluster, host, waiting) = {
                let mut waiting = self.waiting.borrow_mut();
                waiting.retain(|waiter| !waiter.serve.is_closed());
                let Some(first) = waiting.front() else {
                    return;
                };
                let (cluster, host) = (Rc::clone(&first.cluster), Rc::clone(&first.host));
                (cluster, host, waiting.len())
            };
            let each = match self.kind {
                PoolKind::Http1 => 1,
                PoolKind::Alpn if self.speaks_http1.get() => 1,
                PoolKind::Http2 | PoolKind::Alpn => {
                    let streams = cluster.config().http.http2.max_concurrent_streams;
                    (streams as usize).clamp(1, http2::INITIAL_STREAMS)
                }
            };
            let connecting = self.connecting.get();
            let wanted = ahead(cluster.config().preconnect_ratio, waiting);
            if wanted <= connecting * each {
                return;
            }
            let breakers = cluster.breakers().of(self.priority);
            let per_host = u64::from(breakers.per_host_connections);
            let host_has_room = per_host == u64::from(u32::MAX)
                || sum(host.stats_of_all(), |stats| &stats.cx_active) < per_host;
            if !(breakers.connections.has_room() && host_has_room) {
                cluster.stats().upstream_cx_overflow.inc();
                // Other hosts and workers may have used up the limit; a pool with nothing
                // to wait for opens one all the same.
                if connecting > 0 || host.stats().cx_active.get() > 0 {
                    return;
                }
            }
            self.connecting.set(connecting + 1);
            // Counted now, so that whoever asks next sees it.
            let worker = cluster.worker();
            let count = CountedConnection::begin(&cluster, &host, worker, self.priority);
            tokio::task::spawn_local(open(Rc::clone(self), cluster, host, count));
        }
    }

    fn fail(&self, failure: &ConnectFailure) {
        let waiting = self.waiting.take();
        for waiter in waiting {
            let stats = waiter.cluster.stats();
            stats.upstream_rq_pending_failure_eject.inc();
            // Whoever no longer listens needs no answer.
            let _ = waiter.serve.send(Err(failure.clone()));
        }
    }

    /// A connection ended: forget it, and open another if somebody still waits.
    fn ended(self: &Rc<Self>) {
        self.idle.borrow_mut().retain(Http1Connection::is_usable);
        self.shared
            .borrow_mut()
            .retain(|connection| !connection.is_spent());
        if !self.waiting.borrow().is_empty() {
            self.open_as_needed();
        }
    }
}

/// How many places are opened for so many requests.
fn ahead(ratio: f64, requests: usize) -> usize {
    if ratio <= 1.0 {
        return requests;
    }
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of requests, at most tripled"
    )]
    let wanted = (requests as f64 * ratio).ceil() as usize;
    wanted
}

/// Runs until its connection ended; the pool may be gone by then.
fn on_end(pool: &Weak<HttpPool>) {
    if let Some(pool) = pool.upgrade() {
        pool.ended();
    }
}

/// Opens one connection and gives it to the pool.
async fn open(
    pool: Rc<HttpPool>,
    cluster: Rc<WorkerCluster>,
    host: Rc<WorkerHost>,
    count: CountedConnection,
) {
    let alpn = match &pool.alpn {
        Some(protocols) => Alpn::Instead(protocols),
        None => Alpn::Otherwise(pool.kind.alpn()),
    };
    let called = pool.called.as_ref();
    let wishes = Wishes {
        alpn,
        host: host.hostname(),
        server_name: called.and_then(|called| called.server_name.as_deref()),
        subject: called.and_then(|called| called.subject.as_deref()),
    };
    let asked = Asked {
        wishes,
        proxied: pool.proxied.as_ref(),
    };
    match pool.kind {
        PoolKind::Http1 => cluster.stats().upstream_cx_http1_total.inc(),
        PoolKind::Http2 => cluster.stats().upstream_cx_http2_total.inc(),
        PoolKind::Alpn => {} // once it is known
    }
    let result = connect::connect(&cluster, &host, cluster.worker(), count, asked).await;
    let stream = match result {
        Ok(stream) => stream,
        Err(failure) => {
            pool.connecting.set(pool.connecting.get() - 1);
            pool.fail(&failure);
            return;
        }
    };
    let is_http2 = match pool.kind {
        PoolKind::Http1 => false,
        PoolKind::Http2 => true,
        PoolKind::Alpn => {
            let session = stream.details().tls.as_ref();
            session.and_then(|session| session.alpn.as_deref()) == Some("h2")
        }
    };
    if is_http2 {
        let connection = http2::open(stream, &cluster, &pool);
        pool.connecting.set(pool.connecting.get() - 1);
        if pool.kind == PoolKind::Alpn {
            cluster.stats().upstream_cx_http2_total.inc();
        }
        pool.shared.borrow_mut().push(connection);
        pool.put_http2();
        return;
    }
    pool.speaks_http1.set(true);
    let connection = http1::open(stream, &cluster, &pool);
    pool.connecting.set(pool.connecting.get() - 1);
    if pool.kind == PoolKind::Alpn {
        cluster.stats().upstream_cx_http1_total.inc();
    }
    pool.put_http1(connection);
    pool.open_as_needed();
}

/// Counts as a request that waits until dropped.
struct PendingRequest<'a> {
    cluster: &'a WorkerCluster,
    host: &'a WorkerHost,
    priority: Priority,
    /// It was served or refused; otherwise whoever waited went away.
    is_over: bool,
}

impl<'a> PendingRequest<'a> {
    fn new(cluster: &'a WorkerCluster, host: &'a WorkerHost, priority: Priority) -> Self {
        cluster.stats().upstream_rq_pending_total.inc();
        cluster.stats().upstream_rq_pending_active.inc();
        host.stats().rq_pending_active.inc();
        cluster.breakers().of(priority).pending.take();
        Self {
            cluster,
            host,
            priority,
            is_over: false,
        }
    }
}

impl Drop for PendingRequest<'_> {
    fn drop(&mut self) {
        self.cluster.stats().upstream_rq_pending_active.dec();
        self.host.stats().rq_pending_active.dec();
        if !self.is_over {
            self.cluster.stats().upstream_rq_cancelled.inc();
        }
        self.cluster
            .breakers()
            .of(self.priority)
            .pending
            .give_back();
    }
}
