//! The xDS protocol from the client's side, without I/O.
//!
//! The caller says what it is interested in and passes in what the server sends; the
//! session answers with messages to send and with updates to apply. A resource that the
//! caller refuses is not remembered as known, so that the server may send it again and a
//! reconnecting session does not claim to have it.

use std::collections::{BTreeMap, BTreeSet};

use meltemi_xds::pb::envoy::config::core::v3::Node;
use meltemi_xds::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use meltemi_xds::pb::google::rpc::Status;
use prost_types::Any;

use crate::ResourceType;

/// gRPC `INVALID_ARGUMENT`, the code of a refusal.
const INVALID_ARGUMENT: i32 = 3;

/// Which form of the protocol is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Delta (incremental) xDS.
    Delta,
    /// State of the world.
    Sotw,
}

/// Which resources of a kind are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Interest {
    /// None; the kind is not mentioned to the server.
    #[default]
    None,
    /// All that the server has for this node.
    Wildcard,
    /// These.
    Names(BTreeSet<String>),
    /// All that the server has for this node, and these, which it may know by other names.
    WildcardAnd(BTreeSet<String>),
}

/// A message for the server.
#[derive(Clone, Debug, PartialEq)]
pub enum Outgoing {
    /// In the delta form.
    Delta(DeltaDiscoveryRequest),
    /// In the state-of-the-world form.
    Sotw(DiscoveryRequest),
}

/// A resource that has arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// Its name; in state-of-the-world form the caller reads it from the message, so that
    /// it is empty here where the wrapper did not carry it.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Other names of it, by which it was asked for.
    pub aliases: Vec<String>,
    /// The message; empty where the server says that there is none.
    pub body: Any,
}

/// What an answer changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// Which kind.
    pub kind: ResourceType,
    /// Names the answer; goes back with the acknowledgement.
    pub nonce: String,
    /// The answer's version, for display.
    pub version: String,
    /// New and changed resources.
    pub added: Vec<Received>,
    /// Names of resources that are gone (delta form).
    pub removed: Vec<String>,
    /// Every resource of the kind is in `added`: others are gone (state of the world).
    pub complete: bool,
    /// Who says so (`control_plane.identifier`), where the server says who it is.
    pub control_plane: Option<String>,
}

impl Update {
    /// What a state-of-the-world answer about `kind` changes.
    pub fn from_response(kind: ResourceType, response: DiscoveryResponse) -> Self {
        let version = response.version_info;
        let received = |body| Received {
            name: String::new(),
            version: version.clone(),
            aliases: Vec::new(),
            body,
        };
        Self {
            kind,
            nonce: response.nonce,
            added: response.resources.into_iter().map(received).collect(),
            removed: Vec::new(),
            complete: kind.is_complete_in_sotw(),
            control_plane: response.control_plane.map(|it| it.identifier),
            version,
        }
    }
}

/// A resource that the caller could not use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The resource's name.
    pub name: String,
    /// What is wrong, with the field's path.
    pub reason: String,
}

#[derive(Debug, Default)]
struct KindState {
    interest: Interest,
    /// Name to version of what was applied.
    known: BTreeMap<String, String>,
    /// The last answer that was applied without a refusal (state of the world).
    accepted_version: String,
    /// The last answer's nonce on this stream.
    nonce: String,
    /// Something was sent for this kind on this stream.
    opened: bool,
    /// What the unacknowledged answers hold: nonce, then name and version.
    in_flight: BTreeMap<String, Vec<(String, String)>>,
}

/// One client's conversation with a management server, over any number of streams.
#[derive(Debug)]
pub struct Session {
    mode: Mode,
    node: Node,
    node_sent: bool,
    connected: bool,
    kinds: BTreeMap<ResourceType, KindState>,
}

impl Session {
    /// A session that has asked for nothing yet.
    pub fn new(mode: Mode, node: Node) -> Self {
        Self {
            mode,
            node,
            node_sent: false,
            connected: false,
            kinds: BTreeMap::new(),
        }
    }

    /// Which form of the protocol this session speaks.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// A stream is open: what to send first. Everything of interest is asked for again,
    /// and a delta session says what it has.
    pub fn on_connected(&mut self) -> Vec<Outgoing> {
        self.connected = true;
        self.node_sent = false;
        let kinds: Vec<ResourceType> = self.kinds.keys().copied().collect();
        for state in self.kinds.values_mut() {
            state.opened = false;
            state.nonce.clear();
            state.in_flight.clear();
        }
        kinds
            .into_iter()
            .filter_map(|kind| self.open(kind))
            .collect()
    }

    /// The stream is gone; nothing is sent until the next one.
    pub fn on_disconnected(&mut self) {
        self.connected = false;
    }

    /// Changes what is wanted of a kind; gives the message that says so, if one is due.
    pub fn set_interest(&mut self, kind: ResourceType, interest: Interest) -> Option<Outgoing> {
        let state = self.kinds.entry(kind).or_default();
        if state.interest == interest {
            return None;
        }
        let before = std::mem::replace(&mut state.interest, interest);
        if let Interest::Names(names) = &state.interest {
            state.known.retain(|name, _| names.contains(name));
        }
        if !self.connected {
            return None;
        }
        if !state.opened {
            return self.open(kind);
        }
        match self.mode {
            Mode::Sotw => Some(self.sotw_request(kind, None)),
            Mode::Delta => {
                let state = &self.kinds[&kind];
                let (old, new) = (names_of(&before), names_of(&state.interest));
                let request = DeltaDiscoveryRequest {
                    type_url: kind.type_url(),
                    resource_names_subscribe: new.difference(&old).cloned().collect(),
                    resource_names_unsubscribe: old.difference(&new).cloned().collect(),
                    ..DeltaDiscoveryRequest::default()
                };
                Some(Outgoing::Delta(request))
            }
        }
    }

    fn open(&mut self, kind: ResourceType) -> Option<Outgoing> {
        let state = self.kinds.get_mut(&kind)?;
        match &state.interest {
            Interest::None => return None,
            Interest::Names(names) if names.is_empty() => return None,
            Interest::Names(_) | Interest::WildcardAnd(_) | Interest::Wildcard => {}
        }
        state.opened = true;
        Some(match self.mode {
            Mode::Sotw => self.sotw_request(kind, None),
            Mode::Delta => {
                let mut subscribe: Vec<_> = names_of(&state.interest).into_iter().collect();
                // names alone would be all that is wanted
                if matches!(state.interest, Interest::WildcardAnd(_)) && !subscribe.is_empty() {
                    subscribe.insert(0, "*".to_owned());
                }
                let initial = state.known.clone().into_iter().collect();
                Outgoing::Delta(DeltaDiscoveryRequest {
                    node: self.node_once(),
                    type_url: kind.type_url(),
                    resource_names_subscribe: subscribe,
                    initial_resource_versions: initial,
                    ..DeltaDiscoveryRequest::default()
                })
            }
        })
    }

    fn node_once(&mut self) -> Option<Node> {
        let first = !std::mem::replace(&mut self.node_sent, true);
        first.then(|| self.node.clone())
    }

    fn sotw_request(&mut self, kind: ResourceType, error: Option<Status>) -> Outgoing {
        let node = self.node_once();
        let state = self.kinds.entry(kind).or_default();
        state.opened = true;
        Outgoing::Sotw(DiscoveryRequest {
            node,
            type_url: kind.type_url(),
            version_info: state.accepted_version.clone(),
            response_nonce: state.nonce.clone(),
            resource_names: names_of(&state.interest).into_iter().collect(),
            error_detail: error,
            ..DiscoveryRequest::default()
        })
    }

    /// A delta answer has arrived; none where nobody asked for its type.
    pub fn on_delta(&mut self, response: DeltaDiscoveryResponse) -> Option<Update> {
        let kind = ResourceType::from_type_url(&response.type_url)?;
        let state = self.kinds.get_mut(&kind)?;
        let mut held = Vec::with_capacity(response.resources.len());
        let mut added = Vec::with_capacity(response.resources.len());
        for resource in response.resources {
            if resource.resource.is_some() {
                held.push((resource.name.clone(), resource.version.clone()));
            } else if let Interest::WildcardAnd(names) = &mut state.interest {
                // there is none: whoever wants it again asks again
                names.retain(|name| *name != resource.name && !resource.aliases.contains(name));
            }
            added.push(Received {
                name: resource.name,
                version: resource.version,
                aliases: resource.aliases,
                body: resource.resource.unwrap_or_default(),
            });
        }
        for name in &response.removed_resources {
            state.known.remove(name);
        }
        state.nonce.clone_from(&response.nonce);
        state.in_flight.insert(response.nonce.clone(), held);
        Some(Update {
            kind,
            nonce: response.nonce,
            version: response.system_version_info,
            added,
            removed: response.removed_resources,
            complete: false,
            control_plane: response.control_plane.map(|it| it.identifier),
        })
    }

    /// A state-of-the-world answer has arrived; none where nobody asked for its type.
    pub fn on_sotw(&mut self, response: DiscoveryResponse) -> Option<Update> {
        let kind = ResourceType::from_type_url(&response.type_url)?;
        let state = self.kinds.get_mut(&kind)?;
        state.nonce.clone_from(&response.nonce);
        state.in_flight.insert(response.nonce.clone(), Vec::new());
        Some(Update::from_response(kind, response))
    }

    /// The caller has applied an update, all but what it refused: the acknowledgement, or
    /// the refusal, to send. None where the stream on which it came is gone.
    pub fn acknowledge(&mut self, update: &Update, rejected: &[Rejection]) -> Option<Outgoing> {
        let state = self.kinds.entry(update.kind).or_default();
        let held = state.in_flight.remove(&update.nonce)?;
        for (name, version) in held {
            if rejected.iter().any(|rejection| rejection.name == name) {
                state.known.remove(&name);
            } else {
                state.known.insert(name, version);
            }
        }
        let error = (!rejected.is_empty()).then(|| refusal(rejected));
        if error.is_none() {
            state.accepted_version.clone_from(&update.version);
        }
        if !self.connected {
            return None;
        }
        Some(match self.mode {
            Mode::Sotw => self.sotw_request(update.kind, error),
            Mode::Delta => Outgoing::Delta(DeltaDiscoveryRequest {
                type_url: update.kind.type_url(),
                response_nonce: update.nonce.clone(),
                error_detail: error,
                ..DeltaDiscoveryRequest::default()
            }),
        })
    }
}

fn refusal(rejected: &[Rejection]) -> Status {
    let reasons: Vec<String> = rejected
        .iter()
        .map(|rejection| format!("{}: {}", rejection.name, rejection.reason))
        .collect();
    let message = format!("Error adding/updating resource(s) {}", reasons.join("\n"));
    Status {
        code: INVALID_ARGUMENT,
        message,
        details: Vec::new(),
    }
}

fn names_of(interest: &Interest) -> BTreeSet<String> {
    match interest {
        Interest::None | Interest::Wildcard => BTreeSet::new(),
        Interest::Names(names) | Interest::WildcardAnd(names) => names.clone(),
    }
}

#[cfg(test)]
mod tests;
