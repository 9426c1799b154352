//! `envoy.filters.http.cors`: answers preflight requests and tells browsers which origins may
//! read a response, as the route's policy says.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use meltemi_ir as ir;

use super::{Decision, FilterReply, HttpFilter, RequestContext, ResponseContext};
use crate::headers::names;

/// The filter; all its settings are the route's.
#[derive(Debug)]
pub(crate) struct CorsFilter;

impl HttpFilter for CorsFilter {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Decision {
        let (Some(policy), Some(origin)) = (request.cors, request.headers.get(header::ORIGIN))
        else {
            return Decision::Continue;
        };
        let allowed = policy
            .allow_origins
            .iter()
            .any(|pattern| pattern.matches_bytes(origin.as_bytes()));
        let origin = origin.clone();
        let preflight = *request.method == Method::OPTIONS
            && request
                .headers
                .get(header::ACCESS_CONTROL_REQUEST_METHOD)
                .is_some_and(|method| !method.is_empty());
        if !preflight {
            request.notes.allowed_origin = allowed.then_some(origin);
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
        Decision::Reply(FilterReply {
            status: StatusCode::OK,
            headers,
            body: Bytes::new(),
            details: "cors_response",
        })
    }

    fn on_response(&self, response: &mut ResponseContext<'_>) {
        let (Some(policy), Some(origin)) = (response.cors, response.notes.allowed_origin.take())
        else {
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
