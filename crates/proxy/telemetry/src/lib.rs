//! Statistics, access logs and Istio's standard metrics.
//!
//! The data plane counts and describes what happens ([`StreamRecord`]); this crate keeps the
//! numbers ([`StatsRegistry`]), writes the lines ([`AccessLogger`]) and prints both for the
//! administration endpoint. The request path takes no lock and shares no cache line with another
//! worker: every worker has a shard of every number and a buffer of every log file.

mod access_log;
mod block;
mod connection;
mod grpc;
mod istio;
mod peer;
mod record;
mod registry;
mod response_flags;
mod sharded;
mod stat;

pub use access_log::{
    AccessLogError, AccessLogger, FormatError, Formatter, LogBatch, LogBuffers, LogFiles,
    LogFilter, LogSource, RecordFields,
};
pub use block::{
    Agreed, BreakerStats, CircuitBreakerStats, ClusterDiscoveryStats, ClusterExtAuthzStats,
    ClusterManagerStats, ClusterStats, CommandBlocks, CompressorStats, ConnectionLimitStats,
    ControlPlaneStats, CorsStats, DecompressorStats, DnsCacheStats, EndpointDiscoveryStats,
    ExtAuthzStats, FaultStats, GrpcCodes, GrpcMethodStats, HealthCheckStats, HttpInspectorStats,
    HttpStats, JwtAuthnStats, ListenerDiscoveryStats, ListenerHttpStats, ListenerManagerStats,
    ListenerStats, LocalRateLimitStats, MaglevStats, NetworkExtAuthzStats, NetworkRateLimitStats,
    OutlierStats, ProxyProtocolStats, ProxyVersionStats, RbacPolicyStats, RbacShadowStats,
    RbacStats, RedisClusterStats, RedisCommandStats, RedisStats, RetryStats, RingHashStats,
    RouteDiscoveryStats, ServerStats, SslStats, StatBlock, SubscriptionStats, TcpStats,
    TlsInspectorStats, TrafficStats, UpdateOutcome, UpstreamCommandStats, UpstreamCommandsStats,
    UpstreamProxyProtocolStats,
};
pub use connection::{ConnectionInfo, OtherNames, TlsInfo};
pub use grpc::GrpcStatus;
pub use istio::{IstioMetrics, IstioRecorder, TcpDelta, TcpMetrics};
pub use peer::{PeerCache, PeerDecodeError, PeerInfo, decode_value};
pub use record::{
    Close, CloseKind, Connecting, Protocol, RequestRecord, StreamRecord, UpstreamRecord, WireBytes,
};
pub use registry::{HistogramBuckets, StatKind, StatsQuery, StatsRegistry};
pub use response_flags::ResponseFlags;
pub use sharded::Sharded;
pub use stat::{
    Counter, Gauge, Histogram, HistogramSnapshot, Lazy, LazyGauge, NamedCounters, Number,
    ResponseCodes, StatRef, Text,
};
