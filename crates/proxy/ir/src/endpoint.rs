//! Endpoints (`envoy.config.endpoint.v3`).

use std::net::SocketAddr;

use crate::{Address, Metadata};

/// Where a proxy or endpoint is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Locality {
    /// Such as `europe-west1`.
    pub region: String,
    /// Such as `europe-west1-b`.
    pub zone: String,
    /// A part of the zone.
    pub sub_zone: String,
}

/// The endpoints of a cluster (`ClusterLoadAssignment`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadAssignment {
    /// The cluster's name, or its EDS service name.
    pub cluster_name: String,
    /// The endpoints by locality and priority.
    pub localities: Vec<LocalityEndpoints>,
    /// A priority or locality counts as whole with this much less than all its endpoints
    /// healthy, in percent; 140 unless set.
    pub overprovisioning_factor: Option<u32>,
    /// Health counts by weight rather than by number (`weighted_priority_health`).
    pub weighted_priority_health: bool,
}

/// Endpoints that share a locality and a priority.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LocalityEndpoints {
    /// Where they are.
    pub locality: Locality,
    /// 0 is preferred.
    pub priority: u32,
    /// The locality's weight, if given.
    pub weight: Option<u32>,
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Where it is reached.
    pub address: Address,
    /// Where else, should that fail or take long.
    pub additional_addresses: Vec<SocketAddr>,
    /// Its host name, for `auto_host_rewrite`.
    pub hostname: String,
    /// Its weight, 1 unless set.
    pub weight: u32,
    /// What the control plane says of its health.
    pub health: HealthStatus,
    /// Such as `envoy.transport_socket_match` and `istio`.
    pub metadata: Metadata,
    /// Where its health is asked for, if not at its address.
    pub health_check: Option<Box<EndpointHealthCheck>>,
}

/// `Endpoint.HealthCheckConfig`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointHealthCheck {
    /// Replaces the port.
    pub port: Option<u16>,
    /// The host of the check's request.
    pub hostname: String,
    /// Replaces the address.
    pub address: Option<Address>,
    /// Nothing is asked; the endpoint counts as healthy.
    pub disabled: bool,
}

impl Endpoint {
    /// A healthy endpoint at this address, all else as it is unless set.
    pub fn new(address: Address) -> Self {
        Self {
            address,
            additional_addresses: Vec::new(),
            hostname: String::new(),
            weight: 1,
            health: HealthStatus::Healthy,
            metadata: Metadata::default(),
            health_check: None,
        }
    }
}

/// What the control plane says of an endpoint's health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HealthStatus {
    /// Unknown or healthy: it gets traffic.
    #[default]
    Healthy,
    /// Gets traffic only where no healthy one is.
    Degraded,
    /// Gets none (unhealthy, timeout).
    Unhealthy,
    /// Gets none, and is going away (draining).
    Draining,
}
