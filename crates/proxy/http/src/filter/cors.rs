//! `envoy.filters.http.cors`: answers preflight requests and tells browsers which origins may
//! read a response, as the route's policy says.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use meltemi_ir as ir;

use std::sync::Arc;

use meltemi_telemetry::ResponseFlags;

use super::{Decision, HttpFilter, Place, RequestContext, ResponseContext, RouteConfig};
use crate::headers::names;
use crate::router::reply::LocalReply;

/// The filter; all its settings are the route's.
#[derive(Debug)]
pub(crate) struct CorsFilter;

impl HttpFilter for CorsFilter {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Decision {
        let Some(origin) = request.head.headers.get(header::ORIGIN) else {
            return Decision::Continue;
        };
        let Some(policy) = policy(&request.place) else {
            return Decision::Continue;
        };
        let allowed = policy
            .allow_origins
            .iter()
            .any(|pattern| pattern.matches_bytes(origin.as_bytes()));
        let origin = origin.clone();
        let preflight = request.head.method == Method::OPTIONS
            && request
                .head
                .headers
                .get(header::ACCESS_CONTROL_REQUEST_METHOD)
                .is_some_and(|method| !method.is_empty());
        if !preflight {
            let mut facts = request.stream.facts.borrow_mut();
            facts.notes.allowed_origin = allowed.then_some(origin);
            return Decision::Continue;
        }
        if !allowed && policy.forward_not_matching_preflights {
            return Decision::Continue;
        }
        let mut headers = HeaderMap::new();
        if allowed {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            if policy.allow_credentials {
                headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, names::TRUE);
            }
        }
        add(
            &mut headers,
            header::ACCESS_CONTROL_ALLOW_METHODS,
            &policy.allow_methods,
        );
        add(
            &mut headers,
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            &policy.allow_headers,
        );
        add(
            &mut headers,
            header::ACCESS_CONTROL_MAX_AGE,
            &policy.max_age,
        );
        if allowed {
            expose(&mut headers, policy);
        }
        let details = "cors_response";
        let mut reply = LocalReply::new(StatusCode::OK, "", details, ResponseFlags::NONE);
        reply.headers = headers;
        Decision::Reply(reply)
    }

    fn on_response(&self, response: &mut ResponseContext<'_>) {
        let origin = response
            .stream
            .facts
            .borrow_mut()
            .notes
            .allowed_origin
            .take();
        let (Some(origin), Some(policy)) = (origin, policy(&response.place)) else {
            return;
        };
        response
            .headers
            .insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if policy.allow_credentials {
            response
                .headers
                .insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, names::TRUE);
        }
        expose(response.headers, policy);
    }
}

/// The policy that the route has, in its settings for this filter or in the older field.
fn policy<'a>(place: &Place<'a>) -> Option<&'a Arc<ir::Cors>> {
    match place.config() {
        Some(RouteConfig::Cors(policy)) => Some(policy),
        _ => place.route.cors(),
    }
}

fn expose(headers: &mut HeaderMap, policy: &ir::Cors) {
    add(
        headers,
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        &policy.expose_headers,
    );
}

fn add(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if !value.is_empty()
        && let Ok(value) = HeaderValue::from_str(value)
    {
        headers.insert(name, value);
    }
}
