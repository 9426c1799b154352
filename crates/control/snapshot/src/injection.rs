//! Joins workloads with their namespaces: which have a sidecar, which take mutual TLS.
//!
//! In: a workload and its namespace. Out: yes or no. Called by the endpoint join, by `meltemi up` and
//! by the tools.

use meltemi_model::{Injection, Namespace, Workload, WorkloadRole};

/// The label by which a workload says whether it takes mutual TLS, whatever was injected.
const TLS_MODE_LABEL: &str = "security.istio.io/tlsMode";

/// Whether the workload gets a sidecar: what its namespace and its own label or annotation say. A
/// gateway is a proxy itself and gets none.
pub fn is_injected(namespace: Option<&Namespace>, workload: &Workload) -> bool {
    let wish = namespace.map_or(Injection::Unset, |it| it.injection);
    workload.role == WorkloadRole::Application && Injection::decide(wish, workload.injection)
}

/// Whether the workload's sidecar accepts mutual TLS from its clients: it has one, or the label
/// `security.istio.io/tlsMode` says `istio`; the label may also say that it does not.
pub fn accepts_mtls(namespace: Option<&Namespace>, workload: &Workload) -> bool {
    match workload.meta.labels.get(TLS_MODE_LABEL) {
        Some("istio") => true,
        Some("disabled") => false,
        Some(_) | None => match &workload.entry {
            // One that has an identity is taken to have a proxy too.
            Some(entry) => entry.service_account.is_some(),
            None => is_injected(namespace, workload),
        },
    }
}
