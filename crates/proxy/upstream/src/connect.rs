//! Making connections: a host enters, a stream or the reason why there is none leaves.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use meltemi_ir::{Address, HappyEyeballs, TcpKeepalive};
use meltemi_lifecycle::{WorkerId, next_connection_number};
use meltemi_tls::{Alpn, FailureKind, HandshakeFailure, Wishes};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::time::Instant;

use crate::stream::{ConnectionDetails, CountedConnection, Io, Raw, agreed, tls_info};
use crate::transport::{self, Proxied, Transport};
use crate::{Cluster, ConnectFailure, Host, UpstreamStream};

/// What a connection is wished to be.
#[derive(Clone, Copy, Default)]
pub(crate) struct Asked<'a> {
    /// Of TLS.
    pub(crate) wishes: Wishes<'a>,
    /// What it stands for.
    pub(crate) proxied: Option<&'a Proxied>,
}

/// Connects to the host within the cluster's `connect_timeout`, TLS included. `count` is what
/// the attempt, and the connection, counts as.
pub(crate) async fn connect(
    cluster: &Arc<Cluster>,
    host: &Arc<Host>,
    worker: WorkerId,
    count: CountedConnection,
    asked: Asked<'_>,
) -> Result<UpstreamStream, ConnectFailure> {
    let started = Instant::now();
    let stats = cluster.stats(worker);
    let limit = cluster.config().connect_timeout;
    let target = Target {
        address: host.address(),
        socket: host.socket_address(),
        others: host.additional_addresses(),
        transport: host.transport(),
    };
    let dial = dial(cluster, target, worker, asked);
    let result = match tokio::time::timeout(limit, dial).await {
        Ok(result) => result,
        Err(_) => {
            stats.upstream_cx_connect_timeout.inc();
            Err(ConnectFailure::Timeout)
        }
    };
    match result {
        Ok((io, details)) => {
            let took = started.elapsed().as_millis();
            stats
                .upstream_cx_connect_ms
                .record(u64::try_from(took).unwrap_or(u64::MAX));
            Ok(UpstreamStream::new(io, details, count))
        }
        Err(failure) => {
            stats.upstream_cx_connect_fail.inc();
            host.stats(worker).cx_connect_fail.inc();
            stats.upstream_cx_destroy.inc();
            match failure {
                ConnectFailure::Timeout => stats.upstream_cx_destroy_local.inc(),
                _ => stats.upstream_cx_destroy_remote.inc(),
            }
            Err(failure)
        }
    }
}

/// Connects for a health check, which counts as no connection of the cluster's.
pub(crate) async fn for_health_check(
    cluster: &Cluster,
    host: &Host,
    transport: &Transport,
    alpn: &[&[u8]],
) -> Option<Io> {
    let config = host.health_check();
    let elsewhere = config.and_then(|config| config.address.as_ref());
    let port = config.and_then(|config| config.port);
    let mut socket = match elsewhere {
        Some(Address::Socket(address)) => Some(*address),
        Some(Address::Name { .. } | Address::Pipe(_)) => None,
        None => host.socket_address(),
    };
    if let (Some(socket), Some(port)) = (&mut socket, port) {
        socket.set_port(port);
    }
    let target = Target {
        address: elsewhere.unwrap_or(host.address()),
        socket,
        others: &[],
        transport,
    };
    let wishes = Wishes {
        host: host.hostname(),
        ..Wishes::of_alpn(Alpn::Otherwise(alpn))
    };
    let asked = Asked {
        wishes,
        proxied: None,
    };
    let dialled = dial(cluster, target, WorkerId::MAIN, asked).await;
    dialled.ok().map(|(io, _)| io)
}

/// What is connected to, and how.
#[derive(Clone, Copy)]
struct Target<'a> {
    address: &'a Address,
    /// Where that is at the moment, if on a network.
    socket: Option<SocketAddr>,
    /// Where else, should that fail or take long.
    others: &'a [SocketAddr],
    transport: &'a Transport,
}

async fn dial(
    cluster: &Cluster,
    target: Target<'_>,
    worker: WorkerId,
    asked: Asked<'_>,
) -> Result<(Io, ConnectionDetails), ConnectFailure> {
    let started = Instant::now();
    let (mut raw, mut details) = match target.address {
        Address::Pipe(path) => {
            let stream = UnixStream::connect(path)
                .await
                .map_err(|error| transport("immediate connect error", &error))?;
            (Raw::Unix(stream), ConnectionDetails::default())
        }
        Address::Socket(_) | Address::Name { .. } => {
            let Some(address) = target.socket else {
                return Err(ConnectFailure::Transport(Arc::from("no address")));
            };
            dial_any(cluster, address, target.others, worker).await?
        }
    };
    let connected = Instant::now();
    details.id = next_connection_number();
    details.made = Some((started, connected, None));
    let stats = cluster.stats(worker);
    if let Some(settings) = &target.transport.header {
        let own = details.local.zip(details.remote);
        let (header, left_out) = transport::header(settings, asked.proxied, own);
        if left_out {
            stats.proxy_protocol.get().v2_tlvs_exceed_max_length.inc();
        }
        let written = raw.write_all(&header).await;
        written.map_err(|error| transport("delayed connect error", &error))?;
        stats.upstream_cx_tx_bytes_total.add(header.len() as u64);
    }
    let Some(context) = &target.transport.tls else {
        return Ok((Io::Raw(raw), details));
    };
    let ssl = stats.ssl.get();
    match context.connect(raw, asked.wishes).await {
        Ok((stream, session)) => {
            ssl.count(&agreed(&session));
            details.tls = Some(Arc::new(tls_info(session)));
            details.made = Some((started, connected, Some(Instant::now())));
            Ok((Io::Tls(Box::new(stream)), details))
        }
        Err(error) => {
            let HandshakeFailure { kind, reason } = HandshakeFailure::of(&error);
            match kind {
                FailureKind::San => ssl.fail_verify_san.inc(),
                FailureKind::Chain => ssl.fail_verify_error.inc(),
                FailureKind::Hash => ssl.fail_verify_cert_hash.inc(),
                FailureKind::NoCertificate => ssl.fail_verify_no_cert.inc(),
                FailureKind::Other if reason.is_empty() => {}
                FailureKind::Other => ssl.connection_error.inc(),
            }
            Err(ConnectFailure::Tls(Arc::from(reason)))
        }
    }
}

/// How long an address is waited for before the next one is tried beside it.
const NEXT: Duration = Duration::from_millis(300);

/// Connects to whichever of a host's addresses answers first (RFC 8305).
async fn dial_any(
    cluster: &Cluster,
    first: SocketAddr,
    others: &[SocketAddr],
    worker: WorkerId,
) -> Result<(Raw, ConnectionDetails), ConnectFailure> {
    if others.is_empty() {
        return dial_tcp(cluster, first, worker).await;
    }
    let mut left = in_order(cluster.config().happy_eyeballs, first, others).into_iter();
    let mut trying = FuturesUnordered::new();
    let mut failure = None;
    loop {
        if let Some(address) = left.next() {
            if left.len() < others.len() {
                cluster.stats(worker).upstream_cx_total.inc();
            }
            trying.push(dial_tcp(cluster, address, worker));
        }
        let next = async {
            match left.len() {
                0 => std::future::pending().await,
                _ => tokio::time::sleep(NEXT).await,
            }
        };
        tokio::select! {
            biased;
            tried = trying.next() => match tried {
                Some(Ok(connected)) => return Ok(connected),
                Some(Err(error)) => failure = Some(error),
                None => {
                    let none = || ConnectFailure::Transport(Arc::from("no address"));
                    return Err(failure.unwrap_or_else(none));
                }
            },
            () = next => {}
        }
    }
}

/// The addresses in the order in which they are tried: the families take turns.
fn in_order(settings: HappyEyeballs, first: SocketAddr, others: &[SocketAddr]) -> Vec<SocketAddr> {
    let HappyEyeballs {
        first_v4,
        first_count,
    } = settings;
    let first_v4 = first_v4.unwrap_or(first.is_ipv4());
    let all = std::iter::once(&first).chain(others).copied();
    let (preferred, rest): (Vec<_>, Vec<_>) = all.partition(|it| it.is_ipv4() == first_v4);
    let (mut preferred, mut rest) = (preferred.into_iter(), rest.into_iter());
    let mut ordered = Vec::with_capacity(others.len() + 1);
    while preferred.len() + rest.len() > 0 {
        ordered.extend(preferred.by_ref().take(first_count as usize));
        ordered.extend(rest.next());
    }
    ordered
}

async fn dial_tcp(
    cluster: &Cluster,
    address: SocketAddr,
    worker: WorkerId,
) -> Result<(Raw, ConnectionDetails), ConnectFailure> {
    let config = cluster.config();
    let socket = open(address).map_err(|error| transport("immediate connect error", &error))?;
    if let Err(reason) = cluster.binding().prepare(&socket, address) {
        cluster.stats(worker).bind_errors.inc();
        return Err(ConnectFailure::Local(Arc::from(reason)));
    }
    let socket = TcpSocket::from_std_stream(socket.into());
    let stream = socket.connect(address).await.map_err(|error| {
        // What the system finds out at once it finds out before a packet leaves.
        let when = match error.kind() {
            io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::AddrNotAvailable
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::InvalidInput => "immediate connect error",
            _ => "delayed connect error",
        };
        transport(when, &error)
    })?;
    // Both only make a connection worse where they fail; none is refused for it.
    let _ = stream.set_nodelay(true);
    if let Some(keepalive) = config.tcp_keepalive {
        set_keepalive(&stream, keepalive);
    }
    let details = ConnectionDetails {
        local: stream.local_addr().ok(),
        remote: Some(address),
        ..ConnectionDetails::default()
    };
    Ok((Raw::Tcp(stream), details))
}

fn open(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn set_keepalive(stream: &TcpStream, keepalive: TcpKeepalive) {
    let TcpKeepalive {
        probes,
        time,
        interval,
    } = keepalive;
    let whole = |time: Duration| time.max(Duration::from_secs(1));
    let mut settings = socket2::TcpKeepalive::new();
    if let Some(probes) = probes {
        settings = settings.with_retries(probes);
    }
    if let Some(time) = time {
        settings = settings.with_time(whole(time));
    }
    if let Some(interval) = interval {
        settings = settings.with_interval(whole(interval));
    }
    let _ = SockRef::from(stream).set_tcp_keepalive(&settings);
}

/// The reason as Envoy words it, such as `delayed connect error: Connection refused`.
fn transport(when: &str, error: &io::Error) -> ConnectFailure {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    ConnectFailure::Transport(Arc::from(format!("{when}: {text}")))
}
