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
use std::sync::Arc;

use meltemi_xds::pb::envoy::config::core::v3::Node;
use meltemi_xds::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};

use crate::{Kind, ProxyView, Resource, Version};

mod answer;
mod known;
mod outgoing;
mod watch;

pub use outgoing::Outgoing;
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
    node: Option<Arc<Node>>,
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
    pub fn node(&self) -> Option<&Arc<Node>> {
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
            self.node.get_or_insert_with(|| Arc::new(node));
        }
        let kind = Kind::from_type_url(&request.type_url)?;
        let first = !self.watches.contains_key(&kind);
        let watch = self.watches.entry(kind).or_default();
        let nack = watch.answered(kind, &request.response_nonce, request.error_detail);
        if first {
            for (name, version) in request.initial_resource_versions {
                watch.known.send(&name.into(), Version::parse(&version));
            }
            watch.wildcard = kind.has_wildcard() && request.resource_names_subscribe.is_empty();
            watch.owes_answer = true;
        }
        for name in request.resource_names_subscribe {
            self.dirty.insert(kind);
            if name == "*" {
                watch.wildcard = true;
                watch.compared = None;
                continue;
            }
            // Asked for again, it is to be sent again even if it has not changed.
            if !first {
                watch.known.forget(&name);
            }
            let name = watch.known.ask(&name);
            watch.asked.insert(name);
        }
        for name in request.resource_names_unsubscribe {
            if name == "*" {
                watch.wildcard = false;
                watch.known.forget_unasked();
                continue;
            }
            watch.known.release(&name);
            watch.asked.remove(name.as_str());
            watch.known.forget(&name);
            watch.bodies.remove(name.as_str());
            if watch.wildcard {
                // Whether it is among everything has to be said, as the proxy cannot know.
                watch.asked.insert(name.into());
                self.dirty.insert(kind);
            }
        }
        if watch.owes_answer {
            self.dirty.insert(kind);
        }
        nack
    }

    fn receive_sotw(&mut self, request: DiscoveryRequest) -> Option<Nack> {
        if let Some(node) = request.node {
            self.node.get_or_insert_with(|| Arc::new(node));
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
        watch.named |= !names.is_empty();
        let everything = names.contains("*") || !watch.named;
        let wildcard = kind.has_wildcard() && everything;
        let names: BTreeSet<String> = names.into_iter().filter(|it| it != "*").collect();
        let new: Vec<_> = names
            .iter()
            .filter(|it| !watch.known.is_asked(it))
            .cloned()
            .collect();
        let fresh = first || request.response_nonce.is_empty();
        let fewer = watch.known.asked().count() + new.len() != names.len();
        if fresh || fewer || !new.is_empty() || wildcard != watch.wildcard {
            let grown = fresh || !new.is_empty() || wildcard && !watch.wildcard;
            watch.known.ask_only(names);
            watch.wildcard = wildcard;
            if !wildcard {
                watch.known.forget_unasked();
            }
            for name in new {
                let name = watch.known.ask(&name);
                watch.asked.insert(name);
            }
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

    /// True while clusters that were sent have no endpoints, which holds the next listeners and routes
    /// back. A proxy need not ask for them.
    pub fn awaits_endpoints(&self) -> bool {
        let clusters = self.watches.get(&Kind::Cluster);
        clusters.is_some_and(|it| !it.awaiting_endpoints.is_empty())
    }

    /// The clusters of which the endpoints are awaited.
    pub fn awaited_endpoints(&self) -> Vec<Arc<str>> {
        let clusters = self.watches.get(&Kind::Cluster);
        let awaited = clusters.into_iter().flat_map(|it| &it.awaiting_endpoints);
        awaited.cloned().collect()
    }

    /// What can be sent now.
    pub fn next(&mut self, view: &dyn ProxyView) -> Vec<Outgoing> {
        let mut messages = Vec::new();
        for kind in Kind::ALL {
            self.note_endpoints();
            if !self.dirty.contains(&kind) || self.is_held_back(kind) {
                continue;
            }
            self.dirty.remove(&kind);
            if let Some(message) = self.answer(kind, view) {
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
        let clusters = self.watches.get(&Kind::Cluster);
        clusters.is_none_or(|it| it.awaiting_endpoints.is_empty())
    }

    /// Clusters whose endpoints have been sent wait for nothing any more, even if the proxy then does
    /// without them.
    fn note_endpoints(&mut self) {
        if !self.awaits_endpoints() {
            return;
        }
        let Some(mut clusters) = self.watches.remove(&Kind::Cluster) else {
            return;
        };
        if let Some(endpoints) = self.watches.get(&Kind::Endpoint) {
            let missing = |it: &Arc<str>| endpoints.known.sent(it).is_none();
            clusters.awaiting_endpoints.retain(missing);
        }
        self.watches.insert(Kind::Cluster, clusters);
    }

    /// The proxy has had its time to confirm: go on without it.
    pub fn stop_waiting(&mut self) {
        for watch in self.watches.values_mut() {
            watch.in_flight = false;
            watch.awaiting_endpoints.clear();
        }
    }

    fn answer(&mut self, kind: Kind, view: &dyn ProxyView) -> Option<Outgoing> {
        // A cluster on its way out keeps its endpoints for as long as a route may name it.
        let leaving = match self.watches.get(&Kind::Cluster) {
            Some(clusters) if kind == Kind::Endpoint => clusters.leaving.clone(),
            _ => BTreeSet::new(),
        };
        let watch = self.watches.get_mut(&kind)?;
        let difference = watch.difference(kind, self.form, view, &leaving)?;
        Some(self.message(kind, difference.resources, difference.gone, view.version()))
    }

    /// Clusters that are gone, when every other kind has been confirmed.
    fn remove_clusters(&mut self) -> Option<Outgoing> {
        let quiet = self.is_confirmed();
        let watch = self.watches.get_mut(&Kind::Cluster)?;
        if !quiet || watch.leaving.is_empty() {
            return None;
        }
        let gone: Vec<Arc<str>> = std::mem::take(&mut watch.leaving).into_iter().collect();
        for name in &gone {
            watch.known.forget(name);
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
        gone: Vec<Arc<str>>,
        version: u64,
    ) -> Outgoing {
        let nonce = self.next_nonce.to_string();
        self.next_nonce += 1;
        let watch = self.watches.entry(kind).or_default();
        watch.nonce.clone_from(&nonce);
        watch.in_flight = true;
        watch.version = version;
        Outgoing {
            form: self.form,
            kind,
            nonce,
            version: version.to_string(),
            resources,
            removed: gone,
        }
    }
}

#[cfg(test)]
mod tests;
