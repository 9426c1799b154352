//! `/debug/problems`: what is wrong with the resources.

use axum::extract::State;
use axum::response::Response;
use meltemi_model::{Problem, ProblemKind};
use serde::Serialize;

use crate::debug::json;
use crate::http::Observed;

#[derive(Serialize)]
struct Row {
    file: Option<String>,
    line: Option<u32>,
    resource: Option<String>,
    path: Option<String>,
    message: String,
    kind: &'static str,
    /// All of it as one line, as it is logged.
    text: String,
}

pub(super) async fn answer(State(observed): State<Observed>) -> Response {
    let rows: Vec<_> = observed.state().problems.iter().map(row).collect();
    json(&rows)
}

fn row(problem: &Problem) -> Row {
    let Problem {
        file,
        line,
        resource,
        path,
        message,
        kind,
    } = problem;
    Row {
        file: file.as_ref().map(|it| it.display().to_string()),
        line: *line,
        resource: resource.as_ref().map(ToString::to_string),
        path: path.as_ref().map(ToString::to_string),
        message: message.clone(),
        kind: match kind {
            ProblemKind::Syntax => "syntax",
            ProblemKind::Invalid => "invalid",
            ProblemKind::Unsupported => "unsupported",
            ProblemKind::UnsupportedKind => "unsupported-kind",
            ProblemKind::Duplicate => "duplicate",
            ProblemKind::Warning => "warning",
        },
        text: problem.to_string(),
    }
}
