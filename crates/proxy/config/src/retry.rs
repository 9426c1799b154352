//! Retry policies of routes and virtual hosts.

use std::time::Duration;

use http::HeaderName;
use meltemi_ir::{Metadata, RateLimitedBackOff, ResetFormat, RetryOn, RetryPolicy};
use meltemi_xds::pb::envoy::config::route::v3 as route_v3;
use meltemi_xds::pb::envoy::config::route::v3::retry_policy::retry_host_predicate::ConfigType;
use meltemi_xds::pb::envoy::config::route::v3::retry_policy::retry_priority::ConfigType as PriorityConfig;
use meltemi_xds::pb::envoy::config::route::v3::retry_policy::{
    RateLimitedRetryBackOff, ResetHeader, ResetHeaderFormat, RetryBackOff, RetryHostPredicate,
    RetryPriority,
};
use meltemi_xds::pb::envoy::extensions::retry::host::omit_canary_hosts::v3::OmitCanaryHostsPredicate;
use meltemi_xds::pb::envoy::extensions::retry::host::omit_host_metadata::v3::OmitHostMetadataConfig;
use meltemi_xds::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use meltemi_xds::pb::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;
use prost_types::Any;

use crate::extension::{Extension, Known, empty_message, unpack};
use crate::fields::fields;
use crate::header::header_name;
use crate::matcher::header_match;
use crate::metadata::metadata;
use crate::path::At;
use crate::scalar::{duration, enumeration, positive, status};

/// The host predicates that the proxy has.
pub(crate) static HOST_PREDICATES: &[Known<HostPredicate>] = &[
    Known {
        name: "envoy.retry_host_predicates.previous_hosts",
        type_name: "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
        convert: |config, at| {
            previous_hosts(config, at)?;
            Some(Predicate::PreviousHosts)
        },
    },
    Known {
        name: "envoy.retry_host_predicates.omit_canary_hosts",
        type_name: "envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate",
        convert: |config, at| {
            omit_canary_hosts(config, at)?;
            Some(Predicate::OmitCanaryHosts)
        },
    },
    Known {
        name: "envoy.retry_host_predicates.omit_host_metadata",
        type_name: "envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig",
        convert: |config, at| omit_host_metadata(&unpack(config, at)?, at),
    },
];

/// Converts the configuration of a host predicate.
pub(crate) type HostPredicate = fn(Option<&Any>, &At<'_>) -> Option<Predicate>;

/// Which hosts a further try avoids.
#[derive(Clone, Debug)]
pub(crate) enum Predicate {
    PreviousHosts,
    OmitCanaryHosts,
    OmitHostMetadata(Metadata),
}

/// The retry priorities that the proxy has.
pub(crate) static RETRY_PRIORITIES: &[Known<RetryPriorityKind>] = &[Known {
    name: "envoy.retry_priorities.previous_priorities",
    type_name: "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
    convert: |config, at| previous_priorities(&unpack(config, at)?, at),
}];

/// Converts the configuration of a retry priority: after how many tries it looks anew.
pub(crate) type RetryPriorityKind = fn(Option<&Any>, &At<'_>) -> Option<u32>;

empty_message!(previous_hosts, PreviousHostsPredicate);
empty_message!(omit_canary_hosts, OmitCanaryHostsPredicate);

const BASE_INTERVAL: Duration = Duration::from_millis(25);

/// A retry policy.
pub(crate) fn retry_policy(message: &route_v3::RetryPolicy, at: &At<'_>) -> RetryPolicy {
    fields!(at, message, route_v3::RetryPolicy {
        honoured {
            num_retries, per_try_timeout, per_try_idle_timeout, host_selection_retry_max_attempts,
            retriable_status_codes, retry_back_off, retriable_headers, retriable_request_headers,
            rate_limited_retry_back_off,
        }
        partly {
            retry_on: "unknown words are passed over, as Envoy does",
            retry_host_predicate: "previous_hosts, omit_canary_hosts and omit_host_metadata",
            retry_priority: "previous_priorities",
        }
        unsupported { retry_options_predicates, refresh_cluster_on_retry }
    });
    let (on, _unknown) = RetryOn::parse(retry_on);
    let (base_interval, max_interval) = match retry_back_off {
        Some(message) => back_off(message, &at.field("retry_back_off")),
        None => (BASE_INTERVAL, BASE_INTERVAL * 10),
    };
    let mut avoid_previous_hosts = false;
    let mut omit_canary = false;
    let mut omit_metadata = Vec::new();
    for predicate in at
        .field("retry_host_predicate")
        .each(retry_host_predicate, host_predicate)
    {
        match predicate {
            Predicate::PreviousHosts => avoid_previous_hosts = true,
            Predicate::OmitCanaryHosts => omit_canary = true,
            Predicate::OmitHostMetadata(metadata) => omit_metadata.push(metadata),
        }
    }
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
        rate_limited: rate_limited_retry_back_off
            .as_ref()
            .map(|message| rate_limited(message, &at.field("rate_limited_retry_back_off"))),
        avoid_previous_hosts,
        omit_canary_hosts: omit_canary,
        omit_host_metadata: omit_metadata,
        previous_priorities: retry_priority
            .as_ref()
            .and_then(|message| priority(message, &at.field("retry_priority"))),
        host_selection_max_attempts: attempts,
    }
}

/// Whether a try that takes too long goes on beside the next one.
pub(crate) fn hedge(message: &route_v3::HedgePolicy, at: &At<'_>) -> bool {
    fields!(at, message, route_v3::HedgePolicy {
        honoured { hedge_on_per_try_timeout }
        partly {
            initial_requests: "1, as in Envoy, which has no more either",
            additional_request_chance: "none, as in Envoy",
        }
    });
    if initial_requests.is_some_and(|count| count > 1) {
        at.field("initial_requests").refuse("it must be 1");
    }
    if additional_request_chance.is_some_and(|chance| chance.numerator > 0) {
        at.field("additional_request_chance").refuse("it must be 0");
    }
    *hedge_on_per_try_timeout
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

fn rate_limited(message: &RateLimitedRetryBackOff, at: &At<'_>) -> RateLimitedBackOff {
    fields!(at, message, RateLimitedRetryBackOff { honoured { reset_headers, max_interval } });
    if reset_headers.is_empty() {
        at.field("reset_headers").problem("must not be empty");
    }
    RateLimitedBackOff {
        reset_headers: at.field("reset_headers").each(reset_headers, reset_header),
        max_interval: positive(max_interval.as_ref(), &at.field("max_interval"))
            .unwrap_or(Duration::from_secs(300)),
    }
}

fn reset_header(message: &ResetHeader, at: &At<'_>) -> Option<(HeaderName, ResetFormat)> {
    fields!(at, message, ResetHeader { honoured { name, format } });
    let name = header_name(name, &at.field("name"));
    let format = match enumeration(*format, &at.field("format"))? {
        ResetHeaderFormat::Seconds => ResetFormat::Seconds,
        ResetHeaderFormat::UnixTimestamp => ResetFormat::UnixTimestamp,
    };
    Some((name?, format))
}

fn priority(message: &RetryPriority, at: &At<'_>) -> Option<u32> {
    fields!(at, message, RetryPriority {
        honoured { name }
        oneof { config_type { typed_config: Honoured "" } }
    });
    let config = config_type
        .as_ref()
        .map(|PriorityConfig::TypedConfig(config)| config);
    let known = Extension { name, config }.find(RETRY_PRIORITIES, at)?;
    (known.convert)(config, &at.field("typed_config"))
}

fn previous_priorities(message: &PreviousPrioritiesConfig, at: &At<'_>) -> Option<u32> {
    fields!(at, message, PreviousPrioritiesConfig { honoured { update_frequency } });
    match u32::try_from(*update_frequency) {
        Ok(frequency) if frequency > 0 => Some(frequency),
        _ => {
            at.field("update_frequency").problem("must be at least 1");
            None
        }
    }
}

fn omit_host_metadata(message: &OmitHostMetadataConfig, at: &At<'_>) -> Option<Predicate> {
    fields!(at, message, OmitHostMetadataConfig { honoured { metadata_match } });
    let unwanted = metadata(metadata_match.as_ref(), &at.field("metadata_match"));
    Some(Predicate::OmitHostMetadata(unwanted))
}

fn host_predicate(message: &RetryHostPredicate, at: &At<'_>) -> Option<Predicate> {
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
