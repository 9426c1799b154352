//! `/debug/syncz`: how far each connected proxy has come. `meltemi proxy-status` reads it.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use meltemi_xds_server::{Kind, KindStatus, ProxyStatus, SyncState};
use serde::Serialize;

use crate::debug::{adsz, json};
use crate::http::Observed;

/// One proxy. Nonces are as sent and confirmed, empty where nothing was.
#[derive(Serialize)]
struct Row {
    cluster_id: String,
    /// `pod.namespace`.
    proxy: String,
    proxy_type: String,
    istio_version: String,
    cluster_sent: String,
    cluster_acked: String,
    listener_sent: String,
    listener_acked: String,
    route_sent: String,
    route_acked: String,
    endpoint_sent: String,
    endpoint_acked: String,
    secret_sent: String,
    secret_acked: String,
    extensionconfig_sent: String,
    extensionconfig_acked: String,
    /// By kind (`cds`, ...): `SYNCED`, `NOT SENT`, `STALE`, or `ERROR` after a refusal.
    states: BTreeMap<&'static str, &'static str>,
    /// By kind: the proxy's words when it refused.
    errors: BTreeMap<&'static str, String>,
    /// By kind: how many resources the proxy has.
    resources: BTreeMap<&'static str, usize>,
    /// The state of the mesh that it was last sent something from.
    version: u64,
    node_id: String,
    connection: u64,
    connected_at: u64,
}

pub(super) async fn answer(State(observed): State<Observed>) -> Response {
    let proxies = observed.proxies.list();
    let proxies = proxies.iter().filter(|it| !it.is_agent());
    json(&proxies.map(row).collect::<Vec<_>>())
}

fn row(status: &ProxyStatus) -> Row {
    let node = &status.node;
    let nonce = |kind, pick: fn(&KindStatus) -> &String| {
        status
            .kinds
            .get(&kind)
            .map(pick)
            .cloned()
            .unwrap_or_default()
    };
    let sent = |kind| nonce(kind, |it| &it.sent);
    let acked = |kind| nonce(kind, |it| &it.acknowledged);
    let kinds = || status.kinds.iter();
    let type_and_name = |index| node.id.split('~').nth(index).unwrap_or_default().to_owned();
    Row {
        cluster_id: adsz::metadata_text(node, "CLUSTER_ID"),
        proxy: type_and_name(2),
        proxy_type: type_and_name(0),
        istio_version: adsz::metadata_text(node, "ISTIO_VERSION"),
        cluster_sent: sent(Kind::Cluster),
        cluster_acked: acked(Kind::Cluster),
        listener_sent: sent(Kind::Listener),
        listener_acked: acked(Kind::Listener),
        route_sent: sent(Kind::Route),
        route_acked: acked(Kind::Route),
        endpoint_sent: sent(Kind::Endpoint),
        endpoint_acked: acked(Kind::Endpoint),
        secret_sent: sent(Kind::Secret),
        secret_acked: acked(Kind::Secret),
        extensionconfig_sent: sent(Kind::Extension),
        extensionconfig_acked: acked(Kind::Extension),
        states: Kind::ALL
            .into_iter()
            .map(|kind| (kind.short_name(), word(status.kinds.get(&kind))))
            .collect(),
        errors: kinds()
            .filter_map(|(kind, it)| Some((kind.short_name(), it.refused.clone()?)))
            .collect(),
        resources: kinds()
            .map(|(kind, it)| (kind.short_name(), it.resources))
            .collect(),
        version: kinds().map(|(_, it)| it.version).max().unwrap_or_default(),
        node_id: node.id.clone(),
        connection: status.connection,
        connected_at: adsz::seconds(status.connected),
    }
}

/// How far a proxy has come with a kind.
pub(super) fn word(status: Option<&KindStatus>) -> &'static str {
    match status {
        None => "NOT SENT",
        Some(status) if status.refused.is_some() => "ERROR",
        Some(status) => match status.state {
            SyncState::Synced => "SYNCED",
            SyncState::NotSent => "NOT SENT",
            SyncState::Stale => "STALE",
        },
    }
}
