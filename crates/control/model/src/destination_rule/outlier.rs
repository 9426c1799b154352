//! What a destination's traffic policy says besides: ejection, tunnels, budgets (FEATURES R3, R4, R7).
//!
//! In: `outlierDetection`, `tunnel`, `proxyProtocol`, `retryBudget`. Out: types of the same names.

use std::time::Duration;

/// `outlierDetection`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutlierDetection {
    /// `consecutive5xxErrors`; 0 turns it off, `None` leaves Envoy's 5.
    pub consecutive_5xx: Option<u32>,
    /// `consecutiveGatewayErrors`; 0 turns it off.
    pub consecutive_gateway: Option<u32>,
    /// `splitExternalLocalOriginErrors`.
    pub split_local_origin: bool,
    /// `consecutiveLocalOriginFailures`.
    pub consecutive_local_origin: Option<u32>,
    /// `interval`.
    pub interval: Option<Duration>,
    /// `baseEjectionTime`.
    pub base_ejection_time: Option<Duration>,
    /// `maxEjectionPercent`; `None` leaves Envoy's 10.
    pub max_ejection_percent: Option<u32>,
    /// `minHealthPercent`, 0.
    pub min_health_percent: u32,
}

/// `tunnel`: to the destination through a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    /// `protocol: POST` rather than CONNECT.
    pub post: bool,
    /// `targetHost`.
    pub host: String,
    /// `targetPort`.
    pub port: u16,
}

/// `proxyProtocol.version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProxyProtocol {
    /// `V1`.
    V1,
    /// `V2`.
    V2,
}

/// `retryBudget`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryBudget {
    /// `percent` of the active requests, 20.
    pub percent: f64,
    /// `minRetryConcurrency`, 3.
    pub min_concurrency: u32,
}
