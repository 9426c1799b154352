//! Whether a request fits a route. Pure: a view of the request enters, a truth value leaves.

use std::borrow::Cow;

use http::HeaderMap;
use meltemi_ir as ir;

use crate::headers::cookie;

/// A request as routing sees it: borrowed, after path and authority have been normalized.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    /// `:method`.
    pub method: &'a str,
    /// `:scheme`.
    pub scheme: &'a str,
    /// `:authority`.
    pub authority: &'a str,
    /// `:path` with its query; empty for `CONNECT`.
    pub path: &'a str,
    /// The headers, with or without `host`.
    pub headers: &'a HeaderMap,
    /// A number that stays the same for the whole request, for fractions and weights.
    pub random: u64,
    /// The request comes from inside.
    pub internal: bool,
    /// The client's certificate was presented, and verified.
    pub client_certificate: (bool, bool),
    /// What filters wrote.
    pub metadata: Option<&'a ir::Metadata>,
}

impl<'a> RequestView<'a> {
    /// The path without query.
    pub fn path_only(&self) -> &'a str {
        path_only(self.path)
    }

    /// The query with its question mark, or nothing.
    pub fn query(&self) -> &'a str {
        &self.path[self.path_only().len()..]
    }
}

/// The path without query.
pub(crate) fn path_only(path: &str) -> &str {
    match path.find(['?', '#']) {
        Some(end) => &path[..end],
        None => path,
    }
}

/// The path without what follows a semicolon in each of its segments.
pub(super) fn without_parameters(path: &str) -> Cow<'_, str> {
    if !path.contains(';') {
        return Cow::Borrowed(path);
    }
    let segments = path.split('/');
    let plain = segments.map(|segment| segment.split(';').next().unwrap_or(segment));
    Cow::Owned(plain.collect::<Vec<_>>().join("/"))
}

/// Whether the request fits.
pub(crate) fn matches(matcher: &ir::RouteMatch, view: &RequestView<'_>, path: &str) -> bool {
    path_matches(matcher, view, path)
        && (!matcher.grpc || is_grpc(view.headers))
        && matcher
            .fraction_per_million
            .is_none_or(|parts| view.random % 1_000_000 < u64::from(parts))
        && matcher
            .tls_presented
            .is_none_or(|wanted| view.client_certificate.0 == wanted)
        && matcher
            .tls_validated
            .is_none_or(|wanted| view.client_certificate.1 == wanted)
        && matcher
            .metadata
            .iter()
            .all(|metadata| metadata.matches(view.metadata))
        && matcher
            .headers
            .iter()
            .all(|header| header_matches(header, &Source::Request(view)))
        && matcher
            .query
            .iter()
            .all(|query| query_matches(query, view.query()))
        && matcher
            .cookies
            .iter()
            .all(|cookie| cookie_matches(cookie, view.headers))
}

fn cookie_matches(matcher: &ir::CookieMatch, headers: &HeaderMap) -> bool {
    let value = cookie::value(headers, &matcher.name);
    value.is_some_and(|value| matcher.value.matches(value)) != matcher.invert
}

fn path_matches(matcher: &ir::RouteMatch, view: &RequestView<'_>, path: &str) -> bool {
    let equal = |left: &[u8], right: &str| {
        if matcher.case_sensitive {
            left == right.as_bytes()
        } else {
            left.eq_ignore_ascii_case(right.as_bytes())
        }
    };
    let begins = |prefix: &str| {
        path.as_bytes()
            .get(..prefix.len())
            .is_some_and(|head| equal(head, prefix))
    };
    if view.method == "CONNECT" && view.path.is_empty() {
        return matches!(matcher.path, ir::PathMatch::Connect);
    }
    match &matcher.path {
        ir::PathMatch::Prefix(prefix) => begins(prefix),
        ir::PathMatch::SeparatedPrefix(prefix) => {
            begins(prefix) && matches!(path.as_bytes().get(prefix.len()), None | Some(b'/'))
        }
        ir::PathMatch::Exact(exact) => equal(path.as_bytes(), exact),
        ir::PathMatch::Regex(ir::RegexMatch(regex)) => regex.is_match(path),
        ir::PathMatch::Connect => false,
    }
}

/// Whether the content type is gRPC's.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|value| is_grpc_type(value.as_bytes()))
}

pub(crate) fn is_grpc_type(value: &[u8]) -> bool {
    value
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| rest.first().is_none_or(|byte| *byte == b'+'))
}

/// Where header matchers look.
pub(crate) enum Source<'a> {
    /// A request, pseudo headers included.
    Request(&'a RequestView<'a>),
    /// A response's headers.
    Response(&'a HeaderMap),
}

impl Source<'_> {
    /// Whether any of the header's values fits; none where there is no such header. Several values
    /// are looked at one by one, as Envoy does since 1.39.
    fn any(&self, name: &ir::MatchedHeader, fits: impl Fn(&[u8]) -> bool) -> Option<bool> {
        let pseudo = |text: &str| Some(fits(text.as_bytes()));
        let headers = match (self, name) {
            (Self::Request(view), ir::MatchedHeader::Authority) => return pseudo(view.authority),
            (Self::Request(view), ir::MatchedHeader::Method) => return pseudo(view.method),
            (Self::Request(view), ir::MatchedHeader::Path) => return pseudo(view.path),
            (Self::Request(view), ir::MatchedHeader::Scheme) => return pseudo(view.scheme),
            (Self::Request(view), ir::MatchedHeader::Name(_)) => view.headers,
            (Self::Response(headers), _) => *headers,
        };
        let ir::MatchedHeader::Name(name) = name else {
            return None;
        };
        let mut values = headers.get_all(name).iter().peekable();
        values.peek()?;
        Some(values.any(|value| fits(value.as_bytes())))
    }
}

/// Whether a header fits.
pub(crate) fn header_matches(matcher: &ir::HeaderMatch, source: &Source<'_>) -> bool {
    matcher.decide(|fits| source.any(&matcher.name, fits))
}

/// Whether a query parameter fits; `query` may begin with its question mark.
pub(crate) fn query_matches(matcher: &ir::QueryMatch, query: &str) -> bool {
    let value = query_value(query, &matcher.name);
    match &matcher.kind {
        ir::QueryMatchKind::Present(wanted) => value.is_some() == *wanted,
        ir::QueryMatchKind::Value(text) => value.is_some_and(|value| text.matches(value)),
    }
}

/// The first value of a query parameter.
pub(crate) fn query_value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .trim_start_matches('?')
        .split('#')
        .next()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value)
}
