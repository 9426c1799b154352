//! Retry policies of routes and virtual hosts.

use std::time::Duration;

use meltemi_ir::{RetryOn, RetryPolicy};
use meltemi_xds::pb::envoy::config::route::v3 as route_v3;
use meltemi_xds::pb::envoy::config::route::v3::retry_policy::retry_host_predicate::ConfigType;
use meltemi_xds::pb::envoy::config::route::v3::retry_policy::{RetryBackOff, RetryHostPredicate};
use meltemi_xds::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use prost_types::Any;

use crate::extension::{Extension, Known, empty_message};
use crate::fields::fields;
use crate::matcher::header_match;
use crate::path::At;
use crate::scalar::{duration, positive, status};

/// The host predicates that the proxy has.
pub(crate) static HOST_PREDICATES: &[Known<HostPredicate>] = &[Known {
    name: "envoy.retry_host_predicates.previous_hosts",
    type_name: "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
    convert: previous_hosts,
}];

/// Checks the configuration of a host predicate.
pub(crate) type HostPredicate = fn(Option<&Any>, &At<'_>) -> Option<()>;

empty_message!(previous_hosts, PreviousHostsPredicate);

const BASE_INTERVAL: Duration = Duration::from_millis(25);

/// A retry policy.
pub(crate) fn retry_policy(message: &route_v3::RetryPolicy, at: &At<'_>) -> RetryPolicy {
    fields!(at, message, route_v3::RetryPolicy {
        honoured {
            num_retries, per_try_timeout, per_try_idle_timeout, host_selection_retry_max_attempts,
            retriable_status_codes, retry_back_off, retriable_headers, retriable_request_headers,
        }
        partly {
            retry_on: "unknown words are passed over, as Envoy does",
            retry_host_predicate: "previous_hosts",
        }
        unsupported {
            retry_priority, retry_options_predicates, rate_limited_retry_back_off,
            refresh_cluster_on_retry,
        }
    });
    let (on, _unknown) = RetryOn::parse(retry_on);
    let (base_interval, max_interval) = match retry_back_off {
        Some(message) => back_off(message, &at.field("retry_back_off")),
        None => (BASE_INTERVAL, BASE_INTERVAL * 10),
    };
    let avoid_previous_hosts = !at
        .field("retry_host_predicate")
        .each(retry_host_predicate, host_predicate)
        .is_empty();
    let at_attempts = &at.field("host_selection_retry_max_attempts");
    let attempts = match u32::try_from(*host_selection_retry_max_attempts) {
        Ok(attempts) => attempts.max(1),
        Err(_) => {
            at_attempts.problem("is out of range");
            1
        }
    };
    let limit = |value: &Option<prost_types::Duration>, field| {
        duration(value.as_ref(), &at.field(field)).filter(|value| !value.is_zero())
    };
    RetryPolicy {
        on,
        num_retries: num_retries.unwrap_or(1),
        per_try_timeout: limit(per_try_timeout, "per_try_timeout"),
        per_try_idle_timeout: limit(per_try_idle_timeout, "per_try_idle_timeout"),
        status_codes: at
            .field("retriable_status_codes")
            .each(retriable_status_codes, |code, at| status(*code, 100, at)),
        headers: at
            .field("retriable_headers")
            .each(retriable_headers, header_match),
        request_headers: at
            .field("retriable_request_headers")
            .each(retriable_request_headers, header_match),
        base_interval,
        max_interval,
        avoid_previous_hosts,
        host_selection_max_attempts: attempts,
    }
}

fn back_off(message: &RetryBackOff, at: &At<'_>) -> (Duration, Duration) {
    fields!(at, message, RetryBackOff { honoured { base_interval, max_interval } });
    let at_base = &at.field("base_interval");
    if base_interval.is_none() {
        at_base.problem("is required");
    }
    let base = positive(base_interval.as_ref(), at_base)
        .unwrap_or(BASE_INTERVAL)
        // A back-off shorter than this is a busy loop.
        .max(Duration::from_millis(1));
    let at_max = &at.field("max_interval");
    let max = positive(max_interval.as_ref(), at_max).unwrap_or(base.saturating_mul(10));
    if max < base {
        at_max.problem("must not be less than base_interval");
    }
    (base, max)
}

fn host_predicate(message: &RetryHostPredicate, at: &At<'_>) -> Option<()> {
    fields!(at, message, RetryHostPredicate {
        honoured { name }
        oneof { config_type { typed_config: Honoured "" } }
    });
    let config = config_type
        .as_ref()
        .map(|ConfigType::TypedConfig(config)| config);
    let known = Extension { name, config }.find(HOST_PREDICATES, at)?;
    (known.convert)(config, &at.field("typed_config"))
}
