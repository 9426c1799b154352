//! Retry policies (`envoy.config.route.v3.RetryPolicy`).

use std::time::Duration;

use http::{HeaderName, StatusCode};

use crate::{HeaderMatch, Metadata};

/// Which failures are retried, as a set (`retry_on` and `x-envoy-retry-on`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryOn(pub u32);

impl RetryOn {
    /// `5xx`: any 5xx answer, a reset, a timeout, a refused connection.
    pub const SERVER_ERROR: Self = Self(1);
    /// `gateway-error`: 502, 503, 504.
    pub const GATEWAY_ERROR: Self = Self(1 << 1);
    /// `reset`: no answer at all.
    pub const RESET: Self = Self(1 << 2);
    /// `connect-failure`: the connection was not made.
    pub const CONNECT_FAILURE: Self = Self(1 << 3);
    /// `envoy-ratelimited`: `x-envoy-ratelimited` is in the answer.
    pub const ENVOY_RATELIMITED: Self = Self(1 << 4);
    /// `retriable-4xx`: 409.
    pub const RETRIABLE_4XX: Self = Self(1 << 5);
    /// `refused-stream`: HTTP/2 `REFUSED_STREAM`.
    pub const REFUSED_STREAM: Self = Self(1 << 6);
    /// `retriable-status-codes`: see [`RetryPolicy::status_codes`].
    pub const RETRIABLE_STATUS_CODES: Self = Self(1 << 7);
    /// `retriable-headers`: see [`RetryPolicy::headers`].
    pub const RETRIABLE_HEADERS: Self = Self(1 << 8);
    /// `reset-before-request`: reset before the request's headers went out.
    pub const RESET_BEFORE_REQUEST: Self = Self(1 << 9);
    /// `http3-post-connect-failure`; never happens here.
    pub const HTTP3_POST_CONNECT_FAILURE: Self = Self(1 << 10);
    /// gRPC `cancelled`.
    pub const GRPC_CANCELLED: Self = Self(1 << 11);
    /// gRPC `deadline-exceeded`.
    pub const GRPC_DEADLINE_EXCEEDED: Self = Self(1 << 12);
    /// gRPC `internal`.
    pub const GRPC_INTERNAL: Self = Self(1 << 13);
    /// gRPC `resource-exhausted`.
    pub const GRPC_RESOURCE_EXHAUSTED: Self = Self(1 << 14);
    /// gRPC `unavailable`.
    pub const GRPC_UNAVAILABLE: Self = Self(1 << 15);

    /// The set that a comma-separated list names, and the tokens that are unknown.
    pub fn parse(list: &str) -> (Self, Vec<&str>) {
        let mut set = Self::default();
        let mut unknown = Vec::new();
        for token in list
            .split(',')
            .map(str::trim)
            .filter(|token| !token.is_empty())
        {
            match Self::token(token) {
                Some(flag) => set.0 |= flag.0,
                None => unknown.push(token),
            }
        }
        (set, unknown)
    }

    fn token(token: &str) -> Option<Self> {
        Some(match token {
            "5xx" => Self::SERVER_ERROR,
            "gateway-error" => Self::GATEWAY_ERROR,
            "reset" => Self::RESET,
            "connect-failure" => Self::CONNECT_FAILURE,
            "envoy-ratelimited" => Self::ENVOY_RATELIMITED,
            "retriable-4xx" => Self::RETRIABLE_4XX,
            "refused-stream" => Self::REFUSED_STREAM,
            "retriable-status-codes" => Self::RETRIABLE_STATUS_CODES,
            "retriable-headers" => Self::RETRIABLE_HEADERS,
            "reset-before-request" => Self::RESET_BEFORE_REQUEST,
            "http3-post-connect-failure" => Self::HTTP3_POST_CONNECT_FAILURE,
            "cancelled" => Self::GRPC_CANCELLED,
            "deadline-exceeded" => Self::GRPC_DEADLINE_EXCEEDED,
            "internal" => Self::GRPC_INTERNAL,
            "resource-exhausted" => Self::GRPC_RESOURCE_EXHAUSTED,
            "unavailable" => Self::GRPC_UNAVAILABLE,
            _ => return None,
        })
    }

    /// Only the failures of gRPC calls, or only the others.
    pub fn of_grpc(self, is_grpc: bool) -> Self {
        let grpc = Self::GRPC_CANCELLED.0
            | Self::GRPC_DEADLINE_EXCEEDED.0
            | Self::GRPC_INTERNAL.0
            | Self::GRPC_RESOURCE_EXHAUSTED.0
            | Self::GRPC_UNAVAILABLE.0;
        Self(self.0 & if is_grpc { grpc } else { !grpc })
    }

    /// Whether any flag of `other` is in this set.
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Both sets together.
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True when nothing is retried.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// When and how a request is tried again.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Which failures are retried.
    pub on: RetryOn,
    /// How many tries may follow the first.
    pub num_retries: u32,
    /// The limit of one try; none means the route's timeout alone.
    pub per_try_timeout: Option<Duration>,
    /// The limit of idleness in one try.
    pub per_try_idle_timeout: Option<Duration>,
    /// Status codes for `retriable-status-codes`.
    pub status_codes: Vec<StatusCode>,
    /// Response headers for `retriable-headers`.
    pub headers: Vec<HeaderMatch>,
    /// Retry only requests with one of these headers; empty means all.
    pub request_headers: Vec<HeaderMatch>,
    /// The first back-off's upper bound, 25 ms unless set.
    pub base_interval: Duration,
    /// The back-off's limit, ten times the base unless set.
    pub max_interval: Duration,
    /// How long a limit on the rate says to wait, in place of the back-off.
    pub rate_limited: Option<RateLimitedBackOff>,
    /// Prefer a host not tried yet (`previous_hosts` predicate).
    pub avoid_previous_hosts: bool,
    /// Prefer a host that is no canary (`omit_canary_hosts` predicate).
    pub omit_canary_hosts: bool,
    /// Prefer a host without any of these (`omit_host_metadata` predicate).
    pub omit_host_metadata: Vec<Metadata>,
    /// Prefer priorities not tried yet, looking anew after so many tries
    /// (`previous_priorities`).
    pub previous_priorities: Option<u32>,
    /// How often the balancer may choose again to avoid one, 1 unless set.
    pub host_selection_max_attempts: u32,
}

/// `RateLimitedRetryBackOff`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimitedBackOff {
    /// The headers that say how long to wait; the first that is there counts.
    pub reset_headers: Vec<(HeaderName, ResetFormat)>,
    /// Waiting longer is not worth it, 300 s unless set.
    pub max_interval: Duration,
}

/// What a reset header's number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetFormat {
    /// Seconds from now.
    Seconds,
    /// Seconds since the Unix epoch.
    UnixTimestamp,
}

impl RetryPolicy {
    /// A policy for these failures and so many retries, all else as it is unless set.
    pub fn new(on: RetryOn, num_retries: u32) -> Self {
        Self {
            on,
            num_retries,
            per_try_timeout: None,
            per_try_idle_timeout: None,
            status_codes: Vec::new(),
            headers: Vec::new(),
            request_headers: Vec::new(),
            base_interval: Duration::from_millis(25),
            max_interval: Duration::from_millis(250),
            rate_limited: None,
            avoid_previous_hosts: false,
            omit_canary_hosts: false,
            omit_host_metadata: Vec::new(),
            previous_priorities: None,
            host_selection_max_attempts: 1,
        }
    }
}
