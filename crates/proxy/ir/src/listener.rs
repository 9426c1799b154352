//! Listeners and their filter chains (`envoy.config.listener.v3`).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::{
    AccessLog, DownstreamTls, GrpcTarget, HttpConnectionManager, Metadata, MetadataMatch,
    NetworkRbac, ProxyEntry, ProxyProtocol, RedisProxy, TcpKeepalive,
};

/// A listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Further addresses with the same chains.
    pub additional_addresses: Vec<SocketAddr>,
    /// It has a socket; otherwise connections reach it only by original destination.
    pub bind_to_port: bool,
    /// Hand a connection to the listener of its original destination, where there is one.
    pub use_original_dst: bool,
    /// The socket is transparent (`IP_TRANSPARENT`).
    pub transparent: bool,
    /// What looks at a connection before a chain is chosen.
    pub listener_filters: Vec<ListenerFilter>,
    /// Connections to these ports (after `OriginalDst` has restored them) skip that filter
    /// (`filter_disabled`); a filter may be named once at most.
    pub disabled_filters: Vec<(ListenerFilter, PortMatch)>,
    /// The settings of `ListenerFilter::ProxyProtocol`, where it is among the filters.
    pub proxy_protocol: Option<Arc<ProxyProtocol>>,
    /// How long those may take; 15 s unless set, none when off.
    pub listener_filters_timeout: Option<Duration>,
    /// Go on without the answer when that time is over.
    pub continue_on_listener_filters_timeout: bool,
    /// The chains.
    pub filter_chains: Vec<Arc<FilterChain>>,
    /// Where no chain matches.
    pub default_filter_chain: Option<Arc<FilterChain>>,
    /// Largest buffered amount before back-pressure; 1 MiB unless set.
    pub per_connection_buffer_limit: u32,
    /// Which way traffic goes.
    pub direction: TrafficDirection,
    /// Where connections are logged that no chain took.
    pub access_log: Vec<AccessLog>,
    /// Free-form.
    pub metadata: Metadata,
    /// The kernel's accept queue; 128 unless set.
    pub tcp_backlog: u32,
    /// TCP keepalive of the connections that are accepted.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// The address need not be of this machine yet (`IP_FREEBIND`).
    pub freebind: bool,
    /// Further options of its sockets.
    pub socket_options: Vec<crate::SocketOption>,
    /// The name in statistics, where it is not the address.
    pub stat_prefix: Option<String>,
}

/// What looks at a connection before a chain is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListenerFilter {
    /// Reads the destination before interception (`SO_ORIGINAL_DST`).
    OriginalDst,
    /// Reads the PROXY protocol's header; comes before the inspectors.
    ProxyProtocol,
    /// Reads server name and ALPN from a TLS ClientHello.
    TlsInspector,
    /// Tells HTTP from anything else by the first bytes.
    HttpInspector,
}

/// A condition on a destination port (`ListenerFilterChainMatchPredicate`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PortMatch {
    /// Every port.
    Any,
    /// A port in `start..end`.
    Range {
        /// The first that matches.
        start: u32,
        /// The first after those that match.
        end: u32,
    },
    /// One of these.
    Or(Vec<PortMatch>),
    /// All of these.
    And(Vec<PortMatch>),
    /// Not this.
    Not(Box<PortMatch>),
}

impl PortMatch {
    /// Whether the condition holds for `port`.
    pub fn matches(&self, port: u16) -> bool {
        match self {
            Self::Any => true,
            Self::Range { start, end } => (*start..*end).contains(&u32::from(port)),
            Self::Or(rules) => rules.iter().any(|rule| rule.matches(port)),
            Self::And(rules) => rules.iter().all(|rule| rule.matches(port)),
            Self::Not(rule) => !rule.matches(port),
        }
    }
}

/// Which way traffic goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TrafficDirection {
    /// Not said.
    #[default]
    Unspecified,
    /// To the workload.
    Inbound,
    /// From the workload.
    Outbound,
}

/// A filter chain.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterChain {
    /// Its name, perhaps empty; several chains may share one (Istio names them by port).
    pub name: String,
    /// Which connections it takes.
    pub matcher: FilterChainMatch,
    /// TLS, or plaintext.
    pub tls: Option<DownstreamTls>,
    /// The network filters before the last, in order.
    pub gates: Vec<NetworkGate>,
    /// The network filter that ends the chain.
    pub filter: ConnectionFilter,
    /// The limit for the TLS handshake (`transport_socket_connect_timeout`), none unless set.
    pub transport_socket_connect_timeout: Option<Duration>,
    /// Free-form.
    pub metadata: Metadata,
}

/// Which connections a chain takes (`FilterChainMatch`); an empty list asks nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FilterChainMatch {
    /// The destination port.
    pub destination_port: Option<u16>,
    /// The destination address.
    pub prefix_ranges: Vec<Prefix>,
    /// The server name: exact, or `*.suffix`; lower case.
    pub server_names: Vec<String>,
    /// `tls` or `raw_buffer`; empty asks nothing.
    pub transport_protocol: String,
    /// ALPN protocols, or `http/1.1` and `h2c` as the HTTP inspector finds them.
    pub application_protocols: Vec<String>,
    /// Where the connection comes from.
    pub source_type: SourceType,
    /// The peer's address as the connection shows it.
    pub direct_source_prefix_ranges: Vec<Prefix>,
    /// The peer's address.
    pub source_prefix_ranges: Vec<Prefix>,
    /// The peer's port.
    pub source_ports: Vec<u16>,
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SourceType {
    /// Anywhere.
    #[default]
    Any,
    /// This host, or the loopback address.
    SameIpOrLoopback,
    /// Anywhere else.
    External,
}

/// An address range in CIDR form; the address has its host bits cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix {
    /// The network's address.
    pub address: IpAddr,
    /// How many leading bits count.
    pub length: u8,
}

impl Prefix {
    /// Whether `ip` lies in the range; an IPv4-mapped address counts as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.address, ip.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(ip)) => {
                let shift = 32u32.saturating_sub(u32::from(self.length));
                let cut = |bits: u32| bits.checked_shr(shift).unwrap_or(0);
                cut(network.to_bits()) == cut(ip.to_bits())
            }
            (IpAddr::V6(network), IpAddr::V6(ip)) => {
                let shift = 128u32.saturating_sub(u32::from(self.length));
                let cut = |bits: u128| bits.checked_shr(shift).unwrap_or(0);
                cut(network.to_bits()) == cut(ip.to_bits())
            }
            _ => false,
        }
    }
}

/// The network filter that ends a chain.
#[derive(Clone, Debug, PartialEq)]
pub enum ConnectionFilter {
    /// HTTP.
    Http(Arc<HttpConnectionManager>),
    /// Bytes.
    Tcp(Arc<TcpProxy>),
    /// Commands of Redis.
    Redis(Arc<RedisProxy>),
    /// Sends these bytes and closes (`envoy.filters.network.direct_response`).
    DirectResponse(Arc<[u8]>),
    /// Sends back what it gets (`envoy.filters.network.echo`).
    Echo,
}

/// A network filter that looks at a connection before the last filter serves it.
#[derive(Clone, Debug, PartialEq)]
pub enum NetworkGate {
    /// `envoy.filters.network.connection_limit`.
    ConnectionLimit(ConnectionLimit),
    /// `envoy.filters.network.local_ratelimit`.
    LocalRateLimit(ConnectionRateLimit),
    /// `envoy.filters.network.rbac`.
    Rbac(Arc<NetworkRbac>),
    /// `envoy.filters.network.ext_authz`.
    ExtAuthz(Arc<ConnectionAuthz>),
    /// `envoy.filters.network.sni_cluster`: the server name is the cluster's name.
    SniCluster,
}

/// How many connections a chain has at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionLimit {
    /// The prefix of its statistics.
    pub stat_prefix: String,
    /// The most at a time.
    pub max_connections: u64,
    /// How long a connection too many is held before it is closed.
    pub delay: Option<Duration>,
    /// It does something at all.
    pub enabled: bool,
}

/// `envoy.extensions.filters.network.ext_authz.v3.ExtAuthz`: who is asked whether a connection may
/// go on.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionAuthz {
    /// The prefix of its statistics.
    pub stat_prefix: String,
    /// Who is asked: `envoy.service.auth.v3.Authorization`.
    pub service: GrpcTarget,
    /// Connections go on while nobody answers.
    pub failure_mode_allow: bool,
    /// Only connections with such metadata are asked about.
    pub enabled_metadata: Option<MetadataMatch>,
    /// The client's certificate is told.
    pub include_peer_certificate: bool,
    /// The server name of the TLS session is told.
    pub include_tls_session: bool,
    /// Metadata that is told, by namespace.
    pub metadata_namespaces: Vec<String>,
}

/// How many connections a chain takes in a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionRateLimit {
    /// The prefix of its statistics.
    pub stat_prefix: String,
    /// Chains of one listener with the same key, unless it is empty, share their tokens.
    pub share_key: String,
    /// The most tokens there are.
    pub max_tokens: u32,
    /// How many are added in each interval.
    pub tokens_per_fill: u32,
    /// The interval.
    pub fill_interval: Duration,
    /// It does something at all.
    pub enabled: bool,
}

/// `envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy`.
#[derive(Clone, Debug, PartialEq)]
pub struct TcpProxy {
    /// The prefix of its statistics.
    pub stat_prefix: String,
    /// The choices; one element when there is a single cluster.
    pub clusters: Vec<TcpCluster>,
    /// A connection on which nothing moves is closed; an hour unless set, none when off.
    pub idle_timeout: Option<Duration>,
    /// A connection is closed after this; none unless set.
    pub max_downstream_connection_duration: Option<Duration>,
    /// How often to try to connect, 1 unless set.
    pub max_connect_attempts: u32,
    /// Where connections are logged.
    pub access_log: Vec<AccessLog>,
    /// They are logged when they begin, too.
    pub log_on_start: bool,
    /// They are logged once connected, too.
    pub log_on_connected: bool,
    /// They are logged again after each such time.
    pub log_interval: Option<Duration>,
    /// Clusters that balance by hash are given that of the client's address.
    pub hash_source_ip: bool,
    /// Entries for upstreams that are sent a PROXY protocol header.
    pub proxy_entries: Vec<ProxyEntry>,
    /// What becomes of the client's own where there are such.
    pub proxy_entry_merge: crate::ProxyEntryMerge,
    /// Connections are carried over HTTP.
    pub tunneling: Option<Tunneling>,
    /// How long to wait before another try to connect.
    pub connect_backoff: Option<ConnectBackoff>,
    /// By how much of itself the longest duration is exceeded at most, by chance, in percent.
    pub duration_jitter: f64,
    /// The first bytes of the client are waited for before the upstream is connected to.
    pub awaits_data: bool,
    /// `istio.stats` stands before it, so that TCP metrics are reported.
    pub istio_stats: Option<crate::IstioStats>,
}

/// How a TCP connection is carried over HTTP (`TunnelingConfig`).
#[derive(Clone, Debug, PartialEq)]
pub struct Tunneling {
    /// The host that is asked for; may hold command operators.
    pub hostname: String,
    /// The path of a `POST` in the place of `CONNECT`.
    pub post: Option<http::uri::PathAndQuery>,
    /// Headers of the request.
    pub headers_to_add: crate::HeaderMutation,
    /// The answer's head becomes filter state.
    pub propagate_response_headers: bool,
}

/// How long to wait before another try: exponential, with full jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectBackoff {
    /// The bound of the first wait.
    pub base: Duration,
    /// The bound of every wait.
    pub max: Duration,
}

/// A cluster among several.
#[derive(Clone, Debug, PartialEq)]
pub struct TcpCluster {
    /// The cluster's name.
    pub name: Arc<str>,
    /// Its share of the total of all weights.
    pub weight: u32,
    /// What its hosts must be, of `envoy.lb`.
    pub metadata_match: crate::SubsetKeys,
}
