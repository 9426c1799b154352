//! The proxy's configuration as validated, immutable values.
//!
//! `meltemi-config` makes these from Envoy messages; the data plane reads them and
//! knows no Envoy message. Whatever could be wrong was refused on the way in, so a
//! value here can be served as it is: names are parsed, regular expressions are
//! compiled, durations and ports are in range.

mod access_log;
mod address;
mod bootstrap;
mod call;
mod cluster;
mod endpoint;
mod filter;
mod hcm;
mod header;
mod health_check;
mod lb;
mod listener;
mod matcher;
mod metadata;
mod outlier;
mod proxy_protocol;
mod rbac;
mod redis;
mod retry;
mod route;
mod secret;
mod socket;
mod source;
mod tls;

pub use access_log::{
    AccessLog, AccessLogFilter, Comparison, LogEntries, LogFormat, LogOutput, LogService, LogSink,
    LogType,
};
pub use address::Address;
pub use bootstrap::{Admin, Bootstrap, Node, StatsConfig};
pub use call::{CallRetry, GrpcTarget, HttpUri};
pub use cluster::{
    CircuitBreakers, Cluster, Discovery, DnsCache, DnsFamily, FromRequest, HappyEyeballs, Priority,
    RetryBudget, TcpKeepalive, Thresholds, TransportSocketMatch, UpstreamHttp, UpstreamProtocol,
};
pub use endpoint::{
    Endpoint, EndpointHealthCheck, HealthStatus, LoadAssignment, Locality, LocalityEndpoints,
};
pub use filter::{
    AlpnOverride, AlpnProtocols, AuthzBody, AuthzService, Coding, Compressor, CompressorDirection,
    CompressorOverrides, Decompressor, DecompressorDirection, ExtAuthz, ExtAuthzRoute, Fault,
    FaultAbort, FaultAmount, FaultDelay, FaultRateLimit, FilterStateValue, ForwardProxyHost,
    GrpcMethods, GrpcStats, HeaderMutations, HeaderSource, HeaderToMetadata, HealthCheckFilter,
    HttpAuthz, HttpFilter, HttpFilterKind, IstioStats, JwtAuthn, JwtCache, JwtKeys, JwtProvider,
    JwtRequirement, JwtRoute, JwtRule, LocalDescriptor, LocalRateLimit, MetadataKind, MetadataRule,
    MetadataWrite, MetricReporter, PeerMetadata, QueryEdit, RateLimitAction, RateLimitEntry,
    RateLimitRule, RemoteJwks, RouteFilter, RouteFilterKind, RouteFilterSetting, RouterSettings,
    SetFilterState, SetMetadata, TokenBucket,
};
pub use hcm::{
    Codec, EscapedSlashes, ForwardClientCert, Http1Options, Http2Keepalive, Http2Options,
    HttpConnectionManager, LocalReplyConfig, LocalReplyMapper, LogMoments, OriginalIp,
    PathNormalization, ReplyFormat, RouteSource, SchemeOverride, ServerHeader,
    SetCurrentClientCert, StripPort, Underscores,
};
pub use header::{
    AppendAction, HeaderAppend, HeaderEdit, HeaderMutation, HeaderTarget, LocalReplyBody,
};
pub use health_check::{HealthCheck, HealthCheckKind, HttpHealthCheck};
pub use lb::{
    ConsistentHashing, HashFunction, LbPolicy, LbSettings, LeastRequest, Maglev, RingHash,
    SlowStart, SubsetFallback, SubsetKeys, SubsetLb, SubsetSelector,
};
pub use listener::{
    ConnectBackoff, ConnectionAuthz, ConnectionFilter, ConnectionLimit, ConnectionRateLimit,
    FilterChain, FilterChainMatch, Listener, ListenerFilter, NetworkGate, PortMatch, Prefix,
    SourceType, TcpCluster, TcpProxy, TrafficDirection, Tunneling,
};
pub use matcher::{
    HeaderMatch, HeaderMatchKind, MatchedHeader, MetadataMatch, PathMatch, QueryMatch,
    QueryMatchKind, RegexMatch, StringMatch, ValueMatch,
};
pub use metadata::{Metadata, Value};
pub use outlier::{Consecutive, FailurePercentage, OutlierDetection, SuccessRate};
pub use proxy_protocol::{
    PassedEntries, ProxyEntry, ProxyEntryMerge, ProxyEntryRule, ProxyHeader, ProxyProtocol,
};
pub use rbac::{
    ClientAddress, HttpRbac, NetworkRbac, Rbac, RbacAction, RbacMetadata, RbacPolicy, RbacRule,
    UriTemplate,
};
pub use redis::{RedisAuth, RedisProxy, RedisRoute, RedisRoutes};
pub use retry::{RateLimitedBackOff, ResetFormat, RetryOn, RetryPolicy};
pub use route::{
    ClusterName, CookieMatch, Cors, DirectResponse, HashPolicy, HashSource, HostRewrite,
    InternalRedirect, Mirror, PathRewrite, Redirect, RedirectPath, RedirectPredicate, RequireTls,
    Route, RouteAction, RouteConfiguration, RouteMatch, RouteTarget, VirtualCluster, VirtualHost,
    WeightedBy, WeightedCluster,
};
pub use secret::{
    CertificateSource, Secret, SecretConfig, SecretRef, TicketKeys, TlsCertificate,
    ValidationContext,
};
pub use socket::{BindConfig, SocketOption, SocketState, SocketValue};
pub use source::{ConfigSource, DiscoveryService, RequestRate, ResourceSource};
pub use tls::{DownstreamTls, SanMatch, SessionTickets, TicketKeySource, TlsVersion, UpstreamTls};
