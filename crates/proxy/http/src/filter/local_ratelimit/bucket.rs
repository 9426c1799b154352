//! Token buckets that all workers share, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};

use meltemi_ir as ir;
use tokio::time::Instant;

/// A bucket that fills steadily.
///
/// It keeps one number: the moment at which it was empty, as if nothing had been taken since.
/// Taking a token moves that moment on.
pub(super) struct Bucket {
    max: f64,
    /// Tokens a second.
    rate: f64,
    began: Instant,
    /// Seconds since `began`, as bits.
    empty_at: AtomicU64,
}

impl Bucket {
    pub(super) fn new(config: &ir::TokenBucket) -> Self {
        let rate = f64::from(config.per_fill) / config.interval.as_secs_f64().max(1e-9);
        let max = f64::from(config.max);
        Self {
            max,
            rate,
            began: Instant::now(),
            empty_at: AtomicU64::new((-max / rate).to_bits()),
        }
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&self) -> bool {
        let now = self.now();
        self.empty_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| {
                let tokens = self.tokens(f64::from_bits(bits), now);
                (tokens >= 1.0).then(|| (now - (tokens - 1.0) / self.rate).to_bits())
            })
            .is_ok()
    }

    /// Tokens a second.
    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    /// What it holds at most.
    pub(super) fn max(&self) -> u64 {
        self.max as u64
    }

    /// Whole tokens that are left.
    pub(super) fn left(&self) -> u64 {
        let bits = self.empty_at.load(Ordering::Relaxed);
        self.tokens(f64::from_bits(bits), self.now()) as u64
    }

    /// Whole seconds until there is a token.
    pub(super) fn reset(&self) -> u64 {
        let bits = self.empty_at.load(Ordering::Relaxed);
        let tokens = self.tokens(f64::from_bits(bits), self.now());
        if tokens >= 1.0 {
            0
        } else {
            ((1.0 - tokens) / self.rate).ceil() as u64
        }
    }

    fn tokens(&self, empty_at: f64, now: f64) -> f64 {
        ((now - empty_at) * self.rate).min(self.max)
    }

    fn now(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }
}

#[cfg(test)]
mod tests;
