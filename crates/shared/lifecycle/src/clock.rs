//! The clock, as a handle.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Tells the time. Monotonic time is tokio's, hence virtual in a paused runtime; wall
/// time is the system's, or follows monotonic time from a fixed start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    fixed: Option<(SystemTime, Instant)>,
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self { fixed: None }
    }

    /// Wall time begins at `start` now and passes as monotonic time does.
    pub fn starting_at(start: SystemTime) -> Self {
        Self {
            fixed: Some((start, Instant::now())),
        }
    }

    /// Monotonic time.
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    /// Wall time.
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place that reads the wall clock"
    )]
    pub fn wall(&self) -> SystemTime {
        match self.fixed {
            Some((start, since)) => start + since.elapsed(),
            None => SystemTime::now(),
        }
    }

    /// Wall time as a duration since the Unix epoch.
    pub fn since_epoch(&self) -> Duration {
        self.wall()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
    }
}
