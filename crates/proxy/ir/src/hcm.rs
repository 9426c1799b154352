//! The HTTP connection manager's settings.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};

use crate::{
    AccessLog, AccessLogFilter, ConfigSource, HeaderEdit, HeaderMutation, HttpFilter, LogFormat,
    Prefix, RouteConfiguration,
};

/// `envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpConnectionManager {
    /// The prefix of its statistics.
    pub stat_prefix: String,
    /// Which HTTP versions are spoken.
    pub codec: Codec,
    /// Where routes come from.
    pub routes: RouteSource,
    /// The filters, the router last.
    pub filters: Vec<HttpFilter>,
    /// Where requests are logged.
    pub access_log: Vec<AccessLog>,
    /// When requests are logged, besides their end.
    pub log_moments: LogMoments,
    /// The `server` header's value, `envoy` unless set.
    pub server_name: HeaderValue,
    /// What happens to the upstream's `server` header.
    pub server_header: ServerHeader,
    /// `via` header to append to, if any.
    pub via: Option<HeaderValue>,
    /// The connection's address is the client's: this is the edge.
    pub use_remote_address: bool,
    /// How many proxies before this one are trusted in `x-forwarded-for`.
    pub xff_num_trusted_hops: u32,
    /// Peers in these ranges are internal, their `x-envoy-*` headers trusted
    /// (`internal_address_config.cidr_ranges`); nobody is where the list is empty.
    pub internal_addresses: Vec<Prefix>,
    /// Leave `x-forwarded-for` as it came.
    pub skip_xff_append: bool,
    /// Make an `x-request-id` where none is trusted; true unless set.
    pub generate_request_id: bool,
    /// Keep the `x-request-id` of an external request.
    pub preserve_external_request_id: bool,
    /// Send `x-request-id` in every response.
    pub always_set_request_id_in_response: bool,
    /// What happens to `x-forwarded-client-cert`.
    pub forward_client_cert: ForwardClientCert,
    /// What of the client's certificate is written into it.
    pub set_current_client_cert: SetCurrentClientCert,
    /// The port that the client connected to goes into `x-forwarded-port`.
    pub append_x_forwarded_port: bool,
    /// Upgrades that are allowed, in lower case, such as `websocket`.
    pub upgrades: Vec<String>,
    /// How paths are normalized before anything looks at them.
    pub path: PathNormalization,
    /// Whether the port is taken off the authority.
    pub strip_port: StripPort,
    /// A stream with nothing happening is ended after this; 5 min unless set, none when off.
    pub stream_idle_timeout: Option<Duration>,
    /// The whole request must arrive in this time; none when off.
    pub request_timeout: Option<Duration>,
    /// The request's headers must arrive in this time; none when off.
    pub request_headers_timeout: Option<Duration>,
    /// A connection with no stream is closed after this; an hour unless set, none when off.
    pub idle_timeout: Option<Duration>,
    /// A connection is drained after this; none when off.
    pub max_connection_duration: Option<Duration>,
    /// A stream is reset after this; none when off.
    pub max_stream_duration: Option<Duration>,
    /// A connection is drained after this many requests; 0 is no limit.
    pub max_requests_per_connection: u32,
    /// How long a drained connection lives on, 5 s unless set.
    pub drain_timeout: Duration,
    /// How long a connection may linger after its last byte, 1 s unless set.
    pub delayed_close_timeout: Option<Duration>,
    /// Most bytes of request headers, 60 KiB unless set.
    pub max_request_headers_bytes: u32,
    /// Most request headers, 100 unless set.
    pub max_headers_count: u32,
    /// HTTP/1 settings.
    pub http1: Http1Options,
    /// HTTP/2 settings.
    pub http2: Http2Options,
    /// What happens to headers whose names have underscores.
    pub underscores: Underscores,
    /// A dot at the end of the authority's host is taken off.
    pub strip_trailing_host_dot: bool,
    /// The scheme, whatever the client says.
    pub scheme: SchemeOverride,
    /// How the client's address is found, where it is not the connection's nor by
    /// `xff_num_trusted_hops`; the first that finds one.
    pub original_ip: Vec<OriginalIp>,
    /// Changes to a request's headers before anything looks at them.
    pub early_mutations: Vec<HeaderEdit>,
    /// How the proxy's own answers are reworded.
    pub local_reply: Option<Arc<LocalReplyConfig>>,
}

/// What happens to headers whose names have underscores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Underscores {
    /// Nothing.
    #[default]
    Allow,
    /// The request is refused.
    Reject,
    /// The header is dropped.
    Drop,
}

/// The scheme that requests get, whatever the client says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SchemeOverride {
    /// The client's.
    #[default]
    None,
    /// `http`.
    Http,
    /// `https`.
    Https,
}

/// A way of finding the client's address.
#[derive(Clone, Debug, PartialEq)]
pub enum OriginalIp {
    /// `x-forwarded-for`.
    ForwardedFor {
        /// How many proxies before this one are trusted.
        trusted_hops: u32,
        /// Addresses of trusted proxies, instead of a count.
        trusted: Vec<Prefix>,
        /// The header stays as it came.
        skip_append: bool,
    },
    /// A header with an address.
    Header {
        /// Which.
        name: HeaderName,
        /// The address may make the request internal.
        trusted: bool,
        /// The status for a request without it.
        reject: Option<StatusCode>,
    },
}

/// How the proxy's own answers are reworded (`LocalReplyConfig`).
#[derive(Clone, Debug, PartialEq)]
pub struct LocalReplyConfig {
    /// The first that matches is taken.
    pub mappers: Vec<LocalReplyMapper>,
    /// The body, for answers that no mapper gives another.
    pub format: Option<ReplyFormat>,
}

/// What becomes of some answers (`ResponseMapper`).
#[derive(Clone, Debug, PartialEq)]
pub struct LocalReplyMapper {
    /// Which.
    pub filter: AccessLogFilter,
    /// Their status.
    pub status: Option<StatusCode>,
    /// Their text.
    pub body: Option<String>,
    /// Their body.
    pub format: Option<ReplyFormat>,
    /// Headers that they get.
    pub headers: HeaderMutation,
}

/// A body of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplyFormat {
    /// The format.
    pub format: LogFormat,
    /// Its `content-type`.
    pub content_type: HeaderValue,
}

/// Which HTTP versions are spoken downstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// By ALPN, or by the first bytes.
    #[default]
    Auto,
    /// HTTP/1.1 (and 1.0 where enabled).
    Http1,
    /// HTTP/2.
    Http2,
}

/// Where routes come from.
#[derive(Clone, Debug, PartialEq)]
pub enum RouteSource {
    /// Written in place.
    Inline(Arc<RouteConfiguration>),
    /// By route discovery.
    Rds {
        /// The name asked for.
        name: String,
        /// Who is asked.
        source: ConfigSource,
    },
}

/// What happens to the upstream's `server` header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerHeader {
    /// Replaced by `server_name`.
    #[default]
    Overwrite,
    /// Kept where it is there.
    AppendIfAbsent,
    /// Left alone, even if absent.
    PassThrough,
}

/// What happens to `x-forwarded-client-cert`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardClientCert {
    /// Removed.
    #[default]
    Sanitize,
    /// Passed on where the connection is mutual TLS.
    ForwardOnly,
    /// Our element is appended where the connection is mutual TLS.
    AppendForward,
    /// Replaced by our element where the connection is mutual TLS.
    SanitizeSet,
    /// Passed on as it is.
    AlwaysForwardOnly,
}

/// What of the client's certificate is written into `x-forwarded-client-cert`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetCurrentClientCert {
    /// `Subject`.
    pub subject: bool,
    /// `URI`.
    pub uri: bool,
    /// `DNS`.
    pub dns: bool,
    /// `Cert`, the leaf.
    pub cert: bool,
    /// `Chain`.
    pub chain: bool,
}

/// How paths are normalized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathNormalization {
    /// RFC 3986 normalization (`normalize_path`).
    pub normalize: bool,
    /// Adjacent slashes become one.
    pub merge_slashes: bool,
    /// `%2F` and `%5C`.
    pub escaped_slashes: EscapedSlashes,
}

/// What happens to `%2F` and `%5C` in a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EscapedSlashes {
    /// Nothing.
    #[default]
    Keep,
    /// 400.
    Reject,
    /// Unescaped, and the client is redirected there.
    UnescapeAndRedirect,
    /// Unescaped, and the request goes on.
    UnescapeAndForward,
}

/// Whether the port is taken off the authority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StripPort {
    /// It stays.
    #[default]
    No,
    /// Where it is the listener's.
    Matching,
    /// Always.
    Any,
}

/// HTTP/1 settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Http1Options {
    /// Take HTTP/1.0 requests.
    pub accept_http_10: bool,
    /// The authority for an HTTP/1.0 request without `host`.
    pub default_host_for_http_10: String,
    /// Forward trailers (`enable_trailers`).
    pub trailers: bool,
    /// Keep the case of header names as it came (`preserve_case` formatter).
    pub preserve_case: bool,
    /// Header names have capitals at the beginning of words (`proper_case_words`).
    pub proper_case: bool,
}

/// HTTP/2 settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http2Options {
    /// Streams at a time on a connection; 1024 unless set.
    pub max_concurrent_streams: u32,
    /// Flow-control window of a stream; 16 MiB unless set.
    pub initial_stream_window: u32,
    /// Flow-control window of a connection; 24 MiB unless set.
    pub initial_connection_window: u32,
    /// Extended CONNECT (RFC 8441).
    pub allow_connect: bool,
    /// Send a PING when idle this long, and give up when it is unanswered as long.
    pub keepalive: Option<Http2Keepalive>,
}

impl Default for Http2Options {
    fn default() -> Self {
        Self {
            max_concurrent_streams: 1024,
            initial_stream_window: 16 << 20,
            initial_connection_window: 24 << 20,
            allow_connect: false,
            keepalive: None,
        }
    }
}

/// HTTP/2 PING keepalive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2Keepalive {
    /// Between PINGs.
    pub interval: Duration,
    /// For the answer.
    pub timeout: Duration,
}

/// When requests are logged, besides their end (`HcmAccessLogOptions`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogMoments {
    /// When they have come.
    pub on_request: bool,
    /// After each such time.
    pub every: Option<Duration>,
    /// When they have become tunnels.
    pub on_tunnel: bool,
}
