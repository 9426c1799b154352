//! The state of the mesh at one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meltemi_model::{
    AuthorizationPolicy, DestinationRule, EnvoyFilter, Hostname, KeySource, Labels, MeshConfig,
    NamespaceName, PolicyWorkload, RequestAuthentication, Service, Sidecar, Telemetry, Workload,
};

use crate::{
    AuthorizationPolicyIndex, DestinationRuleIndex, EndpointIndex, EndpointSliceIndex,
    EnvoyFilterIndex, GatewayIndex, InboundMtls, NamespaceIndex, PeerAuthenticationIndex,
    RequestAuthenticationIndex, SecretIndex, ServiceEndpoints, ServiceIndex, SidecarIndex, Store,
    TelemetryIndex, VirtualServiceIndex, WorkloadIndex, is_injected,
};

/// The state of the mesh at one moment; never changes. Made by [`Store::commit`].
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub(crate) version: u64,
    pub(crate) mesh: Arc<MeshConfig>,
    pub(crate) namespaces: Arc<NamespaceIndex>,
    pub(crate) services: Arc<ServiceIndex>,
    pub(crate) workloads: Arc<WorkloadIndex>,
    pub(crate) endpoints: Arc<EndpointIndex>,
    pub(crate) gateways: Arc<GatewayIndex>,
    pub(crate) virtual_services: Arc<VirtualServiceIndex>,
    pub(crate) destination_rules: Arc<DestinationRuleIndex>,
    pub(crate) secrets: Arc<SecretIndex>,
    pub(crate) endpoint_slices: Arc<EndpointSliceIndex>,
    pub(crate) sidecars: Arc<SidecarIndex>,
    pub(crate) peer_authentications: Arc<PeerAuthenticationIndex>,
    pub(crate) envoy_filters: Arc<EnvoyFilterIndex>,
    pub(crate) telemetries: Arc<TelemetryIndex>,
    pub(crate) request_authentications: Arc<RequestAuthenticationIndex>,
    pub(crate) authorization_policies: Arc<AuthorizationPolicyIndex>,
    pub(crate) issuer_keys: Arc<BTreeMap<KeySource, Arc<str>>>,
    pub(crate) selecting_keys: Arc<BTreeSet<String>>,
}

impl Snapshot {
    /// The snapshot of exactly these resources.
    pub fn of(configs: impl IntoIterator<Item = meltemi_model::Config>) -> Arc<Self> {
        let mut store = Store::default();
        for config in configs {
            store.apply(config);
        }
        store.commit().snapshot
    }

    /// Counts the changes since the store was made.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The mesh configuration, Istio's defaults where none was given.
    pub fn mesh(&self) -> &MeshConfig {
        &self.mesh
    }

    /// The namespaces.
    pub fn namespaces(&self) -> &NamespaceIndex {
        &self.namespaces
    }

    /// The services.
    pub fn services(&self) -> &ServiceIndex {
        &self.services
    }

    /// The workloads.
    pub fn workloads(&self) -> &WorkloadIndex {
        &self.workloads
    }

    /// The gateways.
    pub fn gateways(&self) -> &GatewayIndex {
        &self.gateways
    }

    /// The virtual services.
    pub fn virtual_services(&self) -> &VirtualServiceIndex {
        &self.virtual_services
    }

    /// The destination rules.
    pub fn destination_rules(&self) -> &DestinationRuleIndex {
        &self.destination_rules
    }

    /// The secrets.
    pub fn secrets(&self) -> &SecretIndex {
        &self.secrets
    }

    /// The sidecars.
    pub fn sidecars(&self) -> &SidecarIndex {
        &self.sidecars
    }

    /// The Sidecar that holds for a workload.
    pub fn sidecar(&self, namespace: &NamespaceName, labels: &Labels) -> Option<&Arc<Sidecar>> {
        let root = &self.mesh.root_namespace;
        self.sidecars.of_workload(namespace, labels, root)
    }

    /// The patches for a workload, in the order in which they are applied (FEATURES X1).
    pub fn envoy_filters<'a>(
        &'a self,
        namespace: &'a NamespaceName,
        labels: &'a Labels,
    ) -> impl Iterator<Item = &'a Arc<EnvoyFilter>> {
        let root = &self.mesh.root_namespace;
        self.envoy_filters.of_workload(namespace, labels, root)
    }

    /// What is said of a workload's telemetry, the later over the earlier (FEATURES O3).
    pub fn telemetries(&self, namespace: &NamespaceName, labels: &Labels) -> Vec<&Arc<Telemetry>> {
        let root = &self.mesh.root_namespace;
        self.telemetries.of_workload(namespace, labels, root)
    }

    /// Which callers a workload takes (FEATURES S5).
    pub fn inbound_mtls(&self, namespace: &NamespaceName, labels: &Labels) -> InboundMtls {
        let root = &self.mesh.root_namespace;
        self.peer_authentications
            .of_workload(namespace, labels, root)
    }

    /// The request authentications.
    pub fn request_authentications(&self) -> &RequestAuthenticationIndex {
        &self.request_authentications
    }

    /// Which tokens a workload takes (FEATURES S7).
    pub fn request_authentications_of<'a>(
        &'a self,
        workload: PolicyWorkload<'a>,
    ) -> impl Iterator<Item = &'a Arc<RequestAuthentication>> {
        let root = &self.mesh.root_namespace;
        self.request_authentications.of_workload(workload, root)
    }

    /// Where the keys of issuers have to be fetched from.
    pub fn key_sources(&self) -> impl Iterator<Item = &KeySource> {
        let rules = self.request_authentications.iter().flat_map(|it| &it.rules);
        rules
            .map(|it| &it.keys)
            .filter(|it| !matches!(it, KeySource::Inline(_) | KeySource::None))
    }

    /// The keys of an issuer as they were fetched last; `None` if they never were.
    pub fn keys(&self, source: &KeySource) -> Option<&str> {
        self.issuer_keys.get(source).map(AsRef::as_ref)
    }

    /// The authorization policies.
    pub fn authorization_policies(&self) -> &AuthorizationPolicyIndex {
        &self.authorization_policies
    }

    /// Who may do what to a workload (FEATURES S8).
    pub fn authorization_policies_of<'a>(
        &'a self,
        workload: PolicyWorkload<'a>,
    ) -> impl Iterator<Item = &'a Arc<AuthorizationPolicy>> {
        let root = &self.mesh.root_namespace;
        self.authorization_policies.of_workload(workload, root)
    }

    /// The endpoints of a service; `None` for a service that is not of this snapshot.
    pub fn endpoints(&self, service: &Service) -> Option<&Arc<ServiceEndpoints>> {
        self.endpoints_of(&service.meta.namespace, &service.hostname)
    }

    /// The endpoints of the services of a namespace that have this host.
    pub fn endpoints_of(
        &self,
        namespace: &NamespaceName,
        host: &Hostname,
    ) -> Option<&Arc<ServiceEndpoints>> {
        self.endpoints.of(namespace, host)
    }

    /// How many ports of services that select workloads have no endpoint.
    pub fn lacking_ports(&self) -> usize {
        self.endpoints.lacking_ports()
    }

    /// The policies of the callers that workloads take.
    pub fn peer_authentications(&self) -> &PeerAuthenticationIndex {
        &self.peer_authentications
    }

    /// Whether two snapshots have their services in common.
    pub fn shares_services(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.services, &other.services)
    }

    /// Whether two snapshots have their virtual services in common.
    pub fn shares_virtual_services(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.virtual_services, &other.virtual_services)
    }

    /// Whether two snapshots have their destination rules in common.
    pub fn shares_destination_rules(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.destination_rules, &other.destination_rules)
    }

    /// Whether two snapshots have the policies of callers in common.
    pub fn shares_peer_authentications(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.peer_authentications, &other.peer_authentications)
    }

    /// Whether two snapshots have their patches in common.
    pub fn shares_envoy_filters(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.envoy_filters, &other.envoy_filters)
    }

    /// Whether two snapshots have what is said of telemetry in common.
    pub fn shares_telemetries(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.telemetries, &other.telemetries)
    }

    /// Whether two snapshots have the policies of tokens in common.
    pub fn shares_request_authentications(&self, other: &Self) -> bool {
        Arc::ptr_eq(
            &self.request_authentications,
            &other.request_authentications,
        )
    }

    /// Whether two snapshots have the policies of rights in common.
    pub fn shares_authorization_policies(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.authorization_policies, &other.authorization_policies)
    }

    /// Whether the same labels of clients decide in two snapshots.
    pub fn shares_selecting_keys(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.selecting_keys, &other.selecting_keys)
            || self.selecting_keys == other.selecting_keys
    }

    /// Whether two snapshots have their endpoint slices in common.
    pub fn shares_endpoint_slices(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.endpoint_slices, &other.endpoint_slices)
    }

    /// The destination rule between a client and a service (FEATURES T11).
    pub fn destination_rule(
        &self,
        client: &NamespaceName,
        labels: &Labels,
        service: &Service,
    ) -> Option<&Arc<DestinationRule>> {
        self.destination_rules.lookup(
            client,
            labels,
            &service.hostname,
            &service.meta.namespace,
            &self.mesh.root_namespace,
        )
    }

    /// Whether a workload gets a sidecar.
    pub fn is_injected(&self, workload: &Workload) -> bool {
        let namespace = self.namespaces.get(&workload.meta.namespace);
        is_injected(namespace.map(AsRef::as_ref), workload)
    }

    /// The keys of a client's labels that decide what it is sent.
    pub fn selecting_keys(&self) -> &BTreeSet<String> {
        &self.selecting_keys
    }
}
