//! Patches to what was made (FEATURES X1).
//!
//! In: the EnvoyFilters that hold for a proxy, and its listeners, clusters and route tables as
//! everything else made them. Out: the same, patched. Called by `translate` last of all, and by nobody
//! else; a proxy without EnvoyFilters pays for a look into an index.
//!
//! Patches run in the order of the snapshot; within one list, what removes and inserts runs before
//! what merges, as in Istio. A value that is no message is refused by [`judge`] when the resource is
//! read; one that comes here all the same is passed over.

mod bootstrap;
mod cluster;
mod extension;
mod filter;
mod insert;
mod listener;
mod matching;
mod message;
mod route;

use std::collections::BTreeMap;

use meltemi_model::{ApplyTo, ConfigPatch, PatchContext, ProxyMatch};
use meltemi_xds::pb::envoy::config::cluster::v3::Cluster;
use meltemi_xds::pb::envoy::config::core::v3::TrafficDirection;
use meltemi_xds::pb::envoy::config::listener::v3::Listener;
use meltemi_xds::pb::envoy::config::route::v3::RouteConfiguration;

pub(crate) use message::judge;

use crate::scope::Scope;
use crate::{ProxyNode, ProxyRole, name};

/// The patches for one proxy, by what they are applied to.
pub(crate) struct Patches<'a> {
    by_kind: BTreeMap<ApplyTo, Vec<&'a ConfigPatch>>,
}

impl<'a> Patches<'a> {
    /// The patches for the proxy of this scope.
    pub fn of(scope: &'a Scope<'_>) -> Self {
        let node = scope.node;
        let filters = scope.envoy_filters();
        let mut by_kind: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for patch in filters.flat_map(|it| &it.patches) {
            if is_for(&patch.proxy, node) {
                by_kind.entry(patch.apply_to).or_default().push(patch);
            }
        }
        Self { by_kind }
    }

    /// Listeners of a proxy, patched, with those that are added in `context`; beside each whatever else
    /// is known of it.
    pub fn listeners<T: Default>(
        &self,
        scope: &Scope<'_>,
        mut listeners: Vec<(Listener, T)>,
        context: PatchContext,
    ) -> Vec<(Listener, T)> {
        if self.by_kind.is_empty() {
            return listeners;
        }
        let role = scope.node.role;
        listeners.retain_mut(|(it, _)| listener::patch(self, listener_context(role, it), it));
        let added = self.added(ApplyTo::Listener, context);
        listeners.extend(added.map(|it| (it, T::default())));
        listeners
    }

    /// Clusters of a proxy, patched, with those that are added in `context`.
    pub fn clusters(
        &self,
        scope: &Scope<'_>,
        mut clusters: Vec<Cluster>,
        context: Option<PatchContext>,
    ) -> Vec<Cluster> {
        if !self.by_kind.contains_key(&ApplyTo::Cluster) {
            return clusters;
        }
        let role = scope.node.role;
        clusters.retain_mut(|it| cluster::patch(self, scope, cluster_context(role, it), it));
        let added = context.into_iter();
        clusters.extend(added.flat_map(|it| self.added(ApplyTo::Cluster, it)));
        clusters
    }

    /// A route table that a proxy asked for, patched.
    pub fn routes(&self, scope: &Scope<'_>, table: &mut RouteConfiguration) {
        // Which ports are the workload's own matters at gateways only.
        let (context, ports) = match scope.node.role {
            ProxyRole::Sidecar => (PatchContext::SidecarOutbound, Default::default()),
            ProxyRole::Router => (PatchContext::Gateway, route::service_ports(scope)),
        };
        route::patch(self, &ports, context, table);
    }

    /// The patches to `kind` that hold in `context`.
    fn to(&self, kind: ApplyTo, context: PatchContext) -> impl Iterator<Item = &'a ConfigPatch> {
        let patches = self.by_kind.get(&kind).into_iter().flatten().copied();
        patches.filter(move |it| it.context == context || it.context == PatchContext::Any)
    }

    /// Whole listeners and clusters to add. Those that name no context are added once.
    fn added<M: prost::Message + Default>(
        &self,
        kind: ApplyTo,
        context: PatchContext,
    ) -> impl Iterator<Item = M> {
        let once = move |it: &&ConfigPatch| {
            it.context != PatchContext::Any || context != PatchContext::SidecarInbound
        };
        self.to(kind, context)
            .filter(once)
            .filter(|it| it.operation == meltemi_model::PatchOperation::Add)
            .filter_map(message::of)
    }
}

/// What patches ask of the proxy, its version and its metadata: proxies that differ in it cannot share
/// what is made for them.
pub(crate) fn asked(scope: &Scope<'_>) -> (Option<String>, BTreeMap<String, String>) {
    let patches = || scope.envoy_filters().flat_map(|it| &it.patches);
    let of_version = patches().any(|it| it.proxy.version.is_some());
    let keys = patches().flat_map(|it| it.proxy.metadata.keys());
    let found = keys.filter_map(|key| {
        let value = scope.node.metadata.get(key)?;
        Some((key.clone(), value.clone()))
    });
    let version = scope.node.version.clone().filter(|_| of_version);
    (version, found.collect())
}

fn is_for(wanted: &ProxyMatch, node: &ProxyNode) -> bool {
    let ProxyMatch { version, metadata } = wanted;
    let version = version.as_ref().is_none_or(|wanted| {
        let own = node.version.as_deref();
        own.is_some_and(|own| wanted.is_found_in(own))
    });
    version
        && metadata
            .iter()
            .all(|(key, value)| node.metadata.get(key) == Some(value))
}

/// Where a proxy's configuration for what its workload sends is; all of a gateway's.
pub(crate) fn outbound_context(role: ProxyRole) -> PatchContext {
    match role {
        ProxyRole::Sidecar => PatchContext::SidecarOutbound,
        ProxyRole::Router => PatchContext::Gateway,
    }
}

fn listener_context(role: ProxyRole, listener: &Listener) -> PatchContext {
    let inbound = listener.traffic_direction() == TrafficDirection::Inbound;
    match role {
        ProxyRole::Router => PatchContext::Gateway,
        ProxyRole::Sidecar if inbound => PatchContext::SidecarInbound,
        ProxyRole::Sidecar => PatchContext::SidecarOutbound,
    }
}

fn cluster_context(role: ProxyRole, cluster: &Cluster) -> PatchContext {
    let inbound =
        cluster.name == name::INBOUND_PASSTHROUGH || name::inbound_port(&cluster.name).is_some();
    match role {
        ProxyRole::Router => PatchContext::Gateway,
        ProxyRole::Sidecar if inbound => PatchContext::SidecarInbound,
        ProxyRole::Sidecar => PatchContext::SidecarOutbound,
    }
}
