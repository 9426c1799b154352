//! A Kubernetes API server, as far as a client that lists and watches can tell.
//!
//! In: objects, and what is to go wrong. Out: lists in pages, watches with bookmarks, streaming lists, reviews
//! of tokens, and what kubectl needs to create, replace, change and delete. Called by tests of what watches a
//! cluster; there is no validation, no default and no schema.

mod answer;
mod index;
mod state;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use state::State;

/// A server on a thread of its own; dropping it closes its port and every connection at once.
pub struct ApiServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    /// Told when there is something for watches.
    changed: watch::Sender<()>,
    /// Told when every connection is to be cut.
    cut: watch::Sender<()>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ApiServer {
    /// Starts on a free port of 127.0.0.1, with the kinds of Kubernetes and of Istio and nothing of them.
    #[must_use]
    pub fn start() -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self::with(address, State::default(), None)
    }

    /// The same at this address.
    #[must_use]
    pub fn start_on(address: SocketAddr) -> Self {
        Self::with(address, State::default(), None)
    }

    /// The same over TLS.
    #[must_use]
    pub fn start_tls(tls: Arc<ServerConfig>) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self::with(address, State::default(), Some(tls))
    }

    fn with(address: SocketAddr, state: State, tls: Option<Arc<ServerConfig>>) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: watch::Sender::new(()),
            cut: watch::Sender::new(()),
        });
        let socket = std::net::TcpListener::bind(address).expect("an address that is free");
        socket.set_nonblocking(true).expect("a socket");
        let address = socket.local_addr().expect("a bound socket");
        let (stop, stopped) = oneshot::channel();
        let served = shared.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::from_std(socket).expect("a socket");
                tokio::select! {
                    () = serve(listener, served, tls) => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            address,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A kubeconfig that leads here in plain text, with a token.
    pub fn kubeconfig(&self) -> String {
        format!(
            "apiVersion: v1
kind: Config
current-context: test
contexts:
- name: test
  context: {{ cluster: test, user: test }}
clusters:
- name: test
  cluster: {{ server: 'http://{}' }}
users:
- name: test
  user: {{ token: secret }}
",
            self.address
        )
    }

    /// Creates an object or replaces it.
    pub fn apply(&self, object: Value) {
        self.shared.state().apply(object);
        self.shared.changed.send_replace(());
    }

    /// Deletes an object; `resource` is its kind's plural.
    pub fn delete(&self, resource: &str, namespace: &str, name: &str) {
        self.shared.state().delete(resource, namespace, name);
        self.shared.changed.send_replace(());
    }

    /// Serves a kind at these versions; at none it is as one that nobody has defined.
    pub fn serve_versions(&self, resource: &str, versions: &[&str]) {
        self.shared.state().serve_versions(resource, versions);
        self.cut();
    }

    /// Refuses a kind to everybody, or no longer.
    pub fn forbid(&self, resource: &str, forbidden: bool) {
        let mut state = self.shared.state();
        if forbidden {
            state.forbidden.insert(resource.to_owned());
        } else {
            state.forbidden.remove(resource);
        }
    }

    /// Whether there are streaming lists; there are unless this says otherwise.
    pub fn stream_lists(&self, streams: bool) {
        self.shared.state().streams = streams;
    }

    /// Forgets what has happened: who wants to go on from before is told that this is too old.
    pub fn compact(&self) {
        self.shared.state().compact();
    }

    /// Answers everything with this status, or as usual again.
    pub fn fail(&self, status: Option<u16>) {
        self.shared.state().failing = status;
    }

    /// A token of a service account, for the audience `istio-ca`.
    pub fn know_token(&self, token: &str, namespace: &str, account: &str) {
        let user = format!("system:serviceaccount:{namespace}:{account}");
        self.shared.state().tokens.insert(token.to_owned(), user);
    }

    /// Cuts every connection.
    pub fn cut(&self) {
        self.shared.cut.send_replace(());
    }

    /// Tells every watch how far the world has come.
    pub fn bookmark(&self) {
        self.shared.state().bookmark();
        self.shared.changed.send_replace(());
    }

    /// What was asked so far: methods, paths and queries.
    pub fn requests(&self) -> Vec<String> {
        self.shared.state().requests.clone()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>, tls: Option<Arc<ServerConfig>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let shared = shared.clone();
        let tls = tls.clone();
        tokio::spawn(async move {
            let mut cut = shared.cut.subscribe();
            let serving = serve_connection(stream, shared, tls);
            tokio::select! {
                () = serving => {}
                _ = cut.changed() => {}
            }
        });
    }
}

async fn serve_connection(stream: TcpStream, shared: Arc<Shared>, tls: Option<Arc<ServerConfig>>) {
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { Ok::<_, std::convert::Infallible>(answer::answer(request, &shared).await) }
    });
    // Whoever goes away goes away.
    let _ = match tls {
        None => {
            http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await
        }
        Some(tls) => match TlsAcceptor::from(tls).accept(stream).await {
            Ok(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                let executor = hyper_util::rt::TokioExecutor::new();
                hyper::server::conn::http2::Builder::new(executor)
                    .serve_connection(TokioIo::new(stream), service)
                    .await
            }
            Ok(stream) => {
                http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await
            }
            Err(_) => Ok(()),
        },
    };
}
