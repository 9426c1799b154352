//! Route tables as gRPC libraries take them (gRFC A28, A31, A33, A42, A44).
//!
//! In: a table's name, which is that of the cluster of a service's port. Out: one virtual host for
//! whatever the client is asked for, with the routes that a call can match. What the libraries do not
//! know of a route (mirrors, rewrites, changes of headers, CORS) they pass over; what they would
//! refuse is left out.

use meltemi_xds::pb::envoy::config::route::v3::{
    HeaderMatcher, Route, RouteConfiguration, VirtualHost, header_matcher::HeaderMatchSpecifier,
    route::Action, route_action::MaxStreamDuration,
};
use meltemi_xds::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};

use regex::Regex;

use super::{fault, outbound};
use crate::name::SubsetKey;
use crate::scope::Scope;

/// The table of this name.
pub(super) fn build(scope: &Scope<'_>, name: &str) -> Option<RouteConfiguration> {
    let key = SubsetKey::parse(name)?;
    let host = outbound::to_service(scope, key.host, key.port)?;
    Some(RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: vec![VirtualHost {
            name: host.name,
            domains: vec!["*".to_owned()],
            routes: host.routes.into_iter().filter_map(adapted).collect(),
            ..Default::default()
        }],
        ..Default::default()
    })
}

/// A route as the libraries take it; `None` if no call can match.
fn adapted(mut route: Route) -> Option<Route> {
    let matcher = route.r#match.as_mut()?;
    // There are no tokens that were verified, and libraries would pass over the condition.
    if !matcher.dynamic_metadata.is_empty() {
        return None;
    }
    // What a call has always is decided here: libraries do not see it.
    for (name, value) in [(":method", "POST"), (":scheme", "http")] {
        let of_name = |it: &&HeaderMatcher| it.name == name;
        if !matcher
            .headers
            .iter()
            .filter(of_name)
            .all(|it| takes(it, value))
        {
            return None;
        }
        matcher.headers.retain(|it| it.name != name);
    }
    route
        .typed_per_filter_config
        .retain(|it, _| it == fault::FILTER);
    if let Some(Action::Route(action)) = &mut route.action {
        // Libraries read the time that a call may take from here alone.
        let limit = action.timeout.filter(|it| it.seconds > 0 || it.nanos > 0);
        action.max_stream_duration = limit.map(|it| MaxStreamDuration {
            max_stream_duration: Some(it),
            ..Default::default()
        });
    }
    Some(Route {
        metadata: None,
        decorator: None,
        ..route
    })
}

fn is_whole_match(pattern: &str, value: &str) -> bool {
    Regex::new(&format!("^(?:{pattern})$")).is_ok_and(|it| it.is_match(value))
}

/// Whether a header of this value is taken; what cannot be told from here is not.
fn takes(matcher: &HeaderMatcher, value: &str) -> bool {
    let found = match &matcher.header_match_specifier {
        Some(HeaderMatchSpecifier::StringMatch(StringMatcher {
            match_pattern: Some(pattern),
            ignore_case: false,
        })) => match pattern {
            MatchPattern::Exact(it) => it == value,
            MatchPattern::Prefix(it) => value.starts_with(it.as_str()),
            MatchPattern::SafeRegex(it) => is_whole_match(&it.regex, value),
            _ => false,
        },
        Some(HeaderMatchSpecifier::PresentMatch(present)) => *present,
        _ => false,
    };
    found != matcher.invert_match
}
