//! Limits on what a cluster is sent at a time.

use meltemi_ir::{CircuitBreakers, Priority, Thresholds};
use meltemi_xds::pb::envoy::config::cluster::v3 as cluster_v3;

use crate::fields::fields;
use crate::path::At;
use crate::route_action::routing_priority;

/// Limits by priority; the first of a priority counts.
pub(super) fn circuit_breakers(
    message: &cluster_v3::CircuitBreakers,
    at: &At<'_>,
) -> CircuitBreakers {
    fields!(at, message, cluster_v3::CircuitBreakers {
        honoured { thresholds }
        unsupported { per_host_thresholds }
    });
    let mut default = None;
    let mut high = None;
    for (priority, limits) in at.field("thresholds").each(thresholds, one) {
        match priority {
            Priority::Default => default.get_or_insert(limits),
            Priority::High => high.get_or_insert(limits),
        };
    }
    CircuitBreakers {
        default: default.unwrap_or_default(),
        high: high.unwrap_or_default(),
    }
}

fn one(
    message: &cluster_v3::circuit_breakers::Thresholds,
    at: &At<'_>,
) -> Option<(Priority, Thresholds)> {
    fields!(at, message, cluster_v3::circuit_breakers::Thresholds {
        honoured { priority, max_connections, max_pending_requests, max_requests, max_retries }
        partly { max_connection_pools: "no limit" }
        unsupported { retry_budget }
        ignored { track_remaining: "it adds statistics only" }
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
        },
    ))
}
