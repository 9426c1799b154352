//! Which requests a route takes.

use meltemi_ir::{CookieMatch, PathMatch, RegexMatch, RouteMatch};
use meltemi_xds::pb::envoy::config::route::v3 as route_v3;
use meltemi_xds::pb::envoy::config::route::v3::route_match::{
    ConnectMatcher, GrpcRouteMatchOptions, PathSpecifier, TlsContextMatchOptions,
};

use crate::fields::fields;
use crate::matcher::{full_match, header_match, metadata_match, query_match, string_match};
use crate::path::{At, Problems};
use crate::scalar::{non_empty, runtime_per_million};
use crate::uri_template::{self, Template};

/// A route's match.
pub(crate) fn route_match(message: &route_v3::RouteMatch, at: &At<'_>) -> Option<RouteMatch> {
    fields!(at, message, route_v3::RouteMatch {
        honoured {
            case_sensitive, runtime_fraction, headers, query_parameters, grpc, tls_context,
            dynamic_metadata, cookies,
        }
        oneof { path_specifier {
            prefix: Honoured "",
            path: Honoured "",
            safe_regex: Honoured "",
            connect_matcher: Honoured "",
            path_separated_prefix: Honoured "",
            path_match_policy: Partly "the extensions listed below",
        } }
        unsupported { filter_state }
    });
    let path = match path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => Some(PathMatch::Prefix(prefix.clone())),
        Some(PathSpecifier::Path(path)) => Some(PathMatch::Exact(path.clone())),
        Some(PathSpecifier::SafeRegex(regex)) => full_match(regex, &at.field("safe_regex"))
            .map(|regex| PathMatch::Regex(RegexMatch(regex))),
        Some(PathSpecifier::ConnectMatcher(message)) => {
            fields!(at, message, ConnectMatcher {});
            Some(PathMatch::Connect)
        }
        Some(PathSpecifier::PathSeparatedPrefix(prefix)) => {
            separated(prefix, &at.field("path_separated_prefix"))
        }
        Some(PathSpecifier::PathMatchPolicy(message)) => {
            uri_template::matcher(message, &at.field("path_match_policy"))
                .map(|template| PathMatch::Regex(template.template.regex))
        }
        None => {
            at.problem("needs a path_specifier such as prefix");
            None
        }
    };
    if let Some(message) = grpc {
        fields!(at, message, GrpcRouteMatchOptions {});
    }
    let fraction = runtime_fraction
        .as_ref()
        .map(|fraction| runtime_per_million(fraction, &at.field("runtime_fraction")));
    let headers = at.field("headers").each(headers, header_match);
    let query = at
        .field("query_parameters")
        .each(query_parameters, query_match);
    let (tls_presented, tls_validated) = match tls_context {
        Some(message) => {
            let at = &at.field("tls_context");
            fields!(at, message, TlsContextMatchOptions { honoured { presented, validated } });
            (*presented, *validated)
        }
        None => (None, None),
    };
    Some(RouteMatch {
        tls_presented,
        tls_validated,
        metadata: at
            .field("dynamic_metadata")
            .each(dynamic_metadata, metadata_match),
        path: path?,
        case_sensitive: case_sensitive.unwrap_or(true),
        headers,
        query,
        cookies: at.field("cookies").each(cookies, cookie_match),
        grpc: grpc.is_some(),
        fraction_per_million: fraction,
    })
}

/// The template by which a match goes, where it is a valid one.
pub(crate) fn template(message: &route_v3::RouteMatch) -> Option<Template> {
    let Some(PathSpecifier::PathMatchPolicy(message)) = &message.path_specifier else {
        return None;
    };
    // what is wrong with it is told where the match is converted
    Problems::collect(|at| uri_template::matcher(message, at)).ok()
}

fn cookie_match(message: &route_v3::CookieMatcher, at: &At<'_>) -> Option<CookieMatch> {
    fields!(at, message, route_v3::CookieMatcher {
        honoured { name, string_match, invert_match }
    });
    let at_value = &at.field("string_match");
    let Some(value) = string_match else {
        at_value.problem("is required");
        return None;
    };
    Some(CookieMatch {
        name: non_empty(name, &at.field("name")).to_owned(),
        value: self::string_match(value, at_value)?,
        invert: *invert_match,
    })
}

fn separated(prefix: &str, at: &At<'_>) -> Option<PathMatch> {
    if prefix.len() < 2 || prefix.contains(['?', '#']) || prefix.ends_with('/') {
        at.problem(format_args!(
            "{prefix:?} must have two characters or more, no ? or # and no slash at its end"
        ));
        return None;
    }
    Some(PathMatch::SeparatedPrefix(prefix.to_owned()))
}
