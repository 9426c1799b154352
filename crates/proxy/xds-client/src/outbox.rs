//! Requests that are to be sent, no more of them than a rate allows.
//!
//! In: requests. Out: those that may be sent now. Called by the client's stream.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::Outgoing;

/// How many requests are sent (`rate_limit_settings`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So many at once.
    pub burst: u32,
    /// Then one in this time.
    pub interval: Duration,
}

/// Requests in their order.
pub(crate) struct Outbox {
    queue: VecDeque<Outgoing>,
    rate: Option<Rate>,
    /// When as many as may be sent at once have been saved up; sending one puts it off.
    full: Instant,
}

impl Outbox {
    /// With nothing to send.
    pub fn new(rate: Option<Rate>) -> Self {
        Self {
            queue: VecDeque::new(),
            rate,
            full: Instant::now(),
        }
    }

    /// A stream begins with these; what was for another is not sent any more.
    pub fn begin(&mut self, messages: Vec<Outgoing>) {
        self.queue = messages.into();
    }

    /// More to send.
    pub fn extend(&mut self, messages: Option<Outgoing>) {
        self.queue.extend(messages);
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// The next one, if it may be sent now.
    pub fn next(&mut self) -> Option<Outgoing> {
        if let Some(rate) = self.rate.filter(|_| !self.queue.is_empty()) {
            let now = Instant::now();
            if self.next_at(rate).is_some_and(|at| at > now) {
                return None;
            }
            self.full = self.full.max(now) + rate.interval;
        }
        self.queue.pop_front()
    }

    /// Ends when one may be sent.
    pub async fn allowed(&self) {
        if let Some(at) = self.rate.and_then(|rate| self.next_at(rate)) {
            tokio::time::sleep_until(at).await;
        }
    }

    /// When one may be sent; none for at once.
    fn next_at(&self, rate: Rate) -> Option<Instant> {
        let saved = rate.interval.saturating_mul(rate.burst.saturating_sub(1));
        self.full.checked_sub(saved)
    }
}

#[cfg(test)]
mod tests {
    use meltemi_xds::pb::envoy::service::discovery::v3::DiscoveryRequest;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_more_are_sent_than_the_rate_allows() {
        let second = Duration::from_secs(1);
        let mut outbox = Outbox::new(Some(Rate {
            burst: 2,
            interval: second,
        }));
        let message = Outgoing::Sotw(DiscoveryRequest::default());
        outbox.begin(vec![message; 5]);
        let mut take = async |wait: Duration| {
            tokio::time::advance(wait).await;
            let before = outbox.len();
            while outbox.next().is_some() {}
            before - outbox.len()
        };
        assert_eq!(take(Duration::ZERO).await, 2);
        assert_eq!(take(second / 2).await, 0);
        assert_eq!(take(second / 2).await, 1);
        assert_eq!(take(second * 60).await, 2);
    }
}
