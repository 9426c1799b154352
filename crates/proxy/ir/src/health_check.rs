//! Active health checks (`envoy.config.core.v3.HealthCheck`).

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use http::Method;

use crate::{HeaderMutation, StringMatch, Value};

/// How the hosts of a cluster are asked whether they are well.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    /// What is asked.
    pub kind: HealthCheckKind,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Between two checks.
    pub interval: Duration,
    /// At most so long before the first check, at random.
    pub initial_jitter: Duration,
    /// At most so much is added to an interval, at random.
    pub interval_jitter: Duration,
    /// The same in percent of the interval.
    pub interval_jitter_percent: u32,
    /// So many failures in a row make a host unhealthy.
    pub unhealthy_threshold: u32,
    /// So many successes in a row make it healthy; after its first check one is enough.
    pub healthy_threshold: u32,
    /// One connection serves check after check.
    pub reuse_connection: bool,
    /// Between two checks as long as the cluster had no traffic, 60 s unless set.
    pub no_traffic_interval: Duration,
    /// The same for a host that is healthy; `no_traffic_interval` unless set.
    pub no_traffic_healthy_interval: Option<Duration>,
    /// Between two checks of an unhealthy host; `interval` unless set.
    pub unhealthy_interval: Option<Duration>,
    /// After the failure that made a host unhealthy; `unhealthy_interval` unless set.
    pub unhealthy_edge_interval: Option<Duration>,
    /// After the success that made a host healthy; `interval` unless set.
    pub healthy_edge_interval: Option<Duration>,
    /// ALPN protocols of the checks' connections.
    pub alpn: Vec<Vec<u8>>,
    /// What `transport_socket_matches` are looked at with, in place of the host's metadata.
    pub transport_match: Option<BTreeMap<String, Value>>,
}

/// What a health check asks.
#[derive(Clone, Debug, PartialEq)]
pub enum HealthCheckKind {
    /// An HTTP request.
    Http(Box<HttpHealthCheck>),
    /// A connection, and perhaps bytes back and forth.
    Tcp {
        /// What is sent.
        send: Vec<u8>,
        /// What must come, in this order and with anything between; nothing asks for nothing.
        receive: Vec<Vec<u8>>,
    },
    /// `grpc.health.v1.Health/Check`.
    Grpc {
        /// Which service is asked for.
        service_name: String,
        /// `:authority`; the cluster's name unless set.
        authority: String,
        /// Headers.
        headers: HeaderMutation,
    },
}

/// An HTTP health check.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpHealthCheck {
    /// The host header; the endpoint's host name, else the cluster's, unless set.
    pub host: String,
    /// The path.
    pub path: String,
    /// The method, `GET` unless set.
    pub method: Method,
    /// The request's body.
    pub send: Vec<u8>,
    /// What the response's body must hold, in this order.
    pub receive: Vec<Vec<u8>>,
    /// How much of the body is looked at, 1024 unless set.
    pub response_buffer: usize,
    /// Headers added and removed.
    pub headers: HeaderMutation,
    /// Answers that are well; 200 unless set.
    pub expected: Vec<Range<u16>>,
    /// Answers that count towards the threshold rather than failing at once.
    pub retriable: Vec<Range<u16>>,
    /// What `x-envoy-upstream-healthchecked-cluster` must say.
    pub service_name: Option<StringMatch>,
    /// HTTP/2 rather than HTTP/1.1.
    pub http2: bool,
}
