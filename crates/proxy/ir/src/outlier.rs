//! Outlier detection (`envoy.config.cluster.v3.OutlierDetection`).

use std::time::Duration;

/// When a host that fails is taken out of balancing, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutlierDetection {
    /// Between two looks at all hosts, 10 s unless set.
    pub interval: Duration,
    /// How long the first ejection lasts; each further one lasts this much longer. 30 s
    /// unless set.
    pub base_ejection_time: Duration,
    /// The longest ejection, 300 s (or the base, if that is longer) unless set.
    pub max_ejection_time: Duration,
    /// At most so much is added to an ejection at random.
    pub max_ejection_time_jitter: Duration,
    /// No more than this percentage of the hosts is ejected at a time, 10 unless set.
    pub max_ejection_percent: u32,
    /// One host may be ejected whatever the percentage says.
    pub always_eject_one_host: bool,
    /// Failures of connections are counted apart from answers.
    pub split_local_origin_errors: bool,
    /// A health check that succeeds ends an ejection.
    pub health_check_ends_ejection: bool,
    /// Answers of 5xx in a row.
    pub consecutive_5xx: Consecutive,
    /// Answers of 502, 503 or 504 in a row.
    pub consecutive_gateway_failure: Consecutive,
    /// Failed connections in a row, where they are counted apart.
    pub consecutive_local_origin_failure: Consecutive,
    /// A success rate far below the others'.
    pub success_rate: SuccessRate,
    /// Too many failures in an interval.
    pub failure_percentage: FailurePercentage,
}

/// So many failures in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consecutive {
    /// How many.
    pub threshold: u32,
    /// How often, in percent, the host is ejected for it.
    pub enforcing: u32,
}

/// A success rate so many standard deviations below the mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuccessRate {
    /// How often, in percent, a host is ejected for it.
    pub enforcing: u32,
    /// The same for failures of connections, where they are counted apart.
    pub enforcing_local_origin: u32,
    /// With fewer hosts that had enough requests nothing is done.
    pub minimum_hosts: u32,
    /// Requests in an interval that are enough.
    pub request_volume: u32,
    /// How many standard deviations, in thousandths.
    pub stdev_factor: u32,
}

/// A share of failed requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailurePercentage {
    /// The share, in percent.
    pub threshold: u32,
    /// How often, in percent, a host is ejected for it.
    pub enforcing: u32,
    /// The same for failures of connections, where they are counted apart.
    pub enforcing_local_origin: u32,
    /// With fewer hosts that had enough requests nothing is done.
    pub minimum_hosts: u32,
    /// Requests in an interval that are enough.
    pub request_volume: u32,
}

impl Default for OutlierDetection {
    fn default() -> Self {
        let five = |enforcing| Consecutive {
            threshold: 5,
            enforcing,
        };
        Self {
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(300),
            max_ejection_time_jitter: Duration::ZERO,
            max_ejection_percent: 10,
            always_eject_one_host: false,
            split_local_origin_errors: false,
            health_check_ends_ejection: true,
            consecutive_5xx: five(100),
            consecutive_gateway_failure: five(0),
            consecutive_local_origin_failure: five(100),
            success_rate: SuccessRate {
                enforcing: 100,
                enforcing_local_origin: 100,
                minimum_hosts: 5,
                request_volume: 100,
                stdev_factor: 1900,
            },
            failure_percentage: FailurePercentage {
                threshold: 85,
                enforcing: 0,
                enforcing_local_origin: 0,
                minimum_hosts: 5,
                request_volume: 50,
            },
        }
    }
}
