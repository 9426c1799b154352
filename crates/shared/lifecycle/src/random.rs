//! Randomness, as a handle that can be seeded.

use std::cell::RefCell;
use std::sync::Mutex;

/// A source of random numbers for one worker or task. Not for keys: those come from the
/// TLS library.
#[derive(Debug)]
pub struct Random(RefCell<fastrand::Rng>);

impl Random {
    /// Seeded by the operating system.
    pub fn from_entropy() -> Self {
        Self(RefCell::new(fastrand::Rng::new()))
    }

    /// Gives the same numbers for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self(RefCell::new(fastrand::Rng::with_seed(seed)))
    }

    /// A generator of its own for another worker, seeded from this one.
    pub fn fork(&self) -> Self {
        Self(RefCell::new(self.0.borrow_mut().fork()))
    }

    /// Sixty-four random bits.
    pub fn bits(&self) -> u64 {
        self.0.borrow_mut().u64(..)
    }

    /// Uniform in `0..limit`; 0 when `limit` is 0.
    pub fn below(&self, limit: u64) -> u64 {
        if limit == 0 {
            0
        } else {
            self.0.borrow_mut().u64(..limit)
        }
    }

    /// Uniform in `[0, 1)`.
    pub fn unit(&self) -> f64 {
        self.0.borrow_mut().f64()
    }
}

/// Hands out a [`Random`] to each worker from one seed.
#[derive(Debug)]
pub struct RandomSource(Mutex<fastrand::Rng>);

impl RandomSource {
    /// Seeded by the operating system.
    pub fn from_entropy() -> Self {
        Self(Mutex::new(fastrand::Rng::new()))
    }

    /// Gives the same sequence of generators for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self(Mutex::new(fastrand::Rng::with_seed(seed)))
    }

    /// The next worker's generator.
    pub fn next(&self) -> Random {
        let mut rng = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        Random(RefCell::new(rng.fork()))
    }
}
