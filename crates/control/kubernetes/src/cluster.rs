//! What a cluster holds, from what is heard of each kind.
//!
//! In: [`Message`]s by kind. Out: the events of a source. No client, no clock. Called by `watch`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use meltemi_api::{Document, Node};
use meltemi_model::Defaults;
use meltemi_source::{Event, FileState};

use crate::course::Message;
use crate::kind::{KINDS, WatchedKind};
use crate::object::{self, ROOT};

/// A cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// Its API server, as people know it.
    server: String,
    state: FileState,
    /// As [`KINDS`].
    kinds: Vec<OfKind>,
    /// The kinds for which the server could not be asked.
    lost: BTreeMap<usize, String>,
    stage: Stage,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing was said yet.
    Silent,
    /// The first state is being said.
    First,
    /// It was said.
    Ready,
}

/// What is known of one kind.
#[derive(Debug)]
struct OfKind {
    kind: &'static WatchedKind,
    /// The documents that there are.
    known: BTreeSet<Arc<Path>>,
    /// Those of them that were named since everything began to come again.
    named: Option<BTreeSet<Arc<Path>>>,
    /// The first state is known, or there is no way to know it.
    settled: bool,
}

impl Cluster {
    /// Nothing is known yet of the cluster of this API server.
    pub fn new(server: String, defaults: Defaults) -> Self {
        let kinds = KINDS.iter().map(|kind| OfKind {
            kind,
            known: BTreeSet::new(),
            named: None,
            settled: false,
        });
        Self {
            server,
            state: FileState::new(defaults),
            kinds: kinds.collect(),
            lost: BTreeMap::new(),
            stage: Stage::Silent,
        }
    }

    /// Something was heard of a kind, by its place in [`KINDS`].
    pub fn take(&mut self, kind: usize, message: Message) {
        let of_kind = &mut self.kinds[kind];
        let state = &mut self.state;
        match message {
            Message::Begin => of_kind.named = Some(BTreeSet::new()),
            Message::Object(object) => of_kind.apply(state, object),
            Message::Gone(object) => {
                if let Some(path) = object::path(of_kind.kind, &object) {
                    of_kind.forget(state, &path);
                }
            }
            Message::Complete => {
                let named = of_kind.named.take().unwrap_or_default();
                for path in of_kind.known.difference(&named) {
                    state.remove(path);
                }
                of_kind.known = named;
                of_kind.settle(state);
            }
            Message::Absent => {
                for path in std::mem::take(&mut of_kind.known) {
                    state.remove(&path);
                }
                of_kind.named = None;
                of_kind.settle(state);
            }
            Message::Forbidden(reason) => of_kind.forbid(state, &reason),
            Message::Lost(reason) => self.lose(kind, reason),
            Message::Found => {
                if self.lost.remove(&kind).is_some() && self.lost.is_empty() {
                    self.state.remove(Path::new(ROOT));
                }
            }
        }
    }

    fn lose(&mut self, kind: usize, reason: String) {
        // One after the other they find the same; the first is named.
        if self.lost.is_empty() {
            let name = self.kinds[kind].kind.name();
            let server = &self.server;
            let what = "what is known holds on, and it is asked again";
            let text = format!("{name} from {server}: {reason}; {what}");
            self.state.set(&Path::new(ROOT).into(), Err(text));
        }
        self.lost.insert(kind, reason);
    }

    /// The events that lead from what was said before to what holds now.
    pub fn changes(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        if self.stage == Stage::Silent {
            self.stage = Stage::First;
            events.push(Event::Init);
        }
        events.extend(self.state.changes());
        if self.stage == Stage::First && self.kinds.iter().all(|it| it.settled) {
            self.stage = Stage::Ready;
            events.push(Event::Ready);
        }
        events
    }
}

impl OfKind {
    fn apply(&mut self, state: &mut FileState, object: serde_json::Value) {
        let Some(path) = object::path(self.kind, &object) else {
            return;
        };
        let version = object::version(&object);
        let Some(object) = object::shorten(self.kind, object) else {
            return self.forget(state, &path);
        };
        if let Some(named) = &mut self.named {
            named.insert(path.clone());
        }
        state.set_document(&path, &version, || {
            Document::of(Some(path.clone()), Node::from(object))
        });
        self.known.insert(path);
    }

    fn forget(&mut self, state: &mut FileState, path: &Path) {
        state.remove(path);
        self.known.remove(path);
        if let Some(named) = &mut self.named {
            named.remove(path);
        }
    }

    /// Everything is known.
    fn settle(&mut self, state: &mut FileState) {
        self.settled = true;
        state.remove(&self.place());
    }

    /// What was known before holds on.
    fn forbid(&mut self, state: &mut FileState, reason: &str) {
        let WatchedKind { group, plural, .. } = self.kind;
        let rule = format!(
            "let the control plane in by a rule with apiGroups [\"{group}\"], resources [\"{plural}\"], \
             verbs [get, list, watch]"
        );
        // Without these, doors would be open that somebody has shut.
        let effect = match self.kind.guards() {
            true if !self.settled => "; until then it is not ready",
            true | false => "",
        };
        let text = format!("{reason}; {rule}{effect}");
        state.set(&self.place(), Err(text));
        self.named = None;
        self.settled |= !self.kind.guards();
    }

    /// What problems of the kind as a whole are said of.
    fn place(&self) -> Arc<Path> {
        Path::new(ROOT).join(self.kind.name()).into()
    }
}
