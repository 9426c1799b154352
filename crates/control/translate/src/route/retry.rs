//! Retries (FEATURES R6).
//!
//! In: a route's `retries`, else the mesh's default. Out: Envoy's retry policy, or none for 0 attempts.

use meltemi_model::{RetryOn, RetryPolicy as Wanted};
use meltemi_xds::pb::envoy::config::route::v3::{
    RetryPolicy,
    retry_policy::{
        RetryBackOff, RetryHostPredicate, RetryPriority, retry_host_predicate, retry_priority,
    },
};
use meltemi_xds::pb::envoy::extensions::retry::{
    host::previous_hosts::v3::PreviousHostsPredicate,
    priority::previous_priorities::v3::PreviousPrioritiesConfig,
};

use crate::proto::{duration, pack};
use crate::scope::Scope;

/// How often the balancer may choose again to avoid a host that was tried.
const HOST_SELECTION_ATTEMPTS: i64 = 5;

/// The retry policy of a route; `sticky` if its requests have an endpoint each.
pub(super) fn policy(scope: &Scope<'_>, wanted: &Wanted, sticky: bool) -> Option<RetryPolicy> {
    let Wanted {
        attempts,
        per_try_timeout,
        retry_on,
        retry_remote_localities,
        ignore_previous_hosts,
        backoff,
    } = wanted;
    if *attempts == 0 {
        return None;
    }
    let RetryOn {
        conditions: _, // ignored: in `to_envoy`
        status_codes,
    } = retry_on;
    Some(RetryPolicy {
        retry_on: retry_on.to_envoy(),
        num_retries: Some(*attempts),
        per_try_timeout: per_try_timeout.map(duration),
        retriable_status_codes: status_codes.iter().map(|&it| u32::from(it)).collect(),
        host_selection_retry_max_attempts: HOST_SELECTION_ATTEMPTS,
        retry_host_predicate: ignore_previous_hosts
            .unwrap_or(!sticky)
            .then(previous_hosts)
            .into_iter()
            .collect(),
        retry_priority: (*retry_remote_localities && !scope.node.lacks.retry_priority)
            .then(previous_priorities),
        retry_back_off: backoff.map(|base| RetryBackOff {
            base_interval: Some(duration(base)),
            max_interval: None,
        }),
        ..Default::default()
    })
}

/// The retry of what a server never saw, between a sidecar and its own application.
pub(super) fn inbound() -> RetryPolicy {
    RetryPolicy {
        retry_on: "reset-before-request".to_owned(),
        num_retries: Some(2),
        ..Default::default()
    }
}

fn previous_hosts() -> RetryHostPredicate {
    RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
        config_type: Some(retry_host_predicate::ConfigType::TypedConfig(pack(
            &PreviousHostsPredicate {},
        ))),
    }
}

fn previous_priorities() -> RetryPriority {
    let config = PreviousPrioritiesConfig {
        update_frequency: 2,
    };
    RetryPriority {
        name: "envoy.retry_priorities.previous_priorities".to_owned(),
        config_type: Some(retry_priority::ConfigType::TypedConfig(pack(&config))),
    }
}
