//! `/debug/adsz`: connected proxies with their metadata.

use std::collections::BTreeMap;
use std::time::SystemTime;

use axum::extract::State;
use axum::response::Response;
use meltemi_xds::json::to_json;
use meltemi_xds::pb::envoy::config::core::v3::Node;
use meltemi_xds_server::{Form, ProxyStatus};
use prost_types::value::Kind as ValueKind;
use serde::Serialize;
use serde_json::Value;

use crate::debug::json;
use crate::http::Observed;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Clients {
    total_clients: usize,
    clients: Vec<Client>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Client {
    connection_id: String,
    connected_at: u64,
    form: &'static str,
    metadata: Value,
    locality: Value,
    user_agent: String,
    /// By type URL: how many resources the proxy has.
    watches: BTreeMap<String, usize>,
}

pub(super) async fn answer(State(observed): State<Observed>) -> Response {
    let clients: Vec<_> = observed.proxies.list().iter().map(client).collect();
    json(&Clients {
        total_clients: clients.len(),
        clients,
    })
}

fn client(status: &ProxyStatus) -> Client {
    let node = &status.node;
    let kinds = status.kinds.iter();
    let mut shown = to_json(&Node {
        metadata: node.metadata.clone(),
        locality: node.locality.clone(),
        ..Node::default()
    });
    Client {
        connection_id: format!("{}-{}", node.id, status.connection),
        connected_at: seconds(status.connected),
        form: match status.form {
            Form::Delta => "delta",
            Form::Sotw => "sotw",
        },
        metadata: shown["metadata"].take(),
        locality: shown["locality"].take(),
        user_agent: node.user_agent_name.clone(),
        watches: kinds
            .map(|(kind, it)| (kind.type_url(), it.resources))
            .collect(),
    }
}

/// A text of a node's metadata; empty where there is none.
pub(super) fn metadata_text(node: &Node, key: &str) -> String {
    let fields = node.metadata.as_ref().map(|it| &it.fields);
    let value = fields.and_then(|it| it.get(key)?.kind.as_ref());
    match value {
        Some(ValueKind::StringValue(text)) => text.clone(),
        Some(_) | None => String::new(),
    }
}

/// Seconds since the Unix epoch.
pub(super) fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}
