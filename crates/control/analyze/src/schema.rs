//! Invalid resources as messages (IST0106, IST0133).
//!
//! In: the problems that the model found. Out: messages; what is right but not honoured, and what is
//! written twice, is a warning.

use meltemi_model::{Problem, ProblemKind};

use crate::{Code, Message};

/// The message for a problem; `None` for kinds of resource that the mesh does not take.
pub(crate) fn message(problem: Problem) -> Option<Message> {
    let Problem {
        file,
        line,
        resource,
        path,
        message,
        kind,
    } = problem;
    let (code, words) = match kind {
        ProblemKind::Syntax | ProblemKind::Invalid => {
            (Code::SchemaValidationError, "Schema validation error")
        }
        ProblemKind::Unsupported | ProblemKind::Duplicate | ProblemKind::Warning => {
            (Code::SchemaWarning, "Schema validation warning")
        }
        ProblemKind::UnsupportedKind => return None,
    };
    let text = match path {
        Some(path) => format!("{words}: {path}: {message}"),
        None => format!("{words}: {message}"),
    };
    Some(Message {
        code,
        resource: resource?,
        file,
        line: line.unwrap_or(1),
        text,
    })
}
