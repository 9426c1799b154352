//! What one proxy wants of one kind, was sent, and has confirmed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meltemi_xds::pb::google::rpc::Status;

use super::Nack;
use super::known::Known;
use crate::view::Mark;
use crate::{Kind, Resource, Wanted};

/// The state of one kind in a session.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Everything of the kind is wanted.
    pub wildcard: bool,
    /// In the state-of-the-world form: names have been asked for, so that none means none.
    pub named: bool,
    /// The names that are wanted, and what was sent.
    pub known: Known,
    /// Names that were asked for and not answered yet.
    pub asked: BTreeSet<Arc<str>>,
    /// The first request has not been answered yet.
    pub owes_answer: bool,
    /// When what was sent was last compared with what there is.
    pub compared: Option<Mark>,
    /// Endpoints of leaving clusters that differ from what was sent.
    pub held: BTreeSet<Arc<str>>,
    /// What was sent, where it may have to be repeated (state of the world, clusters).
    pub bodies: BTreeMap<Arc<str>, Resource>,
    /// Clusters that are gone but not removed yet.
    pub leaving: BTreeSet<Arc<str>>,
    /// New clusters that serve only once their endpoints have arrived.
    pub awaiting_endpoints: BTreeSet<Arc<str>>,
    /// The last answer's nonce.
    pub nonce: String,
    /// The last answer's version.
    pub version: u64,
    /// The last answer is neither confirmed nor refused.
    pub in_flight: bool,
    /// The nonce of the last answer that was confirmed.
    pub confirmed: String,
    /// The last refusal, until something is confirmed.
    pub refused: Option<String>,
}

impl Watch {
    /// What the proxy wants.
    pub fn wanted(&self) -> Wanted<'_> {
        match self.wildcard {
            true => Wanted::All,
            false => Wanted::Names(self.known.asked().map(AsRef::as_ref).collect()),
        }
    }

    /// Whether the proxy wants the resource of this name.
    pub fn wants(&self, name: &str) -> bool {
        self.wildcard || self.known.is_asked(name)
    }

    /// The proxy has answered the message of this nonce; an old or empty one says nothing.
    pub fn answered(&mut self, kind: Kind, nonce: &str, error: Option<Status>) -> Option<Nack> {
        if nonce.is_empty() || nonce != self.nonce {
            return None;
        }
        self.in_flight = false;
        match error {
            None => {
                nonce.clone_into(&mut self.confirmed);
                self.refused = None;
                None
            }
            Some(status) => {
                self.refused = Some(status.message.clone());
                Some(Nack {
                    kind,
                    reason: status.message,
                })
            }
        }
    }
}
