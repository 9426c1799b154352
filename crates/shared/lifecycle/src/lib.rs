//! Handles that a whole mesh shares: clock, randomness, shutdown and drain.
//!
//! Nothing else in the project reads the clock, seeds a generator or listens for
//! signals, so that a simulation can stand in for all three.

mod clock;
mod drain;
mod number;
mod random;
mod worker;

pub use clock::Clock;
pub use drain::{Drain, DrainSignal};
pub use number::next_connection_number;
pub use random::{Random, RandomSource};
pub use worker::WorkerId;
