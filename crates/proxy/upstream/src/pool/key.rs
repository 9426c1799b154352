//! Which of a host's pools serves a request: by protocol, priority and ALPN.

use meltemi_ir::{AlpnOverride, AlpnProtocols, Priority, UpstreamProtocol};

/// The HTTP version of a downstream request, which a cluster may follow, or of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// What a request asks of the connection that it goes out on.
#[derive(Clone, Copy, Debug)]
pub struct HttpOptions<'a> {
    /// The version of the downstream request.
    pub downstream: HttpVersion,
    /// The route's priority.
    pub priority: Priority,
    /// ALPN in place of the cluster's, by the version that is spoken upstream.
    pub alpn: Option<&'a AlpnOverride>,
}

/// Which of a host's pools.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolKey<'a> {
    pub(super) kind: PoolKind,
    pub(super) priority: Priority,
    /// Offered in place of what the cluster's TLS settings offer.
    pub(super) alpn: Option<&'a AlpnProtocols>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PoolKind {
    Http1,
    Http2,
    /// Whatever the TLS handshake agrees on.
    Alpn,
}

impl PoolKind {
    /// Offered where the cluster's TLS settings offer nothing.
    pub(super) fn alpn(self) -> &'static [&'static [u8]] {
        match self {
            Self::Http1 => &[b"http/1.1"],
            Self::Http2 => &[b"h2"],
            Self::Alpn => &[b"h2", b"http/1.1"],
        }
    }
}

impl<'a> PoolKey<'a> {
    pub(crate) fn new(protocol: UpstreamProtocol, is_tls: bool, options: HttpOptions<'a>) -> Self {
        let HttpOptions {
            downstream,
            priority,
            alpn,
        } = options;
        let kind = match (protocol, downstream) {
            (UpstreamProtocol::Http1, _) => PoolKind::Http1,
            (UpstreamProtocol::Http2, _) => PoolKind::Http2,
            (UpstreamProtocol::Downstream, HttpVersion::Http1) => PoolKind::Http1,
            (UpstreamProtocol::Downstream, HttpVersion::Http2) => PoolKind::Http2,
            (UpstreamProtocol::Alpn, _) if is_tls => PoolKind::Alpn,
            (UpstreamProtocol::Alpn, _) => PoolKind::Http1,
        };
        let alpn = alpn.filter(|_| is_tls).and_then(|alpn| match kind {
            PoolKind::Http1 => alpn.http1.as_ref(),
            PoolKind::Http2 => alpn.http2.as_ref(),
            PoolKind::Alpn => None,
        });
        Self {
            kind,
            priority,
            alpn,
        }
    }

    pub(super) fn index(self) -> usize {
        let kind = match self.kind {
            PoolKind::Http1 => 0,
            PoolKind::Http2 => 1,
            PoolKind::Alpn => 2,
        };
        match self.priority {
            Priority::Default => kind,
            Priority::High => kind + 3,
        }
    }
}
