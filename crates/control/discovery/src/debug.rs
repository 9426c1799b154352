//! What the control plane knows, for people and tools: `/debug`.
//!
//! In: requests. Out: JSON, under the names of istiod's endpoints and with its fields where a tool
//! looks for them.

mod adsz;
mod ca;
mod config_dump;
mod configz;
mod edsz;
mod problems;
mod push_status;
mod registryz;
mod syncz;

use std::fmt::Write as _;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use meltemi_xds_server::ProxyStatus;
use serde::{Deserialize, Serialize};

use crate::http::Observed;

/// Path and purpose of each endpoint.
const INDEX: [(&str, &str); 10] = [
    ("syncz", "How far each connected proxy has come"),
    (
        "config_dump",
        "What a proxy is sent, as Envoy's admin interface prints it (?proxyID=POD.NAMESPACE)",
    ),
    (
        "edsz",
        "The endpoints that a proxy is sent, by cluster (?proxyID=POD.NAMESPACE)",
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
        .route("/debug/edsz", get(edsz::answer))
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

/// Which proxy is asked about.
#[derive(Deserialize)]
struct WhichProxy {
    #[serde(rename = "proxyID")]
    proxy_id: Option<String>,
}

/// The proxy that is asked about, or the answer that says that there is none.
#[expect(clippy::result_large_err, reason = "answers are made seldom")]
fn find(observed: &Observed, which: &WhichProxy) -> Result<ProxyStatus, Response> {
    let Some(proxy) = which.proxy_id.as_ref().filter(|id| !id.is_empty()) else {
        let text = "say which proxy: ?proxyID=POD.NAMESPACE, or its node id\n";
        return Err((StatusCode::BAD_REQUEST, text).into_response());
    };
    observed.proxies.find(proxy).ok_or_else(|| {
        let text = format!("no proxy {proxy} is connected to this control plane\n");
        (StatusCode::NOT_FOUND, text).into_response()
    })
}

/// JSON that people can read.
fn json(value: &impl Serialize) -> Response {
    let mut text = serde_json::to_string_pretty(value).expect("debug values are JSON");
    text.push('\n');
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}
