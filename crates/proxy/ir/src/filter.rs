//! HTTP filters, as configured and in order; the router is always the last. And what routes say
//! of single filters.

mod ext_authz;
mod fault;
mod health_check;
mod jwt_authn;
mod local_ratelimit;
mod metadata;

use std::sync::Arc;
use std::time::Duration;

use crate::{Cors, HeaderEdit, HttpRbac, StringMatch};

pub use ext_authz::{AuthzBody, AuthzService, ExtAuthz, ExtAuthzRoute, HttpAuthz};
pub use fault::{Fault, FaultAbort, FaultAmount, FaultDelay, FaultRateLimit};
pub use health_check::HealthCheckFilter;
pub use jwt_authn::{
    JwtAuthn, JwtCache, JwtKeys, JwtProvider, JwtRequirement, JwtRoute, JwtRule, RemoteJwks,
};
pub use local_ratelimit::{
    LocalDescriptor, LocalRateLimit, RateLimitAction, RateLimitEntry, RateLimitRule, TokenBucket,
};
pub use metadata::{
    FilterStateValue, HeaderSource, HeaderToMetadata, MetadataKind, MetadataRule, MetadataWrite,
    SetFilterState, SetMetadata,
};

/// One HTTP filter of a connection manager.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpFilter {
    /// The name in the configuration, by which routes override it.
    pub name: String,
    /// What it is.
    pub kind: HttpFilterKind,
    /// It does nothing unless a route has settings for it.
    pub disabled: bool,
}

/// What a route, virtual host, weighted cluster or route table says of one filter
/// (`typed_per_filter_config`).
#[derive(Clone, Debug, PartialEq)]
pub struct RouteFilter {
    /// The filter's name in the connection manager.
    pub name: String,
    /// What it says.
    pub setting: RouteFilterSetting,
}

/// What is said of a filter.
#[derive(Clone, Debug, PartialEq)]
pub enum RouteFilterSetting {
    /// It does nothing here.
    Disabled,
    /// It works here as it is configured, even where it is disabled otherwise.
    Enabled,
    /// It works here with these settings.
    Config(RouteFilterKind),
}

/// A filter's settings for a route.
#[derive(Clone, Debug, PartialEq)]
pub enum RouteFilterKind {
    /// `envoy.filters.http.cors`.
    Cors(Arc<Cors>),
    /// `envoy.filters.http.fault`.
    Fault(Arc<Fault>),
    /// `envoy.filters.http.header_mutation`.
    HeaderMutation(Arc<HeaderMutations>),
    /// `envoy.filters.http.local_ratelimit`.
    LocalRateLimit(Arc<LocalRateLimit>),
    /// `envoy.filters.http.buffer`: most bytes.
    Buffer(u32),
    /// `envoy.filters.http.header_to_metadata`.
    HeaderToMetadata(Arc<HeaderToMetadata>),
    /// `envoy.filters.http.set_filter_state`.
    SetFilterState(Arc<SetFilterState>),
    /// `envoy.filters.http.compressor`.
    Compressor(CompressorOverrides),
    /// `envoy.filters.http.rbac`.
    Rbac(Arc<HttpRbac>),
    /// `envoy.filters.http.jwt_authn`.
    JwtAuthn(Arc<JwtRoute>),
    /// `envoy.filters.http.ext_authz`.
    ExtAuthz(Arc<ExtAuthzRoute>),
    /// `envoy.filters.http.dynamic_forward_proxy`: the host that is asked for in place of the request's.
    ForwardProxy(ForwardProxyHost),
}

/// `envoy.filters.http.router`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouterSettings {
    /// No `x-envoy-*` headers are added.
    pub suppress_envoy_headers: bool,
    /// `x-envoy-expected-rq-timeout-ms` of a request is its timeout.
    pub respect_expected_timeout: bool,
    /// Headers without which a request is better than with a value that means nothing.
    pub strict_headers: Vec<http::HeaderName>,
}

/// The filters that the proxy has.
#[derive(Clone, Debug, PartialEq)]
pub enum HttpFilterKind {
    /// `envoy.filters.http.router`.
    Router(RouterSettings),
    /// `envoy.filters.http.cors`: carries out the route's CORS policy.
    Cors,
    /// `istio.stats`: the standard metrics.
    IstioStats(IstioStats),
    /// `envoy.filters.http.peer_metadata`: exchanges who is at each end.
    PeerMetadata(PeerMetadata),
    /// `envoy.filters.http.on_demand`: waits for virtual hosts that come one by one.
    OnDemand,
    /// `envoy.filters.http.fault`: delays and aborts on purpose.
    Fault(Arc<Fault>),
    /// `envoy.filters.http.header_mutation`.
    HeaderMutation {
        /// The changes.
        mutations: Arc<HeaderMutations>,
        /// Those of the narrowest scope are made last.
        most_specific_wins: bool,
    },
    /// `envoy.filters.http.local_ratelimit`.
    LocalRateLimit(Arc<LocalRateLimit>),
    /// `envoy.filters.http.buffer`: requests are forwarded whole, with at most so many bytes.
    Buffer(u32),
    /// `envoy.filters.http.header_to_metadata`.
    HeaderToMetadata(Arc<HeaderToMetadata>),
    /// `envoy.filters.http.set_filter_state`.
    SetFilterState(Arc<SetFilterState>),
    /// `envoy.filters.http.set_metadata`.
    SetMetadata(Arc<Vec<SetMetadata>>),
    /// `envoy.filters.http.health_check`.
    HealthCheck(Arc<HealthCheckFilter>),
    /// `envoy.filters.http.compressor`.
    Compressor(Arc<Compressor>),
    /// `envoy.filters.http.decompressor`.
    Decompressor(Arc<Decompressor>),
    /// `envoy.filters.http.rbac`.
    Rbac(Arc<HttpRbac>),
    /// `envoy.filters.http.grpc_web`.
    GrpcWeb,
    /// `envoy.filters.http.grpc_stats`.
    GrpcStats(GrpcStats),
    /// `envoy.filters.http.jwt_authn`.
    JwtAuthn(Arc<JwtAuthn>),
    /// `envoy.filters.http.ext_authz`.
    ExtAuthz(Arc<ExtAuthz>),
    /// `envoy.filters.http.dynamic_forward_proxy`: waits until the request's host is found in the DNS
    /// cache of the cluster.
    ForwardProxy,
    /// `istio.alpn`: tells the server by ALPN which protocol was found here.
    Alpn(Arc<AlpnOverride>),
    /// A filter that is optional and unknown: accepted, with no effect on a request here.
    Inert,
    /// A filter whose configuration is discovered and has not come: it lets no request pass.
    Missing,
}

/// The host that a forwarded request names in place of its own.
#[derive(Clone, Debug, PartialEq)]
pub enum ForwardProxyHost {
    /// This one.
    Literal(http::HeaderValue),
    /// The value of this header, where it is there.
    Header(http::HeaderName),
}

/// ALPN protocols, the preferred first.
pub type AlpnProtocols = Arc<[Vec<u8>]>;

/// ALPN to offer upstream in place of the cluster's, by the version that is spoken there
/// (`istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlpnOverride {
    /// For HTTP/1.1 and HTTP/1.0.
    pub http1: Option<AlpnProtocols>,
    /// For HTTP/2.
    pub http2: Option<AlpnProtocols>,
}

/// The changes that `envoy.filters.http.header_mutation` makes, each list in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderMutations {
    /// To a request's headers.
    pub request: Vec<HeaderEdit>,
    /// To a request's query parameters.
    pub query: Vec<QueryEdit>,
    /// To a response's headers.
    pub response: Vec<HeaderEdit>,
    /// To a request's trailers.
    pub request_trailers: Vec<HeaderEdit>,
    /// To a response's trailers.
    pub response_trailers: Vec<HeaderEdit>,
}

/// One change to query parameters (`KeyValueMutation`).
#[derive(Clone, Debug, PartialEq)]
pub enum QueryEdit {
    /// All of that name go.
    Remove(String),
    /// One is added.
    Append {
        /// Its name.
        key: String,
        /// Its value, a format.
        value: String,
        /// What happens where it is there already.
        action: crate::AppendAction,
    },
}

/// A way of coding bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// `gzip`, with a level from 1 to 9.
    Gzip(u32),
    /// `br`, with a quality from 0 to 11 and window bits from 10 to 24.
    Brotli {
        /// The quality.
        quality: u32,
        /// The window bits.
        window: u32,
    },
    /// `zstd`, with a level from 1 to 22.
    Zstd(i32),
}

impl Coding {
    /// Its name in `content-encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip(_) => "gzip",
            Self::Brotli { .. } => "br",
            Self::Zstd(_) => "zstd",
        }
    }
}

/// `envoy.extensions.filters.http.compressor.v3.Compressor`.
#[derive(Clone, Debug, PartialEq)]
pub struct Compressor {
    /// The library's name, for statistics.
    pub library: String,
    /// What it makes.
    pub coding: Coding,
    /// Requests are compressed so, if at all.
    pub request: Option<CompressorDirection>,
    /// Responses are compressed so.
    pub response: CompressorDirection,
    /// The statistics say which direction (`response_direction_config` is set).
    pub response_configured: bool,
    /// Not where there is an `etag`.
    pub disable_on_etag: bool,
    /// A strong `etag` is made weak.
    pub weaken_etag: bool,
    /// The upstream does not learn what the client accepts.
    pub remove_accept_encoding: bool,
    /// Responses with such a status are left alone.
    pub uncompressible_codes: Vec<u16>,
    /// Every response says in `x-envoy-compression-status` what was done.
    pub status_header: bool,
    /// Among filters of the same coding quality this one is taken first.
    pub choose_first: bool,
}

/// What of one direction is compressed.
#[derive(Clone, Debug, PartialEq)]
pub struct CompressorDirection {
    /// Whether anything is.
    pub enabled: bool,
    /// Bodies of fewer bytes are left alone, 30 unless set.
    pub min_length: u64,
    /// Only these content types.
    pub content_types: Vec<StringMatch>,
}

/// What a route says of the compressor beside turning it off.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CompressorOverrides {
    /// `remove_accept_encoding_header`.
    pub remove_accept_encoding: Option<bool>,
    /// Another coding.
    pub coding: Option<Coding>,
}

/// `envoy.extensions.filters.http.decompressor.v3.Decompressor`.
#[derive(Clone, Debug, PartialEq)]
pub struct Decompressor {
    /// The library's name, for statistics.
    pub library: String,
    /// What it reads; the level is of no matter.
    pub coding: Coding,
    /// Requests are decompressed.
    pub request: DecompressorDirection,
    /// Responses are.
    pub response: DecompressorDirection,
    /// Upstreams are told that the coding is accepted.
    pub advertise: bool,
    /// A body that grows by more than this factor is refused.
    pub max_ratio: u32,
}

/// What of one direction is decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecompressorDirection {
    /// Whether anything is.
    pub enabled: bool,
    /// Even where `cache-control: no-transform` says otherwise.
    pub ignore_no_transform: bool,
}

/// `envoy.extensions.filters.http.grpc_stats.v3.FilterConfig`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GrpcStats {
    /// Which methods have statistics of their own; the others' go together.
    pub methods: GrpcMethods,
    /// The counts of messages go into filter state, where access logs find them.
    pub emit_filter_state: bool,
    /// `upstream_rq_time` is kept.
    pub upstream_stats: bool,
    /// Dots in a service's name become underscores.
    pub replace_dots: bool,
}

/// Which gRPC methods have statistics of their own.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum GrpcMethods {
    /// None.
    #[default]
    None,
    /// All.
    All,
    /// These: service and method.
    Listed(Vec<(String, String)>),
}

/// `stats.PluginConfig`.
#[derive(Clone, Debug, PartialEq)]
pub struct IstioStats {
    /// Which side of the call reports.
    pub reporter: MetricReporter,
    /// `disable_host_header_fallback`.
    pub disable_host_header_fallback: bool,
    /// How often TCP bytes are reported while a connection lasts.
    pub tcp_reporting_duration: Duration,
}

/// Which side of a call reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MetricReporter {
    /// By the listener's traffic direction.
    #[default]
    ByDirection,
    /// A gateway that reports as the server.
    ServerGateway,
}

/// `io.istio.http.peer_metadata.Config`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PeerMetadata {
    /// Read the downstream peer from the `x-envoy-peer-metadata` headers of the request.
    pub downstream_discovery: bool,
    /// Read the upstream peer from the same headers of the response.
    pub upstream_discovery: bool,
    /// Say who we are to the downstream, in the response.
    pub downstream_propagation: bool,
    /// Say who we are to the upstream, in the request.
    pub upstream_propagation: bool,
    /// But not where it is outside the mesh (`skip_external_clusters`).
    pub skip_external: bool,
}
