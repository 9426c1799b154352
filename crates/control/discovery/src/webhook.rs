//! The webhook that a cluster's API server asks before it takes a resource: `POST /validate`.
//!
//! In: requests over TLS, with the certificate of the control plane. Out: reviews. What is valid is decided in
//! `validate`.

mod validate;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use meltemi_lifecycle::DrainSignal;
use meltemi_model::Defaults;
use tokio::net::TcpListener;

use crate::grpc::accept::Tls;
use crate::http::connections;

/// The largest review that is read: an object has at most some 1.5 MiB, and an update brings two.
const LARGEST: usize = 3 << 20;

/// Serves until the drain.
pub(crate) async fn serve(listener: TcpListener, tls: Tls, defaults: Defaults, drain: DrainSignal) {
    let router = Router::new()
        .route("/validate", post(validate))
        .with_state(Arc::new(defaults));
    connections::serve(listener, Some(tls), router, drain).await;
}

async fn validate(State(defaults): State<Arc<Defaults>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    match judge(&head.headers, body, &defaults).await {
        Ok(review) => ([(header::CONTENT_TYPE, "application/json")], review).into_response(),
        Err((status, text)) => (status, format!("{text}\n")).into_response(),
    }
}

async fn judge(
    headers: &HeaderMap,
    body: Body,
    defaults: &Defaults,
) -> Result<String, (StatusCode, String)> {
    let written = headers.get(header::CONTENT_TYPE);
    let written = written.and_then(|it| it.to_str().ok()).unwrap_or_default();
    let media = written.split(';').next().unwrap_or_default().trim();
    if !media.eq_ignore_ascii_case("application/json") {
        let text = format!("the content type is `{written}`; send application/json");
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    let Ok(body) = to_bytes(body, LARGEST).await else {
        let text = format!("the review has more than {LARGEST} bytes, or was cut off");
        return Err((StatusCode::PAYLOAD_TOO_LARGE, text));
    };
    let review = validate::review(&body, defaults);
    review.map_err(|text| (StatusCode::BAD_REQUEST, text))
}
