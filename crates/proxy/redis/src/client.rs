//! Connections to upstreams: one to a host for a proxy and a worker, on which the commands of all
//! clients follow each other, and answers come in the same order.
//!
//! In: commands with the calls they are parts of. Out: answers to those, or why there are none.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::rc::{Rc, Weak};
use std::sync::{self, Arc};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use meltemi_lifecycle::WorkerId;
use meltemi_telemetry::{ClusterStats, UpstreamCommandStats};
use meltemi_upstream::{
    Cluster, ConnectFailure, Host, Outcome, UpstreamStream, WorkerCluster, WorkerHost,
};
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::call::Call;
use crate::codec::encode_command;
use crate::{Command, Decoder, RedisProxy, Value};

/// There is no answer, and will be none.
const FAILURE: &str = "upstream failure";

/// How often a connection looks whether its host is still one of the cluster's.
const LOOK: Duration = Duration::from_secs(1);

/// How much is read at a time.
const PIECE: usize = 4096;

/// A part of a command that is under way at a host.
pub(crate) struct Part {
    /// None where nobody waits for the answer.
    call: Option<Rc<Call>>,
    number: usize,
    command: Command,
    since: Instant,
}

impl Part {
    /// The part of this number of a call, which is this command for the host.
    pub(crate) fn new(command: Command, call: &Rc<Call>, number: usize) -> Self {
        Self {
            call: Some(Rc::clone(call)),
            number,
            command,
            since: Instant::now(),
        }
    }

    /// A command for whose answer nobody waits.
    pub(crate) fn for_nobody(command: Command) -> Self {
        Self {
            call: None,
            number: 0,
            command,
            since: Instant::now(),
        }
    }

    /// Whether somebody has waited and does no longer.
    fn is_given_up(&self) -> bool {
        self.call.as_ref().is_some_and(|call| call.is_given_up())
    }

    fn answer(&self, answer: Result<Value, &'static str>) {
        if let Some(call) = self.call.as_ref().filter(|call| !call.is_given_up()) {
            call.answer(self.number, answer);
        }
    }
}

/// A worker's connections to upstreams.
#[derive(Default)]
pub struct Connections {
    open: RefCell<HashMap<Key, Rc<Client>>>,
}

/// A proxy, by where it stands in memory, which a connection keeps from others; and a host.
type Key = (usize, u64);

impl Connections {
    /// No connections yet.
    #[must_use]
    pub fn new() -> Rc<Self> {
        Rc::default()
    }

    /// Sends a command to a host, over the connection that there is or a new one.
    pub(crate) fn send(
        self: &Rc<Self>,
        proxy: &Arc<RedisProxy>,
        (cluster, host): (&Rc<WorkerCluster>, &Rc<WorkerHost>),
        worker: WorkerId,
        (request, part): (&[Bytes], Part),
    ) {
        let key = (Arc::as_ptr(proxy).addr(), host.id());
        let known = self.open.borrow().get(&key).cloned();
        let client = known.unwrap_or_else(|| {
            let client = Rc::new(Client::new(proxy, (cluster, host), worker));
            self.open.borrow_mut().insert(key, Rc::clone(&client));
            let place = Place {
                connections: Rc::downgrade(self),
                key,
                client: Rc::clone(&client),
            };
            tokio::task::spawn_local(run(place, Rc::clone(cluster), Rc::clone(host)));
            client
        });
        client.send(request, part);
    }

    /// A new connection to a host for one client alone.
    pub(crate) fn dedicated(
        &self,
        proxy: &Arc<RedisProxy>,
        (cluster, host): (&Rc<WorkerCluster>, &Rc<WorkerHost>),
        worker: WorkerId,
    ) -> Dedicated {
        let client = Rc::new(Client::new(proxy, (cluster, host), worker));
        let place = Place {
            connections: Weak::new(),
            key: (0, 0),
            client: Rc::clone(&client),
        };
        tokio::task::spawn_local(run(place, Rc::clone(cluster), Rc::clone(host)));
        Dedicated(client)
    }
}

/// A connection for one client alone; ends when this is dropped and all is answered.
pub(crate) struct Dedicated(Rc<Client>);

impl Dedicated {
    /// Sends a command.
    pub(crate) fn send(&self, request: &[Bytes], part: Part) {
        self.0.send(request, part);
    }
}

impl Drop for Dedicated {
    fn drop(&mut self) {
        self.0.is_left.set(true);
        self.0.wake.notify_one();
    }
}

/// A client's place among the connections, which it leaves when dropped.
struct Place {
    connections: Weak<Connections>,
    key: Key,
    client: Rc<Client>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(connections) = self.connections.upgrade() {
            connections.open.borrow_mut().remove(&self.key);
        }
        // whatever ended it: nobody is left waiting
        self.client.is_closed.set(true);
        self.client.fail_all();
    }
}

/// One connection, and what is under way on it.
struct Client {
    proxy: sync::Weak<RedisProxy>,
    cluster: Arc<Cluster>,
    host: Arc<Host>,
    /// The host as long as it is one of the cluster's.
    member: Weak<WorkerHost>,
    worker: WorkerId,
    op_timeout: Duration,
    counts_commands: bool,
    /// Wakes the connection: there is something to send.
    wake: Notify,
    out: RefCell<BytesMut>,
    under_way: RefCell<VecDeque<Part>>,
    is_connected: Cell<bool>,
    is_closed: Cell<bool>,
    /// Whom it was made for has gone.
    is_left: Cell<bool>,
    /// When the answer whose turn it is must have come.
    deadline: Cell<Option<Instant>>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The host closed it.
    Theirs,
    /// An answer did not come in time.
    Late,
    /// What came was none of the protocol's.
    Malformed,
    /// It is not needed any more.
    Unused,
}

impl Client {
    fn new(
        proxy: &Arc<RedisProxy>,
        (cluster, host): (&Rc<WorkerCluster>, &Rc<WorkerHost>),
        worker: WorkerId,
    ) -> Self {
        Self {
            proxy: Arc::downgrade(proxy),
            cluster: Arc::clone(cluster),
            host: Arc::clone(host),
            member: Rc::downgrade(host),
            worker,
            op_timeout: proxy.config.op_timeout,
            counts_commands: proxy.config.command_stats,
            wake: Notify::new(),
            out: RefCell::default(),
            under_way: RefCell::default(),
            is_connected: Cell::new(false),
            is_closed: Cell::new(false),
            is_left: Cell::new(false),
            deadline: Cell::new(None),
        }
    }

    fn stats(&self) -> &ClusterStats {
        self.cluster.stats(self.worker)
    }

    fn command_stats(&self, command: Command) -> Option<&UpstreamCommandStats> {
        let by_command = &self
            .stats()
            .redis_cluster
            .get()
            .upstream_commands
            .by_command;
        self.counts_commands
            .then(|| by_command.of(command.number, command.name))
    }

    fn send(&self, request: &[Bytes], part: Part) {
        if self.is_closed.get() {
            return part.answer(Err(FAILURE));
        }
        self.stats().upstream_rq_total.inc();
        self.stats().upstream_rq_active.inc();
        let host = self.host.stats(self.worker);
        host.rq_total.inc();
        host.rq_active.inc();
        if let Some(stats) = self.command_stats(part.command) {
            stats.total.inc();
        }
        encode_command(request, &mut self.out.borrow_mut());
        let mut under_way = self.under_way.borrow_mut();
        under_way.push_back(part);
        if under_way.len() == 1 && self.is_connected.get() {
            self.expect_answer();
        }
        self.wake.notify_one();
    }

    /// The next answer must come in time from now on.
    fn expect_answer(&self) {
        self.deadline.set(Some(Instant::now() + self.op_timeout));
    }

    fn is_idle(&self) -> bool {
        self.under_way.borrow().is_empty()
    }

    /// Whether neither a client nor the cluster would bring it further commands.
    fn is_unused(&self) -> bool {
        let is_left =
            self.is_left.get() || self.member.strong_count() == 0 || self.proxy.strong_count() == 0;
        is_left && self.is_idle()
    }

    /// Takes the part whose turn it is.
    fn next(&self) -> Option<Part> {
        let part = self.under_way.borrow_mut().pop_front()?;
        self.stats().upstream_rq_active.dec();
        self.host.stats(self.worker).rq_active.dec();
        if part.is_given_up() {
            self.stats().upstream_rq_cancelled.inc();
        }
        Some(part)
    }

    /// Takes an answer.
    fn answer(&self, value: Value) {
        // one that nobody asked for is nobody's
        let Some(part) = self.next() else { return };
        let took = u64::try_from(part.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        let all = &self.stats().redis_cluster.get().upstream_commands;
        all.upstream_rq_time.record(took);
        if let Some(stats) = self.command_stats(part.command) {
            match value {
                Value::Error(_) => stats.failure.inc(),
                _ if part.is_given_up() => stats.failure.inc(),
                _ => stats.success.inc(),
            }
            stats.latency.record(took);
        }
        part.answer(Ok(value));
        match self.is_idle() {
            true => self.deadline.set(None),
            false => self.expect_answer(),
        }
        self.host.report(Outcome::Answer(200), self.worker);
    }

    fn fail_all(&self) {
        while let Some(part) = self.next() {
            part.answer(Err(FAILURE));
        }
    }

    /// Counts an end, and tells outlier detection.
    fn count_end(&self, end: End) {
        let (stats, host) = (self.stats(), self.host.stats(self.worker));
        match end {
            End::Theirs if !self.is_idle() => self.host.report(Outcome::Failed, self.worker),
            End::Late => {
                stats.upstream_rq_timeout.inc();
                host.rq_timeout.inc();
                self.host.report(Outcome::Timeout(None), self.worker);
            }
            End::Malformed => {
                stats.upstream_cx_protocol_error.inc();
                host.rq_error.inc();
                self.host.report(Outcome::Answer(500), self.worker);
            }
            End::Theirs | End::Unused => {}
        }
        self.count_busy(end == End::Theirs);
    }

    /// Counts the end of a connection on which something was under way.
    fn count_busy(&self, by_them: bool) {
        if self.is_idle() {
            return;
        }
        let stats = self.stats();
        stats.upstream_cx_destroy_with_active_rq.inc();
        match by_them {
            true => stats.upstream_cx_destroy_remote_with_active_rq.inc(),
            false => stats.upstream_cx_destroy_local_with_active_rq.inc(),
        }
    }
}

/// Connects, and keeps the connection to its end.
async fn run(place: Place, cluster: Rc<WorkerCluster>, host: Rc<WorkerHost>) {
    let client = &place.client;
    let connected = cluster.shared(&host).await;
    // what stays is not to keep a host in its cluster, nor the cluster in service
    drop((cluster, host));
    match connected {
        Ok(stream) => {
            client.is_connected.set(true);
            if !client.is_idle() {
                client.expect_answer();
            }
            exchange(client, stream).await;
        }
        Err(failure) => {
            let is_late = matches!(failure, ConnectFailure::Timeout);
            let outcome = match is_late {
                true => Outcome::Timeout(None),
                false => Outcome::Failed,
            };
            client.host.report(outcome, client.worker);
            client.count_busy(!is_late);
        }
    }
}

/// Sends commands and reads answers until the connection ends, which is counted.
async fn exchange(client: &Client, mut stream: UpstreamStream) {
    let (mut reader, mut writer) = tokio::io::split(&mut stream);
    let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
    let mut decoder = Decoder::new();
    let mut look = tokio::time::interval(LOOK);
    let mut is_flushed = true;
    let end = 'open: loop {
        {
            let mut more = client.out.borrow_mut();
            match out.is_empty() {
                true => std::mem::swap(&mut out, &mut more),
                false => out.extend_from_slice(&more.split()),
            }
        }
        is_flushed &= out.is_empty();
        if client.is_left.get() && client.is_unused() {
            break End::Unused;
        }
        input.reserve(PIECE);
        let deadline = client.deadline.get();
        tokio::select! {
            read = reader.read_buf(&mut input) => {
                if matches!(read, Ok(0) | Err(_)) {
                    break End::Theirs;
                }
                loop {
                    match decoder.decode(&mut input) {
                        Ok(Some(value)) => client.answer(value),
                        Ok(None) => break,
                        Err(_) => break 'open End::Malformed,
                    }
                }
            }
            sent = send(&mut writer, &mut out), if !is_flushed => match sent {
                Ok(()) => is_flushed = true,
                Err(_) => break End::Theirs,
            },
            () = client.wake.notified() => {}
            () = expire(deadline), if deadline.is_some() => break End::Late,
            _ = look.tick() => {
                if client.is_unused() {
                    break End::Unused;
                }
            }
        }
    };
    client.count_end(end);
}

async fn expire(deadline: Option<Instant>) {
    if let Some(deadline) = deadline {
        tokio::time::sleep_until(deadline).await;
    }
}

/// Writes what there is.
async fn send<W: AsyncWrite + Unpin>(writer: &mut W, out: &mut BytesMut) -> io::Result<()> {
    while !out.is_empty() {
        if writer.write_buf(out).await? == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
    }
    writer.flush().await
}
