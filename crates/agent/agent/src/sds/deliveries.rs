//! How far those have come who take secrets over the socket.
//!
//! In: for each stream, the state of the store whose secrets it has all confirmed. Out: waiting until
//! every stream has the secrets of now. Called by the streams, and by `identity` before it tells the
//! control plane that a bundle is trusted here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

/// How far all streams have come.
#[derive(Clone)]
pub(crate) struct Deliveries {
    store: watch::Receiver<u64>,
    streams: Arc<watch::Sender<BTreeMap<u64, u64>>>,
    next: Arc<AtomicU64>,
}

/// How far one stream has come; it is forgotten with this.
pub(super) struct Delivery {
    number: u64,
    streams: Arc<watch::Sender<BTreeMap<u64, u64>>>,
}

impl Deliveries {
    /// Of a store whose state is known by a number that grows.
    pub fn new(store: watch::Receiver<u64>) -> Self {
        Self {
            store,
            streams: Arc::new(watch::Sender::default()),
            next: Arc::default(),
        }
    }

    /// A stream has begun.
    pub(super) fn begin(&self) -> Delivery {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.streams.send_modify(|it| {
            it.insert(number, 0);
        });
        Delivery {
            number,
            streams: self.streams.clone(),
        }
    }

    /// Waits until every stream has confirmed what the store holds now, or something newer.
    pub async fn settled(&self) {
        let now = *self.store.borrow();
        let mut streams = self.streams.subscribe();
        // Never an error: the sender is this one's own.
        let _ = streams
            .wait_for(|it| it.values().all(|generation| *generation >= now))
            .await;
    }
}

impl Delivery {
    /// Everything of this state of the store is confirmed.
    pub fn settled(&self, generation: u64) {
        self.streams.send_if_modified(|it| {
            let known = it.insert(self.number, generation);
            known != Some(generation)
        });
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.streams.send_modify(|it| {
            it.remove(&self.number);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_has_to_have_the_secrets_of_now() {
        let store = watch::Sender::new(1_u64);
        let deliveries = Deliveries::new(store.subscribe());
        deliveries.settled().await;
        let (first, second) = (deliveries.begin(), deliveries.begin());
        store.send_replace(5);
        let waiting = tokio::spawn({
            let deliveries = deliveries.clone();
            async move { deliveries.settled().await }
        });
        first.settled(5);
        second.settled(4);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        second.settled(6);
        waiting.await.expect("everybody has them");
        store.send_replace(7);
        first.settled(7);
        drop(second);
        deliveries.settled().await;
    }
}
