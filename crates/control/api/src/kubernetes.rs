//! Kubernetes' own kinds as written.
//!
//! Real manifests have many fields that are the kubelet's business or the API server's. The types
//! here have those that the mesh reads; the others are passed over (see
//! [`Strictness::Lenient`](crate::Strictness)).

mod data;
mod endpoint_slice;
mod pod;
mod service;

pub use data::{ConfigMap, Secret};
pub use endpoint_slice::{EndpointConditions, EndpointSlice, SliceEndpoint, SlicePort};
pub use pod::{
    Container, ContainerPort, DeploymentSpec, EnvVar, EnvVarSource, FieldRef, KeyRef,
    OwnerReference, PodCondition, PodIp, PodMetadata, PodSpec, PodStatus, PodTemplate,
};
pub use service::{IntOrText, ServicePort, ServiceSpec};
