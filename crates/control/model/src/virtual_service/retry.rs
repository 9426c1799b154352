//! Retries (FEATURES R6).
//!
//! In: HTTPRetry as written. Out: [`RetryPolicy`] with Istio's defaults filled in.

use std::time::Duration;

/// `retries`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Retries after the first try; 0 turns retries off.
    pub attempts: u32,
    /// `perTryTimeout`; `None` leaves the route's timeout as the only limit.
    pub per_try_timeout: Option<Duration>,
    /// When a try is repeated.
    pub retry_on: RetryOn,
    /// `retryRemoteLocalities`: retries may go to other localities.
    pub retry_remote_localities: bool,
    /// `retryIgnorePreviousHosts`: a retry avoids hosts already tried; so it does where this is not
    /// written, unless requests have an endpoint of their own.
    pub ignore_previous_hosts: Option<bool>,
    /// `backoff`: base interval; `None` leaves Envoy's 25 ms.
    pub backoff: Option<Duration>,
}

/// `retryOn`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryOn {
    /// Envoy's conditions (`5xx`, `connect-failure`, `unavailable`, ...), in order.
    pub conditions: Vec<String>,
    /// Status codes that were written among them; they imply `retriable-status-codes`, which is then
    /// among the conditions.
    pub status_codes: Vec<u16>,
}

impl Default for RetryPolicy {
    /// Istio's default: two retries.
    fn default() -> Self {
        Self {
            attempts: 2,
            per_try_timeout: None,
            retry_on: RetryOn::default(),
            retry_remote_localities: false,
            ignore_previous_hosts: None,
            backoff: None,
        }
    }
}

impl Default for RetryOn {
    /// Istio's default: `connect-failure,refused-stream,unavailable,cancelled,503`.
    fn default() -> Self {
        let conditions = [
            "connect-failure",
            "refused-stream",
            "unavailable",
            "cancelled",
            "retriable-status-codes",
        ];
        Self {
            conditions: conditions.map(String::from).to_vec(),
            status_codes: vec![503],
        }
    }
}

impl RetryOn {
    /// The conditions as Envoy's `retry_on` takes them.
    pub fn to_envoy(&self) -> String {
        self.conditions.join(",")
    }
}
