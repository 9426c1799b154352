//! `/debug/configz`: every resource that counts.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use meltemi_model::Config;
use serde::Serialize;

use crate::debug::json;
use crate::http::Observed;

#[derive(Serialize)]
struct Row<'a> {
    kind: &'static str,
    metadata: Metadata<'a>,
    /// The resource as validated, in the notation of this program's own types.
    validated: String,
}

#[derive(Serialize)]
struct Metadata<'a> {
    name: &'a str,
    namespace: &'a str,
    labels: BTreeMap<&'a str, &'a str>,
    annotations: &'a BTreeMap<String, String>,
}

pub(super) async fn answer(State(observed): State<Observed>) -> Response {
    let state = observed.state();
    let rows: Vec<_> = state.configs.values().map(|config| row(config)).collect();
    json(&rows)
}

fn row(config: &Config) -> Row<'_> {
    let meta = config.meta();
    Row {
        kind: config.kind().as_str(),
        metadata: Metadata {
            name: &meta.name,
            namespace: meta.namespace.as_str(),
            labels: meta.labels.iter().collect(),
            annotations: &meta.annotations,
        },
        validated: format!("{config:?}"),
    }
}
