//! When endpoints are left out, and how much is retried (FEATURES R3, R7).
//!
//! In: `outlierDetection`, `retryBudget`. Out: fields of the cluster.

use meltemi_model::{OutlierDetection as Wanted, RetryBudget as Budget};
use meltemi_xds::pb::envoy::config::cluster::v3::{
    Cluster, OutlierDetection, circuit_breakers::thresholds::RetryBudget,
};
use meltemi_xds::pb::envoy::r#type::v3::Percent;

use crate::proto::duration;

/// Applies outlier detection; without it the cluster has none.
pub(super) fn apply(cluster: &mut Cluster, wanted: Option<&Wanted>) {
    let Some(wanted) = wanted else {
        return;
    };
    let Wanted {
        consecutive_5xx,
        consecutive_gateway,
        split_local_origin,
        consecutive_local_origin,
        interval,
        base_ejection_time,
        max_ejection_percent,
        min_health_percent,
    } = *wanted;
    let enforced = |count: u32| if count == 0 { 0 } else { 100 };
    cluster.outlier_detection = Some(OutlierDetection {
        consecutive_5xx,
        enforcing_consecutive_5xx: consecutive_5xx.map(enforced),
        consecutive_gateway_failure: consecutive_gateway,
        enforcing_consecutive_gateway_failure: consecutive_gateway.map(enforced),
        split_external_local_origin_errors: split_local_origin,
        consecutive_local_origin_failure: consecutive_local_origin.filter(|_| split_local_origin),
        enforcing_consecutive_local_origin_failure: consecutive_local_origin
            .filter(|_| split_local_origin)
            .map(enforced),
        // Endpoints are ejected for what they do, not for what others do.
        enforcing_success_rate: Some(0),
        enforcing_local_origin_success_rate: split_local_origin.then_some(0),
        interval: interval.map(duration),
        base_ejection_time: base_ejection_time.map(duration),
        max_ejection_percent,
        ..Default::default()
    });
    if let Some(common) = &mut cluster.common_lb_config {
        common.healthy_panic_threshold = Some(Percent {
            value: f64::from(min_health_percent),
        });
    }
}

/// Applies a retry budget, which takes the place of a fixed number of retries.
pub(super) fn apply_budget(cluster: &mut Cluster, budget: Option<&Budget>) {
    let Some(Budget {
        percent,
        min_concurrency,
    }) = budget
    else {
        return;
    };
    for thresholds in cluster
        .circuit_breakers
        .iter_mut()
        .flat_map(|it| &mut it.thresholds)
    {
        thresholds.max_retries = None;
        thresholds.retry_budget = Some(RetryBudget {
            budget_percent: Some(Percent { value: *percent }),
            min_retry_concurrency: Some(*min_concurrency),
            ..Default::default()
        });
    }
}
