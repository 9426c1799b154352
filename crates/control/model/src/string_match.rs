//! Istio's StringMatch.
//!
//! In: `exact`, `prefix`, `regex` as written, exactly one. Out: [`StringMatch`].

mod convert;

pub(crate) use convert::{convert, required};

/// How a string is compared (Istio `StringMatch`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum StringMatch {
    /// The whole string equals this.
    Exact(String),
    /// The string starts with this.
    Prefix(String),
    /// The whole string matches this RE2 expression, which has been compiled once to check it.
    Regex(String),
}
