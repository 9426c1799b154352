//! Retries: from written to valid (FEATURES R6).

use meltemi_api::{FieldPath, nearest, virtual_service as api};

use super::{RetryOn, RetryPolicy};
use crate::check::{Check, filled};

/// Conditions that Envoy knows for HTTP and gRPC.
const CONDITIONS: [&str; 16] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "envoy-ratelimited",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

const BY_STATUS: &str = "retriable-status-codes";

/// Checks a retry policy.
pub(crate) fn convert_retry(
    written: api::HttpRetry,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> RetryPolicy {
    let api::HttpRetry {
        attempts,
        per_try_timeout,
        retry_on,
        retry_remote_localities,
        retry_ignore_previous_hosts,
        backoff,
    } = written;
    let retry_on = filled(retry_on);
    let says_more =
        per_try_timeout.is_some() || retry_on.is_some() || retry_remote_localities.is_some();
    if attempts == 0 && says_more {
        let what = "write how many, or keep `attempts: 0` alone to turn retries off";
        check.invalid(
            &at.field("attempts"),
            format!("0 attempts never retry; {what}"),
        );
    }
    let attempts = check
        .count(&at.field("attempts"), Some(attempts))
        .unwrap_or_default();
    let retry_on = match retry_on {
        Some(text) => convert_retry_on(&text, &at.field("retryOn"), check),
        None => RetryOn::default(),
    };
    RetryPolicy {
        attempts,
        per_try_timeout: check.duration(&at.field("perTryTimeout"), per_try_timeout.as_deref()),
        retry_on,
        retry_remote_localities: retry_remote_localities.unwrap_or(false),
        ignore_previous_hosts: retry_ignore_previous_hosts,
        backoff: check.duration(&at.field("backoff"), backoff.as_deref()),
    }
}

fn convert_retry_on(text: &str, at: &FieldPath, check: &mut Check<'_>) -> RetryOn {
    let mut conditions: Vec<String> = Vec::new();
    let mut status_codes = Vec::new();
    for word in text.split(',').map(str::trim) {
        if let Ok(code) = word.parse::<u16>() {
            if !(100..=599).contains(&code) {
                check.invalid(at, format!("{code} is not a status code; write 100 to 599"));
            }
            status_codes.push(code);
        } else if CONDITIONS.contains(&word) {
            conditions.push(word.to_owned());
        } else {
            let message = match nearest(word, CONDITIONS) {
                Some(name) => format!("unknown condition `{word}`; did you mean {name}?"),
                None => format!(
                    "unknown condition `{word}`; write {}",
                    CONDITIONS.join(", ")
                ),
            };
            check.invalid(at, message);
        }
    }
    if !status_codes.is_empty() && !conditions.iter().any(|it| it == BY_STATUS) {
        conditions.push(BY_STATUS.to_owned());
    }
    RetryOn {
        conditions,
        status_codes,
    }
}
