//! Matchers on strings, headers, query parameters and paths.

use std::fmt;

use http::HeaderName;
use regex::Regex;

use crate::{Metadata, Value};

/// `envoy.type.matcher.v3.StringMatcher`.
#[derive(Clone)]
pub enum StringMatch {
    /// The whole string.
    Exact {
        /// The text.
        text: String,
        /// ASCII case is ignored.
        ignore_case: bool,
    },
    /// The beginning of the string.
    Prefix {
        /// The text.
        text: String,
        /// ASCII case is ignored.
        ignore_case: bool,
    },
    /// The end of the string.
    Suffix {
        /// The text.
        text: String,
        /// ASCII case is ignored.
        ignore_case: bool,
    },
    /// Anywhere in the string.
    Contains {
        /// The text.
        text: String,
        /// ASCII case is ignored.
        ignore_case: bool,
    },
    /// The whole string, by a regular expression (already anchored at both ends).
    Regex(Regex),
}

impl StringMatch {
    /// An exact, case-sensitive match.
    pub fn exact(text: impl Into<String>) -> Self {
        Self::Exact {
            text: text.into(),
            ignore_case: false,
        }
    }

    /// Whether `value` matches.
    pub fn matches(&self, value: &str) -> bool {
        self.matches_bytes(value.as_bytes())
    }

    /// Whether these bytes match; a regular expression matches only valid UTF-8.
    pub fn matches_bytes(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact { text, ignore_case } => equal(value, text.as_bytes(), *ignore_case),
            Self::Prefix { text, ignore_case } => value
                .get(..text.len())
                .is_some_and(|head| equal(head, text.as_bytes(), *ignore_case)),
            Self::Suffix { text, ignore_case } => value
                .len()
                .checked_sub(text.len())
                .is_some_and(|start| equal(&value[start..], text.as_bytes(), *ignore_case)),
            Self::Contains { text, ignore_case } => {
                text.is_empty()
                    || value
                        .windows(text.len())
                        .any(|part| equal(part, text.as_bytes(), *ignore_case))
            }
            Self::Regex(regex) => {
                std::str::from_utf8(value).is_ok_and(|value| regex.is_match(value))
            }
        }
    }
}

fn equal(left: &[u8], right: &[u8], ignore_case: bool) -> bool {
    if ignore_case {
        left.eq_ignore_ascii_case(right)
    } else {
        left == right
    }
}

impl fmt::Debug for StringMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, text, ignore_case) = match self {
            Self::Exact { text, ignore_case } => ("exact", text.as_str(), *ignore_case),
            Self::Prefix { text, ignore_case } => ("prefix", text.as_str(), *ignore_case),
            Self::Suffix { text, ignore_case } => ("suffix", text.as_str(), *ignore_case),
            Self::Contains { text, ignore_case } => ("contains", text.as_str(), *ignore_case),
            Self::Regex(regex) => ("regex", regex.as_str(), false),
        };
        write!(
            f,
            "{kind}({text:?}{})",
            if ignore_case { ", ignore case" } else { "" }
        )
    }
}

impl PartialEq for StringMatch {
    fn eq(&self, other: &Self) -> bool {
        // The rendering names the kind, the text and the case rule: all that there is.
        format!("{self:?}") == format!("{other:?}")
    }
}

impl Eq for StringMatch {}

/// `envoy.config.route.v3.HeaderMatcher`.
#[derive(Clone, Debug, PartialEq)]
pub struct HeaderMatch {
    /// The header, or one of `:authority`, `:method`, `:path`, `:scheme`.
    pub name: MatchedHeader,
    /// What is asked of it.
    pub kind: HeaderMatchKind,
    /// The answer is turned round.
    pub invert: bool,
    /// A missing header is taken as an empty one rather than as no match.
    pub treat_missing_as_empty: bool,
}

impl HeaderMatch {
    /// Whether a header fits. `any` says whether any of its values fits, or none where it is not
    /// there: a missing header fits no question about its value, turned round or not, unless it is
    /// to be taken as empty.
    pub fn decide(&self, any: impl FnOnce(&dyn Fn(&[u8]) -> bool) -> Option<bool>) -> bool {
        let fits = |value: &[u8]| match &self.kind {
            HeaderMatchKind::Present(wanted) => *wanted,
            HeaderMatchKind::Value(text) => text.matches_bytes(value),
            HeaderMatchKind::Range { start, end } => std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse::<i64>().ok())
                .is_some_and(|number| (*start..*end).contains(&number)),
        };
        match (any(&fits), self.treat_missing_as_empty) {
            (Some(fit), _) => fit != self.invert,
            (None, true) => fits(b"") != self.invert,
            (None, false) => match self.kind {
                HeaderMatchKind::Present(wanted) => wanted == self.invert,
                HeaderMatchKind::Value(_) | HeaderMatchKind::Range { .. } => false,
            },
        }
    }
}

/// Which header is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MatchedHeader {
    /// An ordinary header.
    Name(HeaderName),
    /// The request's authority (`:authority`, or `host`).
    Authority,
    /// The request's method.
    Method,
    /// The request's path with its query.
    Path,
    /// The request's scheme.
    Scheme,
}

/// What is asked of a header.
#[derive(Clone, Debug, PartialEq)]
pub enum HeaderMatchKind {
    /// It is there (true) or absent (false).
    Present(bool),
    /// Its value matches.
    Value(StringMatch),
    /// Its value is an integer in `start..end`.
    Range {
        /// The first that matches.
        start: i64,
        /// The first after those that match.
        end: i64,
    },
}

/// `envoy.config.route.v3.QueryParameterMatcher`.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryMatch {
    /// The parameter's name.
    pub name: String,
    /// What is asked of it.
    pub kind: QueryMatchKind,
}

/// What is asked of a query parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum QueryMatchKind {
    /// It is there, or absent.
    Present(bool),
    /// Its value matches.
    Value(StringMatch),
}

/// How a route's path is matched (`RouteMatch.path_specifier`). The query is no part of it.
#[derive(Clone, Debug, PartialEq)]
pub enum PathMatch {
    /// The path begins so.
    Prefix(String),
    /// The path is this or lies below it; no trailing slash (`path_separated_prefix`).
    SeparatedPrefix(String),
    /// The path is this.
    Exact(String),
    /// The whole path matches the expression.
    Regex(RegexMatch),
    /// Only `CONNECT` requests (`connect_matcher`).
    Connect,
}

/// A regular expression that compares by its text.
#[derive(Clone, Debug)]
pub struct RegexMatch(pub Regex);

impl PartialEq for RegexMatch {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for RegexMatch {}

/// `envoy.type.matcher.v3.MetadataMatcher`.
#[derive(Clone, Debug, PartialEq)]
pub struct MetadataMatch {
    /// The namespace, then keys.
    pub path: Vec<String>,
    /// What is asked of the value.
    pub value: ValueMatch,
    /// The answer is turned round.
    pub invert: bool,
}

/// `envoy.type.matcher.v3.ValueMatcher`.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueMatch {
    /// It is null.
    Null,
    /// It is a number in `start..end`.
    Range {
        /// The first that matches.
        start: f64,
        /// The first after those that match.
        end: f64,
    },
    /// It is this number.
    Number(f64),
    /// It is a text that matches.
    Text(StringMatch),
    /// It is this truth value.
    Bool(bool),
    /// It is there; nothing is asked for, and nothing matches, where this is false.
    Present(bool),
    /// It is a list of which one matches.
    OneOf(Box<ValueMatch>),
    /// One of these holds.
    Any(Vec<ValueMatch>),
}

impl ValueMatch {
    /// Whether a value, or none, matches.
    pub fn matches(&self, value: Option<&Value>) -> bool {
        match (self, value) {
            (Self::Any(any), value) => any.iter().any(|one| one.matches(value)),
            (Self::Present(wanted), value) => *wanted && value.is_some(),
            (Self::Null, Some(Value::Null)) => true,
            (Self::Range { start, end }, Some(Value::Number(number))) => {
                (*start..*end).contains(number)
            }
            (Self::Number(wanted), Some(Value::Number(number))) => wanted == number,
            (Self::Text(text), Some(Value::String(value))) => text.matches(value),
            (Self::Bool(wanted), Some(Value::Bool(value))) => wanted == value,
            (Self::OneOf(one), Some(Value::List(list))) => {
                list.iter().any(|value| one.matches(Some(value)))
            }
            _ => false,
        }
    }
}

impl MetadataMatch {
    /// Whether metadata, or none, matches.
    pub fn matches(&self, metadata: Option<&Metadata>) -> bool {
        let value = metadata.and_then(|metadata| metadata.at(&self.path));
        self.value.matches(value) != self.invert
    }
}
