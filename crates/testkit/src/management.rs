//! A scripted management server: every discovery service, aggregated and for one type alone, in
//! state-of-the-world and in delta form.
//!
//! In: resources, type by type. Out: what its clients asked for and said of its answers. Made by tests;
//! what a stream is sent is decided in `stand`, the streams are in `stream`.

mod stand;
mod stream;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost_types::Any;
use tokio::sync::{oneshot, watch};

use stand::Answer;

/// How long a client may take to say what it makes of an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server on a thread of its own. Stopping it closes its port and every stream at once; it can be
/// started again on the same port.
pub struct ManagementServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    running: Mutex<Option<Running>>,
}

/// What streams share with the handle.
struct Shared {
    state: Mutex<State>,
    /// Told when there are other resources.
    changed: watch::Sender<()>,
    /// Told when something was sent, or answered for.
    progress: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    /// By type URL.
    answers: BTreeMap<String, Answer>,
    /// Grows with every change of the answers.
    generation: u64,
    /// Up to which generation each stream has been served.
    served: BTreeMap<u64, u64>,
    streams: u64,
    /// Answers that nobody has answered for: stream and nonce.
    outstanding: BTreeSet<(u64, String)>,
    /// What each stream has been sent as it is now: type URL and name.
    has: BTreeMap<u64, BTreeSet<(String, String)>>,
    log: Vec<Said>,
}

/// Something that a client said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Said {
    /// The method, as in `StreamClusters`.
    pub method: String,
    /// The type URL.
    pub type_url: String,
    /// What it said, in words.
    pub what: String,
    /// What it says of an answer: that it takes it, or why not.
    pub verdict: Option<Result<(), String>>,
}

struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl ManagementServer {
    /// Starts on a free port of 127.0.0.1, with nothing to tell.
    ///
    /// # Panics
    /// When no port can be bound.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: watch::Sender::new(()),
            progress: watch::Sender::new(()),
        });
        let running = Running::new(listener, &shared);
        Self {
            address,
            shared,
            running: Mutex::new(Some(running)),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has these resources of a type from now on, by name.
    pub fn set(&self, type_url: &str, version: &str, resources: BTreeMap<String, Any>) {
        {
            let mut state = self.shared.state();
            state.generation += 1;
            let answer = state.answers.entry(type_url.to_owned()).or_default();
            answer.replace(version, resources);
        }
        self.shared.changed.send_replace(());
    }

    /// Waits until every stream has been sent all that it wants, and has answered for it; false where
    /// that takes too long.
    pub async fn settled(&self) -> bool {
        self.settled_with(&[]).await
    }

    /// As [`Self::settled`], once these resources have been asked for, too: type URL and name.
    pub async fn settled_with(&self, wanted: &[(String, String)]) -> bool {
        let has_all = |state: &State| {
            let has = |one| state.has.values().any(|has| has.contains(one));
            wanted.iter().all(has)
        };
        let mut progress = self.shared.progress.subscribe();
        let settled = progress.wait_for(|()| {
            let state = self.shared.state();
            state.is_settled() && has_all(&state)
        });
        matches!(tokio::time::timeout(PATIENCE, settled).await, Ok(Ok(_)))
    }

    /// What clients have said since this was asked last.
    pub fn take_said(&self) -> Vec<Said> {
        std::mem::take(&mut self.shared.state().log)
    }

    /// Closes its port and every stream.
    pub fn stop(&self) {
        let running = self.lock_running().take();
        if let Some(Running { stop, thread }) = running {
            // ignored: the thread may be over
            let _ = stop.send(());
            let _ = thread.join();
        }
        let mut state = self.shared.state();
        state.served.clear();
        state.has.clear();
        state.outstanding.clear();
    }

    /// Opens its port again.
    ///
    /// # Panics
    /// When somebody else has taken it.
    pub fn restart(&self) {
        let mut running = self.lock_running();
        if running.is_none() {
            let listener = std::iter::repeat_with(|| TcpListener::bind(self.address))
                .take(50)
                .find_map(Result::ok)
                .unwrap_or_else(|| panic!("{} is taken", self.address));
            *running = Some(Running::new(listener, &self.shared));
        }
    }

    fn lock_running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ManagementServer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_settled(&self) -> bool {
        let mut served = self.served.values();
        served.all(|it| *it == self.generation) && self.outstanding.is_empty()
    }
}

impl Running {
    fn new(listener: TcpListener, shared: &Arc<Shared>) -> Self {
        listener
            .set_nonblocking(true)
            .expect("a bound socket can be made non-blocking");
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(shared);
        let thread = std::thread::Builder::new()
            .name("management server".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime can be made");
                runtime.block_on(async {
                    tokio::select! {
                        () = accept(listener, shared) => {}
                        _ = stopped => {}
                    }
                });
            })
            .expect("a thread can be started");
        Self { stop, thread }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    while let Ok((connection, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request| {
            let shared = Arc::clone(&shared);
            async move { Ok::<_, Infallible>(stream::respond(shared, request).await) }
        });
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        tokio::spawn(server.serve_connection(TokioIo::new(connection), service));
    }
}
