//! What is known of a downstream connection. The listener makes one for each connection and
//! shares it by `Rc`; log lines, header formats and metrics read it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use meltemi_ir::{FilterChain, Listener, Metadata, TrafficDirection};

/// A downstream connection.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// Its number in this process (`%CONNECTION_ID%`).
    pub id: u64,
    /// When it was accepted, since the Unix epoch.
    pub accepted: Duration,
    /// How long a packet took there and back when it was accepted, where the system tells.
    pub round_trip: Option<Duration>,
    /// When the TLS handshake began and when it ended, since the Unix epoch.
    pub handshake: Option<(Duration, Duration)>,
    /// The listener's name.
    pub listener: Arc<str>,
    /// The name of the filter chain that took the connection, if it has one.
    pub filter_chain: Option<Arc<str>>,
    /// Our end of the socket.
    pub direct_local: SocketAddr,
    /// Our end, or the original destination where the connection was intercepted.
    pub local: SocketAddr,
    /// Listener filters say where the client wanted to go: `local` is that, and not just our end.
    pub restored: bool,
    /// The client, as the listener's filters tell (proxy protocol).
    pub remote: SocketAddr,
    /// The peer of the socket.
    pub direct_remote: SocketAddr,
    /// The listener's traffic direction.
    pub direction: TrafficDirection,
    /// The server name that the TLS inspector or the TLS handshake read.
    pub requested_server_name: Option<String>,
    /// What listener filters noted of it.
    pub metadata: Metadata,
    /// The listener's settings.
    pub listener_settings: Option<Arc<Listener>>,
    /// The settings of the filter chain that took the connection.
    pub chain_settings: Option<Arc<FilterChain>>,
    /// The entries that are kept of the PROXY protocol header that it began with, where it did.
    pub proxy_entries: Option<Vec<(u8, Vec<u8>)>>,
    /// TLS, where this side terminates it.
    pub tls: Option<TlsInfo>,
}

/// A TLS connection. Certificates are described as presented; only where `verified` is true do
/// the peer's names mean anything.
#[derive(Clone, Debug, Default)]
pub struct TlsInfo {
    /// Such as `TLSv1.3`.
    pub version: &'static str,
    /// OpenSSL's name, such as `TLS_AES_256_GCM_SHA384` or `ECDHE-RSA-AES128-GCM-SHA256`.
    pub cipher: String,
    /// The key exchange's group by its usual name, such as `X25519`.
    pub group: &'static str,
    /// The server name that a client of ours sent.
    pub server_name: Option<String>,
    /// The application protocol agreed on.
    pub alpn: Option<String>,
    /// The session's identifier in hexadecimal, if there is one.
    pub session_id: String,
    /// The peer presented a certificate.
    pub peer_presented: bool,
    /// The peer's certificate chain was verified.
    pub verified: bool,
    /// URI names of the peer's certificate.
    pub peer_uri_sans: Vec<String>,
    /// DNS names of the peer's certificate.
    pub peer_dns_sans: Vec<String>,
    /// Addresses, mail names and other names (as far as they are text) of the peer's certificate.
    pub peer_names: OtherNames,
    /// The peer's subject as RFC 2253 text.
    pub peer_subject: String,
    /// The issuer of the peer's certificate as RFC 2253 text.
    pub peer_issuer: String,
    /// The serial number of the peer's certificate in hexadecimal.
    pub peer_serial: String,
    /// SHA-256 of the peer's certificate in hexadecimal.
    pub peer_fingerprint_256: String,
    /// Validity of the peer's certificate, in seconds since the Unix epoch.
    pub peer_validity: Option<(i64, i64)>,
    /// The peer's chain in DER, leaf first.
    pub peer_chain: Vec<Vec<u8>>,
    /// URI names of our certificate.
    pub local_uri_sans: Vec<String>,
    /// DNS names of our certificate.
    pub local_dns_sans: Vec<String>,
    /// Addresses, mail names and other names of our certificate.
    pub local_names: OtherNames,
    /// Our subject as RFC 2253 text.
    pub local_subject: String,
}

/// The names of a certificate that are seldom asked for.
#[derive(Clone, Debug, Default)]
pub struct OtherNames {
    /// Addresses.
    pub ip: Vec<String>,
    /// Mail names.
    pub email: Vec<String>,
    /// Names of other kinds whose value is text.
    pub other: Vec<String>,
}

impl ConnectionInfo {
    /// Where the client wanted to go, where that is known.
    pub fn original_destination(&self) -> Option<SocketAddr> {
        self.restored.then_some(self.local)
    }
}

impl TlsInfo {
    /// The peer's principal: the first URI name of a verified certificate without `spiffe://`.
    pub fn peer_principal(&self) -> Option<&str> {
        self.verified.then(|| principal(&self.peer_uri_sans))?
    }

    /// Our principal, as [`Self::peer_principal`].
    pub fn local_principal(&self) -> Option<&str> {
        principal(&self.local_uri_sans)
    }
}

fn principal(sans: &[String]) -> Option<&str> {
    let first = sans.first()?;
    Some(first.strip_prefix("spiffe://").unwrap_or(first))
}
