//! Load balancing: which priority, then which of its hosts.
//!
//! Pure: counts, weights and random numbers enter, indexes leave. Every worker has state of
//! its own, so that choosing bounces no cache line.

pub(crate) mod hash;
pub(crate) mod hashing;
pub(crate) mod priority;
pub(crate) mod schedule;
pub(crate) mod subset;

#[cfg(test)]
mod tests;
