//! Filters that write metadata and filter state.

use std::collections::BTreeMap;

use crate::{LogFormat, MatchedHeader, RegexMatch, Value};

/// `envoy.extensions.filters.http.header_to_metadata.v3.Config`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderToMetadata {
    /// What is read from requests.
    pub request: Vec<MetadataRule>,
    /// What is read from responses.
    pub response: Vec<MetadataRule>,
}

/// What is read and where it goes.
#[derive(Clone, Debug, PartialEq)]
pub struct MetadataRule {
    /// What is read.
    pub source: HeaderSource,
    /// What is written where it is there.
    pub on_present: Option<MetadataWrite>,
    /// What is written where it is not.
    pub on_missing: Option<MetadataWrite>,
    /// The header is taken away.
    pub remove: bool,
}

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderSource {
    /// A header, or what stands in the request line.
    Header(MatchedHeader),
    /// A cookie.
    Cookie(String),
}

/// What is written.
#[derive(Clone, Debug, PartialEq)]
pub struct MetadataWrite {
    /// The namespace, the filter's name unless set.
    pub namespace: String,
    /// The key.
    pub key: String,
    /// The value; empty takes what was read.
    pub value: String,
    /// The value comes of what was read by this substitution.
    pub rewrite: Option<(RegexMatch, String)>,
    /// What the text is made into.
    pub kind: MetadataKind,
    /// The text is base64.
    pub base64: bool,
}

/// What a text is made into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataKind {
    /// A string.
    Text,
    /// A number.
    Number,
    /// A serialized `google.protobuf.Value`.
    Protobuf,
}

/// `envoy.extensions.filters.http.set_filter_state.v3.Config`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SetFilterState {
    /// What is written when a request's headers come.
    pub values: Vec<FilterStateValue>,
    /// The route is looked for again.
    pub clear_route_cache: bool,
}

/// One value of filter state.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterStateValue {
    /// The key.
    pub key: String,
    /// The value's format.
    pub format: LogFormat,
    /// Nothing is written where the value comes out empty.
    pub skip_if_empty: bool,
}

/// One entry of `envoy.extensions.filters.http.set_metadata.v3.Config`.
#[derive(Clone, Debug, PartialEq)]
pub struct SetMetadata {
    /// The namespace.
    pub namespace: String,
    /// The values.
    pub value: BTreeMap<String, Value>,
    /// What is there already is replaced, else merged with.
    pub allow_overwrite: bool,
    /// The older form, which always merges.
    pub merge: bool,
}
