//! What an HTTP route matches (FEATURES T4).
//!
//! In: HTTPMatchRequest. Out: [`HttpMatch`].

use super::GatewayRef;
use crate::{HeaderName, Labels, NamespaceName, StringMatch};

/// Conditions that must all hold (Istio `HTTPMatchRequest`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpMatch {
    /// `name`, appended to the route's name.
    pub name: Option<String>,
    /// `uri`: the path without its query.
    pub uri: Option<StringMatch>,
    /// `ignoreUriCase`; for exact and prefix.
    pub ignore_uri_case: bool,
    /// `scheme`.
    pub scheme: Option<StringMatch>,
    /// `method`.
    pub method: Option<StringMatch>,
    /// `authority`.
    pub authority: Option<StringMatch>,
    /// `headers`.
    pub headers: Vec<(HeaderName, HeaderMatch)>,
    /// `withoutHeaders`: none of these holds.
    pub without_headers: Vec<(HeaderName, HeaderMatch)>,
    /// `headers` named `@request.auth.claims...`: claims of the token, by their path (FEATURES S10).
    pub claims: Vec<(Vec<String>, HeaderMatch)>,
    /// `withoutHeaders` of that kind.
    pub without_claims: Vec<(Vec<String>, HeaderMatch)>,
    /// `queryParams`.
    pub query_params: Vec<(String, HeaderMatch)>,
    /// `port`: the port that the client addressed.
    pub port: Option<u16>,
    /// `sourceLabels`: labels of the client's workload; decided when its routes are made.
    pub source_labels: Labels,
    /// `sourceNamespace`: decided when the client's routes are made.
    pub source_namespace: Option<NamespaceName>,
    /// `gateways`: a subset of the virtual service's own; empty means all of those.
    pub gateways: Vec<GatewayRef>,
    /// `statPrefix`.
    pub stat_prefix: Option<String>,
}

/// How a header or a query parameter is compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HeaderMatch {
    /// `{}`: it is there, whatever its value.
    Present,
    /// It is there and its value matches.
    Value(StringMatch),
}

impl HttpMatch {
    /// Whether every request matches (as a route would that has no match at all), the source and the
    /// gateway having been decided before.
    pub fn is_catch_all(&self) -> bool {
        let any_uri = match &self.uri {
            None => true,
            Some(StringMatch::Prefix(prefix)) => prefix == "/",
            Some(StringMatch::Regex(regex)) => regex == "*" || regex == ".*",
            Some(StringMatch::Exact(_)) => false,
        };
        any_uri
            && self.scheme.is_none()
            && self.method.is_none()
            && self.authority.is_none()
            && self.headers.is_empty()
            && self.without_headers.is_empty()
            && self.claims.is_empty()
            && self.without_claims.is_empty()
            && self.query_params.is_empty()
            && self.port.is_none()
    }
}
