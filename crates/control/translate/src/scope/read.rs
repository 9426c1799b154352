//! What translations read of the mesh, and whether it is still the same.
//!
//! In: the notes that a [`Scope`]'s methods make. Out: for each of them whether two states of the mesh
//! give the same answer. Compared by identity where the snapshots share, else by value; a wrong *no*
//! costs time and a wrong *yes* would be a lost change.

use std::sync::Arc;

use meltemi_model::{
    AuthorizationPolicy, DestinationRule, GatewayRef, Hostname, KeySource, NamespaceName,
    PolicyTarget, RequestAuthentication,
};
use meltemi_snapshot::{ServiceEndpoints, Snapshot};

use super::{Egress, Scope, namespaces_of};

/// Something that was read of the mesh. The answer depends on the proxy too, which is that of the
/// scopes that are compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Read {
    /// Who the proxy's workload is, and its Sidecar.
    Own,
    /// The mesh configuration.
    Mesh,
    /// The patches for the proxy.
    Patches,
    /// Every service that is seen.
    Services,
    /// The services with this host that are seen.
    Service(Hostname),
    /// The service of the mesh with this host, seen or not.
    Host(Hostname),
    /// The namespaces with a service of this host, seen or not.
    NamespacesOf(Hostname),
    /// The services that are other names of this host.
    Aliases(Hostname),
    /// The addresses that were found for a service.
    AutoAddresses((NamespaceName, Hostname)),
    /// The virtual services that are seen, by listener.
    Imports,
    /// The virtual services at a gateway.
    VirtualServices(GatewayRef),
    /// Every Gateway.
    Gateways,
    /// The destination rule for a service.
    Rule((NamespaceName, Hostname)),
    /// The endpoints of a service.
    Endpoints((NamespaceName, Hostname)),
    /// The identities of a service's workloads.
    Accounts((NamespaceName, Hostname)),
    /// The policies that hold in a namespace, the mesh's among them.
    PeerAuthentications(NamespaceName),
    /// Who may do what to the proxy's workload.
    AuthorizationPolicies,
    /// Which tokens the proxy's workload takes.
    RequestAuthentications,
    /// The keys of an issuer.
    Keys(KeySource),
    /// What is said of the workload's telemetry.
    Telemetries,
    /// What the proxy's workload serves.
    Targets,
    /// A secret of the proxy's namespace.
    Secret(String),
}

/// Reads that can only change together with the same indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReadClass {
    /// Those that many indexes decide, of which there are few.
    Few,
    /// Those of services: by host.
    Services,
    /// Those of destination rules: by host.
    Rules,
    /// Those of endpoints: by host, and changed only where a commit says so.
    Endpoints,
}

impl ReadClass {
    /// Whether reads of this class may differ at all.
    pub(crate) fn may_differ(self, old: &Scope<'_>, new: &Scope<'_>) -> bool {
        let (before, after) = (old.snapshot, new.snapshot);
        match self {
            Self::Few | Self::Endpoints => true,
            Self::Services => !before.shares_services(after) || !old.has_same_imports(new),
            Self::Rules => !before.shares_destination_rules(after) || !same_root(before, after),
        }
    }
}

impl Read {
    /// The class of the read.
    pub fn class(&self) -> ReadClass {
        match self {
            Self::Own
            | Self::Mesh
            | Self::Patches
            | Self::Services
            | Self::Imports
            | Self::VirtualServices(_)
            | Self::Gateways
            | Self::PeerAuthentications(_)
            | Self::AuthorizationPolicies
            | Self::RequestAuthentications
            | Self::Keys(_)
            | Self::Telemetries
            | Self::Targets
            | Self::Secret(_) => ReadClass::Few,
            Self::Service(_)
            | Self::Host(_)
            | Self::NamespacesOf(_)
            | Self::Aliases(_)
            | Self::AutoAddresses(_) => ReadClass::Services,
            Self::Rule(_) => ReadClass::Rules,
            Self::Endpoints(_) | Self::Accounts(_) => ReadClass::Endpoints,
        }
    }

    /// Whether two states of the mesh, as the same proxy sees them, give the same answer.
    pub(crate) fn is_same(&self, old: &Scope<'_>, new: &Scope<'_>) -> bool {
        let (before, after) = (old.snapshot, new.snapshot);
        match self {
            Self::Own => same_own(old, new),
            Self::Mesh => {
                std::ptr::eq(before.mesh(), after.mesh()) || before.mesh() == after.mesh()
            }
            Self::Patches => {
                before.shares_envoy_filters(after) && same_root(before, after)
                    || iterators_same(old.envoy_filters(), new.envoy_filters())
            }
            Self::Services => {
                let indexes = before.shares_services(after) && old.has_same_imports(new);
                indexes
                    || all_same(old.seen_services(), new.seen_services()) && old.has_same_lists(new)
            }
            Self::Service(host) => {
                let indexes = before.shares_services(after) && old.has_same_imports(new);
                let seen = |it: &Scope<'_>| it.services_of(host.as_str());
                indexes || all_same(&seen(old), &seen(new))
            }
            Self::Host(host) => {
                let found = |it: &Snapshot| it.services().by_host(host.as_str()).cloned();
                before.shares_services(after) || same(&found(before), &found(after))
            }
            Self::NamespacesOf(host) => {
                before.shares_services(after)
                    || namespaces_of(before, host) == namespaces_of(after, host)
            }
            Self::Aliases(host) => {
                let (old, new) = (before.services(), after.services());
                before.shares_services(after)
                    || iterators_same(old.aliases_of(host), new.aliases_of(host))
            }
            Self::AutoAddresses((namespace, host)) => {
                let (old, new) = (before.services(), after.services());
                before.shares_services(after)
                    || old.auto_addresses_of(namespace, host)
                        == new.auto_addresses_of(namespace, host)
            }
            Self::Imports => {
                before.shares_virtual_services(after)
                    && same(&old.sidecar.cloned(), &new.sidecar.cloned())
                    || old.has_same_virtual_services(new)
            }
            Self::VirtualServices(gateway) => {
                let (all, later) = (before.virtual_services(), after.virtual_services());
                before.shares_virtual_services(after) || all.shares_gateway(later, gateway) || {
                    let namespace = &old.node.namespace;
                    iterators_same(all.at(gateway, namespace), later.at(gateway, namespace))
                }
            }
            Self::Gateways => iterators_same(before.gateways().iter(), after.gateways().iter()),
            Self::Rule((namespace, host)) => {
                before.shares_destination_rules(after) && same_root(before, after)
                    || same(&old.rule(namespace, host), &new.rule(namespace, host))
            }
            Self::Endpoints((namespace, host)) => {
                let found = |it: &Snapshot| it.endpoints_of(namespace, host).cloned();
                same(&found(before), &found(after))
            }
            Self::Accounts((namespace, host)) => same_accounts(
                before.endpoints_of(namespace, host),
                after.endpoints_of(namespace, host),
            ),
            Self::PeerAuthentications(namespace) => {
                same_root(before, after)
                    && (before.shares_peer_authentications(after)
                        || same_callers(before, after, namespace)
                            && same_callers(before, after, &before.mesh().root_namespace))
            }
            Self::AuthorizationPolicies => {
                before.shares_authorization_policies(after) && same_root(before, after)
                    || iterators_same(old.rights(), new.rights())
            }
            Self::RequestAuthentications => {
                before.shares_request_authentications(after) && same_root(before, after)
                    || iterators_same(old.tokens(), new.tokens())
            }
            Self::Keys(source) => before.keys(source) == after.keys(source),
            Self::Telemetries => {
                before.shares_telemetries(after) && same_root(before, after)
                    || iterators_same(
                        old.seen_telemetries().into_iter(),
                        new.seen_telemetries().into_iter(),
                    )
            }
            Self::Targets => {
                let served = before.shares_services(after)
                    && before.shares_endpoint_slices(after)
                    && same(&old.workload.cloned(), &new.workload.cloned());
                served || old.labels == new.labels && old.targets() == new.targets()
            }
            Self::Secret(name) => {
                let namespace = &old.node.namespace;
                let found = |it: &Snapshot| it.secrets().get(namespace, name).cloned();
                same(&found(before), &found(after))
            }
        }
    }
}

impl<'a> Scope<'a> {
    /// Whether both take the services of the mesh as they are, or by the same Sidecar and virtual
    /// services.
    fn has_same_imports(&self, other: &Scope<'_>) -> bool {
        let narrowed = |it: &Scope<'_>| it.sidecar.is_some_and(|it| !it.egress.is_empty());
        if !narrowed(self) && !narrowed(other) {
            return true;
        }
        same(&self.sidecar.cloned(), &other.sidecar.cloned())
            && self.snapshot.shares_virtual_services(other.snapshot)
    }

    fn rule(&self, namespace: &NamespaceName, host: &Hostname) -> Option<Arc<DestinationRule>> {
        let client = &self.node.namespace;
        let root = &self.snapshot.mesh().root_namespace;
        let rules = self.snapshot.destination_rules();
        rules
            .lookup(client, self.labels, host, namespace, root)
            .cloned()
    }

    /// The policies that may hold for the workload; which gateways are meant is not asked.
    fn rights(&self) -> impl Iterator<Item = &Arc<AuthorizationPolicy>> {
        let all = self.snapshot.authorization_policies();
        let here = self.policy_places().flat_map(|it| all.in_namespace(it));
        here.filter(|it| self.may_be_meant(&it.target))
    }

    /// The same for tokens.
    fn tokens(&self) -> impl Iterator<Item = &Arc<RequestAuthentication>> {
        let all = self.snapshot.request_authentications();
        let here = self.policy_places().flat_map(|it| all.in_namespace(it));
        here.filter(|it| self.may_be_meant(&it.target))
    }

    /// The namespaces whose policies may hold, each once.
    fn policy_places(&self) -> impl Iterator<Item = &NamespaceName> {
        let root = &self.snapshot.mesh().root_namespace;
        let own = &self.node.namespace;
        std::iter::once(root).chain((own != root).then_some(own))
    }

    fn may_be_meant(&self, target: &PolicyTarget) -> bool {
        match target {
            PolicyTarget::Workloads(selector) => selector.selects(self.labels),
            PolicyTarget::Gateways(_) => true,
        }
    }

    /// Whether each listener of the Sidecar has the same virtual services; the order counts.
    fn has_same_virtual_services(&self, other: &Scope<'_>) -> bool {
        let (old, new) = (self.seen_egress(), other.seen_egress());
        let same = |(old, new): (&Egress<'_>, &Egress<'_>)| {
            let (old, new) = (old.virtual_services.iter(), new.virtual_services.iter());
            iterators_same(old.copied(), new.copied())
        };
        old.len() == new.len() && old.iter().zip(new).all(same)
    }

    /// Whether each listener of the Sidecar has the same services; the order counts.
    fn has_same_lists(&self, other: &Scope<'_>) -> bool {
        let (old, new) = (self.seen_egress(), other.seen_egress());
        old.len() == new.len()
            && old
                .iter()
                .zip(new)
                .all(|(old, new)| all_same(&old.services, &new.services))
    }
}

fn same_accounts(old: Option<&Arc<ServiceEndpoints>>, new: Option<&Arc<ServiceEndpoints>>) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => Arc::ptr_eq(old, new) || old.accounts == new.accounts,
        (old, new) => old.is_none() && new.is_none(),
    }
}

fn same_root(old: &Snapshot, new: &Snapshot) -> bool {
    old.mesh().root_namespace == new.mesh().root_namespace
}

/// Whether a namespace has the same policies of callers.
fn same_callers(old: &Snapshot, new: &Snapshot, namespace: &NamespaceName) -> bool {
    let (old, new) = (old.peer_authentications(), new.peer_authentications());
    all_same(old.in_namespace(namespace), new.in_namespace(namespace))
}

fn same<T: PartialEq>(old: &Option<Arc<T>>, new: &Option<Arc<T>>) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => Arc::ptr_eq(old, new) || old == new,
        (old, new) => old.is_none() && new.is_none(),
    }
}

fn all_same<T: PartialEq>(old: &[Arc<T>], new: &[Arc<T>]) -> bool {
    iterators_same(old.iter(), new.iter())
}

fn iterators_same<'a, T: PartialEq + 'a>(
    old: impl Iterator<Item = &'a Arc<T>>,
    mut new: impl Iterator<Item = &'a Arc<T>>,
) -> bool {
    for old in old {
        match new.next() {
            Some(new) if Arc::ptr_eq(old, new) || old == new => {}
            Some(_) | None => return false,
        }
    }
    new.next().is_none()
}

fn same_own(old: &Scope<'_>, new: &Scope<'_>) -> bool {
    let sidecar = |it: &Scope<'_>| it.sidecar.cloned();
    old.labels == new.labels
        && old.interception == new.interception
        && old.own_settings() == new.own_settings()
        && same(&sidecar(old), &sidecar(new))
}
