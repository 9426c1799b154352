//! State and figures over HTTP: `/ready`, `/version`, `/metrics`, `/debug`.
//!
//! In: requests. Out: text and JSON. What `/debug` shows is for this machine, and for callers whose
//! token the authority believes and names a workload of the root namespace: it is about everybody's
//! workloads.

pub(crate) mod connections;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use meltemi_ca::{AuthError, Authenticator, Credentials};
use meltemi_lifecycle::{Clock, DrainSignal};
use meltemi_spiffe::SpiffeId;
use meltemi_xds_server::ProxyRegistry;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::trust::Trust;
use crate::{MeshState, debug, exposition, process};

/// What the answers are made from.
#[derive(Clone)]
pub(crate) struct Observed {
    pub states: watch::Receiver<Arc<MeshState>>,
    pub proxies: Arc<ProxyRegistry>,
    pub figures: Arc<Registry>,
    pub authenticator: Arc<dyn Authenticator>,
    pub trust: Arc<Trust>,
    pub clock: Clock,
}

impl Observed {
    /// The state of the mesh now.
    pub fn state(&self) -> Arc<MeshState> {
        self.states.borrow().clone()
    }
}

/// Serves until the drain.
pub(crate) async fn serve(listener: TcpListener, observed: Observed, drain: DrainSignal) {
    connections::serve(listener, None, router(observed), drain).await;
}

fn router(observed: Observed) -> Router {
    let guarded = debug::routes().layer(middleware::from_fn_with_state(observed.clone(), guard));
    Router::new()
        .route("/ready", get(ready))
        .route("/version", get(|| async { env!("CARGO_PKG_VERSION") }))
        .route("/metrics", get(metrics))
        .merge(guarded)
        .with_state(observed)
}

async fn ready(State(observed): State<Observed>) -> Response {
    if observed.state().ready {
        StatusCode::OK.into_response()
    } else {
        let mut text = "the first configuration is not complete\n".to_owned();
        // What is said of a source as a whole may be why.
        let problems = observed.state().problems.clone();
        for problem in problems.iter().filter(|it| it.resource.is_none()) {
            text += &format!("{problem}\n");
        }
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

async fn metrics(State(observed): State<Observed>) -> Response {
    let text = exposition::text(&observed.figures) + &process::text();
    ([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], text).into_response()
}

async fn guard(
    State(observed): State<Observed>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    request: Request,
    next: Next,
) -> Response {
    if !peer.ip().to_canonical().is_loopback() {
        let token = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        let credentials = Credentials {
            token,
            identities: &[],
        };
        let caller = observed.authenticator.authenticate(&credentials).await;
        let state = observed.state();
        let root = &state.snapshot.mesh().root_namespace;
        if let Err((status, text)) = may_look(caller, root.as_str()) {
            return (status, text).into_response();
        }
    }
    next.run(request).await
}

/// Whether a caller from elsewhere may see what is about everybody.
fn may_look(caller: Result<SpiffeId, AuthError>, root: &str) -> Result<(), (StatusCode, String)> {
    let id = caller.map_err(|error| (StatusCode::UNAUTHORIZED, format!("{error}\n")))?;
    match id.namespace_and_account() {
        Some((namespace, _)) if namespace == root => Ok(()),
        _ => {
            let text = format!("{id} is not of the namespace {root}\n");
            Err((StatusCode::FORBIDDEN, text))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_the_root_namespace_looks_from_elsewhere() {
        for (caller, status) in [
            (Err(AuthError::Missing), Some(StatusCode::UNAUTHORIZED)),
            (Err(AuthError::Expired(1)), Some(StatusCode::UNAUTHORIZED)),
            (
                Ok("spiffe://cluster.local/ns/shop/sa/web"),
                Some(StatusCode::FORBIDDEN),
            ),
            (
                Ok("spiffe://cluster.local/ns/istio-system-2/sa/web"),
                Some(StatusCode::FORBIDDEN),
            ),
            (
                Ok("spiffe://cluster.local/istio-system"),
                Some(StatusCode::FORBIDDEN),
            ),
            (Ok("spiffe://cluster.local/ns/istio-system/sa/ops"), None),
        ] {
            let said = format!("{caller:?}");
            let caller = caller.map(|it: &str| it.parse().unwrap());
            let refused = may_look(caller, "istio-system").err();
            assert_eq!(refused.map(|it| it.0), status, "{said}");
        }
    }
}
