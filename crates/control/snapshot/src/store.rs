//! Takes changes and makes snapshots of them.
//!
//! In: resources that a source applied or deleted. Out: at each commit the new [`Snapshot`], which
//! shares with the last one what did not change, and the [`Delta`] between the two. Used by the
//! control plane's assembly, one thread at a time.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_model::{Config, KeySource, Kind, MeshConfig, NamespaceName, ResourceId};

use crate::endpoint::Sources;
use crate::named::Name;
use crate::selector::SelectingKeys;
use crate::service::Origin;
use crate::touched::Touched;
use crate::{Delta, Snapshot};

/// The resources in effect, and the changes to them since the last commit.
#[derive(Debug, Default)]
pub struct Store {
    /// The last snapshot.
    committed: Arc<Snapshot>,
    /// The next one; its derived maps are made at the commit.
    next: Snapshot,
    pending: Delta,
    /// By which endpoints may differ.
    touched: Touched,
    selecting: SelectingKeys,
}

/// What a commit made.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The state now.
    pub snapshot: Arc<Snapshot>,
    /// What differs from the snapshot before.
    pub delta: Delta,
    /// Of how many resources and services was made again what indexes make of them.
    pub remade: usize,
}

impl Store {
    /// The last snapshot.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.committed
    }

    /// Adds a resource, or puts it in the place of the one with the same id.
    pub fn apply(&mut self, config: Config) {
        let id = config.id();
        if self.has(&id, &config) {
            return;
        }
        self.touched.note(&self.next, &id);
        let next = &mut self.next;
        match config {
            Config::Namespace(it) => Arc::make_mut(&mut next.namespaces).insert(it),
            Config::Service(it) => Arc::make_mut(&mut next.services).named.insert(it),
            Config::Deployment(it) => {
                Arc::make_mut(&mut next.workloads).insert(id.clone(), it.workloads);
            }
            Config::Pod(it) => Arc::make_mut(&mut next.workloads).insert(id.clone(), vec![*it]),
            Config::Secret(it) => Arc::make_mut(&mut next.secrets).named.insert(it),
            Config::Gateway(it) => Arc::make_mut(&mut next.gateways).named.insert(it),
            Config::VirtualService(it) => {
                Arc::make_mut(&mut next.virtual_services).named.insert(it)
            }
            Config::DestinationRule(it) => {
                Arc::make_mut(&mut next.destination_rules).named.insert(it)
            }
            Config::ServiceEntry(it) => Arc::make_mut(&mut next.services).entries.insert(it),
            Config::WorkloadEntry(it) => {
                Arc::make_mut(&mut next.workloads).insert(id.clone(), vec![it.workload()]);
            }
            Config::EndpointSlice(it) => Arc::make_mut(&mut next.endpoint_slices).insert(it),
            Config::Sidecar(it) => Arc::make_mut(&mut next.sidecars).named.insert(it),
            Config::PeerAuthentication(it) => {
                Arc::make_mut(&mut next.peer_authentications)
                    .named
                    .insert(it);
            }
            Config::EnvoyFilter(it) => Arc::make_mut(&mut next.envoy_filters).named.insert(it),
            Config::Telemetry(it) => Arc::make_mut(&mut next.telemetries).named.insert(it),
            Config::RequestAuthentication(it) => {
                Arc::make_mut(&mut next.request_authentications)
                    .named
                    .insert(it);
            }
            Config::AuthorizationPolicy(it) => {
                Arc::make_mut(&mut next.authorization_policies)
                    .named
                    .insert(it);
            }
            Config::MeshConfig(it) => next.mesh = Arc::new(*it),
            Config::ServiceAccount(_)
            | Config::Node(_)
            | Config::ConfigMap(_)
            | Config::WorkloadGroup(_)
            | Config::ProxyConfig(_) => return,
        }
        self.note(id);
    }

    /// Whether the resource is in effect just so. Nothing that is sent to a proxy depends on service
    /// accounts, nodes, config maps and proxies' settings as such, so that they count as known.
    fn has(&self, id: &ResourceId, config: &Config) -> bool {
        let next = &self.next;
        match config {
            Config::Namespace(it) => next.namespaces.has(it),
            Config::Service(it) => next.services.named.has(it),
            Config::Deployment(_) | Config::Pod(_) => next.workloads.has(id, config.workloads()),
            Config::Secret(it) => next.secrets.named.has(it),
            Config::Gateway(it) => next.gateways.named.has(it),
            Config::VirtualService(it) => next.virtual_services.named.has(it),
            Config::DestinationRule(it) => next.destination_rules.named.has(it),
            Config::ServiceEntry(it) => next.services.entries.has(it),
            Config::WorkloadEntry(it) => next.workloads.has(id, &[it.workload()]),
            Config::EndpointSlice(it) => next.endpoint_slices.has(it),
            Config::Sidecar(it) => next.sidecars.named.has(it),
            Config::PeerAuthentication(it) => next.peer_authentications.named.has(it),
            Config::EnvoyFilter(it) => next.envoy_filters.named.has(it),
            Config::Telemetry(it) => next.telemetries.named.has(it),
            Config::RequestAuthentication(it) => next.request_authentications.named.has(it),
            Config::AuthorizationPolicy(it) => next.authorization_policies.named.has(it),
            Config::MeshConfig(it) => *next.mesh == **it,
            Config::ServiceAccount(_)
            | Config::Node(_)
            | Config::ConfigMap(_)
            | Config::WorkloadGroup(_)
            | Config::ProxyConfig(_) => true,
        }
    }

    /// Removes the resource with this id, if there is one.
    pub fn delete(&mut self, id: &ResourceId) {
        self.touched.note(&self.next, id);
        let next = &mut self.next;
        let (namespace, name) = (&id.namespace, &id.name);
        let changed = match id.kind {
            Kind::Namespace => Arc::make_mut(&mut next.namespaces).remove(name),
            Kind::Service => Arc::make_mut(&mut next.services)
                .named
                .remove(namespace, name),
            Kind::Deployment | Kind::Pod | Kind::WorkloadEntry => {
                Arc::make_mut(&mut next.workloads).remove(id)
            }
            Kind::ServiceEntry => Arc::make_mut(&mut next.services)
                .entries
                .remove(namespace, name),
            Kind::EndpointSlice => Arc::make_mut(&mut next.endpoint_slices).remove(namespace, name),
            Kind::Sidecar => Arc::make_mut(&mut next.sidecars)
                .named
                .remove(namespace, name),
            Kind::PeerAuthentication => Arc::make_mut(&mut next.peer_authentications)
                .named
                .remove(namespace, name),
            Kind::RequestAuthentication => Arc::make_mut(&mut next.request_authentications)
                .named
                .remove(namespace, name),
            Kind::AuthorizationPolicy => Arc::make_mut(&mut next.authorization_policies)
                .named
                .remove(namespace, name),
            Kind::Secret => Arc::make_mut(&mut next.secrets)
                .named
                .remove(namespace, name),
            Kind::Gateway => Arc::make_mut(&mut next.gateways)
                .named
                .remove(namespace, name),
            Kind::VirtualService => Arc::make_mut(&mut next.virtual_services)
                .named
                .remove(namespace, name),
            Kind::DestinationRule => Arc::make_mut(&mut next.destination_rules)
                .named
                .remove(namespace, name),
            Kind::EnvoyFilter => Arc::make_mut(&mut next.envoy_filters)
                .named
                .remove(namespace, name),
            Kind::Telemetry => Arc::make_mut(&mut next.telemetries)
                .named
                .remove(namespace, name),
            Kind::MeshConfig => {
                let written = *next.mesh != MeshConfig::default();
                next.mesh = Arc::default();
                written
            }
            Kind::ServiceAccount
            | Kind::Node
            | Kind::ConfigMap
            | Kind::WorkloadGroup
            | Kind::ProxyConfig => false,
        };
        if changed {
            self.note(id.clone());
        }
    }

    /// The keys of an issuer were fetched; those of issuers that nothing names any more are forgotten.
    pub fn set_keys(&mut self, source: &KeySource, keys: Arc<str>) {
        let users = self.next.request_authentications.iter();
        let users: Vec<_> = users
            .filter(|it| it.rules.iter().any(|rule| rule.keys == *source))
            .map(|it| ResourceId::of(Kind::RequestAuthentication, &it.meta))
            .collect();
        if users.is_empty() || self.next.issuer_keys.get(source) == Some(&keys) {
            return;
        }
        let named: BTreeSet<_> = self.next.key_sources().cloned().collect();
        let all = Arc::make_mut(&mut self.next.issuer_keys);
        all.retain(|it, _| named.contains(it));
        all.insert(source.clone(), keys);
        users.into_iter().for_each(|id| self.note(id));
    }

    /// Makes the snapshot of what was applied and deleted since the last commit. Without any change
    /// it is the last one.
    pub fn commit(&mut self) -> Commit {
        let mut delta = std::mem::take(&mut self.pending);
        if delta.is_empty() {
            return Commit {
                snapshot: self.committed.clone(),
                delta,
                remade: 0,
            };
        }
        let mut remade = self.update_indexes(&delta);
        let next = &mut self.next;
        let places = std::mem::take(&mut self.touched).places(next);
        remade += places.len();
        if !places.is_empty() {
            delta.endpoints = Arc::make_mut(&mut next.endpoints).rebuild(
                places,
                &Sources {
                    services: &next.services,
                    workloads: &next.workloads,
                    namespaces: &next.namespaces,
                    slices: &next.endpoint_slices,
                },
            );
        }
        let changed = delta.changed.iter();
        next.selecting_keys = self.selecting.update(&self.committed, next, changed);
        next.version += 1;
        self.committed = Arc::new(next.clone());
        Commit {
            snapshot: self.committed.clone(),
            delta,
            remade,
        }
    }

    /// Makes again what the indexes have made of what changed; of how many resources.
    fn update_indexes(&mut self, delta: &Delta) -> usize {
        let mut remade = 0;
        let next = &mut self.next;
        let exports = next.mesh.default_export_to.clone();
        let before = &self.committed.mesh.default_export_to;
        let services = names(delta, Kind::Service).map(Origin::Service);
        let entries = names(delta, Kind::ServiceEntry).map(Origin::Entry);
        let origins: BTreeSet<_> = services.chain(entries).collect();
        if exports.services != before.services {
            remade += Arc::make_mut(&mut next.services).rebuild(&exports.services);
        } else if !origins.is_empty() {
            remade += Arc::make_mut(&mut next.services).update(&origins, &exports.services);
        }
        let virtual_services: BTreeSet<_> = names(delta, Kind::VirtualService).collect();
        if exports.virtual_services != before.virtual_services {
            remade += Arc::make_mut(&mut next.virtual_services).rebuild(&exports.virtual_services);
        } else if !virtual_services.is_empty() {
            let index = Arc::make_mut(&mut next.virtual_services);
            remade += index.update(&virtual_services, &exports.virtual_services);
        }
        let rules = namespaces(delta, Kind::DestinationRule);
        if exports.destination_rules != before.destination_rules {
            remade +=
                Arc::make_mut(&mut next.destination_rules).rebuild(&exports.destination_rules);
        } else if !rules.is_empty() {
            let index = Arc::make_mut(&mut next.destination_rules);
            remade += index.update(&rules, &exports.destination_rules);
        }
        if delta.has(Kind::Gateway) {
            remade += Arc::make_mut(&mut next.gateways).rebuild();
        }
        let changed = |kind| Some(namespaces(delta, kind)).filter(|it| !it.is_empty());
        if let Some(namespaces) = changed(Kind::Sidecar) {
            remade += Arc::make_mut(&mut next.sidecars).update(&namespaces);
        }
        if let Some(namespaces) = changed(Kind::PeerAuthentication) {
            remade += Arc::make_mut(&mut next.peer_authentications).update(&namespaces);
        }
        if let Some(namespaces) = changed(Kind::EnvoyFilter) {
            remade += Arc::make_mut(&mut next.envoy_filters).update(&namespaces);
        }
        if let Some(namespaces) = changed(Kind::Telemetry) {
            remade += Arc::make_mut(&mut next.telemetries).update(&namespaces);
        }
        if let Some(namespaces) = changed(Kind::RequestAuthentication) {
            remade += Arc::make_mut(&mut next.request_authentications).update(&namespaces);
        }
        if let Some(namespaces) = changed(Kind::AuthorizationPolicy) {
            remade += Arc::make_mut(&mut next.authorization_policies).update(&namespaces);
        }
        remade
    }

    fn note(&mut self, id: ResourceId) {
        self.touched.note(&self.next, &id);
        self.pending.changed.insert(id);
    }
}

/// The names of the resources of a kind that changed.
fn names(delta: &Delta, kind: Kind) -> impl Iterator<Item = Name> {
    let changed = delta.changed.iter().filter(move |it| it.kind == kind);
    changed.map(|it| (it.namespace.clone(), it.name.clone()))
}

/// The namespaces in which a resource of a kind changed.
fn namespaces(delta: &Delta, kind: Kind) -> BTreeSet<NamespaceName> {
    names(delta, kind).map(|(namespace, _)| namespace).collect()
}
