//! What one proxy sees of the mesh.
//!
//! In: the snapshot and the proxy. Out: [`Scope`], which answers what every builder asks: which
//! services, which rule holds for one of them, what the proxy's own workload serves.
//!
//! Builders see nothing of the snapshot but what the scope's methods tell, and every method that tells
//! something notes a [`Read`]. What was built holds for as long as its reads give the same: this is
//! how a change finds what it touches. A new method that looks at the snapshot needs a read of its
//! own, which says in `read.rs` how to tell that it gives the same.

mod inbound;
mod outbound;
mod read;
mod topic;

use std::borrow::Cow;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use meltemi_model::{
    AuthorizationPolicy, DestinationRule, EntryResolution, EnvoyFilter, Gateway, GatewayRef,
    GatewayTopology, Hostname, InterceptionMode, KeySource, Labels, Locality, MeshConfig,
    NamespaceName, OutboundTrafficPolicy, PolicyWorkload, ProxyHeaders, RequestAuthentication,
    Secret, Service, ServicePort, Sidecar, Telemetry, VirtualService, Workload,
};
use meltemi_snapshot::{
    InboundMtls, Served, ServiceAccountName, ServiceEndpoints, ServiceTarget, Snapshot,
};

pub(crate) use inbound::InboundPort;
pub(crate) use outbound::Egress;
pub use read::{Read, ReadClass};
pub use topic::Topics;

use crate::authz::Guards;
use crate::name::wildcard;
use crate::node::OwnSettings;
use crate::{ProxyNode, ProxyRole};

/// The port of the explicit HTTP proxy where nothing is intercepted and no port is configured.
const HTTP_PROXY_PORT: u16 = 15080;

/// The mesh as one proxy sees it.
pub(crate) struct Scope<'a> {
    /// The state of the mesh. Never shown as a whole, so that nothing is read without a note.
    snapshot: &'a Snapshot,
    /// The proxy.
    pub node: &'a ProxyNode,
    /// The labels of its workload: as it says itself, or as declared if that is more.
    pub labels: &'a Labels,
    /// Where it is.
    pub locality: &'a Locality,
    /// How its workload's connections reach it: as it says itself, else as its settings say, else as
    /// the mesh does. Noted always.
    pub interception: InterceptionMode,
    workload: Option<&'a Arc<Workload>>,
    sidecar: Option<&'a Arc<Sidecar>>,
    egress: OnceCell<Vec<Egress<'a>>>,
    /// The services of all of `egress`, and those to which its virtual services lead.
    services: OnceCell<Vec<Arc<Service>>>,
    /// Where hosts are among `services`.
    hosts: OnceCell<HashMap<String, Vec<usize>>>,
    /// What guards the workload, and what that was made of.
    guards: OnceCell<(Guards, BTreeSet<Read>)>,
    reads: RefCell<BTreeSet<Read>>,
    visited: Cell<usize>,
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

/// What is said of the settings of one proxy: by itself, else by its workload's annotation.
pub(crate) fn own_settings(snapshot: &Snapshot, node: &ProxyNode) -> Option<OwnSettings> {
    settings_of(node, workload_of(snapshot, node))
}

/// The same of a workload that is known.
pub(crate) fn settings_of(
    node: &ProxyNode,
    workload: Option<&Arc<Workload>>,
) -> Option<OwnSettings> {
    if let Some(settings) = &node.settings {
        return Some(settings.clone());
    }
    let written = workload?.proxy_config.as_deref()?;
    let own = OwnSettings {
        topology: written.gateway_topology,
        headers: written.proxy_headers.clone(),
        interception: written.interception_mode,
    };
    (own != OwnSettings::default()).then_some(own)
}

/// How a workload's connections reach its proxy.
fn interception_of(
    snapshot: &Snapshot,
    node: &ProxyNode,
    workload: Option<&Arc<Workload>>,
) -> InterceptionMode {
    let of_settings = || settings_of(node, workload)?.interception;
    let of_mesh = snapshot.mesh().default_config.interception_mode;
    let written = node.interception.or_else(of_settings).or(of_mesh);
    written.unwrap_or(InterceptionMode::Redirect)
}

fn workload_of<'a>(snapshot: &'a Snapshot, node: &ProxyNode) -> Option<&'a Arc<Workload>> {
    let workloads = snapshot.workloads();
    workloads
        .get(&node.namespace, &node.workload)
        .or_else(|| workloads.by_address(node.ip))
}

/// The labels of a proxy's workload: as it says itself, or as declared where that is the same and perhaps
/// more, as it is of one that registered itself.
pub(crate) fn labels_of<'a>(
    node: &'a ProxyNode,
    workload: Option<&'a Arc<Workload>>,
) -> &'a Labels {
    match workload {
        Some(workload) if node.labels.selects(&workload.meta.labels) => &workload.meta.labels,
        Some(_) | None => &node.labels,
    }
}

const NOWHERE: &Locality = &Locality {
    region: String::new(),
    zone: String::new(),
    subzone: String::new(),
};

/// Where a proxy is: as it says itself, else where its workload is.
pub(crate) fn locality_of<'a>(
    node: &'a ProxyNode,
    workload: Option<&'a Arc<Workload>>,
) -> &'a Locality {
    if node.locality != *NOWHERE {
        return &node.locality;
    }
    let of_workload = workload.and_then(|it| it.locality.as_ref());
    of_workload.unwrap_or(NOWHERE)
}

impl<'a> Scope<'a> {
    /// The scope of `node`.
    pub fn new(snapshot: &'a Snapshot, node: &'a ProxyNode) -> Self {
        Self::of_workload(snapshot, node, workload_of(snapshot, node))
    }

    /// The same where the workload is known already.
    pub fn of_workload(
        snapshot: &'a Snapshot,
        node: &'a ProxyNode,
        workload: Option<&'a Arc<Workload>>,
    ) -> Self {
        let labels = labels_of(node, workload);
        let sidecar = match node.role {
            ProxyRole::Sidecar => snapshot.sidecar(&node.namespace, labels),
            ProxyRole::Router => None,
        };
        Self {
            snapshot,
            node,
            labels,
            locality: locality_of(node, workload),
            interception: interception_of(snapshot, node, workload),
            workload,
            sidecar,
            egress: OnceCell::new(),
            services: OnceCell::new(),
            hosts: OnceCell::new(),
            guards: OnceCell::new(),
            reads: RefCell::default(),
            visited: Cell::default(),
        }
    }

    /// The scope of the same proxy at a later moment.
    pub fn later(&self, snapshot: &'a Snapshot) -> Self {
        let node = self.node;
        let (before, after) = (self.snapshot.workloads(), snapshot.workloads());
        // Thousands of proxies are looked at again at each change, which concerns few of them.
        let known = self.workload.filter(|it| {
            it.meta.name.as_ref() == node.workload
                && it.meta.namespace == node.namespace
                && after.shares_namespace(before, &node.namespace)
        });
        let workload = known.or_else(|| workload_of(snapshot, node));
        Self::of_workload(snapshot, node, workload)
    }

    /// The proxy's workload. Noted always.
    pub fn workload(&self) -> Option<&'a Arc<Workload>> {
        self.workload
    }

    /// What was read since this was last asked. Who the proxy's workload is and which Sidecar it has
    /// is always among it.
    pub fn take_reads(&self) -> Vec<Read> {
        let mut reads = self.reads.take();
        reads.insert(Read::Own);
        reads.into_iter().collect()
    }

    fn note(&self, read: Read) {
        self.reads.borrow_mut().insert(read);
    }

    /// The filters that guard the proxy's workload.
    pub fn guards(&self) -> &Guards {
        let (guards, reads) = self.guards.get_or_init(|| {
            let before = self.reads.take();
            let guards = Guards::new(self);
            (guards, self.reads.replace(before))
        });
        // They are made once, and read by everybody who asks.
        self.reads.borrow_mut().extend(reads.iter().cloned());
        guards
    }

    /// The mesh configuration.
    pub fn mesh(&self) -> &'a MeshConfig {
        self.note(Read::Mesh);
        self.snapshot.mesh()
    }

    /// What stands before the gateway: what is said of it alone, else what the mesh says.
    pub fn gateway_topology(&self) -> GatewayTopology {
        let own = self.own_settings().topology; // noted always
        own.unwrap_or_else(|| self.mesh().default_config.gateway_topology)
    }

    /// The headers that the proxy adds: what is said of it alone, else what the mesh says.
    pub fn proxy_headers(&self) -> Cow<'a, ProxyHeaders> {
        match self.own_settings().headers {
            Some(own) => Cow::Owned(own), // noted always
            None => Cow::Borrowed(&self.mesh().default_config.proxy_headers),
        }
    }

    fn own_settings(&self) -> OwnSettings {
        settings_of(self.node, self.workload).unwrap_or_default()
    }

    /// The Sidecar of the proxy's workload.
    pub fn sidecar(&self) -> Option<&'a Arc<Sidecar>> {
        self.sidecar // noted always
    }

    /// What the proxy sees, by the listeners on which it is seen.
    pub fn egress(&self) -> &[Egress<'a>] {
        self.note(Read::Services);
        self.note(Read::Imports);
        self.seen_egress()
    }

    fn seen_egress(&self) -> &[Egress<'a>] {
        self.egress.get_or_init(|| {
            let own = &self.node.namespace;
            let (egress, visited) = outbound::egress(self.snapshot, own, self.sidecar);
            self.visited.update(|it| it + visited);
            egress
        })
    }

    /// How many services and virtual services were gone through to find those that the proxy sees.
    pub fn visited(&self) -> usize {
        self.visited.get()
    }

    /// The services that the proxy sees, the oldest first.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.note(Read::Services);
        self.seen_services().iter()
    }

    fn seen_services(&self) -> &[Arc<Service>] {
        self.services.get_or_init(|| {
            let egress = self.seen_egress();
            outbound::services(self.snapshot, &self.node.namespace, self.sidecar, egress)
        })
    }

    /// The places of hosts among the services that are seen.
    fn seen_hosts(&self) -> &HashMap<String, Vec<usize>> {
        self.hosts.get_or_init(|| {
            let mut hosts: HashMap<_, Vec<_>> = HashMap::new();
            for (place, service) in self.seen_services().iter().enumerate() {
                let host = service.hostname.as_str().to_owned();
                hosts.entry(host).or_default().push(place);
            }
            hosts
        })
    }

    /// The hosts of the services that the proxy sees, in the order of the first of each.
    pub fn hosts(&self) -> Vec<Hostname> {
        let mut known = BTreeSet::new();
        self.services()
            .map(|it| &it.hostname)
            .filter(|it| known.insert((*it).clone()))
            .cloned()
            .collect()
    }

    /// The services with this host that the proxy sees, the oldest first.
    pub fn services_of(&self, host: &str) -> Vec<Arc<Service>> {
        self.note(Read::Service(Hostname::new(host)));
        let is_it = |it: &&Arc<Service>| it.hostname.as_str() == host;
        if self.sidecar.is_some_and(|it| !it.egress.is_empty()) {
            let here = self.seen_hosts().get(host).into_iter().flatten();
            let services = self.seen_services();
            return here.map(|place| services[*place].clone()).collect();
        }
        let all = self.snapshot.services().all_by_host(host);
        let visible = |it: &&Arc<Service>| it.export_to.is_visible_in(&self.node.namespace);
        let mut services: Vec<_> = all.filter(is_it).filter(visible).cloned().collect();
        services.sort_by_cached_key(|it| it.meta.age_key());
        services
    }

    /// The service with this host, if the proxy sees it: one of Kubernetes before others, then the
    /// oldest.
    pub fn service(&self, host: &str) -> Option<Arc<Service>> {
        let services = self.services_of(host);
        let of_kubernetes = services.iter().find(|it| it.entry.is_none());
        of_kubernetes.or(services.first()).cloned()
    }

    /// The service with this host that has this port, and the port.
    pub fn service_port(&self, host: &str, port: u16) -> Option<(Arc<Service>, ServicePort)> {
        self.services_of(host).into_iter().find_map(|it| {
            let port = it.port(port)?.clone();
            Some((it, port))
        })
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
            Some(_) if self.concrete(service).is_some() => Resolution::Alias,
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
                self.note(Read::AutoAddresses(place(service)));
                self.snapshot.services().auto_addresses(service).into()
            }
            ips => ips.into(),
        };
        let mine = own.iter().filter(|ip| self.node.has_family_of(**ip));
        mine.copied().collect()
    }

    /// The service of the mesh that an ExternalName service stands for.
    pub fn concrete(&self, service: &Service) -> Option<&'a Arc<Service>> {
        let target = service.external_name.as_ref()?;
        self.note(Read::Host(target.clone()));
        self.snapshot.services().concrete(service)
    }

    /// The namespaces that have a service with this host, seen or not.
    pub fn namespaces_of(&self, host: &Hostname) -> BTreeSet<&'a NamespaceName> {
        self.note(Read::NamespacesOf(host.clone()));
        namespaces_of(self.snapshot, host)
    }

    /// The ExternalName services that stand for the service with this host.
    pub fn aliases_of(&self, host: &Hostname) -> impl Iterator<Item = &'a Arc<Service>> + use<'a> {
        self.note(Read::Aliases(host.clone()));
        self.snapshot.services().aliases_of(host)
    }

    /// The virtual services at a gateway that the proxy's namespace sees, the oldest first.
    pub fn virtual_services_at(
        &self,
        gateway: &GatewayRef,
    ) -> impl Iterator<Item = &'a Arc<VirtualService>> + use<'a> {
        self.note(Read::VirtualServices(gateway.clone()));
        let all = self.snapshot.virtual_services();
        all.at(gateway, &self.node.namespace)
    }

    /// The patches for the proxy, in the order in which they are applied.
    pub fn envoy_filters(&self) -> impl Iterator<Item = &Arc<EnvoyFilter>> {
        self.note(Read::Patches);
        self.snapshot
            .envoy_filters(&self.node.namespace, self.labels)
    }

    /// Every Gateway, the oldest first.
    pub fn gateways(&self) -> impl Iterator<Item = &'a Arc<Gateway>> + use<'a> {
        self.note(Read::Gateways);
        self.snapshot.gateways().iter()
    }

    /// The destination rule from this proxy's workload to a service.
    pub fn destination_rule(&self, service: &Service) -> Option<&'a Arc<DestinationRule>> {
        self.note(Read::Rule(place(service)));
        self.snapshot
            .destination_rule(&self.node.namespace, self.labels, service)
    }

    /// The endpoints of a service; `None` for a service that is not of this mesh.
    pub fn endpoints(&self, service: &Service) -> Option<&'a Arc<ServiceEndpoints>> {
        self.note(Read::Endpoints(place(service)));
        self.snapshot.endpoints(service)
    }

    /// The identities of a service's workloads.
    pub fn accounts(&self, service: &Service) -> Option<&'a BTreeSet<ServiceAccountName>> {
        self.note(Read::Accounts(place(service)));
        self.snapshot.endpoints(service).map(|it| &it.accounts)
    }

    /// Which callers the proxy's workload takes.
    pub fn inbound_mtls(&self) -> InboundMtls {
        self.mtls_of(&self.node.namespace, self.labels)
    }

    /// Which callers a workload takes.
    pub fn mtls_of(&self, namespace: &NamespaceName, labels: &Labels) -> InboundMtls {
        self.note(Read::PeerAuthentications(namespace.clone()));
        self.snapshot.inbound_mtls(namespace, labels)
    }

    /// Who may do what to the proxy's workload, which is an instance of these Gateways.
    pub fn authorization_policies<'s>(
        &'s self,
        gateways: &'s [(NamespaceName, Arc<str>)],
    ) -> impl Iterator<Item = &'s Arc<AuthorizationPolicy>> {
        self.note(Read::AuthorizationPolicies);
        self.snapshot
            .authorization_policies_of(self.policy_workload(gateways))
    }

    /// Which tokens the proxy's workload takes, which is an instance of these Gateways.
    pub fn request_authentications<'s>(
        &'s self,
        gateways: &'s [(NamespaceName, Arc<str>)],
    ) -> impl Iterator<Item = &'s Arc<RequestAuthentication>> {
        self.note(Read::RequestAuthentications);
        self.snapshot
            .request_authentications_of(self.policy_workload(gateways))
    }

    fn policy_workload<'s>(
        &'s self,
        gateways: &'s [(NamespaceName, Arc<str>)],
    ) -> PolicyWorkload<'s> {
        PolicyWorkload {
            namespace: &self.node.namespace,
            labels: self.labels,
            gateways,
        }
    }

    /// The keys of an issuer as they were fetched last; `None` if they never were.
    pub fn keys(&self, source: &KeySource) -> Option<&'a str> {
        self.note(Read::Keys(source.clone()));
        self.snapshot.keys(source)
    }

    /// What is said of the workload's telemetry, the later over the earlier.
    pub fn telemetries(&self) -> Vec<&'a Arc<Telemetry>> {
        self.note(Read::Telemetries);
        self.seen_telemetries()
    }

    fn seen_telemetries(&self) -> Vec<&'a Arc<Telemetry>> {
        self.snapshot.telemetries(&self.node.namespace, self.labels)
    }

    /// A secret of the proxy's namespace.
    pub fn secret(&self, name: &str) -> Option<&'a Arc<Secret>> {
        self.note(Read::Secret(name.to_owned()));
        self.snapshot.secrets().get(&self.node.namespace, name)
    }

    /// The ports on which the proxy's workload serves, whatever it is.
    pub fn targets(&self) -> Vec<ServiceTarget> {
        self.note(Read::Targets);
        self.snapshot.targets(&Served {
            namespace: &self.node.namespace,
            labels: self.labels,
            addresses: &self.node.ips,
            workload: self.workload.map(AsRef::as_ref),
        })
    }

    /// Whether listeners have addresses of their own.
    pub fn binds(&self) -> bool {
        self.interception == InterceptionMode::None
    }

    /// The address that listeners bind which are for everybody.
    pub fn any_address(&self) -> String {
        if self.binds() {
            self.node.ip.to_string()
        } else {
            wildcard(Some(self.node.ip)).to_owned()
        }
    }

    /// The port of the explicit HTTP proxy, if there is one: what the proxy says, else what the mesh
    /// says, else 15080 where nothing is intercepted.
    pub fn http_proxy_port(&self) -> Option<u16> {
        let default = self.binds().then_some(HTTP_PROXY_PORT);
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
        self.node.role == ProxyRole::Sidecar && !self.binds() && !self.node.is_grpc()
    }
}

fn namespaces_of<'a>(snapshot: &'a Snapshot, host: &Hostname) -> BTreeSet<&'a NamespaceName> {
    let all = snapshot.services().all_by_host(host.as_str());
    all.map(|it| &it.meta.namespace).collect()
}

/// Under what a service is known, which is also where its endpoints are.
fn place(service: &Service) -> (NamespaceName, Hostname) {
    (service.meta.namespace.clone(), service.hostname.clone())
}

/// Whether clients reach a service at any address of a range.
pub(crate) fn has_ranges(service: &Service) -> bool {
    let entry = service.entry.as_ref();
    entry.is_some_and(|it| it.addresses.iter().any(|it| it.as_single().is_none()))
}
