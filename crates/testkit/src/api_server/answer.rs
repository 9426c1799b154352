//! What an API server answers.
//!
//! In: requests. Out: objects, and streams of events.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::state::matches;
use super::{Shared, index};

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// What is asked of which kind.
struct Asked {
    api_version: String,
    resource: String,
    namespace: Option<String>,
    name: Option<String>,
    query: HashMap<String, String>,
}

pub(super) async fn answer(request: Request<Incoming>, shared: &Arc<Shared>) -> Answer {
    let target = request.uri().to_string();
    {
        let mut state = shared.state();
        state
            .requests
            .push(format!("{} {target}", request.method()));
        if let Some(status) = state.failing {
            return refuse(status, "the server is not well");
        }
    }
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let method = request.method().clone();
    let body = request.into_body().collect().await;
    let body = body.map(|it| it.to_bytes()).unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    if path == "/apis/authentication.k8s.io/v1/tokenreviews" {
        return review(shared, &body);
    }
    if let Some(index) = index::answer(&path, &shared.state()) {
        return whole(StatusCode::OK, &index);
    }
    let nothing = || refuse(404, "the server could not find the requested resource");
    match Asked::parse(&path, &query) {
        None => nothing(),
        Some(asked) if asked.name.is_some() || method == Method::POST => {
            let answer = asked.about_one(&method, &body, shared);
            shared.changed.send_replace(());
            answer.unwrap_or_else(nothing)
        }
        Some(asked) => asked.answer(shared),
    }
}

fn review(shared: &Shared, question: &Value) -> Answer {
    let token = question["spec"]["token"].as_str().unwrap_or_default();
    let known = shared.state().tokens.get(token).cloned();
    let status = match known {
        Some(user) => json!({
            "authenticated": true,
            "user": { "username": user, "groups": ["system:serviceaccounts"] },
            "audiences": ["istio-ca"],
        }),
        None => json!({ "user": {}, "error": "invalid bearer token" }),
    };
    let mut answer = question.clone();
    answer["status"] = status;
    whole(StatusCode::CREATED, &answer)
}

impl Asked {
    fn parse(path: &str, query: &str) -> Option<Self> {
        let mut parts: Vec<_> = path.trim_matches('/').split('/').collect();
        let group = match parts.remove(0) {
            "api" => None,
            "apis" => Some(parts.remove(0)),
            _ => return None,
        };
        let (version, place) = parts.split_first()?;
        let (namespace, resource, name) = match place {
            ["namespaces", namespace, resource] => (Some(*namespace), *resource, None),
            ["namespaces", namespace, resource, name] => (Some(*namespace), *resource, Some(*name)),
            [resource, name] => (None, *resource, Some(*name)),
            [resource] => (None, *resource, None),
            _ => return None,
        };
        let query = query.split('&').filter_map(|it| it.split_once('='));
        Some(Self {
            api_version: match group {
                Some(group) => format!("{group}/{version}"),
                None => (*version).to_owned(),
            },
            resource: resource.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            query: query
                .map(|(key, value)| (key.to_owned(), unescape(value)))
                .collect(),
        })
    }

    fn value(&self, key: &str) -> &str {
        self.query.get(key).map_or("", String::as_str)
    }

    fn answer(self, shared: &Arc<Shared>) -> Answer {
        let state = shared.state();
        let version = self.api_version.rsplit('/').next().unwrap_or_default();
        if !state.serves(&self.resource, version) {
            return refuse(404, "the server could not find the requested resource");
        }
        if state.forbidden.contains(&self.resource) {
            let text = format!(
                "{} is forbidden: User \"test\" cannot list it",
                self.resource
            );
            return refuse(403, &text);
        }
        if self.value("watch") != "true" {
            return self.page(&state);
        }
        let first = self.value("sendInitialEvents") == "true";
        if first && !state.streams {
            return refuse(422, "sendInitialEvents is forbidden for watch");
        }
        let since = self
            .value("resourceVersion")
            .parse()
            .unwrap_or_else(|_| state.version());
        if !state.remembers(since) {
            // As a real one, which says so on the stream.
            let status =
                json!({ "kind": "Status", "code": 410, "message": "too old resource version" });
            return whole(
                StatusCode::OK,
                &json!({ "type": "ERROR", "object": status }),
            );
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        if first {
            for object in self.here(&state) {
                say(&sender, "ADDED", object);
            }
            let mut end = state.empty(&self.resource);
            end["apiVersion"] = self.api_version.clone().into();
            end["metadata"]["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
            say(&sender, "BOOKMARK", end);
        }
        drop(state);
        tokio::spawn(self.follow(since, shared.clone(), sender));
        let response = Response::builder().header("content-type", "application/json");
        let body = Lines(receiver).boxed_unsync();
        response.body(body).expect("a response")
    }

    /// What is asked of one object: to see, create, replace, change or delete it.
    fn about_one(self, method: &Method, body: &Value, shared: &Shared) -> Option<Answer> {
        let mut state = shared.state();
        let namespace = self.namespace.as_deref().unwrap_or_default();
        let known = self.name.as_deref();
        let known = known.and_then(|it| Some((it, state.get(&self.resource, namespace, it)?)));
        let stored = match (method.as_str(), known) {
            ("GET", Some((_, object))) => object,
            ("POST", None) | ("PUT", Some(_)) => state.apply(body.clone()),
            ("PATCH", Some((_, mut object))) => {
                merge(&mut object, body);
                state.apply(object)
            }
            ("DELETE", Some((name, object))) => {
                state.delete(&self.resource, namespace, name);
                object
            }
            _ => return None,
        };
        let status = if method == Method::POST {
            StatusCode::CREATED
        } else {
            StatusCode::OK
        };
        Some(whole(status, &stored))
    }

    fn here(&self, state: &super::State) -> Vec<Value> {
        let fields = self.value("fieldSelector");
        let mut here = state.list(&self.resource, self.namespace.as_deref(), fields);
        for object in &mut here {
            object["apiVersion"] = self.api_version.clone().into();
        }
        here
    }

    fn page(&self, state: &super::State) -> Answer {
        let limit = self.value("limit").parse().unwrap_or(usize::MAX);
        let start: usize = self.value("continue").parse().unwrap_or(0);
        let all = self.here(state);
        let end = start.saturating_add(limit).min(all.len());
        let mut items = all[start..end].to_vec();
        if !self.api_version.contains('/') {
            // Items of a typed list do not say what they are.
            for item in items.iter_mut().filter_map(Value::as_object_mut) {
                item.remove("apiVersion");
                item.remove("kind");
            }
        }
        let mut metadata = json!({ "resourceVersion": state.version().to_string() });
        if end < all.len() {
            metadata["continue"] = end.to_string().into();
        }
        let kind = "List";
        let list = json!({ "kind": kind, "apiVersion": self.api_version, "metadata": metadata, "items": items });
        whole(StatusCode::OK, &list)
    }

    /// Says what happens until nobody listens.
    async fn follow(
        self,
        mut since: u64,
        shared: Arc<Shared>,
        sender: mpsc::UnboundedSender<Bytes>,
    ) {
        let mut changed = shared.changed.subscribe();
        loop {
            let happened = shared.state().since(since, &self.resource);
            for it in happened {
                since = it.version;
                let mut object = it.object;
                let namespace = object["metadata"]["namespace"].as_str();
                let elsewhere = self
                    .namespace
                    .as_deref()
                    .is_some_and(|it| namespace != Some(it));
                let bookmark = it.kind == "BOOKMARK";
                if !bookmark && (elsewhere || !matches(&object, self.value("fieldSelector"))) {
                    continue;
                }
                object["apiVersion"] = self.api_version.clone().into();
                say(&sender, it.kind, object);
            }
            tokio::select! {
                _ = changed.changed() => {}
                () = sender.closed() => return,
            }
        }
    }
}

fn say(sender: &mpsc::UnboundedSender<Bytes>, kind: &str, object: Value) {
    let line = json!({ "type": kind, "object": object });
    // Whoever listened may have gone.
    let _ = sender.send(format!("{line}\n").into());
}

fn refuse(code: u16, message: &str) -> Answer {
    let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code });
    whole(StatusCode::from_u16(code).expect("a status"), &status)
}

fn whole(status: StatusCode, body: &Value) -> Answer {
    let response = Response::builder()
        .status(status)
        .header("content-type", "application/json");
    let body = Full::from(format!("{body}\n")).boxed_unsync();
    response.body(body).expect("a response")
}

/// A merge patch (RFC 7396).
fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().expect("made one").remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits: String = rest.by_ref().take(2).map(char::from).collect();
        bytes.push(u8::from_str_radix(&digits, 16).expect("two digits"));
    }
    String::from_utf8(bytes).expect("a text")
}

/// Lines as they come.
struct Lines(mpsc::UnboundedReceiver<Bytes>);

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(cx)
            .map(|line| line.map(|it| Ok(Frame::data(it))))
    }
}
