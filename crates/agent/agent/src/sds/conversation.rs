//! One stream of secret discovery, without I/O.
//!
//! In: requests, the secrets that there are. Out: the answer that is due, if any. A secret that does not
//! exist yet is waited for in silence, as Envoy expects; one that has changed is sent as soon as what was
//! sent before is confirmed or refused.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3::Secret;
use meltemi_xds::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use meltemi_xds::pb::google::rpc;
use prost_types::Any;

/// Which form of the protocol a stream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Delta,
    Sotw,
}

/// A message from whoever takes secrets.
pub(super) enum Incoming {
    Delta(DeltaDiscoveryRequest),
    Sotw(DiscoveryRequest),
}

/// A message to them.
#[derive(Debug, PartialEq)]
pub(super) enum Outgoing {
    Delta(DeltaDiscoveryResponse),
    Sotw(DiscoveryResponse),
}

/// What one stream wants, was sent and has confirmed.
pub(super) struct Conversation {
    form: Form,
    names: BTreeSet<String>,
    /// By name, the version that was sent.
    sent: BTreeMap<String, String>,
    /// What was sent last is neither confirmed nor refused.
    in_flight: bool,
    /// What was sent last, or something of it, was refused.
    refused: bool,
    /// An answer is due though nothing may have changed.
    due: bool,
    /// There may be something newer than what was sent.
    behind: bool,
    count: u64,
}

impl Conversation {
    pub fn new(form: Form) -> Self {
        Self {
            form,
            names: BTreeSet::new(),
            sent: BTreeMap::new(),
            in_flight: false,
            refused: false,
            due: false,
            behind: false,
            count: 0,
        }
    }

    /// The names that are wanted.
    pub fn names(&self) -> &BTreeSet<String> {
        &self.names
    }

    /// Everything that is wanted and there was confirmed.
    pub fn is_settled(&self) -> bool {
        !self.in_flight && !self.refused && !self.behind
    }

    /// A request has come; the words of a refusal.
    pub fn receive(&mut self, incoming: Incoming) -> Option<String> {
        match incoming {
            Incoming::Sotw(request) => {
                let refusal = self.answered(&request.response_nonce, request.error_detail);
                let names: BTreeSet<String> = request.resource_names.into_iter().collect();
                self.due |= request.response_nonce.is_empty() || !names.is_subset(&self.names);
                self.sent.retain(|name, _| names.contains(name));
                self.names = names;
                refusal
            }
            Incoming::Delta(request) => {
                let refusal = self.answered(&request.response_nonce, request.error_detail);
                for name in request.resource_names_unsubscribe {
                    self.names.remove(&name);
                    self.sent.remove(&name);
                }
                for (name, version) in request.initial_resource_versions {
                    self.sent.insert(name, version);
                }
                for name in request.resource_names_subscribe {
                    // Asked for again, it is sent again.
                    if !self.names.insert(name.clone()) {
                        self.sent.remove(&name);
                    }
                }
                refusal
            }
        }
    }

    fn answered(&mut self, nonce: &str, error: Option<rpc::Status>) -> Option<String> {
        if nonce.is_empty() || nonce != self.count.to_string() {
            return None;
        }
        self.in_flight = false;
        self.refused = error.is_some();
        error.map(|status| status.message)
    }

    /// What is to be said of these secrets.
    pub fn answer(&mut self, secrets: BTreeMap<String, Any>) -> Option<Outgoing> {
        let versioned = secrets.into_iter().map(|(name, secret)| {
            let version = version(&secret);
            (name, version, secret)
        });
        let all: Vec<_> = versioned.collect();
        let changed = |it: &&(String, String, Any)| self.sent.get(&it.0) != Some(&it.1);
        let anything = all.iter().any(|it| changed(&it));
        self.behind = anything;
        let due = self.due && !all.is_empty();
        if self.in_flight || !(anything || due) {
            return None;
        }
        let resources: Vec<_> = match self.form {
            Form::Delta => all.iter().filter(changed).cloned().collect(),
            Form::Sotw => all,
        };
        for (name, version, _) in &resources {
            self.sent.insert(name.clone(), version.clone());
        }
        self.count += 1;
        self.in_flight = true;
        self.due = false;
        self.behind = false;
        let (version, nonce) = (self.count.to_string(), self.count.to_string());
        let type_url = meltemi_xds::type_url::<Secret>();
        Some(match self.form {
            Form::Delta => Outgoing::Delta(DeltaDiscoveryResponse {
                system_version_info: version,
                nonce,
                type_url,
                resources: resources
                    .into_iter()
                    .map(|(name, version, secret)| Resource {
                        name,
                        version,
                        resource: Some(secret),
                        ..Resource::default()
                    })
                    .collect(),
                ..DeltaDiscoveryResponse::default()
            }),
            Form::Sotw => Outgoing::Sotw(DiscoveryResponse {
                version_info: version,
                nonce,
                type_url,
                resources: resources.into_iter().map(|(_, _, secret)| secret).collect(),
                ..DiscoveryResponse::default()
            }),
        })
    }
}

/// The version of a secret: nothing of it can be read from that.
fn version(secret: &Any) -> String {
    let mut hasher = DefaultHasher::new();
    secret.value.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn secrets(all: &[(&str, &str)]) -> BTreeMap<String, Any> {
        let all = all.iter().map(|(name, text)| {
            let value = text.as_bytes().to_vec();
            let type_url = String::new();
            ((*name).to_owned(), Any { type_url, value })
        });
        all.collect()
    }

    fn ask(names: &[&str], nonce: &str) -> Incoming {
        Incoming::Sotw(DiscoveryRequest {
            resource_names: names.iter().map(|it| (*it).to_owned()).collect(),
            response_nonce: nonce.to_owned(),
            ..DiscoveryRequest::default()
        })
    }

    fn delta(subscribe: &[&str], unsubscribe: &[&str], nonce: &str) -> Incoming {
        let texts = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect();
        Incoming::Delta(DeltaDiscoveryRequest {
            resource_names_subscribe: texts(subscribe),
            resource_names_unsubscribe: texts(unsubscribe),
            response_nonce: nonce.to_owned(),
            ..DeltaDiscoveryRequest::default()
        })
    }

    fn refuse(incoming: Incoming) -> Incoming {
        let error_detail = Some(rpc::Status {
            message: "bad".to_owned(),
            ..rpc::Status::default()
        });
        match incoming {
            Incoming::Delta(it) => Incoming::Delta(DeltaDiscoveryRequest { error_detail, ..it }),
            Incoming::Sotw(it) => Incoming::Sotw(DiscoveryRequest { error_detail, ..it }),
        }
    }

    /// What is sent: the texts of the secrets, and the nonce.
    fn said(outgoing: Option<Outgoing>) -> Option<(Vec<String>, String)> {
        let text = |it: Any| String::from_utf8(it.value).unwrap();
        Some(match outgoing? {
            Outgoing::Sotw(it) => (it.resources.into_iter().map(text).collect(), it.nonce),
            Outgoing::Delta(it) => {
                let resources = it.resources.into_iter();
                (
                    resources.map(|it| text(it.resource.unwrap())).collect(),
                    it.nonce,
                )
            }
        })
    }

    fn expect(texts: &[&str], nonce: &str) -> Option<(Vec<String>, String)> {
        let texts = texts.iter().map(|it| (*it).to_owned()).collect();
        Some((texts, nonce.to_owned()))
    }

    #[test]
    fn the_state_of_the_world_is_sent_when_something_changes() {
        let mut it = Conversation::new(Form::Sotw);
        it.receive(ask(&["a", "b"], ""));
        assert_eq!(it.answer(secrets(&[])), None, "it is waited for");
        assert_eq!(said(it.answer(secrets(&[("a", "1")]))), expect(&["1"], "1"));
        assert!(!it.is_settled());
        // Before it is confirmed nothing else is sent.
        assert_eq!(it.answer(secrets(&[("a", "2"), ("b", "1")])), None);
        it.receive(ask(&["a", "b"], "1"));
        assert!(!it.is_settled(), "there is something newer");
        let both = || secrets(&[("a", "2"), ("b", "1")]);
        assert_eq!(said(it.answer(both())), expect(&["2", "1"], "2"));
        assert_eq!(
            it.receive(refuse(ask(&["a", "b"], "2"))).as_deref(),
            Some("bad")
        );
        assert_eq!(it.answer(both()), None, "refused, it is not repeated");
        assert!(!it.is_settled());
        let better = || secrets(&[("a", "3"), ("b", "1")]);
        assert_eq!(said(it.answer(better())), expect(&["3", "1"], "3"));
        it.receive(ask(&["a", "b"], "2"));
        assert!(!it.is_settled(), "that was of an older answer");
        it.receive(ask(&["a", "b"], "3"));
        assert_eq!(it.answer(better()), None);
        assert!(it.is_settled());
        it.receive(ask(&["a"], "3"));
        assert_eq!(it.answer(secrets(&[("a", "3")])), None, "fewer names");
        it.receive(ask(&["a", "b"], "3"));
        assert_eq!(said(it.answer(better())), expect(&["3", "1"], "4"));
    }

    #[test]
    fn in_the_delta_form_only_what_changes_is_sent() {
        let mut it = Conversation::new(Form::Delta);
        it.receive(delta(&["a"], &[], ""));
        assert_eq!(said(it.answer(secrets(&[("a", "1")]))), expect(&["1"], "1"));
        it.receive(delta(&["b"], &[], ""));
        assert_eq!(it.answer(secrets(&[("a", "1"), ("b", "1")])), None);
        it.receive(delta(&[], &[], "1"));
        let both = || secrets(&[("a", "1"), ("b", "1")]);
        assert_eq!(said(it.answer(both())), expect(&["1"], "2"));
        it.receive(delta(&[], &[], "2"));
        assert_eq!(it.answer(both()), None);
        assert!(it.is_settled());
        it.receive(delta(&["a"], &[], ""));
        assert_eq!(
            said(it.answer(both())),
            expect(&["1"], "3"),
            "asked for again"
        );
        it.receive(delta(&[], &["a"], "3"));
        assert_eq!(it.names().iter().collect::<Vec<_>>(), ["b"]);
        assert_eq!(it.answer(secrets(&[("b", "1")])), None);
        // After a reconnect, what is there already is not sent.
        let mut again = Conversation::new(Form::Delta);
        let Incoming::Delta(mut request) = delta(&["b"], &[], "") else {
            unreachable!("that is a delta request");
        };
        let known = version(&secrets(&[("b", "1")])["b"]);
        request
            .initial_resource_versions
            .insert("b".to_owned(), known);
        again.receive(Incoming::Delta(request));
        assert_eq!(again.answer(secrets(&[("b", "1")])), None);
        assert_eq!(
            said(again.answer(secrets(&[("b", "2")]))),
            expect(&["2"], "1")
        );
    }
}
