//! Service entries and workload entries.
//!
//! In: Istio ServiceEntry and WorkloadEntry (`networking.istio.io`). Out: [`ServiceEntry`], which the
//! snapshot turns into services, and [`WorkloadEntry`], which it turns into a workload (FEATURES T12,
//! T13).

mod convert;
mod convert_endpoint;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::{
    AddressRange, ExportTo, Hostname, Labels, Locality, Metadata, Owner, OwnerKind, Service,
    ServiceAddresses, ServicePort, Workload,
};

pub(crate) use convert::{
    SUPPORT, convert, convert_protocol, convert_selector, convert_workload_entry,
};
pub(crate) use convert_endpoint::{convert_endpoint, convert_locality};

use crate::service::annotated_distribution;

/// A valid Istio ServiceEntry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceEntry {
    /// Its metadata.
    pub meta: Metadata,
    /// Its hosts, at least one, perhaps wildcards.
    pub hosts: Vec<Hostname>,
    /// Its ports; names and numbers are unique.
    pub ports: Vec<ServicePort>,
    /// The workloads in its namespace that serve it; `None` where they are written, or none are.
    pub workload_selector: Option<Labels>,
    /// Who sees it.
    pub export_to: ExportTo,
    /// What sets its services apart from those of Kubernetes.
    pub details: Arc<EntryDetails>,
}

/// What sets the services of a ServiceEntry apart from those of Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryDetails {
    /// `location: MESH_EXTERNAL`.
    pub external: bool,
    /// `resolution`.
    pub resolution: EntryResolution,
    /// `addresses`; no two are the same.
    pub addresses: Vec<AddressRange>,
    /// `endpoints`.
    pub endpoints: Vec<EntryEndpoint>,
    /// `subjectAltNames`: what the servers' certificates may be for.
    pub subject_alt_names: Vec<String>,
}

/// `resolution`: how the endpoints of a service are found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum EntryResolution {
    /// `NONE`: they are where the client connects to.
    #[default]
    None,
    /// `STATIC`: they are written.
    Static,
    /// `DNS`: every address that DNS has for their names.
    Dns,
    /// `DNS_ROUND_ROBIN`: the first address that DNS has, whenever a connection is needed.
    DnsRoundRobin,
    /// `DYNAMIC_DNS`: the address that DNS has for the name that the request asks for.
    DynamicDns,
}

/// An endpoint of a ServiceEntry, or the spec of a WorkloadEntry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryEndpoint {
    /// Where it is.
    pub address: EndpointAddress,
    /// `ports`: the port for each service port of that name.
    pub ports: BTreeMap<String, u16>,
    /// Its labels.
    pub labels: Labels,
    /// Its network.
    pub network: Option<String>,
    /// Its locality.
    pub locality: Option<Locality>,
    /// Its share; 1 unless written.
    pub weight: u32,
    /// Its service account.
    pub service_account: Option<Arc<str>>,
}

/// Where an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndpointAddress {
    /// At an IP address.
    Ip(IpAddr),
    /// At the addresses that DNS has for a name.
    Name(Hostname),
    /// At a socket in the file system.
    Unix(String),
    /// Behind the gateways of its network; it has no address of its own.
    Absent,
}

/// A valid Istio WorkloadEntry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadEntry {
    /// Its metadata; the labels of metadata and spec together.
    pub meta: Metadata,
    /// Its spec.
    pub endpoint: EntryEndpoint,
    /// The condition `Healthy` of its status; `None` where that says nothing of it.
    pub healthy: Option<bool>,
}

/// The annotation of a WorkloadEntry whose health is reported (Istio's name for it).
pub const HEALTH_CHECKS: &str = "proxy.istio.io/health-checks-enabled";

impl ServiceEntry {
    /// The services that the entry stands for, one for each host.
    pub fn services(&self) -> Vec<Service> {
        let addresses: Vec<_> = self
            .details
            .addresses
            .iter()
            .filter_map(|it| it.as_single())
            .collect();
        self.hosts
            .iter()
            .map(|host| Service {
                meta: self.meta.clone(),
                hostname: host.clone(),
                addresses: match addresses.is_empty() {
                    true => ServiceAddresses::Unassigned,
                    false => ServiceAddresses::Assigned(addresses.clone()),
                },
                external_name: None,
                selector: self.workload_selector.clone(),
                ports: self.ports.clone(),
                export_to: self.export_to.clone(),
                publish_not_ready: false,
                distribution: annotated_distribution(&self.meta),
                entry: Some(self.details.clone()),
            })
            .collect()
    }
}

impl WorkloadEntry {
    /// The workload that the entry describes.
    pub fn workload(&self) -> Workload {
        Workload {
            ready: self.is_ready(),
            ..self.endpoint.workload(&self.meta)
        }
    }

    /// Whether its health is reported, whatever becomes of that: it has the annotation [`HEALTH_CHECKS`].
    pub fn takes_reports(&self) -> bool {
        self.meta.annotation(HEALTH_CHECKS).is_some()
    }

    /// Whether it may receive requests: with health checks once it is known to be healthy, without always.
    pub fn is_ready(&self) -> bool {
        let text = self.meta.annotation(HEALTH_CHECKS).unwrap_or_default();
        // As Go's ParseBool has it.
        let checked = matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True");
        !checked || self.healthy.unwrap_or(false)
    }
}

impl EntryEndpoint {
    /// The workload at this endpoint of the resource with this metadata.
    pub fn workload(&self, owner: &Metadata) -> Workload {
        let mut meta = owner.clone();
        meta.labels = self.labels.clone();
        let addresses = match &self.address {
            EndpointAddress::Ip(ip) => vec![*ip],
            EndpointAddress::Name(_) | EndpointAddress::Unix(_) | EndpointAddress::Absent => {
                Vec::new()
            }
        };
        let account = self.service_account.clone();
        Workload {
            owner: Owner {
                kind: OwnerKind::WorkloadEntry,
                name: meta.name.clone(),
            },
            service_account: account.unwrap_or_else(|| "default".into()),
            addresses,
            application_address: None,
            containers: Vec::new(),
            injection: crate::Injection::Disabled,
            role: crate::WorkloadRole::Application,
            locality: self.locality.clone(),
            node: None,
            dns_name: None,
            network: self.network.clone(),
            ready: true,
            proxy_config: None,
            entry: Some(Arc::new(self.clone())),
            meta,
        }
    }

    /// The port for a service port.
    pub fn port(&self, port: &ServicePort) -> u16 {
        match self.ports.get(&port.name) {
            Some(number) => *number,
            None => match port.target {
                crate::TargetPort::Number(number) => number,
                crate::TargetPort::Name(_) => port.number,
            },
        }
    }
}

impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => write!(f, "{ip}"),
            Self::Name(name) => write!(f, "{name}"),
            Self::Unix(path) => write!(f, "unix://{path}"),
            Self::Absent => f.write_str("no address"),
        }
    }
}
