//! What one proxy sees of the mesh.
//!
//! In: the snapshot and the proxy. Out: [`Scope`], which answers what every builder asks: which
//! services, which rule holds for one of them, what the proxy's own workload serves.

use std::net::IpAddr;
use std::sync::Arc;

use meltemi_model::{DestinationRule, Hostname, Labels, MeshConfig, Service, Workload};
use meltemi_snapshot::{ServiceTarget, Snapshot};

use crate::name::wildcard;
use crate::{ProxyNode, ProxyRole};

/// The port of the explicit HTTP proxy where nothing is intercepted and no port is configured.
const HTTP_PROXY_PORT: u16 = 15080;

/// Ports that belong to the proxy itself.
const RESERVED: [u16; 8] = [15000, 15001, 15006, 15020, 15021, 15053, 15080, 15090];

/// The mesh as one proxy sees it.
pub(crate) struct Scope<'a> {
    /// The state of the mesh.
    pub snapshot: &'a Snapshot,
    /// The proxy.
    pub node: &'a ProxyNode,
    /// The labels of its workload: as it says itself, else as declared.
    pub labels: Labels,
    workload: Option<&'a Arc<Workload>>,
}

/// How the endpoints of a service are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// From the control plane.
    Endpoints,
    /// They are where the application connected to.
    OriginalDestination,
    /// By asking DNS for this name.
    Dns(Hostname),
    /// It is another name of a service of the mesh, and has nothing of its own.
    Alias,
}

impl<'a> Scope<'a> {
    /// The scope of `node`.
    pub fn new(snapshot: &'a Snapshot, node: &'a ProxyNode) -> Self {
        let workloads = snapshot.workloads();
        let workload = workloads
            .get(&node.namespace, &node.workload)
            .or_else(|| workloads.by_address(node.ip));
        let labels = match workload {
            Some(workload) if node.labels.is_empty() => workload.meta.labels.clone(),
            Some(_) | None => node.labels.clone(),
        };
        Self {
            snapshot,
            node,
            labels,
            workload,
        }
    }

    /// The mesh configuration.
    pub fn mesh(&self) -> &'a MeshConfig {
        self.snapshot.mesh()
    }

    /// The services that the proxy sees, the oldest first.
    pub fn services(&self) -> impl Iterator<Item = &'a Arc<Service>> {
        self.snapshot.services().visible_in(&self.node.namespace)
    }

    /// The service with this host, if the proxy sees it.
    pub fn service(&self, host: &str) -> Option<&'a Arc<Service>> {
        self.snapshot
            .services()
            .by_host(host)
            .filter(|it| it.export_to.is_visible_in(&self.node.namespace))
    }

    /// How the endpoints of a service are found.
    pub fn resolution(&self, service: &Service) -> Resolution {
        match &service.external_name {
            Some(_) if self.snapshot.services().concrete(service).is_some() => Resolution::Alias,
            Some(name) => Resolution::Dns(name.clone()),
            None if service.is_headless() && self.intercepts() => Resolution::OriginalDestination,
            None => Resolution::Endpoints,
        }
    }

    /// The destination rule from this proxy's workload to a service.
    pub fn destination_rule(&self, service: &Service) -> Option<&'a Arc<DestinationRule>> {
        self.snapshot
            .destination_rule(&self.node.namespace, &self.labels, service)
    }

    /// What the proxy's workload serves, one entry for each of its ports: that of the oldest service
    /// where several lead to the same port; by port.
    pub fn inbound(&self) -> Vec<ServiceTarget> {
        let mut targets = self.inbound_all();
        targets.sort_by_key(|it| it.target);
        targets.dedup_by_key(|it| it.target);
        targets
    }

    /// What the proxy's workload serves, every service and port. Ports that the proxy needs itself
    /// are left out where it binds them.
    pub fn inbound_all(&self) -> Vec<ServiceTarget> {
        if self.node.role == ProxyRole::Router {
            return Vec::new();
        }
        let mut targets = self.targets();
        targets.retain(|it| !self.node.binds() || !self.is_reserved(it.target));
        targets
    }

    /// The ports on which the proxy's workload serves, whatever it is.
    pub fn targets(&self) -> Vec<ServiceTarget> {
        self.snapshot.services().targets(
            &self.node.namespace,
            &self.labels,
            self.workload.map(AsRef::as_ref),
        )
    }

    /// The address that listeners bind which are for everybody.
    pub fn any_address(&self) -> String {
        if self.node.binds() {
            self.node.ip.to_string()
        } else {
            wildcard(Some(self.node.ip)).to_owned()
        }
    }

    /// The port of the explicit HTTP proxy, if there is one: what the proxy says, else what the mesh
    /// says, else 15080 where nothing is intercepted.
    pub fn http_proxy_port(&self) -> Option<u16> {
        let default = self.node.binds().then_some(HTTP_PROXY_PORT);
        self.node
            .http_proxy_port
            .or(self.mesh().proxy_http_port)
            .or(default)
    }

    /// The address of the proxy's own workload, where it is IPv4 or IPv6.
    pub fn ip(&self) -> IpAddr {
        self.node.ip
    }

    fn intercepts(&self) -> bool {
        self.node.role == ProxyRole::Sidecar && !self.node.binds()
    }

    fn is_reserved(&self, port: u16) -> bool {
        RESERVED.contains(&port) || self.http_proxy_port() == Some(port)
    }
}
