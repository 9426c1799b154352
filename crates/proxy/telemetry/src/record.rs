//! All that a log line or a metric needs of one request or TCP connection.
//!
//! Whoever ends the stream fills a record in with what it borrows, and hands it to every logger
//! and to the metrics. Headers also go through here when their values are formats, in which case
//! whatever is not known yet is left empty.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use meltemi_ir::{Address, Metadata};

use crate::{ConnectionInfo, PeerInfo, ResponseFlags, TlsInfo};

/// One request, or one TCP connection where `request` is none. Durations count from `start`.
#[derive(Clone, Debug)]
pub struct StreamRecord<'a> {
    /// The downstream connection.
    pub connection: &'a ConnectionInfo,
    /// The client, where the request's headers name another than the connection does.
    pub remote: Option<SocketAddr>,
    /// Wall time of the stream's beginning, since the Unix epoch.
    pub start: Duration,
    /// HTTP version; none for TCP.
    pub protocol: Option<Protocol>,
    /// The request.
    pub request: Option<RequestRecord<'a>>,
    /// Status of the response sent; none where none was.
    pub response_code: Option<u16>,
    /// Headers of the response sent.
    pub response_headers: Option<&'a HeaderMap>,
    /// Trailers of the response sent.
    pub response_trailers: Option<&'a HeaderMap>,
    /// Why the response is what it is, such as `via_upstream`.
    pub response_code_details: Option<&'a str>,
    /// Why the connection was closed from this side.
    pub termination_details: Option<&'a str>,
    /// What went wrong.
    pub flags: ResponseFlags,
    /// Body (or TCP) bytes received from downstream.
    pub bytes_received: u64,
    /// Body (or TCP) bytes sent downstream.
    pub bytes_sent: u64,
    /// Bytes of the request's headers on the wire, about.
    pub request_header_bytes: u64,
    /// Bytes of the response's headers and trailers on the wire, about.
    pub response_header_bytes: u64,
    /// Names and values of the request's headers, pseudo-headers included, in bytes.
    pub request_header_text: u64,
    /// Names and values of the response's headers, `:status` included, in bytes.
    pub response_header_text: u64,
    /// Until the end; none while the stream lasts.
    pub duration: Option<Duration>,
    /// Until the request's last byte had been received.
    pub request_done: Option<Duration>,
    /// Until the request's first byte was sent upstream.
    pub request_started: Option<Duration>,
    /// Until the request's last byte had been sent upstream.
    pub request_sent: Option<Duration>,
    /// Until the response's first byte came from upstream.
    pub response_started: Option<Duration>,
    /// Until the first byte of the response's body came from upstream.
    pub body_started: Option<Duration>,
    /// Until the response's first byte was sent downstream.
    pub answer_started: Option<Duration>,
    /// Until the response's last byte had been sent downstream.
    pub response_done: Option<Duration>,
    /// Where the stream went, if a cluster was chosen.
    pub upstream: Option<UpstreamRecord<'a>>,
    /// The route's name.
    pub route_name: Option<&'a str>,
    /// The virtual host's name.
    pub virtual_host: Option<&'a str>,
    /// The route's metadata.
    pub route_metadata: Option<&'a Metadata>,
    /// The virtual host's metadata.
    pub virtual_host_metadata: Option<&'a Metadata>,
    /// Metadata that filters made for this stream.
    pub dynamic_metadata: Option<&'a Metadata>,
    /// Filter state of this stream, as text.
    pub filter_state: Option<&'a BTreeMap<String, String>>,
    /// Tries so far, the first included; 0 where none was made.
    pub attempts: u32,
    /// Who the downstream is, where it said so.
    pub downstream_peer: Option<&'a Arc<PeerInfo>>,
    /// Who the upstream is, where it said so.
    pub upstream_peer: Option<&'a Arc<PeerInfo>>,
    /// The request was a health check.
    pub health_check: bool,
    /// What the line is written for, as `%ACCESS_LOG_TYPE%` shows it, where it is not the end.
    pub log_type: Option<&'static str>,
    /// A number of its own, by chance.
    pub stream_id: u64,
    /// The virtual cluster that the request belongs to.
    pub virtual_cluster: Option<&'a str>,
    /// Bytes of the response's trailers, about.
    pub response_trailer_bytes: u64,
    /// The text that an answer of the proxy's own would have (`%LOCAL_REPLY_BODY%`).
    pub local_reply_body: Option<&'a str>,
    /// The request as it came.
    pub received: WireBytes,
    /// The response as it went.
    pub sent: WireBytes,
    /// Why TLS with the client did not come about.
    pub downstream_transport_failure: Option<&'a str>,
    /// How the downstream connection was closed.
    pub close: Close<'a>,
}

/// How a connection was closed, as far as that is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Close<'a> {
    /// Why this side closed it, such as `tcp_session_idle_timeout`.
    pub local_reason: Option<&'a str>,
    /// In order, or by a reset.
    pub kind: CloseKind,
}

/// Whether a connection was reset, and by whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CloseKind {
    /// It was not.
    #[default]
    Normal,
    /// By this side.
    LocalReset,
    /// By the peer.
    RemoteReset,
}

impl CloseKind {
    /// Envoy's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::LocalReset => "LocalReset",
            Self::RemoteReset => "RemoteReset",
        }
    }
}

/// How many bytes a message has on the wire, where somebody asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct WireBytes {
    /// Its headers.
    pub headers: u64,
    /// All of it: first line, headers, body with what stands between its chunks, trailers.
    pub whole: u64,
}

/// The request as the proxy sees it after its own changes.
#[derive(Clone, Copy, Debug)]
pub struct RequestRecord<'a> {
    /// `:method`.
    pub method: &'a str,
    /// `:scheme`.
    pub scheme: &'a str,
    /// `:authority`.
    pub authority: &'a str,
    /// `:path`, query included.
    pub path: &'a str,
    /// The headers, or those that [`crate::RecordFields`] asks for.
    pub headers: &'a HeaderMap,
}

/// Where a stream went.
#[derive(Clone, Debug, Default)]
pub struct UpstreamRecord<'a> {
    /// The cluster's name.
    pub cluster: &'a str,
    /// Its name in statistics where it differs.
    pub alt_stat_name: Option<&'a str>,
    /// The cluster's metadata.
    pub cluster_metadata: Option<&'a Metadata>,
    /// The chosen host's address; none where none was chosen.
    pub address: Option<&'a Address>,
    /// The host's name.
    pub host_name: Option<&'a str>,
    /// The host's metadata.
    pub host_metadata: Option<&'a Metadata>,
    /// The hosts that were tried, where more than the last is known: addresses and names.
    pub attempted: Vec<(Address, &'a str)>,
    /// How long a connection was waited for.
    pub ready: Option<Duration>,
    /// When the connection was made.
    pub connecting: Option<Connecting>,
    /// It was connected to.
    pub connected: bool,
    /// Our end of the upstream connection.
    pub local_address: Option<SocketAddr>,
    /// The upstream connection's number.
    pub connection_id: Option<u64>,
    /// HTTP version spoken with it.
    pub protocol: Option<Protocol>,
    /// Why its transport failed, such as a TLS error.
    pub transport_failure: Option<&'a str>,
    /// TLS with it, its end being the peer.
    pub tls: Option<&'a TlsInfo>,
    /// Bytes sent on it for this stream.
    pub bytes_sent: u64,
    /// Bytes received on it for this stream.
    pub bytes_received: u64,
    /// What was sent for this stream, in all its tries.
    pub sent: WireBytes,
    /// What was received for it.
    pub received: WireBytes,
    /// How the upstream connection was closed.
    pub close: Close<'a>,
}

/// When a connection was made, in nanoseconds from the stream's beginning: less than 0 where it is
/// older.
#[derive(Clone, Copy, Debug)]
pub struct Connecting {
    /// Its first packet.
    pub started: i128,
    /// Connected.
    pub connected: i128,
    /// The end of the TLS handshake.
    pub secured: Option<i128>,
}

/// An HTTP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
}

impl Protocol {
    /// As in a request line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

impl<'a> StreamRecord<'a> {
    /// A record in which nothing is known but the connection and when the stream began.
    pub fn new(connection: &'a ConnectionInfo, start: Duration) -> Self {
        Self {
            connection,
            remote: None,
            start,
            protocol: None,
            request: None,
            response_code: None,
            response_headers: None,
            response_trailers: None,
            response_code_details: None,
            termination_details: None,
            flags: ResponseFlags::NONE,
            bytes_received: 0,
            bytes_sent: 0,
            request_header_bytes: 0,
            response_header_bytes: 0,
            request_header_text: 0,
            response_header_text: 0,
            duration: None,
            request_done: None,
            request_started: None,
            request_sent: None,
            response_started: None,
            body_started: None,
            answer_started: None,
            response_done: None,
            upstream: None,
            route_name: None,
            virtual_host: None,
            route_metadata: None,
            virtual_host_metadata: None,
            dynamic_metadata: None,
            filter_state: None,
            attempts: 0,
            downstream_peer: None,
            upstream_peer: None,
            health_check: false,
            log_type: None,
            stream_id: 0,
            virtual_cluster: None,
            response_trailer_bytes: 0,
            local_reply_body: None,
            received: WireBytes::default(),
            sent: WireBytes::default(),
            downstream_transport_failure: None,
            close: Close::default(),
        }
    }
}
