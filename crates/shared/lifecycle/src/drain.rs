//! Telling many tasks to finish, and waiting until they have.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

/// The side that asks for the end. Dropping it without a word ends nothing.
#[derive(Debug)]
pub struct Drain {
    /// Over which time everybody is to begin to finish, once that is asked.
    tell: watch::Sender<Option<Duration>>,
    done: mpsc::Receiver<()>,
    held: Option<mpsc::Sender<()>>,
}

/// The side that is asked; each clone keeps [`Drain::finished`] waiting until it is dropped.
#[derive(Clone, Debug)]
pub struct DrainSignal {
    told: watch::Receiver<Option<Duration>>,
    _alive: mpsc::Sender<()>,
}

impl Drain {
    /// A new pair.
    pub fn new() -> (Self, DrainSignal) {
        let (tell, told) = watch::channel(None);
        let (alive, done) = mpsc::channel(1);
        (
            Self {
                tell,
                done,
                held: Some(alive.clone()),
            },
            DrainSignal {
                told,
                _alive: alive,
            },
        )
    }

    /// Asks everybody to finish at once. Asking twice is the same as once.
    pub fn start(&self) {
        self.start_over(Duration::ZERO);
    }

    /// Asks everybody to finish, not all at once but over this time. Who was asked before is asked
    /// again where there is less of it.
    pub fn start_over(&self, time: Duration) {
        self.tell.send_if_modified(|told| {
            let sooner = told.is_none_or(|before| time < before);
            if sooner {
                *told = Some(time);
            }
            sooner
        });
    }

    /// Another signal of this drain.
    pub fn signal(&self) -> DrainSignal {
        let alive = self
            .held
            .clone()
            .expect("held until finished() takes the drain");
        DrainSignal {
            told: self.tell.subscribe(),
            _alive: alive,
        }
    }

    /// Waits until every signal has been dropped.
    pub async fn finished(mut self) {
        self.held = None;
        while self.done.recv().await.is_some() {}
    }
}

impl DrainSignal {
    /// Whether the end has been asked for.
    pub fn is_draining(&self) -> bool {
        self.told.borrow().is_some()
    }

    /// Waits until the end is asked for; for ever if the asking side goes away silently.
    pub async fn draining(&mut self) {
        self.draining_over(None).await;
    }

    /// Waits until the end is asked for over another time than `known`; for ever if the asking side
    /// goes away silently.
    pub async fn draining_over(&mut self, known: Option<Duration>) -> Duration {
        let told = self.told.wait_for(|told| told.is_some() && *told != known);
        match told.await.map(|told| *told) {
            Ok(Some(time)) => time,
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_was_asked_is_asked_again_where_there_is_less_time() {
        let (drain, mut signal) = Drain::new();
        let minute = Duration::from_secs(60);
        drain.start_over(minute);
        assert_eq!(signal.draining_over(None).await, minute);
        drain.start_over(2 * minute);
        drain.start();
        assert_eq!(signal.draining_over(Some(minute)).await, Duration::ZERO);
        drain.start_over(minute);
        assert_eq!(signal.draining_over(Some(minute)).await, Duration::ZERO);
    }

    #[tokio::test]
    async fn finished_waits_for_every_signal() {
        let (drain, mut first) = Drain::new();
        let second = first.clone();
        assert!(!second.is_draining());
        drain.start();
        first.draining().await;
        assert!(second.is_draining());
        let wait = tokio::spawn(drain.finished());
        drop(first);
        tokio::task::yield_now().await;
        assert!(!wait.is_finished());
        drop(second);
        wait.await.expect("the wait ends");
    }
}
