//! Asking over HTTP: the request's head goes to the service, whose status is the answer.

use std::collections::BTreeMap;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, StatusCode};
use meltemi_ir as ir;

use super::inquiry::Inquiry;
use super::verdict::{Allowed, Changes, Denied, How, Verdict};
use crate::call::{Answer, Call};
use crate::worker::WorkerContext;

/// Asks.
pub(super) async fn ask(
    service: &ir::HttpAuthz,
    config: &ir::ExtAuthz,
    added: HeaderMap,
    inquiry: Inquiry,
    worker: &WorkerContext,
) -> Verdict {
    let Some(call) = call(service, config, added, inquiry) else {
        return Verdict::Error;
    };
    let answer = call.make(worker, &service.uri.cluster, service.retry).await;
    match answer {
        Ok(answer) => verdict(service, answer),
        Err(_) => Verdict::Error,
    }
}

/// The request to the service; none where its path would be none.
fn call(
    service: &ir::HttpAuthz,
    config: &ir::ExtAuthz,
    added: HeaderMap,
    inquiry: Inquiry,
) -> Option<Call> {
    let mut call = Call::to(&service.uri, Method::GET);
    let disallowed = |name: &str| {
        let list = &config.disallowed_headers;
        list.iter().any(|matcher| matcher.matches(name))
    };
    if !disallowed(":method") {
        call.method = Method::from_bytes(inquiry.method.as_bytes()).ok()?;
    }
    let path = match service.path_override.as_str() {
        "" => format!("{}{}", service.path_prefix, inquiry.path),
        instead => instead.to_owned(),
    };
    call.path = PathAndQuery::try_from(path).ok()?;
    if !disallowed(":authority") {
        call.authority = HeaderValue::from_str(&inquiry.host).ok()?;
    }
    call.secure = false;
    call.forwarded = false;
    for (name, value) in inquiry.joined_headers() {
        if name.starts_with(':') {
            continue;
        }
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        let own = [
            header::CONTENT_LENGTH,
            header::TRANSFER_ENCODING,
            header::CONNECTION,
            header::UPGRADE,
            header::TE,
        ];
        if !own.contains(&name) {
            call.headers.append(
                name,
                HeaderValue::from_maybe_shared(bytes::Bytes::from(value)).ok()?,
            );
        }
    }
    for (name, value) in &added {
        call.headers.insert(name.clone(), value.clone());
    }
    call.body = inquiry.body.unwrap_or_default();
    let length = crate::headers::number(call.body.len() as u64);
    call.headers.insert(header::CONTENT_LENGTH, length);
    Some(call)
}

fn verdict(service: &ir::HttpAuthz, answer: Answer) -> Verdict {
    const REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");
    if answer.status.is_server_error() {
        return Verdict::Error;
    }
    let fits = |list: &[ir::StringMatch], name: &HeaderName| {
        list.iter().any(|matcher| matcher.matches(name.as_str()))
    };
    let mut metadata = BTreeMap::new();
    for (name, value) in &answer.headers {
        if fits(&service.metadata, name) {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            metadata.insert(name.as_str().to_owned(), ir::Value::String(value));
        }
    }
    let entry = |name: &HeaderName, value: &HeaderValue, how| {
        let value = bytes::Bytes::copy_from_slice(value.as_bytes());
        (name.as_str().to_owned(), value, how)
    };
    if answer.status != StatusCode::OK {
        let told = |name: &HeaderName| {
            const ALWAYS: [HeaderName; 3] = [
                header::CONTENT_LENGTH,
                header::WWW_AUTHENTICATE,
                header::LOCATION,
            ];
            if service.client.is_empty() {
                *name != header::HOST
            } else {
                ALWAYS.contains(name) || fits(&service.client, name)
            }
        };
        let headers = answer.headers.iter().filter(|(name, _)| told(name));
        // What frames a message, or belongs to the connection, is not passed on.
        let passes = |name: &HeaderName| {
            ![
                header::CONNECTION,
                header::TRANSFER_ENCODING,
                header::UPGRADE,
                crate::headers::names::KEEP_ALIVE,
            ]
            .contains(name)
        };
        let headers = headers.filter(|(name, _)| passes(name));
        return Verdict::Denied(Box::new(Denied {
            status: answer.status,
            headers: Changes {
                headers: headers
                    .map(|(name, value)| entry(name, value, How::Set))
                    .collect(),
                ..Changes::default()
            },
            body: answer.body,
            metadata,
        }));
    }
    let mut allowed = Allowed {
        metadata,
        ..Allowed::default()
    };
    for (name, value) in &answer.headers {
        if *name == REMOVE {
            let names = String::from_utf8_lossy(value.as_bytes()).into_owned();
            let names = names
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty());
            allowed.request.remove.extend(names.map(str::to_owned));
            continue;
        }
        if fits(&service.upstream, name) {
            allowed.request.headers.push(entry(name, value, How::Set));
        }
        if fits(&service.upstream_append, name) {
            allowed.request.headers.push(entry(name, value, How::Add));
        }
        if fits(&service.client_on_success, name) {
            allowed.response.headers.push(entry(name, value, How::Add));
        }
    }
    Verdict::Allowed(Box::new(allowed))
}
