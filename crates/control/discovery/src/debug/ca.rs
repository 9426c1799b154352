//! `/debug/ca`: the certificate authority and the rotation of its root. `meltemi ca` reads and drives
//! it.
//!
//! What changes something is for this machine alone, whatever token a caller has, and not for web
//! pages: a request has to name an address or `localhost` as its host, and to be of a content type
//! that a page cannot send elsewhere without asking.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Json, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use meltemi_ca::{Confirmation, Phase};
use serde::{Deserialize, Serialize};

use crate::debug::{adsz, json};
use crate::http::Observed;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    trust_domain: String,
    phase: Phase,
    since: u64,
    /// The directory that was plugged in.
    plugged: Option<String>,
    roots: Vec<Root>,
    proxies: Vec<Proxy>,
    /// What the next step of a rotation waits for.
    waiting_for: Vec<String>,
    /// When the last certificate ends that was not signed under the root that signs now.
    outstanding_until: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Root {
    fingerprint: String,
    subject: String,
    signs: bool,
    not_before: u64,
    not_after: u64,
    /// How many certificates under it are about.
    certificates: usize,
}

#[derive(Serialize)]
struct Proxy {
    proxy: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// What a rotation is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotate {
    /// Go on with the rotation that is under way, whatever stands in its way.
    #[serde(default)]
    force: bool,
}

pub(super) async fn status(State(observed): State<Observed>) -> Response {
    json(&state(&observed))
}

pub(super) async fn rotate(
    State(observed): State<Observed>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Json(Rotate { force }): Json<Rotate>,
) -> Response {
    if !peer.ip().to_canonical().is_loopback() || !names_this_machine(&headers) {
        let text = "the root is rotated from the control plane's own machine only\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    let done = match force {
        false => observed.trust.authorities().begin(),
        true => observed.trust.advance(true).map(drop),
    };
    match done {
        Ok(()) => json(&state(&observed)),
        Err(error) => (StatusCode::CONFLICT, format!("{error}\n")).into_response(),
    }
}

/// A name that a stranger's DNS could lead here is no name of this machine.
fn names_this_machine(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|it| it.to_str().ok());
    let Some(host) = host else {
        return false;
    };
    if host.parse::<SocketAddr>().is_ok() || host.parse::<IpAddr>().is_ok() {
        return true;
    }
    host.split(':').next() == Some("localhost")
}

fn state(observed: &Observed) -> Status {
    let authorities = observed.trust.authorities();
    let standing = authorities.standing();
    let proxies = observed.trust.proxies();
    let plugged = authorities.plugged();
    Status {
        trust_domain: authorities.trust_domain().to_string(),
        phase: standing.phase,
        since: adsz::seconds(standing.since),
        plugged: plugged.map(|it| it.path().display().to_string()),
        roots: authorities
            .status()
            .into_iter()
            .map(|it| Root {
                fingerprint: it.root.fingerprint,
                subject: it.root.subject,
                signs: it.signs,
                not_before: adsz::seconds(it.root.not_before),
                not_after: adsz::seconds(it.root.not_after),
                certificates: it.certificates,
            })
            .collect(),
        waiting_for: authorities.obstacles(&proxies),
        proxies: proxies
            .into_iter()
            .map(|it| {
                let (state, reason) = match it.confirmation {
                    Confirmation::Confirmed => ("CONFIRMED", None),
                    Confirmation::Waiting => ("WAITING", None),
                    Confirmation::Refused(words) => ("REFUSED", Some(words)),
                    Confirmation::Silent => ("SILENT", None),
                    Confirmation::Away => ("AWAY", None),
                };
                Proxy {
                    proxy: it.proxy,
                    state,
                    reason,
                }
            })
            .collect(),
        outstanding_until: authorities.outstanding().until.map(adsz::seconds),
    }
}
