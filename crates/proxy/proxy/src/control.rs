//! What the administration endpoint may ask of the proxy.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use meltemi_admin::{BoundListener, DrainRequest, ServerControl, UnreadyListener};
use meltemi_listener::ListenerManager;
use tokio::sync::Notify;

/// Carries out what the administration endpoint asks.
pub(crate) struct Control {
    listeners: Arc<ListenerManager>,
    quit: Arc<Notify>,
    drain_time: Duration,
}

impl Control {
    pub fn new(listeners: Arc<ListenerManager>, quit: Arc<Notify>, drain_time: Duration) -> Self {
        Self {
            listeners,
            quit,
            drain_time,
        }
    }
}

impl ServerControl for Control {
    fn listeners(&self) -> Vec<BoundListener> {
        let listeners = self.listeners.listeners();
        let statuses = listeners.iter().map(|listener| listener.status());
        statuses
            .map(|status| BoundListener {
                name: status.name,
                addresses: status.addresses,
            })
            .collect()
    }

    fn unready_listeners(&self) -> Vec<UnreadyListener> {
        let unready = self.listeners.unready().into_iter();
        unready
            .map(|(name, routes, secrets)| UnreadyListener {
                name,
                routes,
                secrets,
            })
            .collect()
    }

    fn drain_listeners(&self, request: DrainRequest) {
        let DrainRequest {
            inbound_only,
            graceful,
            skip_exit,
        } = request;
        if !graceful {
            self.listeners.stop_accepting(inbound_only);
            return;
        }
        self.listeners.drain(inbound_only);
        if !skip_exit {
            let (listeners, drain_time) = (Arc::clone(&self.listeners), self.drain_time);
            tokio::spawn(async move {
                tokio::time::sleep(drain_time).await;
                listeners.stop_accepting(inbound_only);
            });
        }
    }

    fn quit(&self) {
        self.quit.notify_one();
    }

    fn reopen_logs(&self) -> io::Result<()> {
        self.listeners.reopen_logs()
    }

    fn connections(&self) -> u64 {
        self.listeners.connections()
    }
}
