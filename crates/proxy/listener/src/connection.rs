//! One downstream connection: what it is, which chain takes it, and the serving of it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use meltemi_http::ConnectionContext;
use meltemi_ir::{self as ir, ListenerFilter};
use meltemi_net::{HttpVersion, Prefixed, original_destination};
use meltemi_telemetry::{ConnectionInfo, ListenerStats, ResponseFlags, StreamRecord, TlsInfo};
use meltemi_tls::{ServerContext, SessionInfo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use crate::accept::Acceptor;
use crate::runtime::{ChainFilter, ChainRuntime, ListenerRuntime};
use crate::sniff::{Inspectors, Sniffed, sniff};
use crate::{ActiveListener, ConnectionView, choose_chain, tcp};

/// Serves a connection to its end, whatever it turns out to be.
pub(crate) async fn serve(
    acceptor: Rc<Acceptor>,
    listener: Arc<ActiveListener>,
    stream: TcpStream,
    peer: SocketAddr,
) {
    let Ok(local) = stream.local_addr() else {
        return;
    };
    let runtime = listener.runtime();
    let redirected = has(&runtime.config, ListenerFilter::OriginalDst)
        .then(|| original_destination(&stream))
        .flatten()
        .filter(|destination| *destination != local);
    let handed_over = redirected
        .filter(|_| runtime.config.use_original_dst)
        .and_then(|destination| listener_for(&acceptor, destination));
    let (listener, runtime) = match handed_over {
        Some(other) => {
            let runtime = other.runtime();
            (other, runtime)
        }
        None => (listener, runtime),
    };
    let arrival = Arrival {
        local: redirected.unwrap_or(local),
        peer,
    };
    let worker = acceptor.worker.worker;
    let shard = listener.stats().shard(worker);
    shard.downstream_cx_total.inc();
    shard.downstream_cx_active.inc();
    let start = Instant::now();
    let mut end = listener.end_signal();
    tokio::select! {
        () = dispatch(&acceptor, &runtime, shard, stream, arrival) => {}
        () = end.draining() => {}
    }
    shard.downstream_cx_active.dec();
    shard.downstream_cx_destroy.inc();
    shard
        .downstream_cx_length_ms
        .record(u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX));
}

/// How a connection arrived.
#[derive(Clone, Copy)]
struct Arrival {
    /// Our end, or the original destination.
    local: SocketAddr,
    peer: SocketAddr,
}

fn has(listener: &ir::Listener, filter: ListenerFilter) -> bool {
    listener.listener_filters.contains(&filter)
}

/// The listener that serves a destination: that of the very address, or of its port.
fn listener_for(acceptor: &Acceptor, destination: SocketAddr) -> Option<Arc<ActiveListener>> {
    let map = acceptor.by_address.load();
    let any: IpAddr = match destination {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    map.get(&destination)
        .or_else(|| map.get(&SocketAddr::new(any, destination.port())))
        .cloned()
}

async fn dispatch(
    acceptor: &Acceptor,
    runtime: &ListenerRuntime,
    stats: &ListenerStats,
    mut stream: TcpStream,
    arrival: Arrival,
) {
    let Some(sniffed) = inspect(runtime, stats, &mut stream, arrival.local.port()).await else {
        return;
    };
    let protocols = application_protocols(&sniffed);
    let hello = sniffed.tls.as_ref();
    let server_name = hello.and_then(|hello| hello.server_name.clone());
    let view = ConnectionView {
        destination: arrival.local,
        direct_source: arrival.peer,
        source: arrival.peer,
        server_name: server_name.as_deref().unwrap_or_default(),
        transport_protocol: if hello.is_some() { "tls" } else { "raw_buffer" },
        application_protocols: &protocols,
    };
    let chosen = choose_chain(
        runtime.chains.iter().map(|chain| &chain.config.matcher),
        &view,
    );
    let chain = chosen
        .map(|index| &runtime.chains[index])
        .or(runtime.default_chain.as_ref());
    let mut info = ConnectionInfo {
        id: acceptor.next_connection(),
        local: arrival.local,
        remote: arrival.peer,
        direct_remote: arrival.peer,
        direction: runtime.config.direction,
        requested_server_name: server_name,
        tls: None,
    };
    let Some(chain) = chain else {
        stats.no_filter_chain_match.inc();
        log_no_chain(acceptor, runtime, &info);
        return;
    };
    let stream = Prefixed::new(sniffed.bytes, stream);
    match &chain.tls {
        None => run(acceptor, runtime, chain, stream, info).await,
        Some(tls) => {
            let Some(stream) = handshake(chain, tls, stats, stream).await else {
                return;
            };
            let state = stream.get_ref().1;
            if info.requested_server_name.is_none() {
                info.requested_server_name = state.server_name().map(str::to_ascii_lowercase);
            }
            info.tls = Some(tls_info(tls.session(state)));
            run(acceptor, runtime, chain, stream, info).await;
        }
    }
}

/// Reads what the listener's filters ask for; none where the connection is to be closed.
async fn inspect(
    runtime: &ListenerRuntime,
    stats: &ListenerStats,
    stream: &mut TcpStream,
    port: u16,
) -> Option<Sniffed> {
    let config = &runtime.config;
    let runs = |filter| {
        let disabled = config
            .disabled_filters
            .iter()
            .any(|(one, rule)| *one == filter && rule.matches(port));
        has(config, filter) && !disabled
    };
    let inspectors = Inspectors {
        tls: runs(ListenerFilter::TlsInspector),
        http: runs(ListenerFilter::HttpInspector),
    };
    let mut sniffed = Sniffed::default();
    let done = sniff(stream, inspectors, &mut sniffed);
    let outcome = match config.listener_filters_timeout {
        None => Some(done.await),
        Some(limit) => tokio::time::timeout(limit, done).await.ok(),
    };
    match outcome {
        Some(Ok(())) if sniffed.closed => {
            stats.downstream_listener_filter_remote_close.inc();
            None
        }
        Some(Ok(())) => Some(sniffed),
        Some(Err(error)) => {
            debug!("listener filter: {error}");
            stats.downstream_listener_filter_error.inc();
            None
        }
        None => {
            stats.downstream_pre_cx_timeout.inc();
            config
                .continue_on_listener_filters_timeout
                .then_some(sniffed)
        }
    }
}

fn application_protocols(sniffed: &Sniffed) -> Vec<String> {
    if let Some(hello) = &sniffed.tls {
        return hello
            .alpn
            .iter()
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect();
    }
    let found = match sniffed.http {
        None => return Vec::new(),
        Some(HttpVersion::Http10) => "http/1.0",
        Some(HttpVersion::Http11) => "http/1.1",
        Some(HttpVersion::H2c) => "h2c",
    };
    vec![found.to_owned()]
}

fn log_no_chain(acceptor: &Acceptor, runtime: &ListenerRuntime, info: &ConnectionInfo) {
    let mut record = StreamRecord::new(info, acceptor.worker.clock.since_epoch());
    record.flags = ResponseFlags::NO_ROUTE_FOUND;
    record.termination_details = Some("filter_chain_not_found");
    for logger in &runtime.loggers {
        logger.log(&acceptor.worker.logs, &record);
    }
}

async fn handshake<IO>(
    chain: &ChainRuntime,
    tls: &ServerContext,
    stats: &ListenerStats,
    stream: IO,
) -> Option<TlsStream<IO>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let accept = tls.accept(stream);
    let outcome = match chain.config.transport_socket_connect_timeout {
        None => accept.await,
        Some(limit) => tokio::time::timeout(limit, accept)
            .await
            .unwrap_or_else(|_| {
                stats.downstream_cx_transport_socket_connect_timeout.inc();
                Err(io::ErrorKind::TimedOut.into())
            }),
    };
    match outcome {
        Ok(stream) => {
            stats.ssl.get().handshake.inc();
            Some(stream)
        }
        Err(error) => {
            debug!(chain = chain.config.name, "TLS handshake: {error}");
            stats.ssl.get().connection_error.inc();
            None
        }
    }
}

async fn run<IO>(
    acceptor: &Acceptor,
    runtime: &ListenerRuntime,
    chain: &Arc<ChainRuntime>,
    stream: IO,
    info: ConnectionInfo,
) where
    IO: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let drain = chain.drain.signal();
    match &chain.filter {
        ChainFilter::Http(slot) => {
            let context = ConnectionContext {
                slot: Arc::clone(slot),
                worker: Rc::clone(&acceptor.worker),
                info: Rc::new(info),
                drain,
                buffer_limit: usize::try_from(runtime.config.per_connection_buffer_limit)
                    .unwrap_or(usize::MAX),
            };
            meltemi_http::serve(stream, context).await;
        }
        ChainFilter::Tcp(tcp) => {
            let context = tcp::TcpContext {
                worker: Rc::clone(&acceptor.worker),
                info: Rc::new(info),
                chain: &chain.config.name,
            };
            tcp::serve(stream, tcp, &context).await;
        }
    }
}

fn tls_info(session: SessionInfo) -> TlsInfo {
    let peer = session.peer.unwrap_or_default();
    let local = session
        .local
        .map(|local| (*local).clone())
        .unwrap_or_default();
    TlsInfo {
        version: session.version,
        cipher: session.cipher,
        alpn: session.alpn,
        session_id: String::new(),
        peer_presented: !session.peer_chain.is_empty(),
        verified: session.verified,
        peer_uri_sans: peer.uri_sans,
        peer_dns_sans: peer.dns_sans,
        peer_subject: peer.subject,
        peer_issuer: peer.issuer,
        peer_serial: peer.serial,
        peer_fingerprint_256: peer.sha256,
        peer_validity: Some((peer.not_before, peer.not_after))
            .filter(|_| !session.peer_chain.is_empty()),
        peer_chain: session.peer_chain,
        local_uri_sans: local.uri_sans,
        local_dns_sans: local.dns_sans,
        local_subject: local.subject,
    }
}
