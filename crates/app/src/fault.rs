//! Errors, delays and rate limiting that the service inflicts on its callers.
//!
//! Asked once per request, before any upstream is called.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

/// What to inflict, and how often.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct FaultConfig {
    /// The share of requests that fail, from 0 to 1.
    pub(crate) error_rate: f64,
    pub(crate) error_type: ErrorType,
    pub(crate) error_code: StatusCode,
    /// Waited before the error of type `delay`.
    pub(crate) error_delay: Duration,
    /// Requests per second, 0 for no limit.
    pub(crate) rate_limit: f64,
    pub(crate) rate_limit_code: StatusCode,
}

/// The kinds of error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorType {
    /// The error comes at once.
    HttpError,
    /// The error comes after a delay.
    Delay,
}

/// What a request gets in place of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) after: Duration,
    pub(crate) code: StatusCode,
    pub(crate) reason: &'static str,
}

/// Decides request by request.
#[derive(Debug)]
pub(crate) struct FaultInjector {
    config: FaultConfig,
    requests: AtomicU64,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl FaultInjector {
    pub(crate) fn new(config: FaultConfig) -> Self {
        let bucket = Bucket {
            tokens: config.burst(),
            filled: Instant::now(),
        };
        Self {
            config,
            requests: AtomicU64::new(0),
            bucket: Mutex::new(bucket),
        }
    }

    /// The fault for the next request, if it gets one. The rate limit comes first.
    pub(crate) fn next(&self) -> Option<Fault> {
        let FaultConfig {
            error_rate,
            error_type,
            error_code,
            error_delay,
            // ignored: `admits` goes by it
            rate_limit: _,
            rate_limit_code,
        } = self.config;
        if !self.admits() {
            return Some(Fault {
                after: Duration::ZERO,
                code: rate_limit_code,
                reason: "the service's rate limit is exceeded",
            });
        }
        let request = self.requests.fetch_add(1, Ordering::Relaxed);
        let failures = |requests: u64| (requests as f64 * error_rate).floor();
        (failures(request + 1) > failures(request)).then_some(match error_type {
            ErrorType::HttpError => Fault {
                after: Duration::ZERO,
                code: error_code,
                reason: "an error injected by the service",
            },
            ErrorType::Delay => Fault {
                after: error_delay,
                code: error_code,
                reason: "a delay injected by the service",
            },
        })
    }

    fn admits(&self) -> bool {
        if self.config.rate_limit <= 0.0 {
            return true;
        }
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let gained = now.duration_since(bucket.filled).as_secs_f64() * self.config.rate_limit;
        bucket.tokens = (bucket.tokens + gained).min(self.config.burst());
        bucket.filled = now;
        let admitted = bucket.tokens >= 1.0;
        if admitted {
            bucket.tokens -= 1.0;
        }
        admitted
    }
}

impl FaultConfig {
    /// How many requests may come at once: a second's worth, and at least one.
    fn burst(&self) -> f64 {
        self.rate_limit.floor().max(1.0)
    }
}

#[cfg(test)]
mod tests;
