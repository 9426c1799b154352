//! What to ask a server about one kind, and what its answers say.
//!
//! In: statuses, pages of lists, lines of watches. Out: what to ask next, and [`Message`]s. No client, no
//! clock. Called by `watch`, which asks; the messages go to `cluster`.
//!
//! The first state comes as a streaming list (`sendInitialEvents`, Kubernetes 1.32) where the server has
//! those, else as pages of a list; then a watch goes on from where that ended, for as long as the server
//! knows the place.

use serde::Deserialize;
use serde_json::Value;

use crate::kind::{MeshConfigPlace, WatchedKind, escape};

/// How many objects a page of a list has.
const PAGE: usize = 500;
/// On the bookmark that ends the first state of a streaming list.
const END_OF_FIRST: &str = "k8s.io/initial-events-end";

/// What is heard of a kind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Message {
    /// Everything that is there follows, until `Complete`.
    Begin,
    /// An object is there, as it is now.
    Object(Value),
    /// An object is gone.
    Gone(Value),
    /// What was not named since `Begin` is gone.
    Complete,
    /// The server does not have this kind: there is none of it.
    Absent,
    /// The server does not let us see this kind, and says why.
    Forbidden(String),
    /// The server cannot be asked, and why.
    Lost(String),
    /// The server answers.
    Found,
}

/// What to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// Path and query.
    pub path: String,
    /// The answer is a line for each event, and not one object.
    pub is_stream: bool,
}

/// When to ask next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// At once.
    Now,
    /// After a pause that grows from failure to failure.
    Later,
    /// After a long pause: the kind is not there, or not for us, until somebody changes that.
    Seldom,
}

/// Where we are with one kind.
#[derive(Debug)]
pub(crate) struct Course {
    kind: &'static WatchedKind,
    mesh_config: MeshConfigPlace,
    /// The version that is asked for, of the kind's.
    version: usize,
    /// The server has streaming lists, as far as we know.
    streams: bool,
    stage: Stage,
    /// The server said that the place was too old just before.
    expired: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing is known.
    First,
    /// The first state comes on a stream.
    Streaming,
    /// The first state comes in pages; the token of the next one.
    Paging(String),
    /// Changes since this version of the whole.
    Following(String),
}

/// A page of a list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Page {
    #[serde(default)]
    metadata: PageMetadata,
    /// Written as `null` by some where there is nothing.
    items: Option<Vec<Value>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PageMetadata {
    resource_version: String,
    r#continue: String,
}

/// A line of a watch.
#[derive(Debug, Deserialize)]
struct Line {
    r#type: String,
    object: Value,
}

impl Course {
    /// Nothing is known of this kind.
    pub fn new(kind: &'static WatchedKind, mesh_config: MeshConfigPlace) -> Self {
        Self {
            kind,
            mesh_config,
            version: 0,
            streams: true,
            stage: Stage::First,
            expired: false,
        }
    }

    /// The question of the moment; a stream is to end after `seconds`.
    pub fn question(&self, seconds: u64) -> Question {
        let path = self
            .kind
            .path(self.kind.versions[self.version], &self.mesh_config);
        let watch = format!("watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}");
        let (query, is_stream) = match &self.stage {
            Stage::First | Stage::Streaming if self.streams => {
                let first = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
                (format!("{watch}&{first}"), true)
            }
            Stage::First | Stage::Streaming => (format!("limit={PAGE}"), false),
            Stage::Paging(token) => {
                let token = escape(token);
                (format!("limit={PAGE}&continue={token}"), false)
            }
            Stage::Following(version) => {
                let version = escape(version);
                (format!("{watch}&resourceVersion={version}"), true)
            }
        };
        Question {
            path: path + &query,
            is_stream,
        }
    }

    /// Whether the first state is on its way on a stream.
    pub fn is_streaming_first(&self) -> bool {
        self.stage == Stage::Streaming
    }

    /// The server has begun to answer as it was asked.
    pub fn accepted(&mut self) -> Vec<Message> {
        let mut messages = vec![Message::Found];
        if matches!(self.stage, Stage::First | Stage::Streaming) {
            messages.push(Message::Begin);
            if self.streams {
                self.stage = Stage::Streaming;
            }
        }
        messages
    }

    /// A page of a list has come.
    pub fn page(&mut self, page: Page) -> Vec<Message> {
        let Page { metadata, items } = page;
        let PageMetadata {
            resource_version,
            r#continue: token,
        } = metadata;
        let items = items.unwrap_or_default().into_iter();
        let mut messages: Vec<_> = items.map(|it| Message::Object(self.complete(it))).collect();
        if token.is_empty() {
            messages.push(Message::Complete);
            self.stage = Stage::Following(resource_version);
        } else {
            self.stage = Stage::Paging(token);
        }
        messages
    }

    /// A line of a watch has come. `Err` says when to ask again, since nothing more is to be had here.
    pub fn line(&mut self, line: &[u8]) -> (Vec<Message>, Option<Next>) {
        let read: Line = match serde_json::from_slice(line) {
            Ok(read) => read,
            Err(error) => {
                self.stage = Stage::First;
                let text = format!("a line of the watch cannot be read: {error}");
                return (vec![Message::Lost(text)], Some(Next::Later));
            }
        };
        let Line { r#type, object } = read;
        let at = object
            .pointer("/metadata/resourceVersion")
            .and_then(Value::as_str);
        match r#type.as_str() {
            "ADDED" | "MODIFIED" | "DELETED" => {
                self.follow(at.map(str::to_owned));
                let object = self.complete(object);
                let gone = r#type == "DELETED";
                let message = if gone { Message::Gone } else { Message::Object };
                (vec![message(object)], None)
            }
            "BOOKMARK" => {
                let annotations = object.pointer("/metadata/annotations");
                let is_end = annotations.is_some_and(|it| it[END_OF_FIRST] == "true");
                let at = at.map(str::to_owned);
                if self.stage == Stage::Streaming && is_end {
                    self.stage = Stage::Following(at.unwrap_or_default());
                    return (vec![Message::Complete], None);
                }
                self.follow(at);
                (Vec::new(), None)
            }
            _ => {
                let code = object.get("code").and_then(Value::as_u64);
                self.refused(code.unwrap_or(500), &object)
            }
        }
    }

    /// The server refuses, with a Status where it writes one.
    pub fn refused(&mut self, code: u64, status: &Value) -> (Vec<Message>, Option<Next>) {
        let text = status.get("message").and_then(Value::as_str);
        let text = text.unwrap_or("it does not say why").to_owned();
        let first = matches!(self.stage, Stage::First | Stage::Streaming);
        match code {
            404 if !first => {
                self.stage = Stage::First;
                (Vec::new(), Some(Next::Now))
            }
            404 => {
                self.stage = Stage::First;
                self.version += 1;
                if self.version < self.kind.versions.len() {
                    return (vec![Message::Found], Some(Next::Now));
                }
                self.version = 0;
                let messages = vec![Message::Found, Message::Absent];
                (messages, Some(Next::Seldom))
            }
            403 => {
                self.stage = Stage::First;
                let messages = vec![Message::Found, Message::Forbidden(text)];
                (messages, Some(Next::Seldom))
            }
            // It does not know streaming lists, or does not want them.
            400 | 405 | 422 if first && self.streams => {
                self.streams = false;
                self.stage = Stage::First;
                (Vec::new(), Some(Next::Now))
            }
            410 => {
                self.stage = Stage::First;
                let next = if self.expired { Next::Later } else { Next::Now };
                self.expired = true;
                (vec![Message::Found], Some(next))
            }
            _ => {
                self.restart();
                let text = format!("the answer is {code}: {text}");
                (vec![Message::Lost(text)], Some(Next::Later))
            }
        }
    }

    /// The answer has ended, or was cut off.
    pub fn ended(&mut self) {
        if self.stage == Stage::Streaming {
            // It never said that this was all: it may be a server that does not know the question.
            self.streams = false;
        }
        self.restart();
    }

    /// The server could not be asked.
    pub fn failed(&mut self, reason: String) -> Message {
        self.restart();
        Message::Lost(reason)
    }

    /// What came in part comes again from the beginning.
    fn restart(&mut self) {
        if matches!(self.stage, Stage::Streaming | Stage::Paging(_)) {
            self.stage = Stage::First;
        }
    }

    fn follow(&mut self, at: Option<String>) {
        self.expired = false;
        if let (Stage::Following(version), Some(at)) = (&mut self.stage, at) {
            *version = at;
        }
    }

    /// The items of a list do not say what they are.
    fn complete(&self, mut object: Value) -> Value {
        if let Some(map) = object.as_object_mut() {
            let version = self.kind.api_version(self.kind.versions[self.version]);
            map.insert("apiVersion".to_owned(), version.into());
            map.insert("kind".to_owned(), self.kind.kind.into());
        }
        object
    }
}
