//! What a route matches (FEATURES T4).
//!
//! In: one `match` of a VirtualService route. Out: Envoy's route match. Port, gateways and source are
//! decided before, see [`super::virtual_service`].

use meltemi_model::{HeaderMatch, HttpMatch, StringMatch};
use meltemi_xds::pb::envoy::config::route::v3::{
    HeaderMatcher, QueryParameterMatcher, RouteMatch, header_matcher::HeaderMatchSpecifier,
    query_parameter_matcher::QueryParameterMatchSpecifier, route_match::PathSpecifier,
};
use meltemi_xds::pb::envoy::r#type::matcher::v3::MetadataMatcher;

use crate::authz::claim_matcher;
use crate::proto::{regex, string_match};

/// The match of every request.
pub(super) fn everything() -> RouteMatch {
    RouteMatch {
        path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
        ..Default::default()
    }
}

/// The match of one entry.
pub(super) fn route_match(wanted: &HttpMatch) -> RouteMatch {
    let HttpMatch {
        name: _, // ignored: in the route's name
        uri,
        ignore_uri_case,
        scheme,
        method,
        authority,
        headers,
        without_headers,
        claims,
        without_claims,
        query_params,
        // ignored: these decide whether the route is there at all
        port: _,
        source_labels: _,
        source_namespace: _,
        gateways: _,
        stat_prefix: _, // ignored: on the route
    } = wanted;
    let mut matchers: Vec<_> = headers
        .iter()
        .map(|(name, wanted)| header(name.as_str(), wanted))
        .chain(without_headers.iter().map(|(name, unwanted)| {
            let matcher = header(name.as_str(), unwanted);
            // A header that is not there does not have the unwanted value.
            let value = !matches!(
                matcher.header_match_specifier,
                Some(HeaderMatchSpecifier::PresentMatch(_))
            );
            HeaderMatcher {
                invert_match: true,
                treat_missing_header_as_empty: value,
                ..matcher
            }
        }))
        .collect();
    matchers.sort_by(|left, right| left.name.cmp(&right.name));
    let pseudo = [
        (":method", method),
        (":authority", authority),
        (":scheme", scheme),
    ];
    for (name, wanted) in pseudo {
        matchers.extend(wanted.as_ref().map(|it| text(name, it)));
    }
    RouteMatch {
        path_specifier: Some(path(uri.as_ref())),
        case_sensitive: Some(!ignore_uri_case),
        headers: matchers,
        dynamic_metadata: claims
            .iter()
            .map(|(claim, wanted)| claim_matcher(claim, wanted))
            .chain(
                without_claims
                    .iter()
                    .map(|(claim, unwanted)| MetadataMatcher {
                        invert: true,
                        ..claim_matcher(claim, unwanted)
                    }),
            )
            .collect(),
        query_parameters: query_params
            .iter()
            .map(|(name, wanted)| query_parameter(name, wanted))
            .collect(),
        ..Default::default()
    }
}

/// Whether a route takes every request, so that none after it is ever reached.
pub(crate) fn is_catch_all(matcher: &RouteMatch) -> bool {
    let any_path = match &matcher.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => prefix == "/",
        Some(PathSpecifier::SafeRegex(regex)) => regex.regex == ".*",
        _ => false,
    };
    any_path
        && matcher.headers.is_empty()
        && matcher.query_parameters.is_empty()
        && matcher.dynamic_metadata.is_empty()
}

/// How a route's path reads in a trace.
pub(super) fn described_path(matcher: &RouteMatch) -> String {
    match &matcher.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => format!("{prefix}*"),
        Some(PathSpecifier::Path(path)) => path.clone(),
        Some(PathSpecifier::SafeRegex(regex)) => regex.regex.clone(),
        _ => "/*".to_owned(),
    }
}

fn path(uri: Option<&StringMatch>) -> PathSpecifier {
    match uri {
        None => PathSpecifier::Prefix("/".to_owned()),
        Some(StringMatch::Exact(path)) => PathSpecifier::Path(path.clone()),
        Some(StringMatch::Prefix(prefix)) => PathSpecifier::Prefix(prefix.clone()),
        Some(StringMatch::Regex(text)) => PathSpecifier::SafeRegex(regex(text)),
    }
}

fn text(name: &str, wanted: &StringMatch) -> HeaderMatcher {
    header(name, &HeaderMatch::Value(wanted.clone()))
}

fn header(name: &str, wanted: &HeaderMatch) -> HeaderMatcher {
    HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(match wanted {
            HeaderMatch::Value(value) => HeaderMatchSpecifier::StringMatch(string_match(value)),
            HeaderMatch::Present => HeaderMatchSpecifier::PresentMatch(true),
        }),
        ..Default::default()
    }
}

fn query_parameter(name: &str, wanted: &HeaderMatch) -> QueryParameterMatcher {
    QueryParameterMatcher {
        name: name.to_owned(),
        query_parameter_match_specifier: Some(match wanted {
            HeaderMatch::Value(value) => {
                QueryParameterMatchSpecifier::StringMatch(string_match(value))
            }
            HeaderMatch::Present => QueryParameterMatchSpecifier::PresentMatch(true),
        }),
    }
}
