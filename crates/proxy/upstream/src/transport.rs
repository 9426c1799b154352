//! How connections to a host begin: a PROXY protocol header, TLS, both or neither. Decided once for
//! each host, by its cluster; the connector does as it says.

use std::net::SocketAddr;
use std::sync::Arc;

use meltemi_ir::ProxyHeader;
use meltemi_net::{proxy_block, proxy_line};
use meltemi_telemetry::ConnectionInfo;
use meltemi_tls::ClientContext;

/// How connections to a host begin.
#[derive(Clone, Default)]
pub(crate) struct Transport {
    pub(crate) tls: Option<Arc<ClientContext>>,
    /// Written before anything else.
    pub(crate) header: Option<Arc<ProxyHeader>>,
}

/// The downstream connection that a connection to an upstream stands for, as the PROXY protocol
/// tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxied {
    /// The client.
    pub source: SocketAddr,
    /// Our end, or where the client wanted to go.
    pub destination: SocketAddr,
    /// What is known of it besides, by type.
    pub entries: Arc<[(u8, Vec<u8>)]>,
}

impl Proxied {
    /// The one that this connection is.
    pub fn of(info: &ConnectionInfo) -> Self {
        Self {
            source: info.remote,
            destination: info.local,
            entries: Arc::from(info.proxy_entries.as_deref().unwrap_or_default()),
        }
    }

    /// The header that tells it.
    pub fn header(&self, settings: &ProxyHeader) -> Vec<u8> {
        header(settings, Some(self), None).0
    }
}

impl Transport {
    pub(crate) fn is(&self, other: &Self) -> bool {
        let same_tls = match (&self.tls, &other.tls) {
            (None, None) => true,
            (Some(left), Some(right)) => Arc::ptr_eq(left, right),
            _ => false,
        };
        same_tls && self.header == other.header
    }
}

/// The bytes of a header. A connection that stands for none is the proxy's own: version 1 tells its
/// ends (`own`), version 2 that it is such. True beside it where entries were too long, and left out.
pub(crate) fn header(
    settings: &ProxyHeader,
    proxied: Option<&Proxied>,
    own: Option<(SocketAddr, SocketAddr)>,
) -> (Vec<u8>, bool) {
    let ProxyHeader {
        is_v2,
        passed,
        added,
    } = settings;
    let ends = proxied.map(|it| (it.source, it.destination));
    if !is_v2 {
        let line = ends.or(own).map(|(from, to)| proxy_line(from, to));
        return (line.unwrap_or_else(|| b"PROXY UNKNOWN\r\n".to_vec()), false);
    }
    let passed = proxied
        .into_iter()
        .flat_map(|it| it.entries.iter())
        .filter(|(kind, _)| passed.has(*kind) && !added.iter().any(|(other, _)| other == kind));
    let mut entries: Vec<(u8, &[u8])> = Vec::new();
    entries.extend(added.iter().map(|(kind, value)| (*kind, &**value)));
    entries.extend(passed.map(|(kind, value)| (*kind, &**value)));
    match proxy_block(ends, &entries) {
        Some(block) => (block, false),
        None => (proxy_block(ends, &[]).unwrap_or_default(), true),
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport")
            .field("tls", &self.tls.is_some())
            .field("header", &self.header)
            .finish()
    }
}
