//! Whether a request is tried again, and when. A decision enters as what happened, leaves as a
//! truth value; the router carries it out.

use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode};
use meltemi_ir::{self as ir, RetryOn};
use meltemi_lifecycle::{Clock, Random};
use meltemi_upstream::{ConnectFailure, ResetReason};

use crate::headers::{names, parse_number};
use crate::route::{RequestView, Source, header_matches};

/// The retries that a request has left, and for what.
#[derive(Debug)]
pub(crate) struct RetryState {
    on: RetryOn,
    left: u32,
    status_codes: Vec<StatusCode>,
    header_names: Vec<HeaderName>,
    next_interval: Duration,
    max_interval: Duration,
    /// How long a limit on the rate says to wait.
    pub(crate) rate_limited: Option<ir::RateLimitedBackOff>,
}

/// Which priorities were tried.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TriedPriorities {
    tries: u32,
    seen: u128,
    /// As bits: those to avoid, as of the last look.
    pub(crate) avoided: u128,
}

impl TriedPriorities {
    /// Another try went to this priority; every so many tries is another look.
    pub(crate) fn add(&mut self, priority: u32, frequency: u32) {
        self.tries += 1;
        self.seen |= 1_u128.checked_shl(priority).unwrap_or_default();
        if self.tries.is_multiple_of(frequency) {
            self.avoided = self.seen;
        }
    }
}

/// Why a try gave no response.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// There was no connection.
    Connect(ConnectFailure),
    /// The stream was reset before a response.
    Reset(ResetReason),
    /// The try took too long.
    PerTryTimeout,
    /// Nothing moved in the try for too long.
    PerTryIdleTimeout,
}

impl Failure {
    /// Whether it says something of the host.
    pub(crate) fn is_the_hosts(&self) -> bool {
        !matches!(
            self,
            Self::Connect(ConnectFailure::Overflow(_))
                | Self::Reset(ResetReason::RequestBody(_) | ResetReason::InvalidRequest(_))
        )
    }
}

impl RetryState {
    /// The state for a request, or none where nothing would be retried. Reads and removes the
    /// request headers that add to the policy; `sent` says whether any can be there, `fits`
    /// whether the policy's conditions on the request hold.
    pub(crate) fn take(
        policy: Option<&ir::RetryPolicy>,
        headers: &mut HeaderMap,
        fits: bool,
        sent: bool,
    ) -> Option<Self> {
        let mut state = Self {
            on: policy.map_or(RetryOn::default(), |policy| policy.on),
            left: policy.map_or(1, |policy| policy.num_retries),
            status_codes: Vec::new(),
            header_names: Vec::new(),
            next_interval: policy.map_or(Duration::from_millis(25), |policy| policy.base_interval),
            max_interval: policy.map_or(Duration::from_millis(250), |policy| policy.max_interval),
            rate_limited: policy.and_then(|policy| policy.rate_limited.clone()),
        };
        if sent {
            state.take_headers(headers);
        }
        if state.on.is_empty() || !fits {
            return None;
        }
        Some(state)
    }

    fn take_headers(&mut self, headers: &mut HeaderMap) {
        let max_retries = parse_number(headers.remove(names::MAX_RETRIES).as_ref());
        for (name, is_grpc) in [(names::RETRY_ON, false), (names::RETRY_GRPC_ON, true)] {
            if let Some(value) = headers.remove(name) {
                let (more, _unknown) = RetryOn::parse(value.to_str().unwrap_or_default());
                self.on = self.on.union(more.of_grpc(is_grpc));
            }
        }
        if !self.on.is_empty()
            && let Some(most) = max_retries
        {
            self.left = u32::try_from(most).unwrap_or(u32::MAX);
        }
        if let Some(value) = headers.remove(names::RETRIABLE_STATUS_CODES) {
            let codes = value.to_str().unwrap_or_default().split(',');
            self.status_codes.extend(
                codes.filter_map(|code| StatusCode::from_bytes(code.trim().as_bytes()).ok()),
            );
        }
        if let Some(value) = headers.remove(names::RETRIABLE_HEADER_NAMES) {
            let list = value.to_str().unwrap_or_default().split(',');
            self.header_names.extend(
                list.filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok()),
            );
        }
        headers.remove(names::HEDGE);
    }

    /// Whether a response is one to try again after.
    pub(crate) fn wants_another(
        &self,
        policy: Option<&ir::RetryPolicy>,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> bool {
        if headers.contains_key(names::RATE_LIMITED) {
            return self.on.intersects(RetryOn::ENVOY_RATELIMITED);
        }
        let on = |flag| self.on.intersects(flag);
        let listed = |codes: &[StatusCode]| codes.contains(&status);
        (on(RetryOn::SERVER_ERROR) && status.is_server_error())
            || (on(RetryOn::GATEWAY_ERROR) && matches!(status.as_u16(), 502..=504))
            || (on(RetryOn::RETRIABLE_4XX) && status == StatusCode::CONFLICT)
            || (on(RetryOn::RETRIABLE_STATUS_CODES)
                && (listed(&self.status_codes)
                    || policy.is_some_and(|policy| listed(&policy.status_codes))))
            || (on(RetryOn::RETRIABLE_HEADERS)
                && (self
                    .header_names
                    .iter()
                    .any(|name| headers.contains_key(name))
                    || policy.is_some_and(|policy| {
                        let source = Source::Response(headers);
                        policy
                            .headers
                            .iter()
                            .any(|matcher| header_matches(matcher, &source))
                    })))
            || self.wants_another_grpc(headers)
    }

    fn wants_another_grpc(&self, headers: &HeaderMap) -> bool {
        const BY_STATUS: [(u64, RetryOn); 5] = [
            (1, RetryOn::GRPC_CANCELLED),
            (4, RetryOn::GRPC_DEADLINE_EXCEEDED),
            (8, RetryOn::GRPC_RESOURCE_EXHAUSTED),
            (13, RetryOn::GRPC_INTERNAL),
            (14, RetryOn::GRPC_UNAVAILABLE),
        ];
        BY_STATUS.iter().any(|(_, flag)| self.on.intersects(*flag))
            && parse_number(headers.get(names::GRPC_STATUS)).is_some_and(|status| {
                BY_STATUS
                    .iter()
                    .any(|(code, flag)| *code == status && self.on.intersects(*flag))
            })
    }

    /// Whether a failure is one to try again after. `started` says whether the request went
    /// out, in part at least.
    pub(crate) fn wants_another_after(&self, failure: &Failure, started: bool) -> bool {
        let any_reset = RetryOn::RESET
            .union(RetryOn::SERVER_ERROR)
            .union(RetryOn::GATEWAY_ERROR);
        match failure {
            Failure::Connect(ConnectFailure::Overflow(_)) => false,
            _ if self.on.intersects(any_reset) => true,
            _ if self.on.intersects(RetryOn::RESET_BEFORE_REQUEST) && !started => true,
            Failure::Connect(_) => self.on.intersects(RetryOn::CONNECT_FAILURE),
            Failure::Reset(ResetReason::RemoteRefused) => {
                self.on.intersects(RetryOn::REFUSED_STREAM)
            }
            Failure::Reset(_) | Failure::PerTryTimeout | Failure::PerTryIdleTimeout => false,
        }
    }

    /// Takes one of the retries; false when there is none left.
    pub(crate) fn take_one(&mut self) -> bool {
        let any = self.left > 0;
        self.left = self.left.saturating_sub(1);
        any
    }

    /// How long to wait before the next try: exponential, with full jitter.
    pub(crate) fn back_off(&mut self, random: &Random) -> Duration {
        let bound = self.next_interval.min(self.max_interval);
        self.next_interval = (self.next_interval * 2).min(self.max_interval);
        Duration::from_millis(random.below(bound.as_millis().max(1) as u64))
    }
}

/// How long the response says to wait, and up to half as long again; none where it does not
/// say, or too long.
pub(crate) fn told_to_wait(
    limited: &ir::RateLimitedBackOff,
    headers: &HeaderMap,
    clock: &Clock,
    random: &Random,
) -> Option<Duration> {
    let ir::RateLimitedBackOff {
        reset_headers,
        max_interval,
    } = limited;
    let interval = reset_headers.iter().find_map(|(name, format)| {
        let number = parse_number(headers.get(name))?;
        let interval = match format {
            ir::ResetFormat::Seconds => Duration::from_secs(number),
            ir::ResetFormat::UnixTimestamp => {
                Duration::from_secs(number).checked_sub(clock.since_epoch())?
            }
        };
        (interval <= *max_interval).then_some(interval)
    })?;
    let half = u64::try_from(interval.as_millis() / 2).unwrap_or(u64::MAX);
    Some(interval + Duration::from_millis(random.below(half)))
}

/// Whether the policy's conditions on the request hold.
pub(crate) fn request_fits(policy: Option<&ir::RetryPolicy>, view: &RequestView<'_>) -> bool {
    policy.is_none_or(|policy| {
        policy.request_headers.is_empty()
            || policy
                .request_headers
                .iter()
                .any(|matcher| header_matches(matcher, &Source::Request(view)))
    })
}
