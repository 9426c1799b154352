//! Figures about workloads that register themselves, under Istio's names.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::ledger::{Step, What};

/// Figures about workloads that register themselves.
#[derive(Clone, Debug, Default)]
pub(crate) struct RegistrationMetrics {
    made: Counter,
    back: Counter,
    left: Counter,
    gone: Counter,
    failed: Counter,
}

impl RegistrationMetrics {
    /// Registers the figures.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for (name, help, counter) in [
            ("success", "Workloads that registered.", &metrics.made),
            ("updates", "Workloads that came back.", &metrics.back),
            ("unregister", "Workloads that left.", &metrics.left),
            ("deletes", "Entries that were removed.", &metrics.gone),
            ("errors", "Registrations that failed.", &metrics.failed),
        ] {
            let name = format!("auto_registration_{name}");
            registry.register(name, help, counter.clone());
        }
        metrics
    }

    /// A workload could not register.
    pub(super) fn failed(&self) {
        self.failed.inc();
    }

    pub(super) fn count(&self, step: &Step) {
        let counter = match step.what {
            What::Made(_) => &self.made,
            What::Back(_) => &self.back,
            What::Left(_) => &self.left,
            What::Gone(_) => &self.gone,
            What::Health(_) | What::Unknown => return,
        };
        counter.inc();
    }
}
