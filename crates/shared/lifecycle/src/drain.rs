//! Telling many tasks to finish, and waiting until they have.

use tokio::sync::{mpsc, watch};

/// The side that asks for the end. Dropping it without a word ends nothing.
#[derive(Debug)]
pub struct Drain {
    tell: watch::Sender<bool>,
    done: mpsc::Receiver<()>,
    held: Option<mpsc::Sender<()>>,
}

/// The side that is asked; each clone keeps [`Drain::finished`] waiting until it is dropped.
#[derive(Clone, Debug)]
pub struct DrainSignal {
    told: watch::Receiver<bool>,
    _alive: mpsc::Sender<()>,
}

impl Drain {
    /// A new pair.
    pub fn new() -> (Self, DrainSignal) {
        let (tell, told) = watch::channel(false);
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

    /// Asks everybody to finish. Asking twice is the same as once.
    pub fn start(&self) {
        self.tell.send_replace(true);
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
        *self.told.borrow()
    }

    /// Waits until the end is asked for; for ever if the asking side goes away silently.
    pub async fn draining(&mut self) {
        if self.told.wait_for(|told| *told).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
