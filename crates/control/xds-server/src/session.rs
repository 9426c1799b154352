//! One proxy's conversation, without I/O.
//!
//! Requests and pushes go in, messages come out. For each kind the session knows what
//! the proxy wants, what it was sent and what it has confirmed; it sends a kind again
//! only when the answer has been confirmed or refused, so that a slow proxy is never
//! flooded.
//!
//! A push goes in make-before-break order. New and changed clusters go first and, once
//! confirmed with their endpoints, listeners and routes follow; clusters that are gone
//! are removed last, when no route can name them any more.

use std::collections::{BTreeMap, BTreeSet};

use meltemi_xds::pb::envoy::config::core::v3::Node;
use meltemi_xds::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
    Resource as WireResource,
};

use crate::{Kind, Resource, View, Wanted};

mod watch;

use watch::Watch;

/// Which form of the protocol the proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Delta (incremental) xDS.
    Delta,
    /// State of the world.
    Sotw,
}

/// A message from the proxy.
#[derive(Clone, Debug)]
pub enum Incoming {
    /// In the delta form.
    Delta(DeltaDiscoveryRequest),
    /// In the state-of-the-world form.
    Sotw(DiscoveryRequest),
}

/// A message for the proxy.
#[derive(Clone, Debug, PartialEq)]
pub enum Outgoing {
    /// In the delta form.
    Delta(DeltaDiscoveryResponse),
    /// In the state-of-the-world form.
    Sotw(DiscoveryResponse),
}

/// The proxy refused what it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nack {
    /// The kind.
    pub kind: Kind,
    /// The proxy's words.
    pub reason: String,
}

/// One proxy's conversation.
#[derive(Debug)]
pub struct Session {
    form: Form,
    node: Option<Node>,
    watches: BTreeMap<Kind, Watch>,
    /// Kinds whose state may differ from what was sent.
    dirty: BTreeSet<Kind>,
    next_nonce: u64,
}

impl Session {
    /// A stream has opened.
    pub fn new(form: Form) -> Self {
        Self {
            form,
            node: None,
            watches: BTreeMap::new(),
            dirty: BTreeSet::new(),
            next_nonce: 1,
        }
    }

    /// Who the proxy says it is, once its first request has come.
    pub fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    /// The watch of a kind, for display.
    pub(crate) fn watch(&self, kind: Kind) -> Option<&Watch> {
        self.watches.get(&kind)
    }

    /// A request has come. A refusal is reported; [`Session::next`] gives the answers.
    pub fn receive(&mut self, incoming: Incoming) -> Option<Nack> {
        match incoming {
            Incoming::Delta(request) => self.receive_delta(request),
            Incoming::Sotw(request) => self.receive_sotw(request),
        }
    }

    fn receive_delta(&mut self, request: DeltaDiscoveryRequest) -> Option<Nack> {
        if let Some(node) = request.node {
            self.node.get_or_insert(node);
        }
        let kind = Kind::from_type_url(&request.type_url)?;
        let first = !self.watches.contains_key(&kind);
        let watch = self.watches.entry(kind).or_default();
        let nack = watch.answered(kind, &request.response_nonce, request.error_detail);
        if first {
            watch.sent = request.initial_resource_versions.into_iter().collect();
            watch.wildcard = kind.has_wildcard() && request.resource_names_subscribe.is_empty();
            watch.owes_answer = true;
        }
        for name in request.resource_names_subscribe {
            if name == "*" {
                watch.wildcard = true;
            } else {
                // Asked for again, it is to be sent again even if it has not changed.
                if !first {
                    watch.sent.remove(&name);
                }
                watch.names.insert(name.clone());
                watch.asked.insert(name);
            }
            self.dirty.insert(kind);
        }
        for name in request.resource_names_unsubscribe {
            if name == "*" {
                watch.wildcard = false;
            }
            watch.names.remove(&name);
            watch.asked.remove(&name);
            if !watch.wildcard {
                watch.sent.remove(&name);
                watch.bodies.remove(&name);
            }
        }
        if watch.owes_answer {
            self.dirty.insert(kind);
        }
        nack
    }

    fn receive_sotw(&mut self, request: DiscoveryRequest) -> Option<Nack> {
        if let Some(node) = request.node {
            self.node.get_or_insert(node);
        }
        let kind = Kind::from_type_url(&request.type_url)?;
        let first = !self.watches.contains_key(&kind);
        let watch = self.watches.entry(kind).or_default();
        if !request.response_nonce.is_empty() && request.response_nonce != watch.nonce {
            // Of an older answer; the proxy will answer the newer one too.
            return None;
        }
        let nack = watch.answered(kind, &request.response_nonce, request.error_detail);
        let names: BTreeSet<String> = request.resource_names.into_iter().collect();
        let wildcard = kind.has_wildcard() && (names.is_empty() || names.contains("*"));
        let changed = names != watch.names || wildcard != watch.wildcard;
        if first || changed || request.response_nonce.is_empty() {
            watch.asked = names.difference(&watch.names).cloned().collect();
            let grown = first || !watch.asked.is_empty() || request.response_nonce.is_empty();
            watch
                .sent
                .retain(|name, _| wildcard || names.contains(name));
            watch.names = names;
            watch.wildcard = wildcard;
            if grown {
                watch.owes_answer = true;
                self.dirty.insert(kind);
            }
        }
        nack
    }

    /// The state of the mesh has changed: everything watched may differ.
    pub fn changed(&mut self) {
        self.dirty.extend(self.watches.keys().copied());
    }

    /// True while a change waits for the proxy to confirm something.
    pub fn is_waiting(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// True when everything sent has been confirmed or refused and nothing more is due.
    pub fn is_confirmed(&self) -> bool {
        self.dirty.is_empty() && self.watches.values().all(|watch| !watch.in_flight)
    }

    /// What can be sent now.
    pub fn next(&mut self, view: &dyn View) -> Vec<Outgoing> {
        let Some(node) = self.node.clone() else {
            return Vec::new();
        };
        let mut messages = Vec::new();
        for kind in Kind::ALL {
            if !self.dirty.contains(&kind) || self.is_held_back(kind) {
                continue;
            }
            self.dirty.remove(&kind);
            if let Some(message) = self.answer(&node, kind, view) {
                messages.push(message);
            }
        }
        messages.extend(self.remove_clusters());
        messages
    }

    /// A kind waits for its own confirmation, and listeners and routes wait for the
    /// clusters that they may name to be there. What the proxy has asked for and not
    /// had is answered at once.
    fn is_held_back(&self, kind: Kind) -> bool {
        let Some(watch) = self.watches.get(&kind) else {
            return true;
        };
        if watch.owes_answer || !watch.asked.is_empty() {
            return false;
        }
        if watch.in_flight {
            return true;
        }
        match kind {
            // Which clusters are leaving must be known: see `answer`.
            Kind::Endpoint => self.dirty.contains(&Kind::Cluster),
            Kind::Listener | Kind::Route => !self.clusters_are_there(),
            _ => false,
        }
    }

    fn clusters_are_there(&self) -> bool {
        let in_flight = |kind| self.watches.get(&kind).is_some_and(|watch| watch.in_flight);
        if in_flight(Kind::Cluster)
            || in_flight(Kind::Endpoint)
            || self.dirty.contains(&Kind::Cluster)
        {
            return false;
        }
        let Some(clusters) = self.watches.get(&Kind::Cluster) else {
            return true;
        };
        let endpoints = self.watches.get(&Kind::Endpoint);
        clusters
            .awaiting_endpoints
            .iter()
            .all(|name| endpoints.is_some_and(|endpoints| endpoints.sent.contains_key(name)))
    }

    /// The proxy has had its time to confirm: go on without it.
    pub fn stop_waiting(&mut self) {
        for watch in self.watches.values_mut() {
            watch.in_flight = false;
            watch.awaiting_endpoints.clear();
        }
    }

    fn answer(&mut self, node: &Node, kind: Kind, view: &dyn View) -> Option<Outgoing> {
        let leaving = match self.watches.get(&Kind::Cluster) {
            Some(clusters) if kind == Kind::Endpoint => clusters.leaving.clone(),
            _ => BTreeSet::new(),
        };
        let watch = self.watches.get_mut(&kind)?;
        let wanted = if watch.wildcard {
            Wanted::All
        } else {
            Wanted::Names(&watch.names)
        };
        let mut resources = view.resources(node, kind, &wanted);
        // A cluster on its way out keeps its endpoints for as long as a route may name it.
        resources.retain(|resource| {
            let sent = watch.sent.get(&resource.name);
            !leaving.contains(&resource.name) || sent.is_none_or(|sent| *sent == resource.version)
        });
        let first = std::mem::take(&mut watch.owes_answer);
        let asked = std::mem::take(&mut watch.asked);
        let there: BTreeSet<&str> = resources
            .iter()
            .map(|resource| resource.name.as_str())
            .collect();
        let mut gone: Vec<String> = watch
            .sent
            .keys()
            .filter(|name| !there.contains(name.as_str()) && !leaving.contains(*name))
            .cloned()
            .collect();
        gone.extend(
            asked
                .into_iter()
                .filter(|name| !there.contains(name.as_str())),
        );
        gone.sort();
        gone.dedup();
        drop(there);
        let changed: Vec<Resource> = resources
            .iter()
            .filter(|resource| watch.sent.get(&resource.name) != Some(&resource.version))
            .cloned()
            .collect();
        if kind == Kind::Cluster {
            // Removed last: see `remove_clusters`.
            gone.retain(|name| watch.sent.contains_key(name));
            watch.leaving = std::mem::take(&mut gone).into_iter().collect();
            watch.awaiting_endpoints = changed
                .iter()
                .filter(|resource| {
                    resource.needs_endpoints && !watch.sent.contains_key(&resource.name)
                })
                .map(|resource| resource.name.clone())
                .collect();
        }
        if changed.is_empty() && gone.is_empty() && !first {
            return None;
        }
        for resource in &changed {
            watch
                .sent
                .insert(resource.name.clone(), resource.version.clone());
            if self.form == Form::Sotw && kind == Kind::Cluster {
                watch.bodies.insert(resource.name.clone(), resource.clone());
            }
        }
        for name in &gone {
            watch.sent.remove(name);
        }
        let body = match self.form {
            Form::Delta => changed,
            Form::Sotw => {
                let leaving = watch
                    .leaving
                    .iter()
                    .filter_map(|name| watch.bodies.get(name))
                    .cloned();
                resources.into_iter().chain(leaving).collect()
            }
        };
        Some(self.message(kind, body, gone, view.version()))
    }

    /// Clusters that are gone, when every other kind has been confirmed.
    fn remove_clusters(&mut self) -> Option<Outgoing> {
        let quiet = self.is_confirmed();
        let watch = self.watches.get_mut(&Kind::Cluster)?;
        if !quiet || watch.leaving.is_empty() {
            return None;
        }
        let gone: Vec<String> = std::mem::take(&mut watch.leaving).into_iter().collect();
        for name in &gone {
            watch.sent.remove(name);
            watch.bodies.remove(name);
        }
        let left = watch.bodies.values().cloned().collect();
        let version = watch.version;
        Some(match self.form {
            Form::Delta => self.message(Kind::Cluster, Vec::new(), gone, version),
            Form::Sotw => self.message(Kind::Cluster, left, Vec::new(), version),
        })
    }

    fn message(
        &mut self,
        kind: Kind,
        resources: Vec<Resource>,
        gone: Vec<String>,
        version: u64,
    ) -> Outgoing {
        let nonce = self.next_nonce.to_string();
        self.next_nonce += 1;
        let watch = self.watches.entry(kind).or_default();
        watch.nonce.clone_from(&nonce);
        watch.in_flight = true;
        watch.version = version;
        let version = version.to_string();
        match self.form {
            Form::Delta => Outgoing::Delta(DeltaDiscoveryResponse {
                system_version_info: version,
                type_url: kind.type_url(),
                nonce,
                resources: resources
                    .into_iter()
                    .map(|resource| WireResource {
                        name: resource.name,
                        version: resource.version,
                        resource: Some((*resource.body).clone()),
                        ..WireResource::default()
                    })
                    .collect(),
                removed_resources: gone,
                ..DeltaDiscoveryResponse::default()
            }),
            Form::Sotw => Outgoing::Sotw(DiscoveryResponse {
                version_info: version,
                type_url: kind.type_url(),
                nonce,
                resources: resources
                    .into_iter()
                    .map(|resource| (*resource.body).clone())
                    .collect(),
                ..DiscoveryResponse::default()
            }),
        }
    }
}

#[cfg(test)]
mod tests;
