//! One downstream connection: what it is, which chain takes it, and the serving of it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use meltemi_http::ConnectionContext;
use meltemi_ir::{self as ir, ListenerFilter};
use meltemi_lifecycle::next_connection_number;
use meltemi_net::{Prefixed, original_destination, round_trip};
use meltemi_telemetry::{ConnectionInfo, ListenerStats, ResponseFlags, StreamRecord};
use meltemi_tls::{FailureKind, HandshakeFailure, ServerContext, SessionInfo};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use crate::accept::Acceptor;
use crate::authorization::{self, Refused};
use crate::gate::{self, Gate, Passage};
use crate::looks::{self, Looked};
use crate::runtime::{ChainFilter, ChainRuntime, ListenerRuntime};
use crate::{ActiveListener, ConnectionView, choose_chain, tcp};

/// How much is read of a client that has to begin before somebody is asked about it.
const FIRST: usize = 4096;

/// How long such a client may be silent: Envoy's limit for connections on which nothing happens.
const SILENCE: Duration = Duration::from_secs(3600);

/// Serves a connection to its end, whatever it turns out to be.
pub(crate) async fn serve(
    acceptor: Rc<Acceptor>,
    listener: Arc<ActiveListener>,
    mut stream: TcpStream,
    peer: SocketAddr,
) {
    let Ok(local) = stream.local_addr() else {
        return;
    };
    let accepted = acceptor.worker.clock.since_epoch();
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
    // a transparent socket's own address is where the client wanted to go
    let transparent =
        runtime.config.transparent && has(&runtime.config, ListenerFilter::OriginalDst);
    let arrival = Arrival {
        local: redirected.unwrap_or(local),
        direct: local,
        restored: redirected.is_some() || transparent,
        peer,
        accepted,
        round_trip: round_trip(&stream),
    };
    let first = Looked::default();
    let looked = look(&acceptor, &listener, &mut stream, arrival.local, first).await;
    let Some(mut looked) = looked else { return };
    // what the PROXY protocol says of the destination counts as what a firewall does
    let handed_on = looked
        .addresses
        .map(|(_, destination)| destination)
        .filter(|destination| runtime.config.use_original_dst && *destination != local)
        .and_then(|destination| listener_for(&acceptor, destination))
        .filter(|other| !Arc::ptr_eq(other, &listener));
    let (listener, runtime) = match handed_on {
        Some(other) => {
            let again = look(&acceptor, &other, &mut stream, arrival.local, looked).await;
            let Some(again) = again else { return };
            looked = again;
            let runtime = other.runtime();
            (other, runtime)
        }
        None => (listener, runtime),
    };
    let shard = listener.stats().shard(acceptor.worker.worker);
    let mut end = listener.end_signal();
    tokio::select! {
        () = dispatch(&acceptor, &runtime, shard, stream, arrival, looked) => {}
        () = end.draining() => {}
    }
}

/// What a listener's filters learn, unless it ends before.
async fn look(
    acceptor: &Acceptor,
    listener: &ActiveListener,
    stream: &mut TcpStream,
    local: SocketAddr,
    looked: Looked,
) -> Option<Looked> {
    let worker = acceptor.worker.worker;
    let stats = listener.stats().shard(worker);
    stats.downstream_pre_cx_active.inc();
    let _looking = CountLook(stats);
    let runtime = listener.runtime();
    let mut end = listener.end_signal();
    tokio::select! {
        looked = looks::look(&runtime, worker, stats, stream, local.port(), looked) => looked,
        () = end.draining() => None,
    }
}

/// Counts a connection that a chain has taken, until it ends.
struct CountConnection<'a> {
    stats: &'a ListenerStats,
    since: Instant,
}

impl<'a> CountConnection<'a> {
    fn new(stats: &'a ListenerStats) -> Self {
        stats.downstream_cx_total.inc();
        stats.downstream_cx_active.inc();
        Self {
            stats,
            since: Instant::now(),
        }
    }
}

impl Drop for CountConnection<'_> {
    fn drop(&mut self) {
        self.stats.downstream_cx_active.dec();
        self.stats.downstream_cx_destroy.inc();
        let length = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.stats.downstream_cx_length_ms.record(length);
    }
}

/// Counts a connection at which listener filters look.
struct CountLook<'a>(&'a ListenerStats);

impl Drop for CountLook<'_> {
    fn drop(&mut self) {
        self.0.downstream_pre_cx_active.dec();
    }
}

/// A stream over a TCP connection.
pub(crate) trait Socket {
    /// The connection.
    fn socket(&self) -> &TcpStream;

    /// The connection, where what is read next and written next is its own.
    fn plain(&self) -> Option<&TcpStream>;
}

impl Socket for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }

    fn plain(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

impl<S: Socket> Socket for Prefixed<S> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().socket()
    }

    fn plain(&self) -> Option<&TcpStream> {
        (!self.has_prefix()).then(|| self.get_ref().plain())?
    }
}

impl<S: Socket> Socket for TlsStream<S> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0.socket()
    }

    fn plain(&self) -> Option<&TcpStream> {
        None
    }
}

/// How a connection arrived.
#[derive(Clone, Copy)]
struct Arrival {
    /// Our end.
    direct: SocketAddr,
    /// The same, or the original destination.
    local: SocketAddr,
    /// It is the original destination.
    restored: bool,
    peer: SocketAddr,
    /// When, since the Unix epoch.
    accepted: Duration,
    /// How long a packet took there and back.
    round_trip: Option<Duration>,
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
    stream: TcpStream,
    arrival: Arrival,
    looked: Looked,
) {
    let worker = acceptor.worker.worker;
    let Looked {
        sniffed,
        addresses,
        metadata,
        proxy_entries,
        ..
    } = looked;
    let direct_source = arrival.peer;
    let direct_local = arrival.direct;
    let arrival = match addresses {
        None => arrival,
        Some((peer, local)) => Arrival {
            restored: arrival.restored || local != arrival.local,
            local,
            peer,
            ..arrival
        },
    };
    let protocols = looks::application_protocols(&sniffed);
    let hello = sniffed.tls.as_ref();
    let server_name = hello.and_then(|hello| hello.server_name.clone());
    let view = ConnectionView {
        destination: arrival.local,
        direct_source,
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
        id: next_connection_number(),
        accepted: arrival.accepted,
        round_trip: arrival.round_trip,
        handshake: None,
        listener: runtime.name.clone(),
        filter_chain: chain.and_then(|chain| chain.name.clone()),
        direct_local,
        local: arrival.local,
        restored: arrival.restored,
        remote: arrival.peer,
        direct_remote: direct_source,
        metadata,
        listener_settings: Some(Arc::clone(&runtime.config)),
        chain_settings: chain.map(|chain| Arc::clone(&chain.config)),
        direction: runtime.config.direction,
        requested_server_name: server_name,
        proxy_entries,
        tls: None,
    };
    let Some(chain) = chain else {
        stats.no_filter_chain_match.inc();
        log_no_chain(acceptor, runtime, &info);
        return;
    };
    let _connection = CountConnection::new(stats);
    let _counted = match gate::pass(&chain.gates, worker) {
        Passage::Open(counted) => counted,
        Passage::Closed(delay) => return tokio::time::sleep(delay.unwrap_or_default()).await,
    };
    let stream = Prefixed::new(sniffed.bytes, stream);
    match &chain.tls {
        None => run(acceptor, runtime, chain, stream, info).await,
        Some(tls) => {
            let clock = &acceptor.worker.clock;
            let began = clock.since_epoch();
            let (stream, session) = match handshake(chain, tls, stats, stream).await {
                Ok(both) => both,
                Err(error) => return log_handshake(acceptor, runtime, &info, &error),
            };
            info.handshake = Some((began, clock.since_epoch()));
            info.tls = Some(meltemi_upstream::tls_info(session));
            Box::pin(run(acceptor, runtime, chain, stream, info)).await;
        }
    }
}

fn log_no_chain(acceptor: &Acceptor, runtime: &ListenerRuntime, info: &ConnectionInfo) {
    let mut record = StreamRecord::new(info, acceptor.worker.clock.since_epoch());
    record.flags = ResponseFlags::NO_ROUTE_FOUND;
    record.response_code_details = Some("filter_chain_not_found");
    for logger in &runtime.loggers {
        logger.log(&acceptor.worker.logs, &record);
    }
}

/// Writes what the listener's own log says of a client with whom TLS did not come about.
fn log_handshake(
    acceptor: &Acceptor,
    runtime: &ListenerRuntime,
    info: &ConnectionInfo,
    reason: &str,
) {
    let mut record = StreamRecord::new(info, info.accepted);
    let now = acceptor.worker.clock.since_epoch();
    record.duration = Some(now.saturating_sub(info.accepted));
    record.downstream_transport_failure = Some(reason);
    for logger in &runtime.loggers {
        logger.log(&acceptor.worker.logs, &record);
    }
}

/// Why a connection ended.
#[derive(Default)]
struct Ended<'a> {
    /// What answered it.
    details: Option<&'static str>,
    /// Why it was closed from this side.
    termination: Option<&'a str>,
    flags: ResponseFlags,
    /// The same in Envoy's word.
    close: Option<&'static str>,
}

/// Writes what the listener's own log says of a connection that has ended.
fn log_end(
    acceptor: &Acceptor,
    runtime: &ListenerRuntime,
    info: &ConnectionInfo,
    (wall, start): (Duration, Instant),
    ended: Ended<'_>,
) {
    if runtime.loggers.is_empty() {
        return;
    }
    let mut record = StreamRecord::new(info, wall);
    record.duration = Some(start.elapsed());
    record.response_code_details = ended.details;
    record.termination_details = ended.termination;
    record.flags = ended.flags;
    record.close.local_reason = ended.close;
    for logger in &runtime.loggers {
        logger.log(&acceptor.worker.logs, &record);
    }
}

/// The stream after its handshake, or what Envoy's words are for why there is none.
async fn handshake<IO>(
    chain: &ChainRuntime,
    tls: &ServerContext,
    stats: &ListenerStats,
    stream: IO,
) -> Result<(TlsStream<IO>, SessionInfo), String>
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
        Ok((stream, session)) => {
            let ssl = stats.ssl.get();
            ssl.count(&meltemi_upstream::agreed(&session));
            Ok((stream, session))
        }
        Err(error) => {
            let HandshakeFailure { kind, reason } = HandshakeFailure::of(&error);
            debug!(
                chain = chain.config.name,
                "TLS handshake: {error} ({reason})"
            );
            let ssl = stats.ssl.get();
            match kind {
                FailureKind::San => ssl.fail_verify_san.inc(),
                FailureKind::Chain => ssl.fail_verify_error.inc(),
                FailureKind::Hash => ssl.fail_verify_cert_hash.inc(),
                FailureKind::NoCertificate => ssl.fail_verify_no_cert.inc(),
                FailureKind::Other if reason.is_empty() => {}
                FailureKind::Other => ssl.connection_error.inc(),
            }
            Err(reason)
        }
    }
}

/// The first bytes of a client that has to begin; none if it is gone, or silent for too long.
async fn first_bytes<IO: AsyncRead + Unpin>(stream: &mut IO) -> Vec<u8> {
    let mut first = vec![0; FIRST];
    let read = tokio::time::timeout(SILENCE, stream.read(&mut first)).await;
    let count = read.map_or(0, |it| it.unwrap_or_default());
    first.truncate(count);
    first
}

/// Asks policies, and whoever is to be asked, whether a connection is let in: why not, if so, and the
/// bytes that were read for it. None where the client goes without a word.
async fn admit<IO>(
    acceptor: &Acceptor,
    chain: &ChainRuntime,
    stream: &mut IO,
    info: &mut ConnectionInfo,
) -> Option<(Option<Refused>, Vec<u8>)>
where
    IO: Socket + AsyncRead + AsyncWrite + Unpin,
{
    let mut refused = authorization::judge(&chain.gates, acceptor.worker.worker, info);
    let mut first = Vec::new();
    let is_tcp = matches!(chain.filter, ChainFilter::Tcp(_));
    if refused.is_none() && !is_tcp && authorization::is_asked(&chain.gates) {
        // A direct response waits for no client.
        if !matches!(chain.filter, ChainFilter::DirectResponse(_)) {
            let mut drain = chain.drain.signal();
            first = tokio::select! {
                first = first_bytes(stream) => first,
                () = drain.draining() => Vec::new(),
            };
            if first.is_empty() {
                return None;
            }
        }
        refused = authorization::ask(&chain.gates, &acceptor.worker, info).await;
    }
    if let Some(Refused { delay, .. }) = &refused
        && !delay.is_zero()
    {
        tokio::time::sleep(*delay).await;
    }
    Some((refused, first))
}

async fn run<IO>(
    acceptor: &Acceptor,
    runtime: &ListenerRuntime,
    chain: &Arc<ChainRuntime>,
    mut stream: IO,
    info: ConnectionInfo,
) where
    IO: Socket + AsyncRead + AsyncWrite + Unpin + 'static,
{
    let drain = chain.drain.signal();
    let (wall, start) = (acceptor.worker.clock.since_epoch(), Instant::now());
    let mut info = info;
    let Some((refused, first)) = admit(acceptor, chain, &mut stream, &mut info).await else {
        let ended = Ended::default();
        return log_end(acceptor, runtime, &info, (wall, start), ended);
    };
    match (&chain.filter, &refused) {
        (
            ChainFilter::Http(_)
            | ChainFilter::Redis(_)
            | ChainFilter::DirectResponse(_)
            | ChainFilter::Echo,
            Some(refused),
        ) => {
            let ended = Ended {
                details: refused.details,
                termination: refused.termination.as_deref(),
                flags: refused.flags,
                close: Some(refused.close),
            };
            log_end(acceptor, runtime, &info, (wall, start), ended);
            authorization::close(&mut stream).await;
        }
        (ChainFilter::Http(slot), None) => {
            let info = Rc::new(info);
            let context = ConnectionContext {
                slot: Arc::clone(slot),
                worker: Rc::clone(&acceptor.worker),
                info: Rc::clone(&info),
                drain,
                buffer_limit: usize::try_from(runtime.config.per_connection_buffer_limit)
                    .unwrap_or(usize::MAX),
            };
            meltemi_http::serve(Prefixed::new(first, stream), context).await;
            log_end(acceptor, runtime, &info, (wall, start), Ended::default());
        }
        (ChainFilter::Tcp(tcp), refused) => {
            let by_name = chain
                .gates
                .iter()
                .any(|gate| matches!(gate, Gate::SniCluster));
            let named = info.requested_server_name.as_deref().filter(|_| by_name);
            let context = tcp::TcpContext {
                worker: Rc::clone(&acceptor.worker),
                cluster: named.map(str::to_owned),
                info: Rc::new(info),
                gates: &chain.gates,
                listener_loggers: &runtime.loggers,
            };
            match refused {
                None => tcp::begin(stream, tcp, &context).await,
                Some(refused) => {
                    tcp::refuse(tcp, &context, refused);
                    authorization::close(&mut stream).await;
                }
            }
        }
        (ChainFilter::Redis(proxy), None) => {
            let context = meltemi_redis::Context {
                worker: acceptor.worker.worker,
                pools: Rc::clone(&acceptor.worker.pools),
                clock: acceptor.worker.clock,
                connections: Rc::clone(&acceptor.redis),
                drain,
            };
            let mut stream = Prefixed::new(first, stream);
            if meltemi_redis::serve(&mut stream, proxy, &context).await {
                authorization::close(&mut stream).await;
            }
            log_end(acceptor, runtime, &info, (wall, start), Ended::default());
        }
        (ChainFilter::DirectResponse(bytes), None) => {
            // ignored: a client that is gone wants no answer
            let _ = stream.write_all(bytes).await;
            let _ = stream.shutdown().await;
            let ended = Ended {
                details: Some("direct_response"),
                ..Ended::default()
            };
            log_end(acceptor, runtime, &info, (wall, start), ended);
        }
        (ChainFilter::Echo, None) => {
            let (mut reader, mut writer) = tokio::io::split(Prefixed::new(first, stream));
            // ignored: however it ends, it is over
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
            let _ = writer.shutdown().await;
            log_end(acceptor, runtime, &info, (wall, start), Ended::default());
        }
    }
}
