//! The authority's figures, under Istio's names.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::SignError;

/// Figures about certificate requests.
#[derive(Clone, Debug)]
pub struct CaMetrics {
    requests: Counter,
    issued: Counter,
    unauthenticated: Counter,
    malformed: Counter,
    unsigned: Counter,
    root_expiry: Gauge,
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
            root_expiry: Gauge::default(),
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
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        registry.register(
            "citadel_server_root_cert_expiry_timestamp",
            "When the signing certificate ends, in seconds since the Unix epoch.",
            metrics.root_expiry.clone(),
        );
        metrics
    }

    /// When the signing certificate ends, in seconds since the Unix epoch.
    pub fn expires(&self, seconds: u64) {
        self.root_expiry
            .set(i64::try_from(seconds).unwrap_or(i64::MAX));
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
            | SignError::Expired
            | SignError::Name(_)
            | SignError::Library(_) => self.unsigned.inc(),
        };
    }
}
