//! What one proxy sees of the mesh.
//!
//! In: the snapshot and the proxy. Out: [`Scope`], which answers what every builder asks: which
//! services, which rule holds for one of them, what the proxy's own workload serves.

mod inbound;
mod outbound;

use std::borrow::Cow;
use std::cell::OnceCell;
use std::net::IpAddr;
use std::sync::Arc;

use meltemi_model::{
    DestinationRule, EntryResolution, Hostname, Labels, MeshConfig, OutboundTrafficPolicy, Service,
    ServicePort, Sidecar, Workload,
};
use meltemi_snapshot::{InboundMtls, Served, ServiceTarget, Snapshot};

pub(crate) use inbound::InboundPort;
pub(crate) use outbound::Egress;

use crate::authz::Guards;
use crate::name::wildcard;
use crate::{ProxyNode, ProxyRole};

/// The port of the explicit HTTP proxy where nothing is intercepted and no port is configured.
const HTTP_PROXY_PORT: u16 = 15080;

/// The mesh as one proxy sees it.
pub(crate) struct Scope<'a> {
    /// The state of the mesh.
    pub snapshot: &'a Snapshot,
    /// The proxy.
    pub node: &'a ProxyNode,
    /// The labels of its workload: as it says itself, else as declared.
    pub labels: Labels,
    workload: Option<&'a Arc<Workload>>,
    sidecar: Option<&'a Arc<Sidecar>>,
    egress: Vec<Egress<'a>>,
    /// The services of all of `egress`, and those to which its virtual services lead.
    services: Vec<Arc<Service>>,
    guards: OnceCell<Guards>,
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
    /// By asking DNS for the names of the endpoints that are written.
    DnsOfEndpoints {
        /// The first address is taken, and the others are not.
        first_only: bool,
    },
    /// By asking DNS for the name that each request is for.
    DynamicDns,
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
        let sidecar = match node.role {
            ProxyRole::Sidecar => snapshot.sidecar(&node.namespace, &labels),
            ProxyRole::Router => None,
        };
        let egress = outbound::egress(snapshot, &node.namespace, sidecar);
        let services = outbound::services(snapshot, &node.namespace, sidecar, &egress);
        Self {
            snapshot,
            node,
            labels,
            workload,
            sidecar,
            egress,
            services,
            guards: OnceCell::new(),
        }
    }

    /// The filters that guard the proxy's workload.
    pub fn guards(&self) -> &Guards {
        self.guards.get_or_init(|| Guards::new(self))
    }

    /// The mesh configuration.
    pub fn mesh(&self) -> &'a MeshConfig {
        self.snapshot.mesh()
    }

    /// The Sidecar of the proxy's workload.
    pub fn sidecar(&self) -> Option<&'a Arc<Sidecar>> {
        self.sidecar
    }

    /// What the proxy sees, by the listeners on which it is seen.
    pub fn egress(&self) -> &[Egress<'a>] {
        &self.egress
    }

    /// The services that the proxy sees, the oldest first.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.iter()
    }

    /// The service with this host, if the proxy sees it: one of Kubernetes before others, then the
    /// oldest.
    pub fn service(&self, host: &str) -> Option<&Arc<Service>> {
        let mut found = None;
        for service in self
            .services
            .iter()
            .filter(|it| it.hostname.as_str() == host)
        {
            if service.entry.is_none() {
                return Some(service);
            }
            found = found.or(Some(service));
        }
        found
    }

    /// The service with this host that has this port.
    pub fn service_port(&self, host: &str, port: u16) -> Option<(&Arc<Service>, &ServicePort)> {
        self.services
            .iter()
            .filter(|it| it.hostname.as_str() == host)
            .find_map(|it| Some((it, it.port(port)?)))
    }

    /// What is done with requests for hosts that the mesh does not know.
    pub fn outbound_policy(&self) -> OutboundTrafficPolicy {
        let own = self.sidecar.and_then(|it| it.outbound.as_ref());
        match own.map_or(self.mesh().outbound_traffic_policy, |it| it.mode) {
            OutboundTrafficPolicy::AllowAnyDynamicDns if self.node.lacks.dynamic_dns => {
                OutboundTrafficPolicy::AllowAny
            }
            mode => mode,
        }
    }

    /// How the endpoints of a service are found.
    pub fn resolution(&self, service: &Service) -> Resolution {
        if let Some(entry) = &service.entry {
            return match entry.resolution {
                EntryResolution::None => Resolution::OriginalDestination,
                EntryResolution::Static => Resolution::Endpoints,
                EntryResolution::Dns | EntryResolution::DnsRoundRobin => {
                    Resolution::DnsOfEndpoints {
                        first_only: entry.resolution == EntryResolution::DnsRoundRobin,
                    }
                }
                EntryResolution::DynamicDns => Resolution::DynamicDns,
            };
        }
        match &service.external_name {
            Some(_) if self.snapshot.services().concrete(service).is_some() => Resolution::Alias,
            Some(name) => Resolution::Dns(name.clone()),
            None if service.is_headless() && self.intercepts() => Resolution::OriginalDestination,
            None => Resolution::Endpoints,
        }
    }

    /// The addresses at which clients reach a service, of the proxy's families; those that were found
    /// for it only where the workload is told them.
    pub fn addresses(&self, service: &Service) -> Vec<IpAddr> {
        let own: Cow<'_, [IpAddr]> = match service.cluster_ips() {
            [] if self.node.auto_addresses && !has_ranges(service) => {
                self.snapshot.services().auto_addresses(service).into()
            }
            ips => ips.into(),
        };
        let mine = own.iter().filter(|ip| self.node.has_family_of(**ip));
        mine.copied().collect()
    }

    /// The destination rule from this proxy's workload to a service.
    pub fn destination_rule(&self, service: &Service) -> Option<&'a Arc<DestinationRule>> {
        self.snapshot
            .destination_rule(&self.node.namespace, &self.labels, service)
    }

    /// Which callers the proxy's workload takes.
    pub fn inbound_mtls(&self) -> InboundMtls {
        self.snapshot
            .inbound_mtls(&self.node.namespace, &self.labels)
    }

    /// The ports on which the proxy's workload serves, whatever it is.
    pub fn targets(&self) -> Vec<ServiceTarget> {
        self.snapshot.targets(&Served {
            namespace: &self.node.namespace,
            labels: &self.labels,
            addresses: &self.node.ips,
            workload: self.workload.map(AsRef::as_ref),
        })
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
}

/// Whether clients reach a service at any address of a range.
pub(crate) fn has_ranges(service: &Service) -> bool {
    let entry = service.entry.as_ref();
    entry.is_some_and(|it| it.addresses.iter().any(|it| it.as_single().is_none()))
}
