//! Header names, values and the changes that routes make to headers.

use http::{HeaderName, HeaderValue};
use meltemi_ir::{AppendAction, HeaderAppend, HeaderEdit, HeaderMutation, HeaderTarget};
use meltemi_xds::pb::envoy::config::common::mutation_rules::v3 as mutation_v3;
use meltemi_xds::pb::envoy::config::common::mutation_rules::v3::header_mutation::{
    Action, RemoveOnMatch,
};
use meltemi_xds::pb::envoy::config::core::v3 as core_v3;
use meltemi_xds::pb::envoy::config::core::v3::HeaderValueOption;
use meltemi_xds::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;

use crate::fields::fields;
use crate::matcher::string_match;
use crate::path::At;
use crate::scalar::enumeration;

/// No more headers than this may be added at one place.
const MOST: usize = 1000;

/// The name of a header.
pub(crate) fn header_name(name: &str, at: &At<'_>) -> Option<HeaderName> {
    let parsed = HeaderName::from_bytes(name.as_bytes()).ok();
    if parsed.is_none() {
        at.problem(format_args!("{name:?} is not the name of a header"));
    }
    parsed
}

/// The value of a header.
pub(crate) fn header_value(value: &str, at: &At<'_>) -> Option<HeaderValue> {
    let parsed = HeaderValue::from_str(value).ok();
    if parsed.is_none() {
        at.problem(format_args!("{value:?} is not the value of a header"));
    }
    parsed
}

/// One of the two lists of changes that routes, virtual hosts and so on have.
pub(crate) struct Changes<'a> {
    /// `request` or `response`.
    pub(crate) of: Side,
    /// `*_headers_to_add`.
    pub(crate) add: &'a [HeaderValueOption],
    /// `*_headers_to_remove`.
    pub(crate) remove: &'a [String],
}

/// Whose headers are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The request's.
    Request,
    /// The response's.
    Response,
    /// Trailers, on either way.
    Trailers,
}

impl Changes<'_> {
    /// Converts both lists; `at` is the message that holds them.
    pub(crate) fn convert(&self, at: &At<'_>) -> HeaderMutation {
        let (add, remove) = match self.of {
            Side::Request => ("request_headers_to_add", "request_headers_to_remove"),
            Side::Response | Side::Trailers => {
                ("response_headers_to_add", "response_headers_to_remove")
            }
        };
        let additions = self.additions(&at.field(add));
        HeaderMutation {
            remove: at.field(remove).each(self.remove, |name, at| {
                if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
                    at.problem(format_args!("{name:?} may not be removed"));
                    return None;
                }
                header_name(name, at)
            }),
            ..additions
        }
    }

    /// Converts the additions alone; `at` is their list.
    pub(crate) fn additions(&self, at: &At<'_>) -> HeaderMutation {
        if self.add.len() > MOST {
            at.problem(format_args!("has more than {MOST} elements"));
        }
        HeaderMutation {
            remove: Vec::new(),
            add: at.each(self.add, |option, at| append(option, self.of, at)),
        }
    }
}

/// Changes that are made one after the other; `at` is their list.
pub(crate) fn edits(
    list: &[mutation_v3::HeaderMutation],
    side: Side,
    at: &At<'_>,
) -> Vec<HeaderEdit> {
    at.each(list, |message, at| {
        fields!(at, message, mutation_v3::HeaderMutation {
            oneof { action { remove: Honoured "", append: Honoured "", remove_on_match: Honoured "" } }
        });
        match action {
            Some(Action::Remove(name)) => {
                header_name(name, &at.field("remove")).map(HeaderEdit::Remove)
            }
            Some(Action::Append(option)) => {
                append(option, side, &at.field("append")).map(HeaderEdit::Append)
            }
            Some(Action::RemoveOnMatch(message)) => {
                let at = &at.field("remove_on_match");
                fields!(at, message, RemoveOnMatch { honoured { key_matcher } });
                let at = &at.field("key_matcher");
                match key_matcher {
                    Some(matcher) => string_match(matcher, at).map(HeaderEdit::RemoveMatching),
                    None => {
                        at.problem("is required");
                        None
                    }
                }
            }
            None => {
                at.problem("needs an action");
                None
            }
        }
    })
}

/// The changes to a request's headers.
pub(crate) fn request_changes(
    add: &[HeaderValueOption],
    remove: &[String],
    at: &At<'_>,
) -> HeaderMutation {
    let of = Side::Request;
    Changes { of, add, remove }.convert(at)
}

/// The changes to a response's headers.
pub(crate) fn response_changes(
    add: &[HeaderValueOption],
    remove: &[String],
    at: &At<'_>,
) -> HeaderMutation {
    let of = Side::Response;
    Changes { of, add, remove }.convert(at)
}

/// One header to add.
pub(crate) fn append(message: &HeaderValueOption, side: Side, at: &At<'_>) -> Option<HeaderAppend> {
    fields!(at, message, HeaderValueOption {
        honoured { header, append, append_action, keep_empty_value }
    });
    let action = match (
        append,
        enumeration(*append_action, &at.field("append_action"))?,
    ) {
        (None, HeaderAppendAction::AppendIfExistsOrAdd)
        | (Some(true), HeaderAppendAction::AppendIfExistsOrAdd) => AppendAction::AppendOrAdd,
        (Some(false), HeaderAppendAction::AppendIfExistsOrAdd) => AppendAction::OverwriteOrAdd,
        (None, HeaderAppendAction::AddIfAbsent) => AppendAction::AddIfAbsent,
        (None, HeaderAppendAction::OverwriteIfExistsOrAdd) => AppendAction::OverwriteOrAdd,
        (None, HeaderAppendAction::OverwriteIfExists) => AppendAction::OverwriteIfExists,
        (Some(_), _) => {
            at.field("append")
                .problem("cannot be set together with append_action");
            return None;
        }
    };
    let at_header = &at.field("header");
    let Some(header) = header else {
        at_header.problem("is required");
        return None;
    };
    let (name, value) = pair(header, at_header);
    let literal = literal(value, &at_header.field("value"))?;
    Some(HeaderAppend {
        name: target(name, side, &at_header.field("key"))?,
        value: value.to_owned(),
        literal,
        action,
        keep_empty: *keep_empty_value,
    })
}

/// Name and value of a header as written.
pub(crate) fn pair<'a>(message: &'a core_v3::HeaderValue, at: &At<'_>) -> (&'a str, &'a str) {
    fields!(at, message, core_v3::HeaderValue {
        honoured { key, value }
        refused { raw_value: "write the value as text" }
    });
    (key, value)
}

fn target(name: &str, side: Side, at: &At<'_>) -> Option<HeaderTarget> {
    Some(match (name.to_ascii_lowercase().as_str(), side) {
        (":authority" | "host", Side::Request) => HeaderTarget::Authority,
        (":path", Side::Request) => HeaderTarget::Path,
        (":method", Side::Request) => HeaderTarget::Method,
        (":scheme", Side::Request) => HeaderTarget::Scheme,
        (":status", Side::Response) => HeaderTarget::Status,
        (other, _) if other.starts_with(':') => {
            at.problem(format_args!("{name:?} may not be changed here"));
            return None;
        }
        _ => HeaderTarget::Name(header_name(name, at)?),
    })
}

/// The value where it holds no command operator, `Some(None)` where it holds one.
fn literal(value: &str, at: &At<'_>) -> Option<Option<HeaderValue>> {
    let mut text = String::with_capacity(value.len());
    let mut operators = false;
    let mut rest = value;
    while let Some(start) = rest.find('%') {
        text.push_str(&rest[..start]);
        rest = &rest[start + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            text.push('%');
            rest = after;
            continue;
        }
        operators = true;
        rest = match operator(rest) {
            Ok(rest) => rest,
            Err(problem) => {
                at.problem(format_args!("{value:?} {problem}"));
                return None;
            }
        };
    }
    text.push_str(rest);
    if operators {
        return Some(None);
    }
    header_value(&text, at).map(Some)
}

/// What follows `NAME(arguments):length%`.
fn operator(text: &str) -> Result<&str, &'static str> {
    let name = text
        .find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))
        .unwrap_or(text.len());
    if name == 0 {
        return Err("has a % that begins no command operator; write %% for the sign itself");
    }
    let mut rest = &text[name..];
    if let Some(arguments) = rest.strip_prefix('(') {
        let end = arguments
            .find(')')
            .ok_or("has a command operator without its )")?;
        rest = &arguments[end + 1..];
    }
    if let Some(length) = rest.strip_prefix(':') {
        rest = length.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    rest.strip_prefix('%')
        .ok_or("has a command operator without its closing %")
}
