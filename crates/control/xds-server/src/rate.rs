//! How many streams may begin in a second.
//!
//! In: the moments at which streams open. Out: how long each has to wait, or that it should come back
//! later. With it a control plane that comes back is not asked for everything by everybody at once.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A stream that would have to wait for longer is refused, so that its proxy may try another control
/// plane.
const PATIENCE: Duration = Duration::from_secs(1);

/// A limit of the streams that begin in a second; Istio's `PILOT_MAX_REQUESTS_PER_SECOND`.
#[derive(Debug)]
pub(crate) struct RequestRate {
    /// The time between two streams; zero for no limit.
    gap: Duration,
    next: Mutex<Option<Instant>>,
}

impl RequestRate {
    /// So many a second; `None` for no limit.
    pub fn new(per_second: Option<f64>) -> Self {
        let per_second = per_second.filter(|it| it.is_finite() && *it > 0.0);
        Self {
            gap: per_second.map_or(Duration::ZERO, |it| Duration::from_secs_f64(1.0 / it)),
            next: Mutex::default(),
        }
    }

    /// When a stream that opens now may begin; `None` if it has to come back later.
    pub fn admit(&self, now: Instant) -> Option<Instant> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = next.map_or(now, |it| it.max(now));
        if begin - now > PATIENCE {
            return None;
        }
        *next = Some(begin + self.gap);
        Some(begin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_spread_and_the_rest_comes_back_later() {
        let now = Instant::now();
        let rate = RequestRate::new(Some(4.0));
        let waits: Vec<_> = (0..8)
            .map(|_| rate.admit(now).map(|it| (it - now).as_millis()))
            .collect();
        let (ok, refused) = waits.split_at(5);
        assert_eq!(ok, [Some(0), Some(250), Some(500), Some(750), Some(1000)]);
        assert_eq!(refused, [None, None, None]);
        // Who was refused has not taken the place of anybody.
        let later = now + Duration::from_secs(1);
        assert_eq!(rate.admit(later), Some(now + Duration::from_millis(1250)));
        let none = RequestRate::new(None);
        assert!((0..1000).all(|_| none.admit(now) == Some(now)));
    }
}
