//! Changes to headers that a route, virtual host or weighted cluster asks for.

use http::{HeaderName, HeaderValue};

use crate::StringMatch;

/// Headers to remove, then headers to add, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderMutation {
    /// `*_headers_to_remove`.
    pub remove: Vec<HeaderName>,
    /// `*_headers_to_add`.
    pub add: Vec<HeaderAppend>,
}

impl HeaderMutation {
    /// True when it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.add.is_empty()
    }
}

/// One change to headers among several that are made in order
/// (`envoy.config.common.mutation_rules.v3.HeaderMutation`).
#[derive(Clone, Debug, PartialEq)]
pub enum HeaderEdit {
    /// The header goes.
    Remove(HeaderName),
    /// All headers whose names match go.
    RemoveMatching(StringMatch),
    /// A header is written.
    Append(HeaderAppend),
}

/// One header to add (`HeaderValueOption`).
#[derive(Clone, Debug, PartialEq)]
pub struct HeaderAppend {
    /// Its name; `:authority` and `host` rewrite the authority, `:path` the path.
    pub name: HeaderTarget,
    /// Its value; may hold command operators such as `%DOWNSTREAM_REMOTE_ADDRESS%`.
    pub value: String,
    /// The value when it holds no operator, ready to use.
    pub literal: Option<HeaderValue>,
    /// What happens where the header is there already.
    pub action: AppendAction,
    /// Added even where the value comes out empty.
    pub keep_empty: bool,
}

/// Which header is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HeaderTarget {
    /// An ordinary header.
    Name(HeaderName),
    /// The authority (`:authority` or `host`).
    Authority,
    /// The path and query (`:path`).
    Path,
    /// The method (`:method`).
    Method,
    /// The scheme (`:scheme`).
    Scheme,
    /// The response's status (`:status`).
    Status,
}

/// What happens where the header is there already (`HeaderAppendAction`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AppendAction {
    /// Both stay.
    #[default]
    AppendOrAdd,
    /// The old one stays.
    AddIfAbsent,
    /// The new one replaces it, or is added.
    OverwriteOrAdd,
    /// The new one replaces it; nothing is added where there was none.
    OverwriteIfExists,
}

/// The body of an answer that the proxy itself gives.
pub type LocalReplyBody = std::sync::Arc<[u8]>;
