//! What one proxy wants of one kind, was sent, and has confirmed.

use std::collections::{BTreeMap, BTreeSet};

use meltemi_xds::pb::google::rpc::Status;

use super::Nack;
use crate::{Kind, Resource};

/// The state of one kind in a session.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Everything of the kind is wanted.
    pub wildcard: bool,
    /// The names that are wanted.
    pub names: BTreeSet<String>,
    /// Names that were asked for and not answered yet.
    pub asked: BTreeSet<String>,
    /// The first request has not been answered yet.
    pub owes_answer: bool,
    /// Name to version of what was sent.
    pub sent: BTreeMap<String, String>,
    /// What was sent, where it may have to be repeated (state of the world, clusters).
    pub bodies: BTreeMap<String, Resource>,
    /// Clusters that are gone but not removed yet.
    pub leaving: BTreeSet<String>,
    /// New clusters that serve only once their endpoints have arrived.
    pub awaiting_endpoints: BTreeSet<String>,
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
