//! Services.
//!
//! In: Kubernetes Service. Out: [`Service`], which the snapshot joins with workloads.

mod convert;

use std::net::IpAddr;
use std::sync::Arc;

use crate::{EntryDetails, ExportTo, Hostname, Labels, Metadata, Protocol};

pub(crate) use convert::{annotated_distribution, convert};

/// A Kubernetes Service, or a host of a ServiceEntry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its metadata.
    pub meta: Metadata,
    /// `name.namespace.svc.cluster.local`.
    pub hostname: Hostname,
    /// Where clients reach it.
    pub addresses: ServiceAddresses,
    /// `externalName`, for services of that type.
    pub external_name: Option<Hostname>,
    /// The workloads it selects; `None` selects nothing.
    pub selector: Option<Labels>,
    /// Its ports; numbers are unique, save that a UDP port may share its number with another.
    pub ports: Vec<ServicePort>,
    /// The annotation `networking.istio.io/exportTo`.
    pub export_to: ExportTo,
    /// `publishNotReadyAddresses`: endpoints count before their workload is ready.
    pub publish_not_ready: bool,
    /// Which of its endpoints are preferred: `trafficDistribution`, else the annotation
    /// `networking.istio.io/traffic-distribution`.
    pub distribution: TrafficDistribution,
    /// What sets it apart if it is one of a ServiceEntry.
    pub entry: Option<Arc<EntryDetails>>,
}

/// Which of a service's endpoints are preferred, unless a destination rule says so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TrafficDistribution {
    /// None.
    #[default]
    Any,
    /// `PreferClose`, `PreferSameZone`: those nearest to the client.
    Near,
    /// `PreferSameNode`: those on the client's node, then those nearest to it.
    SameNode,
}

/// Where clients reach a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceAddresses {
    /// No `clusterIP` is written: the platform (`meltemi up`) gives one.
    Unassigned,
    /// `clusterIP: None`: clients reach the workloads themselves.
    Headless,
    /// `clusterIP` and `clusterIPs`.
    Assigned(Vec<IpAddr>),
}

/// A port of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name; empty if it has none (allowed for a service's only port).
    pub name: String,
    /// The port that clients use.
    pub number: u16,
    /// The port of the workload; the service port itself unless written otherwise.
    pub target: TargetPort,
    /// What is spoken on it.
    pub protocol: Protocol,
}

/// `targetPort`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TargetPort {
    /// A port number.
    Number(u16),
    /// The name of a container port.
    Name(String),
}

impl Service {
    /// Whether the service has no address of its own by choice.
    pub fn is_headless(&self) -> bool {
        self.addresses == ServiceAddresses::Headless
    }

    /// Whether it is outside the mesh.
    pub fn is_external(&self) -> bool {
        self.entry.as_ref().is_some_and(|it| it.external)
    }

    /// The cluster IPs; empty while unassigned and for headless services.
    pub fn cluster_ips(&self) -> &[IpAddr] {
        match &self.addresses {
            ServiceAddresses::Assigned(ips) => ips,
            ServiceAddresses::Unassigned | ServiceAddresses::Headless => &[],
        }
    }

    /// The port with this number.
    pub fn port(&self, number: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|port| port.number == number)
    }
}
