//! `/init_dump`: what is configured and not in service yet, and what it waits for.

use serde_json::{Map, Value, json};

use crate::query::Query;
use crate::reply::Reply;
use crate::{AdminState, UnreadyListener};

pub(crate) fn init_dump(state: &AdminState, query: &Query<'_>) -> Reply {
    let unready = match query.get("mask") {
        None | Some("listener") => state.control.unready_listeners(),
        Some(_) => Vec::new(),
    };
    let mut dump = Map::new();
    if !unready.is_empty() {
        let unready: Vec<_> = unready.iter().map(shown).collect();
        dump.insert("unready_targets_dumps".to_owned(), Value::from(unready));
    }
    Reply::json(&Value::from(dump))
}

fn shown(listener: &UnreadyListener) -> Value {
    let UnreadyListener {
        name,
        routes,
        secrets,
    } = listener;
    let routes = routes
        .iter()
        .map(|name| format!("shared target RdsRouteConfigSubscription RDS init {name}"));
    let secrets = secrets.iter().map(|name| format!("target SdsApi {name}"));
    json!({
        "name": format!("init manager Listener-local-init-manager {name}"),
        "target_names": routes.chain(secrets).collect::<Vec<_>>(),
    })
}
