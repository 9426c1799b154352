//! Accepting connections, with their TLS handshake where there is one.
//!
//! In: a listening socket. Out: connections that know their caller, over a channel. A handshake
//! delays no other connection and has a limited time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use meltemi_lifecycle::DrainSignal;
use meltemi_spiffe::CertificateNames;
use meltemi_xds_server::Caller;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use super::Incoming;
use super::connection::Connection;

/// How long a handshake may take.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// How long accepting rests after a failure that is not the peer's, such as too many open files.
const REST: Duration = Duration::from_millis(100);

/// TLS as it is to be at the next handshake.
pub(crate) type Tls = Arc<ArcSwap<ServerConfig>>;

/// Accepts until the drain, or until the receiver is dropped.
pub(crate) fn connections(listener: TcpListener, tls: Option<Tls>, drain: DrainSignal) -> Incoming {
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(accept(listener, tls, sender, drain));
    receiver
}

async fn accept(
    listener: TcpListener,
    tls: Option<Tls>,
    sender: mpsc::Sender<io::Result<Connection>>,
    mut drain: DrainSignal,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = drain.draining() => return,
            () = sender.closed() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                debug!("accepting failed: {error}");
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            debug!("the connection has gone already: {error}");
            continue;
        }
        match &tls {
            None => {
                let _ = sender.send(Ok(Connection::plain(stream))).await;
            }
            Some(tls) => {
                let tls = TlsAcceptor::from(tls.load_full());
                tokio::spawn(shake_hands(tls, stream, sender.clone()));
            }
        }
    }
}

async fn shake_hands(
    tls: TlsAcceptor,
    stream: TcpStream,
    sender: mpsc::Sender<io::Result<Connection>>,
) {
    let stream = match tokio::time::timeout(HANDSHAKE_LIMIT, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return debug!("TLS handshake failed: {error}"),
        Err(_) => return debug!("TLS handshake took too long"),
    };
    let leaf = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(<[_]>::first);
    // The verifier has parsed it before; a certificate without URI names proves no identity.
    let names = leaf.and_then(|leaf| CertificateNames::read(leaf).ok());
    let caller = Caller {
        secure: true,
        identities: names.map(|names| names.uris).unwrap_or_default(),
    };
    let _ = sender.send(Ok(Connection::tls(stream, caller))).await;
}
