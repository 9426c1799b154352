//! Gathers changes that come in quick succession into one push.

use std::time::Duration;

use tokio::time::Instant;

/// A push is due when nothing has changed for the quiet time, or when the first change
/// has waited the maximum.
#[derive(Debug)]
pub struct Debounce {
    quiet: Duration,
    maximum: Duration,
    pending: Option<Pending>,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    first: Instant,
    last: Instant,
}

impl Debounce {
    /// With these limits; Istio's are 100 ms and 10 s.
    pub fn new(quiet: Duration, maximum: Duration) -> Self {
        Self {
            quiet,
            maximum,
            pending: None,
        }
    }

    /// Something has changed.
    pub fn changed(&mut self, now: Instant) {
        let first = self.pending.map_or(now, |pending| pending.first);
        self.pending = Some(Pending { first, last: now });
    }

    /// When the push is due, if one is.
    pub fn due(&self) -> Option<Instant> {
        let pending = self.pending?;
        Some((pending.last + self.quiet).min(pending.first + self.maximum))
    }

    /// The push is made: when its first change came.
    pub fn take(&mut self) -> Option<Instant> {
        self.pending.take().map(|pending| pending.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_or_maximum_whichever_is_first() {
        let ms = Duration::from_millis;
        let start = Instant::now();
        let mut debounce = Debounce::new(ms(100), ms(250));
        assert_eq!(debounce.due(), None);
        debounce.changed(start);
        assert_eq!(debounce.due(), Some(start + ms(100)));
        debounce.changed(start + ms(90));
        assert_eq!(debounce.due(), Some(start + ms(190)));
        debounce.changed(start + ms(180));
        assert_eq!(debounce.due(), Some(start + ms(250)));
        assert_eq!(debounce.take(), Some(start));
        assert_eq!(debounce.due(), None);
    }
}
