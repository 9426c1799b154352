//! HTTP filters, as configured and in order; the router is always the last.

use std::time::Duration;

/// One HTTP filter of a connection manager.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpFilter {
    /// The name in the configuration, by which routes override it.
    pub name: String,
    /// What it is.
    pub kind: HttpFilterKind,
}

/// The filters that the proxy has.
#[derive(Clone, Debug, PartialEq)]
pub enum HttpFilterKind {
    /// `envoy.filters.http.router`.
    Router {
        /// `suppress_envoy_headers`.
        suppress_envoy_headers: bool,
    },
    /// `envoy.filters.http.cors`: carries out the route's CORS policy.
    Cors,
    /// `istio.stats`: the standard metrics.
    IstioStats(IstioStats),
    /// `envoy.filters.http.peer_metadata`: exchanges who is at each end.
    PeerMetadata(PeerMetadata),
    /// `istio.alpn` and `envoy.filters.http.grpc_stats`: accepted, with no effect on a request here.
    Inert,
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
}
