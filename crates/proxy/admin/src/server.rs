//! The endpoint's socket: axum in front of the commands.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use meltemi_lifecycle::DrainSignal;
use tokio::net::TcpListener;

use crate::AdminState;
use crate::command;

/// Answers requests on `listener` until the server drains.
///
/// # Errors
/// When the socket fails.
pub async fn serve(
    listener: TcpListener,
    state: Arc<AdminState>,
    mut drain: DrainSignal,
) -> io::Result<()> {
    axum::serve(listener, router(state))
        .with_graceful_shutdown(async move { drain.draining().await })
        .await
}

/// The endpoint as a service, for whoever brings a socket of its own.
pub fn router(state: Arc<AdminState>) -> Router {
    Router::new().fallback(handle).with_state(state)
}

async fn handle(State(state): State<Arc<AdminState>>, request: Request) -> Response {
    let (path, query) = (request.uri().path(), request.uri().query());
    let reply = command::answer(&state, request.method(), path, query.unwrap_or_default());
    // A dump is rare; a proxy that keeps some 15 MiB for the next one is not light.
    meltemi_xds::release_pool();
    let headers = [
        (header::CONTENT_TYPE, reply.content.as_str()),
        (header::CACHE_CONTROL, "no-cache, max-age=0"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
    (reply.status, headers, reply.body).into_response()
}

#[cfg(test)]
mod tests;
