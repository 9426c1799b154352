//! `/debug/edsz`: the endpoints that a proxy is sent, an assignment for each cluster.

use axum::extract::{Query, State};
use axum::response::Response;
use meltemi_xds::json::to_json;
use meltemi_xds::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use meltemi_xds_server::{Kind, View as _, Wanted};
use serde_json::Value;

use crate::debug::{WhichProxy, find, json};
use crate::http::Observed;

pub(super) async fn answer(
    State(observed): State<Observed>,
    Query(which): Query<WhichProxy>,
) -> Response {
    let status = match find(&observed, &which) {
        Ok(status) => status,
        Err(answer) => return answer,
    };
    let view = observed.state().view.clone();
    let seen = view.viewer(&status.node).look();
    let sent = seen.resources(Kind::Endpoint, &Wanted::All);
    let assignments = sent.iter().filter_map(|resource| {
        let assignment = resource.body.to_msg::<ClusterLoadAssignment>();
        assignment.ok().map(|assignment| to_json(&assignment))
    });
    json(&assignments.collect::<Vec<Value>>())
}
