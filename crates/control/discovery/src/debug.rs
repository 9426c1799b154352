//! What the control plane knows, for people and tools: `/debug`.
//!
//! In: requests. Out: JSON, under the names of istiod's endpoints and with its fields where a tool
//! looks for them.

mod adsz;
mod ca;
mod config_dump;
mod configz;
mod problems;
mod push_status;
mod registryz;
mod syncz;

use std::fmt::Write as _;

use axum::Router;
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;

use crate::http::Observed;

/// Path and purpose of each endpoint.
const INDEX: [(&str, &str); 9] = [
    ("syncz", "How far each connected proxy has come"),
    (
        "config_dump",
        "What a proxy is sent, as Envoy's admin interface prints it (?proxyID=POD.NAMESPACE)",
    ),
    ("registryz", "Services with their endpoints"),
    ("endpointz", "Endpoints by service port (?brief for text)"),
    ("configz", "Every resource that counts"),
    ("adsz", "Connected proxies with their metadata"),
    (
        "push_status",
        "The last pushes: why they were made, and what they contained",
    ),
    (
        "ca",
        "The certificate authority, and how far a rotation of its root has come",
    ),
    ("problems", "What is wrong with the resources"),
];

/// The endpoints.
pub(crate) fn routes() -> Router<Observed> {
    Router::new()
        .route("/debug", get(index))
        .route("/debug/", get(index))
        .route("/debug/syncz", get(syncz::answer))
        .route("/debug/config_dump", get(config_dump::answer))
        .route("/debug/registryz", get(registryz::services))
        .route("/debug/endpointz", get(registryz::endpoints))
        .route("/debug/configz", get(configz::answer))
        .route("/debug/adsz", get(adsz::answer))
        .route("/debug/push_status", get(push_status::answer))
        .route("/debug/ca", get(ca::status))
        .route("/debug/ca/rotate", post(ca::rotate))
        .route("/debug/problems", get(problems::answer))
}

async fn index() -> Html<String> {
    let mut page = String::from("<!doctype html><title>Meltemi control plane</title><table>\n");
    for (name, help) in INDEX {
        let _ = writeln!(
            page,
            "<tr><td><a href=\"/debug/{name}\">{name}</a><td>{help}"
        );
    }
    page.push_str("</table>\n");
    Html(page)
}

/// JSON that people can read.
fn json(value: &impl Serialize) -> Response {
    let mut text = serde_json::to_string_pretty(value).expect("debug values are JSON");
    text.push('\n');
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}
