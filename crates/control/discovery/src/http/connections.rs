//! The connections of an HTTP port: how many there are, and how long a request may be on its way.
//!
//! In: a socket. Out: requests for the router. These ports may be open to all of a network, and
//! their descriptors are those that proxies need too: a client that opens connections and says
//! nothing holds few of them, and not for long.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use meltemi_lifecycle::DrainSignal;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tower_service::Service as _;

use crate::grpc::accept::Tls;

/// How long the head of a request may take, the time between two requests included.
const HEAD_LIMIT: Duration = Duration::from_secs(30);

/// The most connections at a time; further ones wait in the socket's queue.
const MOST: usize = 256;

/// How long to wait when no connection can be accepted, as when descriptors have run out.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a TLS handshake may take.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// Accepts and serves until the drain, and then until the last answer is out; over TLS where that is given.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    router: Router,
    mut drain: DrainSignal,
) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(MOST));
    let accepting = async {
        loop {
            // ignored: the semaphore is never closed
            let place = Arc::clone(&places).acquire_owned().await;
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!(%error, "a connection could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            // ignored: it fails on a connection that is gone already
            let _ = stream.set_nodelay(true);
            let (router, watcher) = (router.clone(), graceful.watcher());
            let tls = tls.as_ref().map(acceptor);
            tokio::spawn(async move {
                match tls {
                    None => serve_one(stream, peer, router, watcher).await,
                    Some(tls) => match timeout(HANDSHAKE_LIMIT, tls.accept(stream)).await {
                        Ok(Ok(stream)) => serve_one(stream, peer, router, watcher).await,
                        Ok(Err(error)) => tracing::debug!(%error, %peer, "TLS handshake failed"),
                        Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
                    },
                }
                drop(place);
            });
        }
    };
    tokio::select! {
        () = accepting => {}
        () = drain.draining() => {}
    }
    drop(listener);
    graceful.shutdown().await;
}

async fn serve_one<S>(stream: S, peer: SocketAddr, router: Router, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, %peer, "a connection ended early");
    }
}

/// TLS as it is to be now, for HTTP/1.1: what is configured is for gRPC.
fn acceptor(tls: &Tls) -> TlsAcceptor {
    let mut config = ServerConfig::clone(&tls.load());
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use axum::routing::get;
    use meltemi_lifecycle::Drain;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    /// Whoever holds all places with heads that do not end gives them back.
    #[tokio::test(start_paused = true)]
    async fn silent_clients_lose_their_places() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(|| async { "here" }));
        let (_drain, signal) = Drain::new();
        tokio::spawn(serve(listener, None, router, signal));
        let mut silent = Vec::new();
        for _ in 0..MOST {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: ").await.unwrap();
            silent.push(stream);
        }
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
}
