//! Listeners whose filters ask for their configuration.
#![allow(clippy::unwrap_used)]

use meltemi_ir::ResourceSource;
use meltemi_xds::json;
use meltemi_xds::pb::envoy::config::listener::v3::Listener;
use meltemi_xds::pb::envoy::extensions::filters::http::buffer::v3::Buffer;
use meltemi_xds::pb::envoy::extensions::filters::http::cors::v3::Cors;
use prost_types::Any;
use serde_json::{Value, json};

use super::{Extensions, Patience, asked, pack};

const BUFFER: &str = "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer";

/// A listener with one filter that asks as given.
fn listener(discovery: Value) -> Listener {
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    let manager = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    json::from_json(json!({
        "name": "l",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 80}},
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": {
            "@type": manager,
            "stat_prefix": "a",
            "route_config": {},
            "http_filters": [
                {"name": "limit", "config_discovery": discovery},
                {"name": "router", "typed_config": {"@type": router}},
            ],
        }}]}],
    }))
    .unwrap()
}

fn buffer(most: u32) -> Any {
    pack(&Buffer {
        max_request_bytes: Some(most),
    })
}

/// Whether the listener would serve, and with which kind of filter first.
fn first_filter(message: Option<Listener>) -> Option<String> {
    let message = meltemi_config::listener(&message?).unwrap();
    let text = format!("{message:?}");
    let kinds = ["Buffer", "Missing", "Cors"];
    kinds
        .into_iter()
        .find(|it| text.contains(&format!("kind: {it}")))
        .map(str::to_owned)
}

fn held(discovery: Value) -> Extensions {
    let extensions = Extensions::default();
    extensions.hold(listener(discovery), &ResourceSource::Ads);
    extensions
}

#[test]
fn a_listener_waits_for_what_its_filters_ask_for() {
    let source = json!({"config_source": {"ads": {}}, "type_urls": [BUFFER]});
    let extensions = held(source);
    let filled = |patience| first_filter(extensions.filled("l", None, patience).map(|it| it.0));
    assert_eq!(
        extensions.wanted().into_keys().collect::<Vec<_>>(),
        ["limit"]
    );
    assert_eq!((filled(Patience::Waits), extensions.waiting()), (None, 1));
    // It lets nothing pass when it has waited for long enough.
    extensions.give_up("limit");
    assert_eq!(filled(Patience::Waits).as_deref(), Some("Missing"));
    let wrong = pack(&Cors::default());
    let error = extensions.check_type("limit", &wrong).unwrap_err();
    assert!(
        error.starts_with("Error: filter config has type URL"),
        "{error}"
    );
    assert_eq!(extensions.check_type("limit", &buffer(1)), Ok(()));
    extensions.set("limit", buffer(1));
    assert_eq!(filled(Patience::Waits).as_deref(), Some("Buffer"));
    extensions.served("l");
    assert_eq!(extensions.waiting(), 0);
    assert_eq!(extensions.users("limit"), ["l"]);
    extensions.unset("limit");
    assert_eq!(filled(Patience::None).as_deref(), Some("Missing"));
    extensions.forget("l");
    assert!(extensions.wanted().is_empty());
}

#[test]
fn a_default_holds_at_once_or_after_waiting() {
    let default = json!({"@type": BUFFER, "max_request_bytes": 7});
    for (eager, waits) in [(true, Some("Buffer")), (false, None)] {
        let extensions = held(json!({
            "config_source": {"ads": {}, "initial_fetch_timeout": "3s"},
            "type_urls": [BUFFER],
            "default_config": default,
            "apply_default_config_without_warming": eager,
        }));
        let source = extensions.wanted().remove("limit").unwrap();
        assert_eq!(source.initial_fetch_timeout.as_secs(), 3);
        let filled = || first_filter(extensions.filled("l", None, Patience::Waits).map(|it| it.0));
        assert_eq!(filled().as_deref(), waits, "{eager}");
        extensions.give_up("limit");
        assert_eq!(filled().as_deref(), Some("Buffer"), "{eager}");
    }
}

#[test]
fn what_asks_where_there_is_nothing_is_refused() {
    let source = json!({
        "config_source": {"path_config_source": {"path": "/there/is/none"}},
        "type_urls": [BUFFER],
    });
    let message = listener(source);
    assert!(asked(&message, &ResourceSource::Ads).is_empty());
    let error = meltemi_config::listener(&message).unwrap_err().to_string();
    assert!(
        error.contains("http_filters[0].config_discovery.config_source"),
        "{error}"
    );
}
