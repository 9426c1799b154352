//! Requests that the proxy makes itself, to a cluster, for a filter.

use std::time::Duration;

use http::uri::PathAndQuery;

use crate::HeaderAppend;

/// Where an HTTP request of the proxy's own goes (`envoy.config.core.v3.HttpUri`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUri {
    /// `:scheme` is `https`; what is spoken is the cluster's affair.
    pub secure: bool,
    /// `:authority`.
    pub authority: String,
    /// Path and query.
    pub path: PathAndQuery,
    /// The cluster.
    pub cluster: String,
    /// How long the answer is waited for.
    pub timeout: Duration,
}

/// Where a gRPC call of the proxy's own goes (`envoy.config.core.v3.GrpcService`).
#[derive(Clone, Debug, PartialEq)]
pub struct GrpcTarget {
    /// The cluster.
    pub cluster: String,
    /// `:authority`, the cluster's name unless set.
    pub authority: String,
    /// How long the answer is waited for; no limit where there is none.
    pub timeout: Option<Duration>,
    /// Headers of the call.
    pub metadata: Vec<HeaderAppend>,
}

/// How often such a request is made again that failed (`envoy.config.core.v3.RetryPolicy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallRetry {
    /// Most tries after the first.
    pub tries: u32,
    /// The pause before the first of them; it doubles, and is jittered.
    pub base: Duration,
    /// The longest pause.
    pub most: Duration,
}
