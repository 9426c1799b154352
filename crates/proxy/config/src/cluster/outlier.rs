//! When a failing host is taken out.

use std::time::Duration;

use meltemi_ir::{Consecutive, FailurePercentage, OutlierDetection, SuccessRate};
use meltemi_xds::pb::envoy::config::cluster::v3 as cluster_v3;

use crate::fields::fields;
use crate::path::At;
use crate::scalar::{duration, positive};

/// Outlier detection.
pub(super) fn outlier_detection(
    message: &cluster_v3::OutlierDetection,
    at: &At<'_>,
) -> OutlierDetection {
    fields!(at, message, cluster_v3::OutlierDetection {
        honoured {
            consecutive_5xx, interval, base_ejection_time, max_ejection_percent,
            enforcing_consecutive_5xx, enforcing_success_rate, success_rate_minimum_hosts,
            success_rate_request_volume, success_rate_stdev_factor, consecutive_gateway_failure,
            enforcing_consecutive_gateway_failure, split_external_local_origin_errors,
            consecutive_local_origin_failure, enforcing_consecutive_local_origin_failure,
            enforcing_local_origin_success_rate, failure_percentage_threshold,
            enforcing_failure_percentage, enforcing_failure_percentage_local_origin,
            failure_percentage_minimum_hosts, failure_percentage_request_volume,
            max_ejection_time, max_ejection_time_jitter,
            successful_active_health_check_uneject_host, always_eject_one_host,
        }
        refused { monitors: "other ways to find outliers" }
        unsupported { detect_degraded_hosts }
    });
    // Converted below, from the message.
    let _ = (
        enforcing_success_rate,
        success_rate_minimum_hosts,
        success_rate_request_volume,
        success_rate_stdev_factor,
        enforcing_local_origin_success_rate,
        failure_percentage_threshold,
        enforcing_failure_percentage,
        enforcing_failure_percentage_local_origin,
        failure_percentage_minimum_hosts,
        failure_percentage_request_volume,
    );
    let default = OutlierDetection::default();
    let percent = |value: &Option<u32>, field, default| share(*value, field, default, at);
    let time = |value: &Option<prost_types::Duration>, field: &str, default: Duration| {
        positive(value.as_ref(), &at.field(field)).unwrap_or(default)
    };
    let base = time(
        base_ejection_time,
        "base_ejection_time",
        default.base_ejection_time,
    );
    let at_max = &at.field("max_ejection_time");
    let max =
        positive(max_ejection_time.as_ref(), at_max).unwrap_or(default.max_ejection_time.max(base));
    if max < base {
        at_max.problem("must not be less than base_ejection_time");
    }
    let threshold = |value: &Option<u32>, default: Consecutive| value.unwrap_or(default.threshold);
    OutlierDetection {
        interval: time(interval, "interval", default.interval),
        base_ejection_time: base,
        max_ejection_time: max,
        max_ejection_time_jitter: duration(
            max_ejection_time_jitter.as_ref(),
            &at.field("max_ejection_time_jitter"),
        )
        .unwrap_or_default(),
        max_ejection_percent: percent(
            max_ejection_percent,
            "max_ejection_percent",
            default.max_ejection_percent,
        ),
        always_eject_one_host: always_eject_one_host.unwrap_or(default.always_eject_one_host),
        split_local_origin_errors: *split_external_local_origin_errors,
        health_check_ends_ejection: successful_active_health_check_uneject_host
            .unwrap_or(default.health_check_ends_ejection),
        consecutive_5xx: Consecutive {
            threshold: threshold(consecutive_5xx, default.consecutive_5xx),
            enforcing: percent(
                enforcing_consecutive_5xx,
                "enforcing_consecutive_5xx",
                default.consecutive_5xx.enforcing,
            ),
        },
        consecutive_gateway_failure: Consecutive {
            threshold: threshold(
                consecutive_gateway_failure,
                default.consecutive_gateway_failure,
            ),
            enforcing: percent(
                enforcing_consecutive_gateway_failure,
                "enforcing_consecutive_gateway_failure",
                default.consecutive_gateway_failure.enforcing,
            ),
        },
        consecutive_local_origin_failure: Consecutive {
            threshold: consecutive_local_origin_failure
                .unwrap_or(default.consecutive_local_origin_failure.threshold),
            enforcing: percent(
                enforcing_consecutive_local_origin_failure,
                "enforcing_consecutive_local_origin_failure",
                default.consecutive_local_origin_failure.enforcing,
            ),
        },
        success_rate: success_rate(message, at),
        failure_percentage: failure_percentage(message, at),
    }
}

fn success_rate(message: &cluster_v3::OutlierDetection, at: &At<'_>) -> SuccessRate {
    let default = OutlierDetection::default().success_rate;
    let percent = |value, field, default| share(value, field, default, at);
    SuccessRate {
        enforcing: percent(
            message.enforcing_success_rate,
            "enforcing_success_rate",
            default.enforcing,
        ),
        enforcing_local_origin: percent(
            message.enforcing_local_origin_success_rate,
            "enforcing_local_origin_success_rate",
            default.enforcing_local_origin,
        ),
        minimum_hosts: message
            .success_rate_minimum_hosts
            .unwrap_or(default.minimum_hosts),
        request_volume: message
            .success_rate_request_volume
            .unwrap_or(default.request_volume),
        stdev_factor: message
            .success_rate_stdev_factor
            .unwrap_or(default.stdev_factor),
    }
}

fn failure_percentage(message: &cluster_v3::OutlierDetection, at: &At<'_>) -> FailurePercentage {
    let default = OutlierDetection::default().failure_percentage;
    let percent = |value, field, default| share(value, field, default, at);
    FailurePercentage {
        threshold: percent(
            message.failure_percentage_threshold,
            "failure_percentage_threshold",
            default.threshold,
        ),
        enforcing: percent(
            message.enforcing_failure_percentage,
            "enforcing_failure_percentage",
            default.enforcing,
        ),
        enforcing_local_origin: percent(
            message.enforcing_failure_percentage_local_origin,
            "enforcing_failure_percentage_local_origin",
            default.enforcing_local_origin,
        ),
        minimum_hosts: message
            .failure_percentage_minimum_hosts
            .unwrap_or(default.minimum_hosts),
        request_volume: message
            .failure_percentage_request_volume
            .unwrap_or(default.request_volume),
    }
}

/// A number of percent.
fn share(value: Option<u32>, field: &str, default: u32, at: &At<'_>) -> u32 {
    let value = value.unwrap_or(default);
    if value > 100 {
        at.field(field).problem("must be at most 100");
    }
    value
}
