//! Clusters (`envoy.config.cluster.v3.Cluster`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::{
    BindConfig, ConfigSource, HealthCheck, Http1Options, Http2Options, LbPolicy, LbSettings,
    LoadAssignment, Metadata, OutlierDetection, ProxyHeader, SubsetLb, UpstreamTls, Value,
};

/// A group of endpoints that serve the same thing. What most clusters of a large mesh do without
/// lies apart.
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
    /// What every policy shares.
    pub lb_settings: LbSettings,
    /// Endpoints in groups by their metadata.
    pub subsets: Option<Box<SubsetLb>>,
    /// How failing hosts are taken out.
    pub outlier_detection: Option<Box<OutlierDetection>>,
    /// How hosts are asked whether they are well.
    pub health_checks: Vec<HealthCheck>,
    /// A host that discovery removed goes at once, and not only when it fails its checks.
    pub ignore_health_on_host_removal: bool,
    /// Connections to a host that becomes unhealthy are closed.
    pub close_connections_on_health_failure: bool,
    /// The limit for making a connection, 5 s unless set.
    pub connect_timeout: Duration,
    /// TLS to every endpoint that no match below covers.
    pub tls: Option<Box<UpstreamTls>>,
    /// The PROXY protocol header before it.
    pub proxy_header: Option<ProxyHeader>,
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
    /// Close a connection this old, when it is free.
    pub max_connection_duration: Option<Duration>,
    /// Connections that are opened ahead of demand, as a multiple of it; 1 unless set.
    pub preconnect_ratio: f64,
    /// TCP keepalive of upstream connections.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// Where connections come from; the proxy's own settings where there is nothing.
    pub bind: Option<BindConfig>,
    /// How the addresses of a host that has several are tried.
    pub happy_eyeballs: HappyEyeballs,
    /// Free-form, such as `istio.services`.
    pub metadata: Metadata,
}

impl Cluster {
    /// A cluster of this name and discovery, all else as it is unless set.
    pub fn new(name: impl Into<String>, discovery: Discovery) -> Self {
        Self {
            name: name.into(),
            alt_stat_name: None,
            discovery,
            lb: LbPolicy::ROUND_ROBIN,
            lb_settings: LbSettings::default(),
            subsets: None,
            outlier_detection: None,
            health_checks: Vec::new(),
            ignore_health_on_host_removal: false,
            close_connections_on_health_failure: false,
            connect_timeout: Duration::from_secs(5),
            tls: None,
            proxy_header: None,
            transport_socket_matches: Vec::new(),
            http: UpstreamHttp::default(),
            circuit_breakers: CircuitBreakers::default(),
            per_connection_buffer_limit: 1 << 20,
            idle_timeout: Some(Duration::from_secs(3600)),
            max_requests_per_connection: 0,
            max_connection_duration: None,
            preconnect_ratio: 1.0,
            tcp_keepalive: None,
            bind: None,
            happy_eyeballs: HappyEyeballs::default(),
            metadata: Metadata::default(),
        }
    }
}

/// In which order the addresses of a host that has several are tried
/// (`HappyEyeballsConfig`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HappyEyeballs {
    /// The family that comes first: IPv4 (true), IPv6 (false), or that of the first address.
    pub first_v4: Option<bool>,
    /// How many of that family come before one of the other.
    pub first_count: u32,
}

impl Default for HappyEyeballs {
    fn default() -> Self {
        Self {
            first_v4: None,
            first_count: 1,
        }
    }
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
    /// By endpoint discovery.
    Eds {
        /// The name asked for.
        service_name: String,
        /// Who is asked.
        source: ConfigSource,
    },
    /// The downstream connection's original destination.
    OriginalDst {
        /// Take the destination from this request header where it is there
        /// (`x-envoy-original-dst-host` unless named otherwise).
        http_header: Option<http::HeaderName>,
        /// Replaces the destination's port.
        port_override: Option<u16>,
    },
    /// The host that a request names, found by DNS when it comes
    /// (`envoy.clusters.dynamic_forward_proxy`).
    ForwardProxy(Arc<DnsCache>),
}

/// Names that requests ask for and the addresses found for them (`DnsCacheConfig`). The filter and the
/// clusters that give the same name share one.
#[derive(Clone, Debug, PartialEq)]
pub struct DnsCache {
    /// Its name.
    pub name: String,
    /// Which addresses count.
    pub family: DnsFamily,
    /// How often a name in use is looked up, 60 s unless set.
    pub refresh: Duration,
    /// A name that nothing has asked for in so long is forgotten (`host_ttl`), 5 min unless set.
    pub keep_unused: Duration,
    /// Most names, 1,024 unless set.
    pub max_names: u32,
    /// Most requests that wait for a lookup, 1,024 unless set.
    pub max_pending: u32,
    /// A lookup that takes longer has failed, 5 s unless set.
    pub query_timeout: Duration,
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

/// TLS (or none) for endpoints whose `envoy.transport_socket_match` metadata has these values.
#[derive(Clone, Debug, PartialEq)]
pub struct TransportSocketMatch {
    /// Its name.
    pub name: String,
    /// All must be equal in the endpoint's metadata.
    pub matches: BTreeMap<String, Value>,
    /// TLS, or none for plaintext.
    pub tls: Option<UpstreamTls>,
    /// The PROXY protocol header before it.
    pub proxy_header: Option<ProxyHeader>,
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
    /// What of TLS each request decides.
    pub from_request: FromRequest,
}

/// What a request decides of the connection that it goes out on
/// (`UpstreamHttpProtocolOptions`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FromRequest {
    /// The server name is the request's host.
    pub server_name: bool,
    /// The server's certificate must bear the request's host.
    pub subject: bool,
    /// The header whose value takes the place of the host, where it is there.
    pub header: Option<http::HeaderName>,
}

impl FromRequest {
    /// Whether there is anything.
    pub fn is_any(&self) -> bool {
        self.server_name || self.subject
    }
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
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CircuitBreakers {
    /// For `DEFAULT`.
    pub default: Thresholds,
    /// For `HIGH`.
    pub high: Thresholds,
    /// Connections to one host, for `DEFAULT` and for `HIGH` (`per_host_thresholds`).
    pub per_host_connections: [Option<u32>; 2],
}

/// `CircuitBreakers.Thresholds`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// Connections, 1024 unless set.
    pub max_connections: u32,
    /// Requests that wait for a connection, 1024 unless set.
    pub max_pending_requests: u32,
    /// Requests at a time, 1024 unless set.
    pub max_requests: u32,
    /// Retries at a time, 3 unless set.
    pub max_retries: u32,
    /// Retries at a time as a share of the requests, in place of `max_retries`.
    pub retry_budget: Option<RetryBudget>,
    /// What is left of each limit is shown in statistics.
    pub track_remaining: bool,
}

/// `RetryBudget`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudget {
    /// So many of the active and pending requests may be retries, in percent; 20 unless set.
    pub percent: f64,
    /// So many may be, whatever the percentage says; 3 unless set.
    pub min_retry_concurrency: u32,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_pending_requests: 1024,
            max_requests: 1024,
            max_retries: 3,
            retry_budget: None,
            track_remaining: false,
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
