//! `envoy.filters.http.cors`: answers preflight requests and tells browsers which origins may
//! read a response, as the route's policy says.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use meltemi_ir as ir;

use std::sync::Arc;

use meltemi_telemetry::{CorsStats, ResponseFlags, Sharded};

use super::{
    Decision, FilterParts, HttpFilter, Place, RequestContext, ResponseContext, RouteConfig,
};
use crate::headers::names;
use crate::router::reply::{Author, LocalReply};

/// The filter; all its settings are the route's.
pub(crate) struct CorsFilter {
    stats: Arc<Sharded<CorsStats>>,
}

/// The policies of a route, the narrowest first: each of their fields is that of the first that
/// has it.
struct Policies<'a>(Vec<&'a ir::Cors>);

impl CorsFilter {
    pub(crate) fn new(parts: &FilterParts<'_>) -> Self {
        Self {
            stats: parts.stats.cors(parts.stat_prefix),
        }
    }
}

impl HttpFilter for CorsFilter {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Decision {
        let asked = &request.head.headers;
        let origin = asked.get(header::ORIGIN).filter(|it| !it.is_empty());
        let (Some(origin), Some(policies)) = (origin, Policies::of(&request.place)) else {
            return Decision::Continue;
        };
        let allowed = policies.allows(origin);
        let stats = self.stats.shard(request.worker().worker);
        if allowed {
            stats.origin_valid.inc();
            let mut facts = request.stream.facts.borrow_mut();
            facts.notes.allowed_origin = Some(origin.clone());
        } else {
            stats.origin_invalid.inc();
        }
        let method = asked
            .get(header::ACCESS_CONTROL_REQUEST_METHOD)
            .filter(|method| !method.is_empty());
        let (&Method::OPTIONS, Some(method)) = (&request.head.method, method) else {
            return Decision::Continue;
        };
        let forwarded = policies.first(|policy| policy.forward_not_matching_preflights);
        if !allowed && forwarded.unwrap_or(true) {
            return Decision::Continue;
        }
        let mut reply = LocalReply::new(StatusCode::OK, "", "cors_response", ResponseFlags::NONE);
        reply.by = Author::Preflight;
        policies.answer(asked, method, &mut reply.headers);
        Decision::Reply(reply)
    }

    fn on_response(&self, response: &mut ResponseContext<'_>) {
        let mut facts = response.stream.facts.borrow_mut();
        let origin = facts.notes.allowed_origin.take();
        drop(facts);
        let (Some(origin), Some(policies)) = (origin, Policies::of(&response.place)) else {
            return;
        };
        let headers = &mut *response.headers;
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        policies.credentials(headers);
        let exposed = policies.text(|policy| &policy.expose_headers);
        add(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
}

impl<'a> Policies<'a> {
    /// Those of a route that forwards, in its settings for this filter or else in the older field;
    /// none where none is in force.
    fn of(place: &Place<'a>) -> Option<Self> {
        let older = place.route.cors()?;
        let configs = place.route.configs(place.name);
        let mut policies: Vec<&ir::Cors> = configs
            .filter_map(|config| match config {
                RouteConfig::Cors(policy) => Some(&**policy),
                _ => None,
            })
            .collect();
        if policies.is_empty() {
            policies.extend(older.iter().map(|policy| &**policy));
        }
        policies.first()?.enabled.then_some(Self(policies))
    }

    fn first<T>(&self, field: impl Fn(&ir::Cors) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(|policy| field(policy))
    }

    fn text(&self, field: impl Fn(&'a ir::Cors) -> &'a str) -> &'a str {
        let mut texts = self.0.iter().map(|policy| field(policy));
        texts.find(|text| !text.is_empty()).unwrap_or_default()
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        let mut lists = self.0.iter().map(|policy| &policy.allow_origins);
        let origins = lists.find(|origins| !origins.is_empty());
        origins.is_some_and(|origins| {
            origins
                .iter()
                .any(|pattern| pattern.matches("*") || pattern.matches_bytes(origin.as_bytes()))
        })
    }

    fn credentials(&self, headers: &mut HeaderMap) {
        if self.first(|policy| policy.allow_credentials) == Some(true) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, names::TRUE);
        }
    }

    /// The headers of the answer to a preflight request, beside those that any answer gets.
    fn answer(&self, asked: &HeaderMap, method: &HeaderValue, headers: &mut HeaderMap) {
        const ASKED: HeaderName = HeaderName::from_static("access-control-request-private-network");
        const PRIVATE: HeaderName = HeaderName::from_static("access-control-allow-private-network");
        self.credentials(headers);
        let wanted = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
        for (name, text, wanted) in [
            (
                header::ACCESS_CONTROL_ALLOW_METHODS,
                self.text(|policy| &policy.allow_methods),
                Some(method),
            ),
            (
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                self.text(|policy| &policy.allow_headers),
                wanted,
            ),
        ] {
            if text == "*" {
                let empty = HeaderValue::from_static("");
                headers.insert(name, wanted.cloned().unwrap_or(empty));
            } else {
                add(headers, name, text);
            }
        }
        let age = self.text(|policy| &policy.max_age);
        add(headers, header::ACCESS_CONTROL_MAX_AGE, age);
        if self.first(|policy| policy.allow_private_network_access) == Some(true)
            && asked.get(ASKED).is_some_and(|asked| asked == names::TRUE)
        {
            headers.insert(PRIVATE, names::TRUE);
        }
    }
}

fn add(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if !value.is_empty()
        && let Ok(value) = HeaderValue::from_str(value)
    {
        headers.insert(name, value);
    }
}
