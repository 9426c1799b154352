//! `envoy.extensions.filters.http.health_check.v3.HealthCheck`.

use std::time::Duration;

use crate::HeaderMatch;

/// How requests that ask for this proxy's health are answered.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheckFilter {
    /// They are forwarded, unless an answer of the last `cache` is at hand.
    pub pass_through: bool,
    /// How long an answer is good for.
    pub cache: Option<Duration>,
    /// Which clusters must have how many healthy hosts, in percent.
    pub clusters: Vec<(String, f64)>,
    /// Which requests ask.
    pub headers: Vec<HeaderMatch>,
}
