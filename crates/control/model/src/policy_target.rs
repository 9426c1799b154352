//! What a policy of `security.istio.io` is attached to.
//!
//! In: `selector`, `targetRef` and `targetRefs` as written. Out: [`PolicyTarget`].

mod convert;

use std::sync::Arc;

use crate::{Labels, NamespaceName};

pub(crate) use convert::convert;

/// The label that names the Gateway of the Gateway API whose workload this is.
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

/// What a policy is attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyTarget {
    /// Workloads with these labels; all of them if there are none. In the root namespace those of
    /// the whole mesh.
    Workloads(Labels),
    /// Gateways of the policy's namespace (`targetRefs`).
    Gateways(Vec<GatewayTarget>),
}

/// A gateway that a policy names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayTarget {
    /// Which API has it.
    pub api: GatewayApi,
    /// Its name.
    pub name: Arc<str>,
}

/// Which API has a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GatewayApi {
    /// `gateway.networking.k8s.io`.
    Kubernetes,
    /// `networking.istio.io`.
    Istio,
}

/// A workload, as far as policies are attached to it.
#[derive(Debug, Clone, Copy)]
pub struct PolicyWorkload<'a> {
    /// Its namespace.
    pub namespace: &'a NamespaceName,
    /// Its labels.
    pub labels: &'a Labels,
    /// The Istio Gateways that it is an instance of, by namespace and name.
    pub gateways: &'a [(NamespaceName, Arc<str>)],
}

impl PolicyTarget {
    /// Whether a policy of `namespace` (the workload's own or the root namespace) is attached to a
    /// workload.
    pub fn holds_for(&self, namespace: &NamespaceName, workload: &PolicyWorkload<'_>) -> bool {
        match self {
            Self::Workloads(selector) => selector.selects(workload.labels),
            Self::Gateways(targets) => targets.iter().any(|target| match target.api {
                GatewayApi::Kubernetes => {
                    workload.namespace == namespace
                        && workload.labels.get(GATEWAY_NAME) == Some(&target.name)
                }
                GatewayApi::Istio => {
                    let mut mine = workload.gateways.iter();
                    mine.any(|(place, name)| place == namespace && *name == target.name)
                }
            }),
        }
    }

    /// The labels that decide for whom the policy is.
    pub fn label_keys(&self) -> Vec<&str> {
        match self {
            Self::Workloads(selector) => selector.iter().map(|(key, _)| key).collect(),
            Self::Gateways(_) => vec![GATEWAY_NAME],
        }
    }
}
