//! The single numbers. Workers write them, one thread per number; anybody reads them.

mod codes;
mod histogram;
mod named;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

pub use codes::ResponseCodes;
pub use histogram::{Histogram, HistogramSnapshot};
pub use named::NamedCounters;

use crate::StatBlock;

/// A number that only grows. Each has one writing thread (its shard's), so that an increment is a
/// plain load and store.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// A number that goes up and down. Each has one writing thread (its shard's).
///
/// A shard may go below zero where one worker ends what another began; the sum is what counts.
#[derive(Debug, Default)]
pub struct Gauge {
    value: AtomicU64,
    used: AtomicBool,
}

/// A gauge that nobody sees before it is written for the first time.
#[derive(Debug, Default)]
pub struct LazyGauge(Gauge);

/// A gauge of any 64 bits, such as a hash. Set on the main thread only.
#[derive(Debug, Default)]
pub struct Number(AtomicU64);

/// A text, such as a version. Set on the main thread only.
#[derive(Default)]
pub struct Text(Mutex<String>);

/// A block of statistics that exists from its first use, as Envoy's dynamic ones do.
#[derive(Debug)]
pub struct Lazy<T>(OnceLock<Box<T>>);

/// One statistic of a block, whichever kind it is.
#[derive(Clone, Copy)]
pub enum StatRef<'a> {
    /// A counter.
    Counter(&'a Counter),
    /// A gauge.
    Gauge(&'a Gauge),
    /// A histogram.
    Histogram(&'a Histogram),
    /// A number that is not added up.
    Number(&'a Number),
    /// A text.
    Text(&'a Text),
    /// Responses by status code; the statistic's name is the beginning of theirs.
    Codes(&'a ResponseCodes),
    /// Counters by name; the statistic's name and a dot begin theirs.
    Named(&'a NamedCounters),
    /// Statistics whose names begin with this one and a dot; just more of them where it is empty.
    Block(&'a dyn StatBlock),
    /// Such a block that nobody has used yet.
    Nothing,
}

impl Counter {
    /// Adds one.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        let now = self.0.load(Ordering::Relaxed);
        self.0.store(now.wrapping_add(n), Ordering::Relaxed);
    }

    /// The value.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Back to zero (`/reset_counters`). What the writer adds in the same instant may be lost.
    pub fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

impl Gauge {
    /// Adds one.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Takes one away.
    #[inline]
    pub fn dec(&self) {
        self.sub(1);
    }

    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        self.set(self.value.load(Ordering::Relaxed).wrapping_add(n));
    }

    /// Takes `n` away.
    #[inline]
    pub fn sub(&self, n: u64) {
        self.add(n.wrapping_neg());
    }

    /// Makes it `n`: for what one thread knows as a whole.
    #[inline]
    pub fn set(&self, n: u64) {
        self.value.store(n, Ordering::Relaxed);
        self.used.store(true, Ordering::Relaxed);
    }

    /// The value of this shard, which may be negative.
    #[inline]
    pub fn get(&self) -> i64 {
        self.value.load(Ordering::Relaxed).cast_signed()
    }

    /// Whether it was ever written.
    pub fn used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }
}

impl Number {
    /// Makes it `n`.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Text {
    /// Replaces the text.
    pub fn set(&self, text: impl Into<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = text.into();
    }

    /// The text.
    pub fn get(&self) -> String {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Text").field(&self.get()).finish()
    }
}

impl<T> Default for Lazy<T> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<T: Default> Lazy<T> {
    /// The block, made now if this is its first use.
    #[inline]
    pub fn get(&self) -> &T {
        self.0.get_or_init(Box::default)
    }

    /// The block, if it has been used.
    pub fn used(&self) -> Option<&T> {
        self.0.get().map(Box::as_ref)
    }
}

impl<'a> From<&'a Counter> for StatRef<'a> {
    fn from(counter: &'a Counter) -> Self {
        Self::Counter(counter)
    }
}

impl<'a> From<&'a Number> for StatRef<'a> {
    fn from(number: &'a Number) -> Self {
        Self::Number(number)
    }
}

impl<'a> From<&'a Gauge> for StatRef<'a> {
    fn from(gauge: &'a Gauge) -> Self {
        Self::Gauge(gauge)
    }
}

impl std::ops::Deref for LazyGauge {
    type Target = Gauge;

    fn deref(&self) -> &Gauge {
        &self.0
    }
}

impl<'a> From<&'a LazyGauge> for StatRef<'a> {
    fn from(gauge: &'a LazyGauge) -> Self {
        if gauge.used() {
            Self::Gauge(gauge)
        } else {
            Self::Nothing
        }
    }
}

impl<'a> From<&'a Histogram> for StatRef<'a> {
    fn from(histogram: &'a Histogram) -> Self {
        Self::Histogram(histogram)
    }
}

impl<'a> From<&'a Text> for StatRef<'a> {
    fn from(text: &'a Text) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a ResponseCodes> for StatRef<'a> {
    fn from(codes: &'a ResponseCodes) -> Self {
        Self::Codes(codes)
    }
}

impl<'a> From<&'a NamedCounters> for StatRef<'a> {
    fn from(counters: &'a NamedCounters) -> Self {
        Self::Named(counters)
    }
}

impl<'a, T: StatBlock + Default> From<&'a Lazy<T>> for StatRef<'a> {
    fn from(lazy: &'a Lazy<T>) -> Self {
        lazy.used()
            .map_or(Self::Nothing, |block| Self::Block(block))
    }
}

#[cfg(test)]
mod tests;
