//! Numbers of connections.

use std::sync::atomic::{AtomicU64, Ordering};

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A number that no other connection of the process has, upstream or downstream.
pub fn next_connection_number() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}
