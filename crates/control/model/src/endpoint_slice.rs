//! Endpoints of a service that are written down, rather than found by its selector.
//!
//! In: Kubernetes EndpointSlice. Out: [`EndpointSlice`], which the snapshot joins with its service.

mod convert;

use std::net::IpAddr;
use std::sync::Arc;

use crate::Metadata;

pub(crate) use convert::convert;

/// A Kubernetes EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Its metadata.
    pub meta: Metadata,
    /// The service of its namespace that it belongs to: the label `kubernetes.io/service-name`.
    pub service: Arc<str>,
    /// Where the service is served.
    pub endpoints: Vec<SliceEndpoint>,
    /// The ports there, by the name of the service port.
    pub ports: Vec<(String, u16)>,
}

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Whether it may receive requests.
    pub ready: bool,
    /// Its zone.
    pub zone: Option<String>,
}
