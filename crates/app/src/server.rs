//! Listening: addresses enter, connections of either HTTP version are served until shutdown.
//!
//! Called by the binary, by `up` for stand-in workloads, and by tests.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::handler::Handler;

/// How long open requests may take to finish after shutdown was asked for.
const DRAIN: Duration = Duration::from_secs(30);

/// A workload whose sockets are bound and not yet served.
pub struct App {
    handler: Arc<Handler>,
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    keep_alive: bool,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    pub source: std::io::Error,
}

/// Serves on the addresses of `LISTEN_ADDR` until `shutdown` is done and open requests are
/// answered.
///
/// # Errors
/// When an address cannot be listened on.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), BindError> {
    let addresses = config.listen().to_vec();
    serve(config, &addresses, shutdown).await
}

/// As [`run`], on other addresses than the configured ones.
///
/// # Errors
/// When an address cannot be listened on.
pub async fn serve(
    config: Config,
    addresses: &[SocketAddr],
    shutdown: impl Future<Output = ()>,
) -> Result<(), BindError> {
    App::bind(config, addresses).await?.serve(shutdown).await;
    Ok(())
}

impl App {
    /// Binds every address; connections wait from now on.
    ///
    /// # Errors
    /// When an address cannot be listened on.
    pub async fn bind(config: Config, addresses: &[SocketAddr]) -> Result<Self, BindError> {
        let mut listeners = Vec::new();
        let mut bound = Vec::new();
        for &address in addresses {
            let failed = |source| BindError { address, source };
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            bound.push(listener.local_addr().map_err(failed)?);
            listeners.push(listener);
        }
        let keep_alive = config.server_keep_alive;
        Ok(Self {
            handler: Arc::new(Handler::new(config)),
            listeners,
            addresses: bound,
            keep_alive,
        })
    }

    /// The addresses bound, with the ports the system chose for port 0.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves until `shutdown` is done, then closes the sockets and lets open requests finish,
    /// for 30 seconds at most.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let Self {
            handler,
            listeners,
            addresses,
            keep_alive,
        } = self;
        tracing::info!(name = handler.name(), ?addresses, "the workload serves");
        let (accepted, mut connections) = mpsc::channel(1);
        let mut acceptors = JoinSet::new();
        for listener in listeners {
            acceptors.spawn(accept(listener, accepted.clone()));
        }
        drop(accepted);
        let graceful = GracefulShutdown::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let stream = tokio::select! {
                () = &mut shutdown => break,
                Some(stream) = connections.recv() => stream,
            };
            tokio::spawn(connection(
                stream,
                Arc::clone(&handler),
                graceful.watcher(),
                keep_alive,
            ));
        }
        acceptors.shutdown().await;
        while let Ok(stream) = connections.try_recv() {
            tokio::spawn(connection(
                stream,
                Arc::clone(&handler),
                graceful.watcher(),
                keep_alive,
            ));
        }
        tracing::info!(
            name = handler.name(),
            open = graceful.count(),
            "the workload finishes open requests"
        );
        if tokio::time::timeout(DRAIN, graceful.shutdown())
            .await
            .is_err()
        {
            tracing::warn!(
                name = handler.name(),
                "requests were still open when the time was up"
            );
        }
    }
}

async fn accept(listener: TcpListener, accepted: mpsc::Sender<TcpStream>) {
    loop {
        match listener.accept().await {
            Ok((stream, _peer)) => {
                if accepted.send(stream).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, handler: Arc<Handler>, watcher: Watcher, keep_alive: bool) {
    // ignored: both only fail on a connection that is gone already
    let _ = stream.set_nodelay(true);
    let local = stream.local_addr().ok();
    let service = service_fn(move |request| {
        let handler = Arc::clone(&handler);
        async move { Ok::<_, std::convert::Infallible>(handler.handle(request, local).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().keep_alive(keep_alive);
    let connection = builder
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .into_owned();
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests;
