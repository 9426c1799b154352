//! Where a proxied connection goes: a cluster, a host of it, and a connection to that or a tunnel
//! through it, as often as the configuration allows. Called by `tcp`.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use meltemi_http::{TunnelFailure, TunnelStream, Tunneling};
use meltemi_ir as ir;
use meltemi_telemetry::{ResponseFlags, StreamRecord};
use meltemi_upstream::{
    ConnectFailure, ConnectionDetails, LbContext, Proxied, UpstreamStream, WorkerCluster,
    WorkerHost, xx_hash,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::TcpContext;
use crate::runtime::TcpRuntime;

/// The filter state that the head of a tunnel's answer becomes.
const ANSWER: &str = "envoy.tcp_proxy.propagate_response_headers";

/// Where a connection went, or why it went nowhere.
pub(super) enum Target {
    Reached {
        cluster: Rc<WorkerCluster>,
        host: Rc<WorkerHost>,
        stream: Upstream,
        details: Arc<ConnectionDetails>,
        kept: Kept,
    },
    Failed(Failed),
}

/// Why a connection went nowhere.
pub(super) struct Failed {
    pub cluster: Option<Rc<WorkerCluster>>,
    pub host: Option<Rc<WorkerHost>>,
    pub flags: ResponseFlags,
    pub reason: String,
    pub kept: Kept,
}

/// What a connection's bytes go over.
pub(super) enum Upstream {
    Direct(Box<UpstreamStream>),
    Tunnel(Box<TunnelStream>),
}

impl Upstream {
    /// The TCP connection, where what is read and written is its own.
    pub(super) fn plain(&self) -> Option<&TcpStream> {
        match self {
            Self::Direct(stream) => stream.plain(),
            Self::Tunnel(_) => None,
        }
    }

    /// Counts bytes that went over [`Self::plain`].
    pub(super) fn passed(&mut self, written: u64, read: u64) {
        if let Self::Direct(stream) = self {
            stream.passed(written, read);
        }
    }
}

impl AsyncRead for Upstream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Direct(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tunnel(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Upstream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Direct(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tunnel(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Direct(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tunnel(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Direct(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tunnel(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Chooses a cluster and a host and connects, as often as the configuration allows. The hosts go
/// to `attempted`.
pub(super) async fn connect(
    tcp: &TcpRuntime,
    context: &TcpContext<'_>,
    record: &StreamRecord<'_>,
    attempted: &mut Vec<Rc<WorkerHost>>,
) -> Target {
    let chosen = match &context.cluster {
        Some(name) => Some((name.as_str(), None)),
        None => choose_cluster(&tcp.config.clusters, context)
            .map(|cluster| (&*cluster.name, Some(&cluster.metadata_match))),
    };
    let Some((name, metadata_match)) = chosen else {
        return failed(None, None, ResponseFlags::NO_ROUTE_FOUND);
    };
    let Some(cluster) = context.worker.pools.cluster(name) else {
        return failed(None, None, ResponseFlags::NO_CLUSTER_FOUND);
    };
    let hash = tcp.config.hash_source_ip.then(|| {
        let ip = context.info.remote.ip().to_string();
        xx_hash(ip.as_bytes(), 0)
    });
    let mut last = None;
    let mut proxied = Proxied::of(&context.info);
    if !tcp.config.proxy_entries.is_empty() {
        let had_header = context.info.proxy_entries.is_some();
        proxied.entries = merge(&tcp.config, had_header, &proxied.entries);
    }
    for attempt in 0..tcp.config.max_connect_attempts.max(1) {
        if attempt > 0 {
            back_off(tcp, context, attempt).await;
        }
        let lb = LbContext {
            original_destination: context.info.original_destination(),
            metadata_match,
            hash,
            ..LbContext::default()
        };
        let Some(host) = cluster.choose(&lb) else {
            cluster.stats().upstream_cx_none_healthy.inc();
            return failed(Some(cluster), None, ResponseFlags::NO_HEALTHY_UPSTREAM);
        };
        let tried = match &tcp.tunneling {
            None => direct(&cluster, &host, &proxied).await,
            Some(tunneling) => {
                let open = tunnel(tunneling, &cluster, &host, record, &proxied);
                match tcp.config.idle_timeout {
                    None => open.await,
                    // a host that never answers holds nobody for ever
                    Some(limit) => tokio::time::timeout(limit, open)
                        .await
                        .unwrap_or_else(|_| Err(Failure::default())),
                }
            }
        };
        match tried {
            Ok((stream, details, kept)) => {
                attempted.push(host.clone());
                return Target::Reached {
                    cluster,
                    host,
                    stream,
                    details,
                    kept,
                };
            }
            Err(Failure { overflow: true, .. }) => {
                return failed(Some(cluster), None, ResponseFlags::UPSTREAM_OVERFLOW);
            }
            Err(failure) => {
                attempted.push(host.clone());
                last = Some((host, failure));
            }
        }
    }
    cluster.stats().upstream_cx_connect_attempts_exceeded.inc();
    let Some((host, failure)) = last else {
        return failed(Some(cluster), None, ResponseFlags::NO_HEALTHY_UPSTREAM);
    };
    Target::Failed(Failed {
        cluster: Some(cluster),
        host: Some(host),
        flags: ResponseFlags::UPSTREAM_CONNECTION_FAILURE
            | ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED.with_retries_last(),
        reason: failure.reason,
        kept: failure.kept,
    })
}

/// What a tunnel's answer leaves as filter state.
type Kept = Option<BTreeMap<String, String>>;

/// What came of one try.
type Tried = Result<(Upstream, Arc<ConnectionDetails>, Kept), Failure>;

/// Why a try failed.
#[derive(Default)]
struct Failure {
    /// A circuit breaker is open.
    overflow: bool,
    reason: String,
    kept: Kept,
}

impl From<&ConnectFailure> for Failure {
    fn from(failure: &ConnectFailure) -> Self {
        Self {
            overflow: matches!(failure, ConnectFailure::Overflow(_)),
            reason: failure.transport_failure_reason().to_owned(),
            kept: None,
        }
    }
}

/// A connection to a host.
async fn direct(cluster: &Rc<WorkerCluster>, host: &Rc<WorkerHost>, proxied: &Proxied) -> Tried {
    let connected = cluster.tcp(host, proxied).await;
    if !matches!(connected, Err(ConnectFailure::Overflow(_))) {
        cluster.stats().upstream_rq_pending_total.inc();
    }
    match connected {
        Ok(stream) => {
            let details = Arc::clone(stream.details());
            Ok((Upstream::Direct(Box::new(stream)), details, None))
        }
        Err(failure) => {
            if !matches!(failure, ConnectFailure::Overflow(_)) {
                cluster.stats().upstream_rq_pending_failure_eject.inc();
            }
            Err(Failure::from(&failure))
        }
    }
}

/// A tunnel through a host.
async fn tunnel(
    tunneling: &Tunneling,
    cluster: &Rc<WorkerCluster>,
    host: &Rc<WorkerHost>,
    record: &StreamRecord<'_>,
    proxied: &Proxied,
) -> Tried {
    let kept = |headers: Option<String>| {
        headers.map(|headers| BTreeMap::from([(ANSWER.to_owned(), headers)]))
    };
    match tunneling.open(cluster, host, record, proxied).await {
        Ok(tunnel) => {
            let stream = Upstream::Tunnel(Box::new(tunnel.stream));
            Ok((stream, tunnel.details, kept(tunnel.headers)))
        }
        Err(TunnelFailure::Connect(failure)) => Err(Failure::from(&failure)),
        Err(TunnelFailure::Refused { status, headers }) => Err(Failure {
            overflow: false,
            reason: format!("tunnel_response:{}", status.as_u16()),
            kept: kept(headers),
        }),
        Err(TunnelFailure::Broken) => Err(Failure::default()),
    }
}

/// Waits before another try, where the configuration says so.
async fn back_off(tcp: &TcpRuntime, context: &TcpContext<'_>, attempt: u32) {
    let Some(ir::ConnectBackoff { base, max }) = tcp.config.connect_backoff else {
        return;
    };
    let bound = base.saturating_mul(1 << (attempt - 1).min(30)).min(max);
    let bound = u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
    let wait = context.worker.random.below(bound.max(1));
    tokio::time::sleep(Duration::from_millis(wait)).await;
}

/// The entries of the client and those of the configuration.
fn merge(
    config: &ir::TcpProxy,
    had_header: bool,
    own: &Arc<[ir::ProxyEntry]>,
) -> Arc<[ir::ProxyEntry]> {
    use ir::ProxyEntryMerge::{AddIfAbsent, Append, Overwrite};
    let given = &config.proxy_entries;
    let stays = |entry: &&ir::ProxyEntry| !given.iter().any(|(kind, _)| *kind == entry.0);
    match config.proxy_entry_merge {
        AddIfAbsent if had_header => Arc::clone(own),
        AddIfAbsent | Overwrite => given
            .iter()
            .chain(own.iter().filter(stays))
            .cloned()
            .collect(),
        Append => own.iter().chain(given).cloned().collect(),
    }
}

fn failed(
    cluster: Option<Rc<WorkerCluster>>,
    host: Option<Rc<WorkerHost>>,
    flags: ResponseFlags,
) -> Target {
    Target::Failed(Failed {
        cluster,
        host,
        flags,
        reason: String::new(),
        kept: None,
    })
}

pub(super) fn choose_cluster<'a>(
    clusters: &'a [ir::TcpCluster],
    context: &TcpContext<'_>,
) -> Option<&'a ir::TcpCluster> {
    if let [only] = clusters {
        return Some(only);
    }
    let total: u64 = clusters
        .iter()
        .map(|cluster| u64::from(cluster.weight))
        .sum();
    let mut ticket = context.worker.random.below(total);
    for cluster in clusters {
        let weight = u64::from(cluster.weight);
        if ticket < weight {
            return Some(cluster);
        }
        ticket -= weight;
    }
    None
}
