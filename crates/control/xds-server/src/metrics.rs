//! The control plane's own figures about xDS, under Istio's names.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::Kind;

/// A `type` label, such as `cds`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct TypeLabel {
    r#type: &'static str,
}

/// Figures about sessions and pushes.
#[derive(Clone, Debug)]
pub struct XdsMetrics {
    connected: Gauge,
    pushes: Family<TypeLabel, Counter>,
    rejects: Family<TypeLabel, Counter>,
    total_rejects: Counter,
    convergence: Histogram,
    unauthenticated: Counter,
}

impl XdsMetrics {
    /// Registers the figures.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            connected: Gauge::default(),
            pushes: Family::default(),
            rejects: Family::default(),
            total_rejects: Counter::default(),
            convergence: Histogram::new(exponential_buckets(0.01, 2.0, 12)),
            unauthenticated: Counter::default(),
        };
        registry.register(
            "pilot_xds",
            "Proxies connected over xDS.",
            metrics.connected.clone(),
        );
        registry.register(
            "pilot_xds_pushes",
            "Messages sent, by type.",
            metrics.pushes.clone(),
        );
        registry.register(
            "pilot_xds_rejects",
            "Refusals by proxies, by type.",
            metrics.rejects.clone(),
        );
        registry.register(
            "pilot_total_xds_rejects",
            "Refusals by proxies.",
            metrics.total_rejects.clone(),
        );
        registry.register(
            "pilot_proxy_convergence_time",
            "Seconds from a change to the last confirmation of one proxy.",
            metrics.convergence.clone(),
        );
        registry.register(
            "pilot_xds_authentication_failures",
            "Streams refused because the caller may not be that proxy.",
            metrics.unauthenticated.clone(),
        );
        metrics
    }

    pub(crate) fn opened(&self) {
        self.connected.inc();
    }

    pub(crate) fn closed(&self) {
        self.connected.dec();
    }

    pub(crate) fn refused_caller(&self) {
        self.unauthenticated.inc();
    }

    pub(crate) fn sent(&self, kind: Kind) {
        self.pushes
            .get_or_create(&TypeLabel {
                r#type: kind.short_name(),
            })
            .inc();
    }

    pub(crate) fn refused(&self, kind: Kind) {
        self.rejects
            .get_or_create(&TypeLabel {
                r#type: kind.short_name(),
            })
            .inc();
        self.total_rejects.inc();
    }

    pub(crate) fn converged(&self, seconds: f64) {
        self.convergence.observe(seconds);
    }
}
