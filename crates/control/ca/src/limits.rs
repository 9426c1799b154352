//! How much a caller may ask.
//!
//! In: who asks, and when. Out: yes, or how long to wait. No clock of its own. Called by `service`.

use std::collections::HashMap;
use std::time::Duration;

use meltemi_spiffe::SpiffeId;
use tokio::time::Instant;

/// How much callers may ask.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// The largest request, in bytes of PEM.
    pub request_bytes: usize,
    /// Requests a second for one identity, which all pods of a service account share.
    pub rate: f64,
    /// How many of them may come at once.
    pub burst: f64,
    /// Requests that are looked at at the same time.
    pub concurrent: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes: 16 << 10,
            rate: 20.0,
            burst: 500.0,
            concurrent: 256,
        }
    }
}

/// How many identities are remembered that have not asked for a while.
const REMEMBERED: usize = 16 << 10;

/// What is left to whom.
#[derive(Debug, Default)]
pub(crate) struct Buckets(HashMap<SpiffeId, Bucket>);

#[derive(Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Buckets {
    /// Whether `id` may ask now; otherwise how long it has to wait.
    pub fn take(&mut self, id: &SpiffeId, limits: &Limits, now: Instant) -> Result<(), Duration> {
        let left = |it: &Bucket| {
            let grown = now.duration_since(it.at).as_secs_f64() * limits.rate;
            (it.left + grown).min(limits.burst)
        };
        if self.0.len() > REMEMBERED {
            // Who has everything left is as good as unknown.
            self.0.retain(|_, it| left(it) < limits.burst);
        }
        let bucket = self.0.entry(id.clone()).or_insert(Bucket {
            left: limits.burst,
            at: now,
        });
        let has = left(bucket);
        bucket.at = now;
        if has < 1.0 {
            bucket.left = has;
            return Err(Duration::from_secs_f64((1.0 - has) / limits.rate));
        }
        bucket.left = has - 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_identity_has_its_own_share() {
        let limits = Limits {
            rate: 2.0,
            burst: 3.0,
            ..Limits::default()
        };
        let id = |name: &str| -> SpiffeId {
            format!("spiffe://cluster.local/ns/shop/sa/{name}")
                .parse()
                .unwrap()
        };
        let mut buckets = Buckets::default();
        let mut ask = |name: &str| buckets.take(&id(name), &limits, Instant::now());
        for _ in 0..3 {
            assert_eq!(ask("web"), Ok(()));
        }
        assert_eq!(ask("web"), Err(Duration::from_millis(500)));
        assert_eq!(ask("db"), Ok(()));
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(ask("web"), Ok(()));
        assert!(ask("web").is_err());
        tokio::time::advance(Duration::from_secs(100)).await;
        for _ in 0..3 {
            assert_eq!(ask("web"), Ok(()));
        }
        assert!(ask("web").is_err());
    }
}
