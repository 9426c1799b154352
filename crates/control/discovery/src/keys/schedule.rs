//! When keys are fetched.
//!
//! In: whose are wanted, the time, how fetching went. Out: whose are due. No clock and no randomness
//! of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use meltemi_model::KeySource;
use tokio::time::Instant;

/// How long keys are good for (Istio's `PILOT_JWT_PUB_KEY_REFRESH_INTERVAL`).
const REFRESH: Duration = Duration::from_secs(20 * 60);
/// The first delay after a failure; it doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest delay after a failure.
const LAST_RETRY: Duration = Duration::from_secs(60);

/// When keys are fetched.
#[derive(Debug, Default)]
pub(super) struct Schedule(BTreeMap<KeySource, Entry>);

#[derive(Debug)]
struct Entry {
    timeout: Duration,
    /// When it is due; `None` while it is being fetched.
    due: Option<Instant>,
    failures: u32,
}

impl Schedule {
    /// These are wanted, and no others; new ones at once.
    pub fn want(&mut self, wanted: &BTreeMap<KeySource, Duration>, now: Instant) {
        self.0.retain(|source, _| wanted.contains_key(source));
        for (source, timeout) in wanted {
            let entry = self.0.entry(source.clone()).or_insert_with(|| Entry {
                timeout: *timeout,
                due: Some(now),
                failures: 0,
            });
            entry.timeout = *timeout;
        }
    }

    /// Those that are due, and how long fetching each may take; they are being fetched from now on.
    pub fn start(&mut self, now: Instant) -> Vec<(KeySource, Duration)> {
        let due = self
            .0
            .iter_mut()
            .filter(|(_, it)| it.due.is_some_and(|due| due <= now));
        due.map(|(source, entry)| {
            entry.due = None;
            (source.clone(), entry.timeout)
        })
        .collect()
    }

    /// When the next is due.
    pub fn next(&self) -> Option<Instant> {
        self.0.values().filter_map(|it| it.due).min()
    }

    /// Fetching has ended. `unit`, from 0 to 1, spreads what would happen all at once.
    pub fn done(&mut self, source: &KeySource, ok: bool, now: Instant, unit: f64) {
        let Some(entry) = self.0.get_mut(source) else {
            return;
        };
        let delay = match ok {
            true => REFRESH,
            false => FIRST_RETRY
                .saturating_mul(1 << entry.failures.min(6))
                .min(LAST_RETRY),
        };
        entry.failures = if ok { 0 } else { entry.failures + 1 };
        entry.due = Some(now + delay.mul_f64(0.9 + unit / 10.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(uri: &str) -> KeySource {
        KeySource::Uri(uri.to_owned())
    }

    fn wanted(uris: &[&str]) -> BTreeMap<KeySource, Duration> {
        let second = Duration::from_secs(1);
        uris.iter().map(|it| (source(it), second)).collect()
    }

    #[test]
    fn keys_are_fetched_at_once_and_then_every_twenty_minutes() {
        let now = Instant::now();
        let mut schedule = Schedule::default();
        schedule.want(&wanted(&["a"]), now);
        assert_eq!(schedule.start(now).len(), 1);
        // While it is fetched, it is not fetched again.
        schedule.want(&wanted(&["a"]), now);
        assert!(schedule.start(now).is_empty());
        assert_eq!(schedule.next(), None);
        schedule.done(&source("a"), true, now, 1.0);
        assert_eq!(schedule.next(), Some(now + REFRESH));
        assert!(schedule.start(now + REFRESH / 2).is_empty());
        assert_eq!(schedule.start(now + REFRESH).len(), 1);
    }

    #[test]
    fn failures_are_repeated_at_growing_intervals() {
        let now = Instant::now();
        let mut schedule = Schedule::default();
        schedule.want(&wanted(&["a"]), now);
        let delays: Vec<_> = (0..9)
            .map(|_| {
                schedule.done(&source("a"), false, now, 1.0);
                schedule.next().map(|it| (it - now).as_secs())
            })
            .collect();
        let expected = [1, 2, 4, 8, 16, 32, 60, 60, 60].map(Some);
        assert_eq!(delays, expected);
        // One success and all is as at the beginning.
        schedule.done(&source("a"), true, now, 1.0);
        schedule.done(&source("a"), false, now, 1.0);
        assert_eq!(schedule.next(), Some(now + FIRST_RETRY));
    }

    #[test]
    fn what_nobody_wants_any_more_is_not_fetched() {
        let now = Instant::now();
        let mut schedule = Schedule::default();
        schedule.want(&wanted(&["a", "b"]), now);
        schedule.want(&wanted(&["b"]), now);
        assert_eq!(schedule.start(now), [(source("b"), Duration::from_secs(1))]);
        schedule.done(&source("a"), true, now, 0.0);
        assert_eq!(schedule.next(), None);
    }
}
