//! `envoy.extensions.filters.http.fault.v3.HTTPFault`.

use std::time::Duration;

use http::StatusCode;

use crate::HeaderMatch;

/// Failures made on purpose.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fault {
    /// Delays.
    pub delay: Option<FaultDelay>,
    /// Answers in the upstream's place.
    pub abort: Option<FaultAbort>,
    /// Slow responses.
    pub rate_limit: Option<FaultRateLimit>,
    /// Only requests to this cluster; all where it is empty.
    pub upstream_cluster: String,
    /// Only requests that fit.
    pub headers: Vec<HeaderMatch>,
    /// Only requests of these nodes (`x-envoy-downstream-service-node`); all where it is empty.
    pub downstream_nodes: Vec<String>,
    /// No more at a time than this.
    pub max_active: Option<u64>,
    /// No statistics by downstream cluster.
    pub no_downstream_cluster_stats: bool,
}

/// How much of something: fixed, or as a request header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultAmount<T> {
    /// This.
    Fixed(T),
    /// What the request's header says.
    Header,
}

/// A delay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FaultDelay {
    /// How long.
    pub length: FaultAmount<Duration>,
    /// How many requests, in parts of a million.
    pub per_million: u32,
    /// How many parts of a million one unit of the percentage header is.
    pub unit: u32,
}

/// An abort.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultAbort {
    /// With what: an HTTP status or a gRPC status.
    pub status: FaultAmount<Result<StatusCode, u32>>,
    /// How many requests, in parts of a million.
    pub per_million: u32,
    /// How many parts of a million one unit of the percentage header is.
    pub unit: u32,
    /// The body; `fault filter abort` where it is empty.
    pub body: String,
}

/// A limit on the speed of responses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FaultRateLimit {
    /// KiB per second.
    pub kilobytes: FaultAmount<u64>,
    /// How many responses, in parts of a million.
    pub per_million: u32,
    /// How many parts of a million one unit of the percentage header is.
    pub unit: u32,
}
