//! Immutable, indexed state of the whole mesh.
//!
//! In: valid resources (`meltemi_model::Config`), applied to a [`Store`] as sources report them.
//! Out: [`Snapshot`], which readers hold as an `Arc` while the next one is made beside it; the two
//! share every index that did not change. With each snapshot comes a [`Delta`] that says what did.
//!
//! One index for each kind, in a file of its own; what joins several kinds (endpoints, injection)
//! is in files of its own too. This crate knows no network, no Kubernetes client and no clock.

mod aged;
mod authorization_policy;
mod auto_address;
mod delegate;
mod delta;
mod destination_rule;
mod endpoint;
mod endpoint_slice;
mod envoy_filter;
mod gateway;
mod injection;
mod named;
mod namespace;
mod peer_authentication;
mod request_authentication;
mod secret;
mod selector;
mod service;
mod sidecar;
mod snapshot;
mod store;
mod target;
mod telemetry;
mod touched;
mod virtual_service;
mod workload;

#[cfg(test)]
mod tests;

pub use authorization_policy::AuthorizationPolicyIndex;
pub use delta::Delta;
pub use destination_rule::DestinationRuleIndex;
pub use endpoint::{Endpoint, EndpointIndex, PortEndpoints, ServiceAccountName, ServiceEndpoints};
pub use endpoint_slice::EndpointSliceIndex;
pub use envoy_filter::EnvoyFilterIndex;
pub use gateway::GatewayIndex;
pub use injection::{accepts_mtls, is_injected};
pub use namespace::NamespaceIndex;
pub use peer_authentication::{InboundMtls, PeerAuthenticationIndex};
pub use request_authentication::RequestAuthenticationIndex;
pub use secret::SecretIndex;
pub use service::{ServiceIndex, ServiceTarget};
pub use sidecar::SidecarIndex;
pub use snapshot::Snapshot;
pub use store::{Commit, Store};
pub use target::Served;
pub use telemetry::TelemetryIndex;
pub use virtual_service::VirtualServiceIndex;
pub use workload::WorkloadIndex;
