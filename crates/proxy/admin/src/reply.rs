//! Answers of the endpoint, as values.

use axum::http::StatusCode;
use serde_json::Value;

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub status: StatusCode,
    pub content: Content,
    pub body: String,
}

/// What kind of text an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Text,
    Json,
    Html,
}

impl Content {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text/plain; charset=UTF-8",
            Self::Json => "application/json",
            Self::Html => "text/html; charset=UTF-8",
        }
    }
}

impl Reply {
    pub fn text(body: impl Into<String>) -> Self {
        Self {
            status: StatusCode::OK,
            content: Content::Text,
            body: body.into(),
        }
    }

    /// What a command that changes something answers.
    pub fn done() -> Self {
        Self::text("OK\n")
    }

    pub fn html(body: impl Into<String>) -> Self {
        Self {
            content: Content::Html,
            ..Self::text(body)
        }
    }

    /// JSON as Envoy prints it: a space of indentation for each level.
    pub fn json(value: &Value) -> Self {
        Self {
            content: Content::Json,
            ..Self::text(pretty(value))
        }
    }

    /// JSON on one line.
    pub fn compact_json(value: &Value) -> Self {
        Self {
            content: Content::Json,
            ..Self::text(value.to_string())
        }
    }

    pub fn bad_request(body: impl Into<String>) -> Self {
        Self::error(StatusCode::BAD_REQUEST, body)
    }

    pub fn error(status: StatusCode, body: impl Into<String>) -> Self {
        Self {
            status,
            ..Self::text(body)
        }
    }
}

/// As protobuf's JSON printer does it, which Envoy uses.
fn pretty(value: &Value) -> String {
    let mut out = String::new();
    write(value, 0, &mut out);
    out.push('\n');
    out
}

fn write(value: &Value, depth: usize, out: &mut String) {
    let line = |depth: usize, out: &mut String| {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', depth));
    };
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            out.push('{');
            for (at, (name, value)) in fields.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                line(depth + 1, out);
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push_str(": ");
                write(value, depth + 1, out);
            }
            line(depth, out);
            out.push('}');
        }
        Value::Array(values) if !values.is_empty() => {
            out.push('[');
            for (at, value) in values.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                line(depth + 1, out);
                write(value, depth + 1, out);
            }
            line(depth, out);
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}
