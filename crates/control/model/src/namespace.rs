//! Namespaces and service accounts.
//!
//! In: Kubernetes Namespace and ServiceAccount. Out: what the mesh reads from them.

mod convert;

use crate::{Metadata, NamespaceName};

pub(crate) use convert::convert;

/// A Kubernetes Namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// Its metadata; `meta.namespace` is empty and `meta.name` is the namespace's name.
    pub meta: Metadata,
    /// What its label `istio-injection` says (or `istio.io/rev`, which counts as enabled).
    pub injection: Injection,
    /// Its label `topology.istio.io/network`.
    pub network: Option<String>,
}

/// A Kubernetes ServiceAccount; its metadata is all that the mesh uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccount {
    /// Its metadata.
    pub meta: Metadata,
}

/// Whether a sidecar is asked for, on a namespace or a workload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Injection {
    /// Asked for.
    Enabled,
    /// Refused.
    Disabled,
    /// Not said.
    #[default]
    Unset,
}

impl Namespace {
    /// The namespace's name as a key.
    pub fn name(&self) -> NamespaceName {
        NamespaceName::new(self.meta.name.clone())
    }
}

impl Injection {
    /// Istio's decision: the namespace's refusal and the workload's refusal both win; otherwise
    /// either may ask.
    pub fn decide(namespace: Self, workload: Self) -> bool {
        match (namespace, workload) {
            (Self::Disabled, _) | (_, Self::Disabled) => false,
            (Self::Enabled, _) | (_, Self::Enabled) => true,
            (Self::Unset, Self::Unset) => false,
        }
    }
}
