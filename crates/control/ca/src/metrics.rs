//! The authority's figures, under Istio's names.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use std::time::SystemTime;

use crate::rotation::{Phase, Standing};
use crate::{SignError, authorities};

/// Figures about certificate requests.
#[derive(Clone, Debug)]
pub struct CaMetrics {
    requests: Counter,
    issued: Counter,
    unauthenticated: Counter,
    malformed: Counter,
    unsigned: Counter,
    limited: Counter,
    root_expiry: Gauge,
    root_left: Gauge,
    chain_expiry: Gauge,
    chain_left: Gauge,
    rotating: Gauge,
}

impl CaMetrics {
    /// Registers the figures.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Counter::default(),
            issued: Counter::default(),
            unauthenticated: Counter::default(),
            malformed: Counter::default(),
            unsigned: Counter::default(),
            limited: Counter::default(),
            root_expiry: Gauge::default(),
            root_left: Gauge::default(),
            chain_expiry: Gauge::default(),
            chain_left: Gauge::default(),
            rotating: Gauge::default(),
        };
        let counters = [
            (
                "citadel_server_csr_count",
                "Certificate requests received.",
                &metrics.requests,
            ),
            (
                "citadel_server_success_cert_issuance_count",
                "Certificates issued.",
                &metrics.issued,
            ),
            (
                "citadel_server_authentication_failure_count",
                "Certificate requests whose caller was not believed.",
                &metrics.unauthenticated,
            ),
            (
                "citadel_server_csr_parsing_err_count",
                "Certificate requests that are malformed or not signed by their own key.",
                &metrics.malformed,
            ),
            (
                "citadel_server_csr_sign_err_count",
                "Certificate requests that could not be signed.",
                &metrics.unsigned,
            ),
            (
                "meltemi_ca_csr_limited_count",
                "Certificate requests that were too large or too many.",
                &metrics.limited,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        let gauges = [
            (
                "citadel_server_root_cert_expiry_timestamp",
                "When the root that signs ends, in seconds since the Unix epoch.",
                &metrics.root_expiry,
            ),
            (
                "citadel_server_root_cert_expiry_seconds",
                "How many seconds the root that signs is good for.",
                &metrics.root_left,
            ),
            (
                "citadel_server_cert_chain_expiry_timestamp",
                "When the first certificate ends that leads to the root, in seconds since the Unix epoch.",
                &metrics.chain_expiry,
            ),
            (
                "citadel_server_cert_chain_expiry_seconds",
                "For how many seconds all certificates are good that lead to the root.",
                &metrics.chain_left,
            ),
            (
                "meltemi_ca_rotation_phase",
                "How far a replacement of the root has come: 0 none, 1 distributing, 2 replacing.",
                &metrics.rotating,
            ),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        metrics
    }

    /// Who signs and who is trusted, and the time.
    pub fn stands(&self, standing: &Standing, now: SystemTime) {
        let (root, chain) = authorities::ends(standing);
        let since = |from: SystemTime, to: SystemTime| {
            let seconds = to.duration_since(from).unwrap_or_default().as_secs();
            i64::try_from(seconds).unwrap_or(i64::MAX)
        };
        self.root_expiry.set(since(SystemTime::UNIX_EPOCH, root));
        self.root_left.set(since(now, root));
        self.chain_expiry.set(since(SystemTime::UNIX_EPOCH, chain));
        self.chain_left.set(since(now, chain));
        self.rotating.set(match standing.phase {
            Phase::Steady => 0,
            Phase::Distributing => 1,
            Phase::Replacing => 2,
        });
    }

    pub(crate) fn limited(&self) {
        self.limited.inc();
    }

    pub(crate) fn received(&self) {
        self.requests.inc();
    }

    pub(crate) fn issued(&self) {
        self.issued.inc();
    }

    pub(crate) fn unauthenticated(&self) {
        self.unauthenticated.inc();
    }

    pub(crate) fn refused(&self, error: &SignError) {
        match error {
            SignError::Request(_) => self.malformed.inc(),
            SignError::TrustDomain(..)
            | SignError::Lifetime { .. }
            | SignError::Record(_)
            | SignError::Expired
            | SignError::Name(_)
            | SignError::Library(_) => self.unsigned.inc(),
        };
    }
}
