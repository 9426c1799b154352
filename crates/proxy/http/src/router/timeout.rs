//! Which limits a request has: the route's, unless a trusted request header says otherwise.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use meltemi_ir as ir;

use crate::headers::{names, number, parse_number};

/// The limits on a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Timeouts {
    /// The whole.
    pub(crate) global: Option<Duration>,
    /// One try.
    pub(crate) per_try: Option<Duration>,
    /// One try, idle.
    pub(crate) per_try_idle: Option<Duration>,
    /// A timeout answers 204.
    pub(crate) alternative: bool,
}

impl Timeouts {
    /// Reads and removes the request headers that overrule the route; `sent` says whether any
    /// such header can be there, `expected` whether what a proxy before told of its timeout is one.
    pub(crate) fn take(
        target: &ir::RouteTarget,
        retry: Option<&ir::RetryPolicy>,
        headers: &mut HeaderMap,
        sent: bool,
        expected: bool,
    ) -> Self {
        let mut timeouts = Self {
            global: target.timeout,
            per_try: retry.and_then(|retry| retry.per_try_timeout),
            per_try_idle: retry.and_then(|retry| retry.per_try_idle_timeout),
            alternative: false,
        };
        if sent {
            let limit = |value: Option<HeaderValue>| {
                parse_number(value.as_ref()).map(|milliseconds| {
                    (milliseconds > 0).then(|| Duration::from_millis(milliseconds))
                })
            };
            let told = headers.get(names::EXPECTED_TIMEOUT).filter(|_| expected);
            let told = limit(told.cloned());
            let asked = || limit(headers.remove(names::UPSTREAM_TIMEOUT));
            if let Some(global) = told.or_else(asked) {
                timeouts.global = global;
            }
            if let Some(per_try) = limit(headers.remove(names::UPSTREAM_PER_TRY_TIMEOUT)) {
                timeouts.per_try = per_try;
            }
            timeouts.alternative = headers.remove(names::UPSTREAM_TIMEOUT_ALT).is_some();
        }
        if let (Some(per_try), Some(global)) = (timeouts.per_try, timeouts.global)
            && per_try >= global
        {
            timeouts.per_try = None;
        }
        timeouts
    }

    /// The value of `x-envoy-expected-rq-timeout-ms` for a try that begins when `elapsed` of
    /// the whole has passed.
    /// A try that may go on beside the next has the whole.
    pub(crate) fn expected(&self, elapsed: Duration, hedges: bool) -> Option<HeaderValue> {
        let left = self
            .global
            .map(|global| global.saturating_sub(elapsed).max(Duration::from_millis(1)));
        let per_try = self.per_try.filter(|_| !hedges || left.is_none());
        let expected = match (per_try, left) {
            (Some(per_try), Some(left)) => per_try.min(left),
            (Some(limit), None) | (None, Some(limit)) => limit,
            (None, None) => return None,
        };
        Some(number(expected.as_millis() as u64))
    }
}

/// The limit on a stream's duration: the route's or else the connection manager's, unless the
/// route lets `grpc-timeout` take its place.
pub(crate) fn stream_duration(
    config: &ir::HttpConnectionManager,
    target: Option<&ir::RouteTarget>,
    headers: &HeaderMap,
) -> Option<Duration> {
    let Some(target) = target else {
        return config.max_stream_duration;
    };
    if let Some(most) = target.grpc_timeout_max
        && let Some(asked) = headers.get("grpc-timeout").and_then(grpc_timeout)
    {
        let offset = target.grpc_timeout_offset.unwrap_or(Duration::ZERO);
        let asked = if asked > offset {
            asked - offset
        } else {
            asked
        };
        let limit = if most.is_zero() {
            asked
        } else {
            asked.min(most)
        };
        return (!limit.is_zero()).then_some(limit);
    }
    target
        .max_stream_duration
        .unwrap_or(config.max_stream_duration)
}

/// Reads `grpc-timeout`: at most eight digits and a unit.
fn grpc_timeout(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}
