//! Clusters (`envoy.config.cluster.v3.Cluster`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::{Http1Options, Http2Options, LoadAssignment, Metadata, UpstreamTls, Value};

/// A group of endpoints that serve the same thing.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Its name, by which routes refer to it.
    pub name: String,
    /// Its name in statistics, where it differs.
    pub alt_stat_name: Option<String>,
    /// How its endpoints are found.
    pub discovery: Discovery,
    /// How one of them is chosen.
    pub lb: LbPolicy,
    /// A locality is chosen first, by its weight (`locality_weighted_lb_config`); otherwise
    /// the weights of localities say nothing.
    pub locality_weighted: bool,
    /// The limit for making a connection, 5 s unless set.
    pub connect_timeout: Duration,
    /// TLS to every endpoint that no match below covers.
    pub tls: Option<UpstreamTls>,
    /// TLS by the endpoint's metadata; the first that matches is taken.
    pub transport_socket_matches: Vec<TransportSocketMatch>,
    /// How HTTP is spoken.
    pub http: UpstreamHttp,
    /// Limits, by priority.
    pub circuit_breakers: CircuitBreakers,
    /// Largest buffered amount before back-pressure, 1 MiB unless set.
    pub per_connection_buffer_limit: u32,
    /// Close a connection that has been idle this long; an hour unless set, none when off.
    pub idle_timeout: Option<Duration>,
    /// Close a connection when this many requests have used it; 0 is no limit.
    pub max_requests_per_connection: u32,
    /// TCP keepalive of upstream connections.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// The local address that connections are made from.
    pub bind_address: Option<SocketAddr>,
    /// Free-form, such as `istio.services`.
    pub metadata: Metadata,
    /// Below this percentage of healthy hosts all are used; 50 unless set.
    pub panic_threshold_percent: f64,
}

/// How endpoints are found.
#[derive(Clone, Debug, PartialEq)]
pub enum Discovery {
    /// As written.
    Static(LoadAssignment),
    /// By DNS, every address being an endpoint.
    StrictDns {
        /// The names.
        load_assignment: LoadAssignment,
        /// Which addresses count.
        family: DnsFamily,
        /// How often to ask, 5 s unless set.
        refresh: Duration,
    },
    /// By DNS, the first address at the time of connecting.
    LogicalDns {
        /// The one name.
        load_assignment: LoadAssignment,
        /// Which addresses count.
        family: DnsFamily,
        /// How often to ask, 5 s unless set.
        refresh: Duration,
    },
    /// By endpoint discovery over ADS.
    Eds {
        /// The name asked for.
        service_name: String,
    },
    /// The downstream connection's original destination.
    OriginalDst {
        /// Take the destination from this request header where it is there
        /// (`x-envoy-original-dst-host` unless named otherwise).
        http_header: Option<http::HeaderName>,
        /// Replaces the destination's port.
        port_override: Option<u16>,
    },
}

/// Which addresses of a name count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DnsFamily {
    /// IPv6 if there is any, else IPv4.
    #[default]
    Auto,
    /// IPv4 only.
    V4Only,
    /// IPv6 only.
    V6Only,
    /// IPv4 if there is any, else IPv6.
    V4Preferred,
    /// Both.
    All,
}

/// How an endpoint is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LbPolicy {
    /// Each in turn, by weight.
    RoundRobin,
    /// Uniformly at random, by weight.
    Random,
    /// The one with fewest active requests among some random picks.
    LeastRequest {
        /// How many are picked, 2 unless set.
        choice_count: u32,
    },
    /// Decided by discovery (original destination).
    ClusterProvided,
}

/// TLS (or none) for endpoints whose `envoy.transport_socket_match` metadata has these values.
#[derive(Clone, Debug, PartialEq)]
pub struct TransportSocketMatch {
    /// Its name.
    pub name: String,
    /// All must be equal in the endpoint's metadata.
    pub matches: BTreeMap<String, Value>,
    /// TLS, or none for plaintext.
    pub tls: Option<UpstreamTls>,
}

/// How HTTP is spoken to a cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpstreamHttp {
    /// The version.
    pub protocol: UpstreamProtocol,
    /// HTTP/1 settings.
    pub http1: Http1Options,
    /// HTTP/2 settings.
    pub http2: Http2Options,
}

/// Which HTTP version is spoken upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2.
    Http2,
    /// The downstream request's version (`use_downstream_protocol_config`).
    Downstream,
    /// By ALPN, HTTP/1.1 without TLS (`auto_config`).
    Alpn,
}

/// Which circuit breakers count a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Priority {
    /// The usual one.
    #[default]
    Default,
    /// `HIGH`.
    High,
}

/// Limits by priority.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CircuitBreakers {
    /// For `DEFAULT`.
    pub default: Thresholds,
    /// For `HIGH`.
    pub high: Thresholds,
}

/// `CircuitBreakers.Thresholds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Connections, 1024 unless set.
    pub max_connections: u32,
    /// Requests that wait for a connection, 1024 unless set.
    pub max_pending_requests: u32,
    /// Requests at a time, 1024 unless set.
    pub max_requests: u32,
    /// Retries at a time, 3 unless set.
    pub max_retries: u32,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_pending_requests: 1024,
            max_requests: 1024,
            max_retries: 3,
        }
    }
}

/// TCP keepalive (`envoy.config.core.v3.TcpKeepalive`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpKeepalive {
    /// Unanswered probes before the connection is dead; the system's default when none.
    pub probes: Option<u32>,
    /// Idle time before the first probe.
    pub time: Option<Duration>,
    /// Time between probes.
    pub interval: Option<Duration>,
}
