//! A byte stream to an upstream: TCP, TLS over TCP, or a Unix socket.
//!
//! The connector makes it; pools give it to an HTTP codec, TCP proxying takes it as it is.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};

use meltemi_ir::Priority;
use meltemi_lifecycle::WorkerId;
use meltemi_net::{outstanding, poll_write_joined};
use meltemi_telemetry::{Agreed, Connecting, OtherNames, TlsInfo};
use meltemi_tls::{CertificateInfo, SessionInfo};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

use crate::{Cluster, Host};

/// A connection to an upstream. It counts towards the cluster's and the host's connections
/// until it is dropped.
#[derive(Debug)]
pub struct UpstreamStream {
    io: Io,
    end: End,
    details: Arc<ConnectionDetails>,
    count: CountedConnection,
}

/// What is known of a connection to an upstream, for logs and metrics.
#[derive(Clone, Debug, Default)]
pub struct ConnectionDetails {
    /// Our end; none on a Unix socket.
    pub local: Option<SocketAddr>,
    /// The upstream's end; none on a Unix socket.
    pub remote: Option<SocketAddr>,
    /// What the TLS handshake agreed on.
    pub tls: Option<Arc<TlsInfo>>,
    /// Its number among the process's connections.
    pub id: u64,
    /// When its making began, when it was connected, and when the TLS handshake was over.
    pub made: Option<(Instant, Instant, Option<Instant>)>,
    pub(crate) sent: Sent,
}

impl ConnectionDetails {
    /// When the connection was made, as a stream that began at `start` records it.
    pub fn connecting(&self, start: Instant) -> Option<Connecting> {
        let (started, connected, secured) = self.made?;
        let since = |at: Instant| {
            let after = at.saturating_duration_since(start).as_nanos();
            let before = start.saturating_duration_since(at).as_nanos();
            after.cast_signed() - before.cast_signed()
        };
        Some(Connecting {
            started: since(started),
            connected: since(connected),
            secured: secured.map(since),
        })
    }
}

/// What a handshake agreed on, as logs and metrics have it.
pub fn tls_info(session: SessionInfo) -> TlsInfo {
    let peer = session.peer.unwrap_or_default();
    let local = session
        .local
        .map(|local| (*local).clone())
        .unwrap_or_default();
    let names = |certificate: &CertificateInfo| OtherNames {
        ip: certificate
            .ip_sans
            .iter()
            .map(ToString::to_string)
            .collect(),
        email: certificate.email_sans.clone(),
        other: certificate.other_sans.clone(),
    };
    TlsInfo {
        version: session.version,
        cipher: session.cipher,
        group: session.curve,
        server_name: session.server_name,
        peer_names: names(&peer),
        local_names: names(&local),
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

/// What a handshake agreed on, as statistics count it.
pub fn agreed(session: &SessionInfo) -> Agreed<'_> {
    Agreed {
        version: session.version,
        cipher: &session.cipher,
        curve: session.curve,
        signature: session.signature,
        resumed: session.resumed,
        certified: session.peer.is_some(),
    }
}

/// What was written for the request at hand. One thread writes it.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// How many requests there were.
    requests: AtomicU32,
    writes: AtomicU32,
    bytes: AtomicU64,
    /// Of the first write.
    first: AtomicU64,
    /// The upstream had closed the connection for good before the last of it came.
    closed: AtomicBool,
    /// It had before the first of it came: it acknowledged none.
    untouched: AtomicBool,
}

impl Clone for Sent {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Sent {
    /// Another request begins.
    pub(crate) fn restart(&self) {
        self.count_request();
        self.writes.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
        self.closed.store(false, Ordering::Relaxed);
        self.untouched.store(false, Ordering::Relaxed);
    }

    /// Counts a request.
    pub(crate) fn count_request(&self) {
        let requests = self.requests.load(Ordering::Relaxed);
        self.requests
            .store(requests.saturating_add(1), Ordering::Relaxed);
    }

    /// Whether something was written.
    pub(crate) fn has_begun(&self) -> bool {
        self.writes.load(Ordering::Relaxed) > 0
    }

    fn wrote(&self, count: usize) {
        let writes = self.writes.load(Ordering::Relaxed);
        if writes == 0 {
            self.first.store(count as u64, Ordering::Relaxed);
        }
        self.writes
            .store(writes.saturating_add(1), Ordering::Relaxed);
        let bytes = self.bytes.load(Ordering::Relaxed);
        self.bytes
            .store(bytes.saturating_add(count as u64), Ordering::Relaxed);
    }

    /// The upstream closed the connection. What the system calls a broken pipe is a reset
    /// after that, hence the answer to what came too late.
    fn closed(&self, raw: &Raw) {
        let error = match raw {
            Raw::Tcp(stream) => stream.take_error(),
            Raw::Unix(stream) => stream.take_error(),
        };
        if let Ok(Some(error)) = error {
            self.failed(raw, &error);
        }
    }

    /// Writing, or the socket itself, failed.
    fn failed(&self, raw: &Raw, error: &io::Error) {
        if error.kind() != io::ErrorKind::BrokenPipe {
            return;
        }
        self.closed.store(true, Ordering::Relaxed);
        let outstanding = match raw {
            Raw::Tcp(stream) => outstanding(stream),
            Raw::Unix(_) => None,
        };
        // The acknowledgement that came with the upstream's end says what had reached it. Where
        // that was the first write at least, less is outstanding than was written: TLS adds to
        // each of the others less than a head has.
        let others = u64::from(self.writes.load(Ordering::Relaxed)).saturating_sub(1);
        let is_head = self.first.load(Ordering::Relaxed) > others * RECORD;
        let untouched =
            outstanding.is_some_and(|bytes| bytes >= self.bytes.load(Ordering::Relaxed));
        self.untouched
            .store(is_head && untouched, Ordering::Relaxed);
    }

    /// Whether the upstream cannot have seen anything of it: it had closed before, and took
    /// nothing of what was sent, or what was sent left in one piece, which comes as a whole or not
    /// at all.
    pub(crate) fn was_too_late(&self) -> bool {
        let in_one_piece = self.writes.load(Ordering::Relaxed) <= 1
            && self.bytes.load(Ordering::Relaxed) <= ONE_PIECE;
        self.closed.load(Ordering::Relaxed)
            && (in_one_piece || self.untouched.load(Ordering::Relaxed))
    }
}

/// Bytes that fit a TCP segment everywhere.
const ONE_PIECE: u64 = 1200;

/// What a TLS record has besides its content, at most.
const RECORD: u64 = 40;

/// A connection before TLS.
#[derive(Debug)]
pub(crate) enum Raw {
    Tcp(TcpStream),
    Unix(UnixStream),
}

#[derive(Debug)]
pub(crate) enum Io {
    Raw(Raw),
    Tls(Box<tokio_rustls::client::TlsStream<Raw>>),
}

/// Who ended the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Us,
    Them,
}

/// Counts as a connection of cluster and host until dropped.
#[derive(Debug)]
pub(crate) struct CountedConnection {
    cluster: Arc<Cluster>,
    host: Arc<Host>,
    worker: WorkerId,
    priority: Priority,
    since: Instant,
    made: bool,
    /// It counts as a request in flight too, as a proxied TCP connection does.
    is_request: bool,
    by_them: bool,
    /// HTTP requests that went over it.
    requests: u32,
}

impl UpstreamStream {
    pub(crate) fn new(io: Io, details: ConnectionDetails, mut count: CountedConnection) -> Self {
        count.made = true;
        Self {
            io,
            end: End::Us,
            details: Arc::new(details),
            count,
        }
    }

    /// Counts as a request in flight until dropped.
    pub(crate) fn counted_as_request(mut self) -> Self {
        let count = &mut self.count;
        count.is_request = true;
        let stats = count.cluster.stats(count.worker);
        stats.upstream_rq_total.inc();
        stats.upstream_rq_active.inc();
        let stats = count.host.stats(count.worker);
        stats.rq_total.inc();
        stats.rq_active.inc();
        self
    }

    /// What is known of the connection.
    pub fn details(&self) -> &Arc<ConnectionDetails> {
        &self.details
    }

    /// The TCP connection, where what is read and written is its own.
    pub fn plain(&self) -> Option<&TcpStream> {
        match &self.io {
            Io::Raw(Raw::Tcp(stream)) => Some(stream),
            Io::Raw(Raw::Unix(_)) | Io::Tls(_) => None,
        }
    }

    /// Counts bytes that went over [`Self::plain`].
    pub fn passed(&mut self, written: u64, read: u64) {
        let stats = self.count.cluster.stats(self.count.worker);
        stats.upstream_cx_tx_bytes_total.add(written);
        stats.upstream_cx_rx_bytes_total.add(read);
    }

    /// Where it comes from; none on a Unix socket.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.details.local
    }
}

impl CountedConnection {
    /// Counts from the first attempt on, as Envoy does.
    pub(crate) fn begin(
        cluster: &Arc<Cluster>,
        host: &Arc<Host>,
        worker: WorkerId,
        priority: Priority,
    ) -> Self {
        let stats = cluster.stats(worker);
        stats.upstream_cx_total.inc();
        stats.upstream_cx_active.inc();
        host.stats(worker).cx_total.inc();
        host.stats(worker).cx_active.inc();
        cluster.breakers().of(priority).connections.take();
        Self {
            cluster: Arc::clone(cluster),
            host: Arc::clone(host),
            worker,
            priority,
            since: Instant::now(),
            made: false,
            is_request: false,
            by_them: false,
            requests: 0,
        }
    }
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        let stats = self.cluster.stats(self.worker);
        stats.upstream_cx_active.dec();
        self.host.stats(self.worker).cx_active.dec();
        let breakers = self.cluster.breakers().of(self.priority);
        breakers.connections.give_back();
        if self.is_request {
            stats.upstream_rq_active.dec();
            self.host.stats(self.worker).rq_active.dec();
        }
        if self.made {
            stats.upstream_cx_destroy.inc();
            if self.is_request {
                stats.upstream_cx_destroy_with_active_rq.inc();
            }
            let (all, busy) = if self.by_them {
                (
                    &stats.upstream_cx_destroy_remote,
                    &stats.upstream_cx_destroy_remote_with_active_rq,
                )
            } else {
                (
                    &stats.upstream_cx_destroy_local,
                    &stats.upstream_cx_destroy_local_with_active_rq,
                )
            };
            all.inc();
            if self.is_request {
                busy.inc();
            }
            let length = self.since.elapsed().as_millis();
            stats
                .upstream_cx_length_ms
                .record(u64::try_from(length).unwrap_or(u64::MAX));
            if self.requests > 0 {
                stats.upstream_rq_per_cx.record(self.requests.into());
            }
        }
    }
}

impl Drop for UpstreamStream {
    fn drop(&mut self) {
        self.count.by_them = self.end == End::Them;
        self.count.requests = self.details.sent.requests.load(Ordering::Relaxed);
    }
}

impl AsyncRead for UpstreamStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let room = buf.remaining();
        let result = Pin::new(&mut this.io).poll_read(cx, buf);
        match &result {
            Poll::Ready(Ok(())) => {
                let count = buf.filled().len() - before;
                if count == 0 && room > 0 {
                    this.end = End::Them;
                    this.details.sent.closed(this.io.raw());
                }
                let stats = this.count.cluster.stats(this.count.worker);
                stats.upstream_cx_rx_bytes_total.add(count as u64);
            }
            Poll::Ready(Err(error)) => {
                this.end = End::Them;
                this.details.sent.failed(this.io.raw(), error);
            }
            Poll::Pending => {}
        }
        result
    }
}

impl Io {
    fn raw(&self) -> &Raw {
        match self {
            Self::Raw(raw) => raw,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }
}

impl AsyncWrite for UpstreamStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.io).poll_write(cx, buf);
        this.wrote(&result);
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = poll_write_joined(&mut this.io, cx, bufs);
        this.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

impl UpstreamStream {
    fn wrote(&mut self, result: &Poll<io::Result<usize>>) {
        match result {
            Poll::Ready(Ok(count)) => {
                let stats = self.count.cluster.stats(self.count.worker);
                stats.upstream_cx_tx_bytes_total.add(*count as u64);
                self.details.sent.wrote(*count);
            }
            Poll::Ready(Err(error)) => {
                self.end = End::Them;
                self.details.sent.failed(self.io.raw(), error);
            }
            Poll::Pending => {}
        }
    }
}

/// Passes every poll on to whichever stream there is.
macro_rules! pass_on {
    ($stream:ident { $($variant:path),+ }) => {
        impl AsyncRead for $stream {
            #[inline]
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $($variant(io) => Pin::new(io).poll_read(cx, buf),)+
                }
            }
        }

        impl AsyncWrite for $stream {
            #[inline]
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $($variant(io) => Pin::new(io).poll_write(cx, buf),)+
                }
            }

            #[inline]
            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $($variant(io) => Pin::new(io).poll_write_vectored(cx, bufs),)+
                }
            }

            fn is_write_vectored(&self) -> bool {
                match self {
                    $($variant(io) => io.is_write_vectored(),)+
                }
            }

            #[inline]
            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $($variant(io) => Pin::new(io).poll_flush(cx),)+
                }
            }

            fn poll_shutdown(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $($variant(io) => Pin::new(io).poll_shutdown(cx),)+
                }
            }
        }
    };
}

pass_on!(Raw { Raw::Tcp, Raw::Unix });
pass_on!(Io { Io::Raw, Io::Tls });
