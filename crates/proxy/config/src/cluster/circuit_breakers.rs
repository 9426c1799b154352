//! Limits on what a cluster is sent at a time.

use meltemi_ir::{CircuitBreakers, Priority, RetryBudget, Thresholds};
use meltemi_xds::pb::envoy::config::cluster::v3 as cluster_v3;
use meltemi_xds::pb::envoy::config::cluster::v3::circuit_breakers::thresholds as budget_v3;

use crate::fields::fields;
use crate::path::At;
use crate::route_action::routing_priority;
use crate::scalar::percent;

/// Limits by priority; the first of a priority counts.
pub(super) fn circuit_breakers(
    message: &cluster_v3::CircuitBreakers,
    at: &At<'_>,
) -> CircuitBreakers {
    fields!(at, message, cluster_v3::CircuitBreakers {
        honoured { thresholds }
        partly { per_host_thresholds: "max_connections" }
    });
    let mut default = None;
    let mut high = None;
    for (priority, limits) in at.field("thresholds").each(thresholds, one) {
        match priority {
            Priority::Default => default.get_or_insert(limits),
            Priority::High => high.get_or_insert(limits),
        };
    }
    let mut per_host = [None; 2];
    for (priority, limit) in at
        .field("per_host_thresholds")
        .each(per_host_thresholds, per_host_limit)
    {
        per_host[match priority {
            Priority::Default => 0,
            Priority::High => 1,
        }]
        .get_or_insert(limit);
    }
    CircuitBreakers {
        default: default.unwrap_or_default(),
        high: high.unwrap_or_default(),
        per_host_connections: per_host,
    }
}

fn one(
    message: &cluster_v3::circuit_breakers::Thresholds,
    at: &At<'_>,
) -> Option<(Priority, Thresholds)> {
    fields!(at, message, cluster_v3::circuit_breakers::Thresholds {
        honoured {
            priority, max_connections, max_pending_requests, max_requests, max_retries,
            retry_budget, track_remaining,
        }
        partly { max_connection_pools: "no limit" }
    });
    if !matches!(max_connection_pools, None | Some(u32::MAX)) {
        at.field("max_connection_pools").refuse("");
    }
    let default = Thresholds::default();
    Some((
        routing_priority(*priority, &at.field("priority")),
        Thresholds {
            max_connections: max_connections.unwrap_or(default.max_connections),
            max_pending_requests: max_pending_requests.unwrap_or(default.max_pending_requests),
            max_requests: max_requests.unwrap_or(default.max_requests),
            max_retries: max_retries.unwrap_or(default.max_retries),
            retry_budget: retry_budget
                .as_ref()
                .map(|message| budget(message, &at.field("retry_budget"))),
            track_remaining: *track_remaining,
        },
    ))
}

fn budget(message: &budget_v3::RetryBudget, at: &At<'_>) -> RetryBudget {
    fields!(at, message, budget_v3::RetryBudget {
        honoured { budget_percent, min_retry_concurrency }
        unsupported { budget_interval }
    });
    let share = budget_percent
        .as_ref()
        .and_then(|message| percent(message, &at.field("budget_percent")));
    RetryBudget {
        percent: share.unwrap_or(20.0),
        min_retry_concurrency: min_retry_concurrency.unwrap_or(3),
    }
}

/// Envoy takes nothing else for one host.
fn per_host_limit(
    message: &cluster_v3::circuit_breakers::Thresholds,
    at: &At<'_>,
) -> Option<(Priority, u32)> {
    let (priority, _) = one(message, at)?;
    for (field, given) in [
        ("max_pending_requests", message.max_pending_requests),
        ("max_requests", message.max_requests),
        ("max_retries", message.max_retries),
    ] {
        if given.is_some() {
            at.field(field).problem("is not for per_host_thresholds");
        }
    }
    Some((priority, message.max_connections.unwrap_or(u32::MAX)))
}
