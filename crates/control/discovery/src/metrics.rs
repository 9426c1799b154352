//! The control plane's figures about resources and pushes, under Istio's names.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use meltemi_model::{Kind, Problem, ProblemKind};
use meltemi_snapshot::{Delta, Snapshot};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RefusedLabels {
    resource: String,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResourceLabel {
    resource: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TypeLabel {
    r#type: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct VersionLabel {
    version: &'static str,
}

/// Figures about resources and pushes.
#[derive(Clone, Debug)]
pub(crate) struct MeshMetrics {
    services: Gauge,
    virtual_services: Gauge,
    without_endpoints: Gauge,
    updates: Family<TypeLabel, Counter>,
    triggers: Family<TypeLabel, Counter>,
    debounce: Histogram,
    passed: Family<ResourceLabel, Counter>,
    failed: Family<RefusedLabels, Counter>,
}

impl MeshMetrics {
    /// Registers the figures.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            services: Gauge::default(),
            virtual_services: Gauge::default(),
            without_endpoints: Gauge::default(),
            updates: Family::default(),
            triggers: Family::default(),
            debounce: Histogram::new(exponential_buckets(0.01, 2.0, 12)),
            passed: Family::default(),
            failed: Family::default(),
        };
        let gauges = [
            ("pilot_services", "Services.", &metrics.services),
            (
                "pilot_virt_services",
                "Virtual services.",
                &metrics.virtual_services,
            ),
            (
                "pilot_eds_no_instances",
                "Service ports that select workloads and have no endpoint.",
                &metrics.without_endpoints,
            ),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        registry.register(
            "pilot_inbound_updates",
            "Changes of resources, by type.",
            metrics.updates.clone(),
        );
        registry.register(
            "pilot_push_triggers",
            "Pushes, by what they were for.",
            metrics.triggers.clone(),
        );
        registry.register(
            "pilot_debounce_time",
            "Seconds from the first change to its push.",
            metrics.debounce.clone(),
        );
        registry.register(
            "galley_validation_passed",
            "Resources that were found valid, by kind.",
            metrics.passed.clone(),
        );
        registry.register(
            "galley_validation_failed",
            "Problems found in resources, by kind and reason.",
            metrics.failed.clone(),
        );
        let info = Family::<VersionLabel, Gauge>::default();
        let version = env!("CARGO_PKG_VERSION");
        info.get_or_create(&VersionLabel { version }).set(1);
        registry.register("pilot_info", "The version.", info);
        metrics
    }

    /// A resource is new or has changed.
    pub fn accepted(&self, kind: Kind) {
        let resource = kind.as_str();
        self.passed.get_or_create(&ResourceLabel { resource }).inc();
    }

    /// A problem has appeared.
    pub fn refused(&self, problem: &Problem) {
        let resource = problem.resource.as_ref();
        let labels = RefusedLabels {
            resource: resource.map_or_else(String::new, |it| it.kind.clone()),
            reason: match problem.kind {
                ProblemKind::Syntax => "syntax",
                ProblemKind::Invalid => "invalid_resource",
                ProblemKind::Unsupported => "unsupported_field",
                ProblemKind::UnsupportedKind => "unsupported_kind",
                ProblemKind::Duplicate => "duplicate",
                ProblemKind::Warning => "warning",
            },
        };
        self.failed.get_or_create(&labels).inc();
    }

    /// A change has come.
    pub fn updated(&self, kind: Kind) {
        let r#type = match kind {
            Kind::Deployment | Kind::Pod => "eds",
            Kind::Service => "svc",
            _ => "config",
        };
        self.updates.get_or_create(&TypeLabel { r#type }).inc();
    }

    /// A push is made whose first change came so many seconds ago.
    pub fn pushed(&self, snapshot: &Snapshot, delta: &Delta, waited: f64) {
        let r#type = if delta.only_endpoints() {
            "endpoint"
        } else {
            "config"
        };
        self.triggers.get_or_create(&TypeLabel { r#type }).inc();
        self.debounce.observe(waited);
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.services.set(count(snapshot.services().count()));
        let virtual_services = snapshot.virtual_services().count();
        self.virtual_services.set(count(virtual_services));
        self.without_endpoints.set(count(snapshot.lacking_ports()));
    }
}
