//! The way in: one function for each type of resource.
//!
//! In: the snapshot, the proxy and, where a type is asked for by name, names. Out: encoded resources.
//! Called by the xDS server.

use std::collections::BTreeSet;

use meltemi_snapshot::Snapshot;

use crate::envoy_filter::Patches;
use crate::part::{Part, Translator};
use crate::resource::{ResourceMap, Resources, collect};
use crate::scope::Scope;
use crate::{ProxyNode, ProxyRole, gateway, listener, secret};

/// CDS: every cluster of a proxy.
pub fn clusters(snapshot: &Snapshot, node: &ProxyNode) -> ResourceMap {
    let translator = Translator::new(snapshot, node);
    let hosts = translator.hosts().0.into_iter().map(Part::ClustersOf);
    let parts = hosts.chain([Part::Clusters, Part::OwnClusters]);
    parts_of(&translator, parts)
}

/// LDS: every listener of a proxy.
pub fn listeners(snapshot: &Snapshot, node: &ProxyNode) -> ResourceMap {
    let translator = Translator::new(snapshot, node);
    let named = listener_names(snapshot, node).into_iter();
    let named = named.map(|it| Part::Listener(it.into()));
    parts_of(
        &translator,
        named.chain([Part::Listeners, Part::OwnListeners]),
    )
}

fn parts_of(translator: &Translator<'_>, parts: impl IntoIterator<Item = Part>) -> ResourceMap {
    collect(
        parts
            .into_iter()
            .flat_map(|part| translator.make(&part).resources),
    )
}

/// RDS: the route tables of these names. A name that stands for nothing gets an empty table: a proxy
/// may ask for one while it drains a listener.
pub fn routes<'a>(
    snapshot: &Snapshot,
    node: &ProxyNode,
    names: impl IntoIterator<Item = &'a str>,
) -> ResourceMap {
    let names = names.into_iter().map(|it| Part::Routes(it.into()));
    parts_of(&Translator::new(snapshot, node), names)
}

/// EDS: the endpoints of the clusters of these names. A name that stands for nothing gets no
/// endpoints: a cluster must not wait for them for ever.
pub fn endpoints<'a>(
    snapshot: &Snapshot,
    node: &ProxyNode,
    names: impl IntoIterator<Item = &'a str>,
) -> ResourceMap {
    let names = names.into_iter().map(|it| Part::Endpoints(it.into()));
    parts_of(&Translator::new(snapshot, node), names)
}

/// SDS: the gateway credentials of these names that exist and that the proxy may have.
pub fn secrets<'a>(
    snapshot: &Snapshot,
    node: &ProxyNode,
    names: impl IntoIterator<Item = &'a str>,
) -> ResourceMap {
    let names = names.into_iter().map(|it| Part::Secret(it.into()));
    parts_of(&Translator::new(snapshot, node), names)
}

/// ECDS: the configurations of these names that exist.
pub fn extensions<'a>(
    snapshot: &Snapshot,
    node: &ProxyNode,
    names: impl IntoIterator<Item = &'a str>,
) -> ResourceMap {
    let names = names.into_iter().map(|it| Part::Extension(it.into()));
    parts_of(&Translator::new(snapshot, node), names)
}

/// What patches say of a proxy's bootstrap: one message, which is empty if they say nothing.
pub fn bootstrap(snapshot: &Snapshot, node: &ProxyNode) -> ResourceMap {
    parts_of(&Translator::new(snapshot, node), [Part::Bootstrap])
}

/// NDS: one table with the names that a proxy's workload can look up.
pub fn name_table(snapshot: &Snapshot, node: &ProxyNode) -> ResourceMap {
    parts_of(&Translator::new(snapshot, node), [Part::NameTable])
}

/// The names under which there is the configuration of an extension.
pub fn extension_names(snapshot: &Snapshot, node: &ProxyNode) -> BTreeSet<String> {
    if node.is_grpc() {
        return BTreeSet::new();
    }
    let scope = Scope::new(snapshot, node);
    Patches::of(&scope).extensions().map(|it| it.name).collect()
}

/// The listeners for which a gRPC library may ask by name; those of others are sent unasked.
pub fn listener_names(snapshot: &Snapshot, node: &ProxyNode) -> BTreeSet<String> {
    match node.is_grpc() {
        true => listener::grpc_names(&Scope::new(snapshot, node)),
        false => BTreeSet::new(),
    }
}

/// The route tables that a proxy's listeners ask for.
pub fn route_names(snapshot: &Snapshot, node: &ProxyNode) -> BTreeSet<String> {
    let scope = Scope::new(snapshot, node);
    if node.is_grpc() {
        return listener::grpc_route_names(&scope);
    }
    match node.role {
        ProxyRole::Sidecar => listener::route_names(&scope),
        ProxyRole::Router => gateway::route_names(&scope),
    }
}

/// The gateway credentials that a proxy's listeners ask for.
pub fn secret_names(snapshot: &Snapshot, node: &ProxyNode) -> BTreeSet<String> {
    if node.is_grpc() {
        return BTreeSet::new();
    }
    secret::names(&Scope::new(snapshot, node))
}

/// Everything that a proxy needs.
pub fn translate(snapshot: &Snapshot, node: &ProxyNode) -> Resources {
    let clusters = clusters(snapshot, node);
    let needing: Vec<_> = clusters
        .values()
        .filter(|it| it.needs_endpoints)
        .map(|it| it.name.clone())
        .collect();
    let route_names = route_names(snapshot, node);
    let secret_names = secret_names(snapshot, node);
    let extension_names = extension_names(snapshot, node);
    Resources {
        endpoints: endpoints(snapshot, node, needing.iter().map(AsRef::as_ref)),
        listeners: listeners(snapshot, node),
        routes: routes(snapshot, node, route_names.iter().map(String::as_str)),
        secrets: secrets(snapshot, node, secret_names.iter().map(String::as_str)),
        extensions: extensions(snapshot, node, extension_names.iter().map(String::as_str)),
        clusters,
    }
}
