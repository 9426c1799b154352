#![allow(clippy::unwrap_used)]

mod access;
mod cluster;
mod course;
mod kubectl;
mod object;
mod watch;

use meltemi_source::Event;
use serde_json::{Value, json};

/// An event in a few words.
fn say(event: &Event) -> String {
    match event {
        Event::Init => "init".to_owned(),
        Event::Ready => "ready".to_owned(),
        Event::Apply(config) => format!("apply {}", config.id()),
        Event::Delete(id) => format!("delete {id}"),
        Event::Problems(it) => {
            let new = it.new.iter().map(|it| format!("new {it}"));
            let resolved = it.resolved.iter().map(|it| format!("resolved {it}"));
            new.chain(resolved).collect::<Vec<_>>().join("; ")
        }
    }
}

fn service(name: &str, version: u32) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name, "namespace": "shop", "resourceVersion": version.to_string() },
        "spec": { "clusterIP": "10.96.0.1", "ports": [{ "port": 8000 + version }] },
    })
}

fn policy(name: &str, version: u32, action: &str) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": { "name": name, "namespace": "shop", "resourceVersion": version.to_string() },
        "spec": { "action": action, "rules": [{}] },
    })
}
