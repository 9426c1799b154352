//! Which of a host's pools serves a request: by protocol, priority and ALPN.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use meltemi_ir::{AlpnOverride, AlpnProtocols, FromRequest, Priority, UpstreamProtocol};

use crate::{Host, Proxied};

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
    /// Who is called, where the request decides that.
    pub called: Option<&'a Called>,
    /// The connection that the request came on, where the host is told (`Host::is_told_clients`).
    pub proxied: Option<&'a Proxied>,
}

/// What a request's host makes of the connection that it goes out on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    /// The server name of the handshake.
    pub server_name: Option<Arc<str>>,
    /// The name that the server's certificate must bear.
    pub subject: Option<Arc<str>>,
}

impl Called {
    /// What a request for `host` (with or without a port) decides; none where it decides nothing.
    /// `headers` may name another host.
    pub fn of(from: &FromRequest, host: &[u8], headers: &HeaderMap) -> Option<Self> {
        let FromRequest {
            server_name,
            subject,
            header,
        } = from;
        if !from.is_any() {
            return None;
        }
        let named = header.as_ref().and_then(|name| headers.get(name));
        let host = named
            .map(HeaderValue::as_bytes)
            .filter(|it| !it.is_empty())
            .unwrap_or(host);
        let host = without_port(std::str::from_utf8(host).ok()?);
        let is_address = host.parse::<IpAddr>().is_ok();
        let host: Arc<str> = Arc::from(host);
        let called = Self {
            server_name: (*server_name && !is_address).then(|| host.clone()),
            subject: subject.then_some(host),
        };
        (called.server_name.is_some() || called.subject.is_some()).then_some(called)
    }
}

/// A host without its port, and an IPv6 address without its brackets.
fn without_port(host: &str) -> &str {
    if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') && port.bytes().all(|it| it.is_ascii_digit()) => {
            name
        }
        _ => host,
    }
}

/// Which of a host's pools.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolKey<'a> {
    pub(super) kind: PoolKind,
    pub(super) priority: Priority,
    /// Offered in place of what the cluster's TLS settings offer.
    pub(super) alpn: Option<&'a AlpnProtocols>,
    /// Called in place of what the cluster's TLS settings say.
    pub(super) called: Option<&'a Called>,
    /// Told to the host; no other's requests go over the connection.
    pub(super) proxied: Option<&'a Proxied>,
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
    pub(crate) fn new(protocol: UpstreamProtocol, host: &Host, options: HttpOptions<'a>) -> Self {
        let HttpOptions {
            downstream,
            priority,
            alpn,
            called,
            proxied,
        } = options;
        let is_tls = host.is_tls();
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
            called: called.filter(|_| is_tls),
            proxied: proxied.filter(|_| host.is_told_clients()),
        }
    }

    /// Whether it is one of the few kinds that every host may have.
    pub(super) fn is_usual(self) -> bool {
        self.alpn.is_none() && self.called.is_none() && self.proxied.is_none()
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
