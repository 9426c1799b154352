//! Workloads that register themselves, and what is known of their health (FEATURES T13).
//!
//! In: proxies as they come, report and go, by `admission` and the [`Presence`] that it gives to their
//! streams; the mesh's resources. Out: changes for [`crate::mesh`]: WorkloadEntries of the program's own
//! layer, and the health of entries, whoever wrote them. What is decided is decided in `ledger`, without
//! I/O; here are the lock and the clock.

mod claim;
mod entry;
mod ledger;
mod metrics;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use meltemi_lifecycle::{Clock, DrainSignal};
use meltemi_model::ResourceId;
use meltemi_xds_server::{Health, Presence, Refusal, Unnoted};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tracing::info;

use crate::MeshState;
use crate::layers::Change;
use ledger::Ledger;

pub(crate) use claim::Claim;
pub(crate) use metrics::RegistrationMetrics;

/// Keeps the entries of workloads that register themselves.
#[derive(Clone)]
pub(crate) struct Registrar(Arc<Kept>);

/// What a registrar is made of.
pub(crate) struct RegistrarOptions {
    /// This control plane, in the annotations of entries.
    pub instance: String,
    /// How long an entry outlives the last stream of its proxy.
    pub grace: Duration,
    pub states: watch::Receiver<Arc<MeshState>>,
    pub changes: mpsc::UnboundedSender<Change>,
    pub metrics: RegistrationMetrics,
    pub clock: Clock,
}

struct Kept {
    ledger: Mutex<Ledger>,
    states: watch::Receiver<Arc<MeshState>>,
    changes: mpsc::UnboundedSender<Change>,
    /// An entry may be due earlier than was thought.
    woken: Notify,
    metrics: RegistrationMetrics,
    clock: Clock,
}

/// A stream of a proxy that has registered.
struct Registered {
    kept: Arc<Kept>,
    entry: ResourceId,
}

impl Registrar {
    /// Nobody has registered.
    pub fn new(options: RegistrarOptions) -> Self {
        let RegistrarOptions {
            instance,
            grace,
            states,
            changes,
            metrics,
            clock,
        } = options;
        Self(Arc::new(Kept {
            ledger: Mutex::new(Ledger::new(instance, grace)),
            states,
            changes,
            woken: Notify::new(),
            metrics,
            clock,
        }))
    }

    /// A stream of a proxy has begun.
    ///
    /// # Errors
    /// When what it belongs to is not there, or is not its own.
    pub fn connect(&self, claim: Claim) -> Result<Box<dyn Presence>, Refusal> {
        let kept = &self.0;
        let state = kept.states.borrow().clone();
        let mut ledger = kept.ledger();
        let connected = ledger.connect(claim, &state.configs, kept.clock.wall());
        let connected = connected.inspect_err(|_| kept.metrics.failed());
        let Some((entry, changes)) = connected? else {
            return Ok(Box::new(Unnoted));
        };
        kept.send(changes);
        Ok(Box::new(Registered {
            kept: Arc::clone(kept),
            entry,
        }))
    }

    /// Takes entries away in time, until the drain.
    pub async fn run(self, mut drain: DrainSignal) {
        let kept = &self.0;
        let mut states = kept.states.clone();
        loop {
            let due = kept.ledger().due();
            tokio::select! {
                () = drain.draining() => return,
                () = kept.woken.notified() => {}
                changed = states.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let state = states.borrow_and_update().clone();
                    let mut ledger = kept.ledger();
                    kept.send(ledger.follow(&state.configs, kept.clock.wall()));
                }
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    let mut ledger = kept.ledger();
                    kept.send(ledger.expire(Instant::now()));
                }
            }
        }
    }
}

impl Kept {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called with the ledger locked, so that changes are made in the order in which they were
    /// decided.
    fn send(&self, changes: Vec<ledger::Step>) {
        for step in changes {
            self.metrics.count(&step);
            info!("{step}");
            for change in step.changes() {
                // Without a receiver the mesh has ended.
                let _ended = self.changes.send(change);
            }
        }
    }
}

impl Presence for Registered {
    fn report(&self, health: Health) {
        let mut ledger = self.kept.ledger();
        self.kept.send(ledger.report(&self.entry, health));
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let (now, wall) = (Instant::now(), self.kept.clock.wall());
        let mut ledger = self.kept.ledger();
        self.kept.send(ledger.disconnect(&self.entry, now, wall));
        self.kept.woken.notify_one();
    }
}
