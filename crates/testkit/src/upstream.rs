//! A scripted HTTP/1.1 and h2c server on loopback: replies enter by path, what was asked leaves.
//!
//! Made by tests; the protocols are in `http1` and `http2`, replies in `reply`.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{collections::VecDeque, io};

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::message::Headers;

mod http1;
mod http2;
mod reply;

pub(crate) use http2::header_map;
pub use reply::Reply;

/// A server on a thread of its own; dropping it closes its port and every connection at once.
///
/// Replies are chosen by path: an exact path first, then the longest pattern ending in `*`, then
/// the fallback (status 200 and no body unless set).
pub struct Upstream {
    address: SocketAddr,
    state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A request as the upstream received it, recorded once its body had arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The method.
    pub method: String,
    /// The request target as sent: a path with query, or an absolute URI.
    pub target: String,
    /// `HTTP/1.1`, `HTTP/1.0` or `HTTP/2`.
    pub version: String,
    /// Headers in order; HTTP/2's authority comes first, as `:authority`.
    pub headers: Headers,
    /// The body without framing.
    pub body: Bytes,
    /// Trailers, empty when there were none.
    pub trailers: Headers,
    /// Which of the accepted connections it came on, from 0.
    pub connection: usize,
}

/// What connections share with the handle.
struct State {
    script: Mutex<Script>,
    received: Mutex<Vec<Received>>,
    count: watch::Sender<usize>,
    accepted: AtomicUsize,
    open: AtomicUsize,
    /// How many HTTP/1.1 connections end with the reply that they are at.
    closing: watch::Sender<usize>,
}

/// A connection that ends with the reply that it is at; dropped once it has ended.
struct Closing<'a>(&'a State);

#[derive(Default)]
struct Script {
    paths: HashMap<String, VecDeque<Reply>>,
    fallback: Reply,
}

impl Upstream {
    /// Starts on a free port of 127.0.0.1.
    #[must_use]
    pub fn start() -> Self {
        Self::start_on((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// Starts on a given address.
    ///
    /// # Panics
    /// When the address cannot be bound.
    #[must_use]
    pub fn start_on(address: SocketAddr) -> Self {
        Self::start_with(address, None)
    }

    /// Starts on a free port of 127.0.0.1 behind TLS; ALPN says which protocol is spoken.
    #[must_use]
    pub fn start_tls(tls: Arc<ServerConfig>) -> Self {
        Self::start_with((Ipv4Addr::LOCALHOST, 0).into(), Some(tls))
    }

    fn start_with(address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = std::net::TcpListener::bind(address)
            .unwrap_or_else(|error| panic!("the scripted upstream cannot bind {address}: {error}"));
        listener
            .set_nonblocking(true)
            .expect("a bound socket can be made non-blocking");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let state = Arc::new(State {
            script: Mutex::default(),
            received: Mutex::default(),
            count: watch::Sender::new(0),
            accepted: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            closing: watch::Sender::new(0),
        });
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&state);
        let thread = std::thread::Builder::new()
            .name(format!("upstream {address}"))
            .spawn(move || serve(listener, served, tls, stopped))
            .expect("a thread can be started");
        Self {
            address,
            state,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers `path` (exact, or a prefix ending in `*`) with `reply` from now on.
    pub fn on(&self, path: &str, reply: Reply) -> &Self {
        self.on_each(path, [reply])
    }

    /// Answers `path` with each reply once, in order, then with the last one for ever.
    ///
    /// # Panics
    /// When there is no reply.
    pub fn on_each(&self, path: &str, replies: impl IntoIterator<Item = Reply>) -> &Self {
        let replies: VecDeque<_> = replies.into_iter().collect();
        assert!(!replies.is_empty(), "{path} needs a reply");
        lock(&self.state.script)
            .paths
            .insert(path.to_owned(), replies);
        self
    }

    /// Answers `path` with `status` for `times` requests, then with 200.
    pub fn fail_times(&self, path: &str, times: usize, status: u16) -> &Self {
        let failures = std::iter::repeat_n(Reply::status(status), times);
        self.on_each(path, failures.chain([Reply::ok()]))
    }

    /// Answers every path that has no reply of its own.
    pub fn fallback(&self, reply: Reply) -> &Self {
        lock(&self.state.script).fallback = reply;
        self
    }

    /// Everything received so far.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        lock(&self.state.received).clone()
    }

    /// Everything received since the last call of this method.
    #[must_use]
    pub fn take_received(&self) -> Vec<Received> {
        std::mem::take(&mut *lock(&self.state.received))
    }

    /// How many requests came for a path, its query set aside, since the last `take_received`.
    #[must_use]
    pub fn count(&self, path: &str) -> usize {
        lock(&self.state.received)
            .iter()
            .filter(|request| request.path() == path)
            .count()
    }

    /// How many connections were accepted so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.state.accepted.load(Ordering::SeqCst)
    }

    /// How many connections are open.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.state.open.load(Ordering::SeqCst)
    }

    /// Waits until `requests` were received since the start; false when `within` passed first.
    pub async fn wait_received(&self, requests: usize, within: Duration) -> bool {
        let mut count = self.state.count.subscribe();
        let reached = count.wait_for(|count| *count >= requests);
        matches!(tokio::time::timeout(within, reached).await, Ok(Ok(_)))
    }

    /// Waits until every HTTP/1.1 connection whose last reply was begun is closed; false when
    /// `within` passed first. A proxy hears of the end before it hears of what is sent after this.
    pub async fn wait_closed(&self, within: Duration) -> bool {
        let mut closing = self.state.closing.subscribe();
        let closed = closing.wait_for(|count| *count == 0);
        matches!(tokio::time::timeout(within, closed).await, Ok(Ok(_)))
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // ignored: a panic on the server's thread was printed there
            let _ = thread.join();
        }
    }
}

impl Received {
    /// The target's path: no query, no scheme and authority.
    #[must_use]
    pub fn path(&self) -> &str {
        let target = match self.target.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("/", |slash| &rest[slash..]),
            None => &self.target,
        };
        target.split('?').next().unwrap_or_default()
    }

    /// The `Host` header or HTTP/2's authority.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.headers
            .get(":authority")
            .or_else(|| self.headers.get("host"))
    }

    /// The first value of a header, compared without case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }
}

impl State {
    /// Records a request and says how to answer it.
    fn receive(&self, request: Received) -> Reply {
        let reply = lock(&self.script).next(request.path());
        lock(&self.received).push(request);
        self.count.send_modify(|count| *count += 1);
        reply
    }

    /// Says that a connection ends with the reply that it is at.
    fn closing(&self) -> Closing<'_> {
        self.closing.send_modify(|count| *count += 1);
        Closing(self)
    }
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.closing.send_modify(|count| *count -= 1);
    }
}

impl Script {
    fn next(&mut self, path: &str) -> Reply {
        let Some(key) = self.key(path) else {
            return self.fallback.clone();
        };
        match self.paths.get_mut(&key) {
            Some(replies) if replies.len() > 1 => replies.pop_front().expect("two replies or more"),
            Some(replies) => replies[0].clone(),
            None => self.fallback.clone(),
        }
    }

    fn key(&self, path: &str) -> Option<String> {
        if self.paths.contains_key(path) {
            return Some(path.to_owned());
        }
        let prefix = |key: &&String| {
            key.strip_suffix('*')
                .is_some_and(|prefix| path.starts_with(prefix))
        };
        self.paths
            .keys()
            .filter(prefix)
            .max_by_key(|key| key.len())
            .cloned()
    }
}

fn serve(
    listener: std::net::TcpListener,
    state: Arc<State>,
    tls: Option<Arc<ServerConfig>>,
    stopped: oneshot::Receiver<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built");
    runtime.block_on(async move {
        let listener = TcpListener::from_std(listener).expect("the listener is non-blocking");
        let accepting = async {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, Arc::clone(&state), tls.clone()));
            }
        };
        tokio::select! {
            () = accepting => {}
            _ = stopped => {}
        }
    });
}

async fn connection(stream: TcpStream, state: Arc<State>, tls: Option<Arc<ServerConfig>>) {
    let number = state.accepted.fetch_add(1, Ordering::SeqCst);
    state.open.fetch_add(1, Ordering::SeqCst);
    // ignored: without TCP_NODELAY, and after a peer's reset, the test sees all that matters
    let _ = stream.set_nodelay(true);
    let _ = match tls {
        Some(tls) => secured(stream, &state, number, tls).await,
        None => match http2::starts_with_preface(&stream).await {
            Ok(true) => http2::serve(stream, &state, number).await,
            Ok(false) => http1::serve(stream, &state, number).await,
            Err(error) => Err(error),
        },
    };
    state.open.fetch_sub(1, Ordering::SeqCst);
}

async fn secured(
    stream: TcpStream,
    state: &Arc<State>,
    number: usize,
    tls: Arc<ServerConfig>,
) -> io::Result<()> {
    let stream = TlsAcceptor::from(tls).accept(stream).await?;
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        http2::serve(stream, state, number).await
    } else {
        http1::serve(stream, state, number).await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What replies say when they break a connection on purpose.
fn on_purpose() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "closed as scripted")
}

#[cfg(test)]
mod tests;
