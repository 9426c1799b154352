//! The proxy's configuration as validated, immutable values.
//!
//! `meltemi-config` makes these from Envoy messages; the data plane reads them and
//! knows no Envoy message. Whatever could be wrong was refused on the way in, so a
//! value here can be served as it is: names are parsed, regular expressions are
//! compiled, durations and ports are in range.

mod access_log;
mod address;
mod bootstrap;
mod cluster;
mod endpoint;
mod filter;
mod hcm;
mod header;
mod listener;
mod matcher;
mod metadata;
mod retry;
mod route;
mod secret;
mod tls;

pub use access_log::{AccessLog, AccessLogFilter, LogFormat, LogSink};
pub use address::Address;
pub use bootstrap::{Admin, Ads, Bootstrap, Node, StatsConfig};
pub use cluster::{
    CircuitBreakers, Cluster, Discovery, DnsFamily, LbPolicy, Priority, TcpKeepalive, Thresholds,
    TransportSocketMatch, UpstreamHttp, UpstreamProtocol,
};
pub use endpoint::{Endpoint, HealthStatus, LoadAssignment, Locality, LocalityEndpoints};
pub use filter::{HttpFilter, HttpFilterKind, IstioStats, MetricReporter, PeerMetadata};
pub use hcm::{
    Codec, EscapedSlashes, ForwardClientCert, Http1Options, Http2Keepalive, Http2Options,
    HttpConnectionManager, PathNormalization, RouteSource, ServerHeader, SetCurrentClientCert,
    StripPort,
};
pub use header::{AppendAction, HeaderAppend, HeaderMutation, HeaderTarget, LocalReplyBody};
pub use listener::{
    ConnectionFilter, ConnectionLimit, ConnectionRateLimit, FilterChain, FilterChainMatch,
    Listener, ListenerFilter, NetworkGate, PortMatch, Prefix, ProxyEntryRule, ProxyProtocol,
    SourceType, TcpCluster, TcpProxy, TrafficDirection,
};
pub use matcher::{
    HeaderMatch, HeaderMatchKind, MatchedHeader, PathMatch, QueryMatch, QueryMatchKind, RegexMatch,
    StringMatch,
};
pub use metadata::{Metadata, Value};
pub use retry::{RetryOn, RetryPolicy};
pub use route::{
    Cors, DirectResponse, HostRewrite, PathRewrite, Redirect, RedirectPath, Route, RouteAction,
    RouteConfiguration, RouteMatch, RouteTarget, VirtualHost, WeightedCluster,
};
pub use secret::{
    CertificateSource, Secret, SecretConfig, SecretRef, TlsCertificate, ValidationContext,
};
pub use tls::{DownstreamTls, SanMatch, TlsVersion, UpstreamTls};
