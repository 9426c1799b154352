//! Responses on their way downstream: an answer of our own, or the upstream's.

use std::rc::Rc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode, Version};
use http_body::Body as _;
use meltemi_telemetry::ResponseFlags;
use meltemi_upstream::{HttpVersion, ResponseBody};
use tokio::time::Instant;

use super::Caller;
use crate::body::{ProxyBody, Trailers};
use crate::connection::Ending;
use crate::deadline::Deadlines;
use crate::filter::transform::Pipeline;
use crate::filter::{BodyTransform, chain};
use crate::head::RequestHead;
use crate::headers::{names, number, response};
use crate::router::reply::{Author, LocalReply};
use crate::stream::{Stream, StreamEnd};
use crate::upgrade::Offer;

/// The response for an answer of our own. `head` is the request's where it has not been noted.
pub(super) fn answer(
    end: StreamEnd,
    mut reply: LocalReply,
    head: Option<&RequestHead>,
    caller: &Caller,
) -> Response<ProxyBody> {
    let stream = end.0.clone();
    if let Some(head) = head
        && !stream.is_noted()
    {
        stream.note_request(head);
    }
    stream.flag(reply.flags);
    if reply.details.starts_with("http1.") {
        // what follows a message that is none is none either
        stream.connection.client_ends.set(false);
    } else if reply.status == StatusCode::BAD_REQUEST && reply.details == "direct_response" {
        reply.close = true;
    } else if reply.status == StatusCode::BAD_REQUEST {
        stream.connection.client_ends.set(true);
    }
    stream.explain(std::mem::take(&mut reply.details));
    if let Some(replies) = &stream.settings.manager.local_reply {
        replies.apply(&stream, &mut reply);
    }
    let http1 = !stream.is_http2();
    reply.close = http1 && (reply.close || caller.unread);
    let close = reply.close;
    let by = Some(reply.by);
    let (mut parts, mut body) = reply
        .into_response(caller.grpc, caller.bodiless)
        .into_parts();
    let transforms = respond(
        &stream,
        &mut parts,
        by,
        false,
        body.is_empty(),
        Some(&mut body),
    );
    let mut trailers = None;
    if let Some(pipeline) = Pipeline::new(transforms)
        && !caller.bodiless
    {
        (body, trailers) = pipeline.whole(body).unwrap_or_default();
        if parts.headers.contains_key(header::CONTENT_LENGTH) || trailers.is_none() {
            let length = number(body.len() as u64);
            parts.headers.insert(header::CONTENT_LENGTH, length);
        }
    }
    // the answers of our own have no trailers; what filters make is for HTTP/2 alone
    drop(trailers);
    if close {
        parts.headers.insert(header::CONNECTION, names::CLOSE);
    }
    stream.note_response(parts.status.as_u16(), &parts.headers);
    Response::from_parts(parts, ProxyBody::full(body, end))
}

/// The upstream's response on its way downstream.
pub(super) fn finish(
    end: StreamEnd,
    upstream: Response<ResponseBody>,
    deadlines: Deadlines,
    offer: Option<Offer>,
    caller: &Caller,
) -> Response<ProxyBody> {
    let stream = end.0.clone();
    let now = Instant::now();
    stream.response_started.set(Some(now));
    stream.explain("via_upstream");
    let switched = offer
        .as_ref()
        .is_some_and(|offer| offer.is_taken(&upstream));
    if upstream.status().is_informational() && !switched {
        stream.flag(ResponseFlags::UPSTREAM_PROTOCOL_ERROR);
        let reply = LocalReply::new(
            StatusCode::BAD_GATEWAY,
            "upstream connect error or disconnect/reset before headers. reset reason: protocol error",
            "upstream_reset_before_response_started{protocol_error}",
            ResponseFlags::UPSTREAM_PROTOCOL_ERROR,
        );
        return answer(end, *reply, None, caller);
    }
    if let (Some(offer), true) = (offer, switched) {
        let (mut parts, tunnel) = offer.accept(upstream, deadlines, end);
        respond(&stream, &mut parts, None, true, true, None);
        stream.note_response(parts.status.as_u16(), &parts.headers);
        tunnel.start(&stream.connection);
        return Response::from_parts(parts, ProxyBody::nothing());
    }
    let (mut parts, body) = upstream.into_parts();
    parts.version = Version::HTTP_11;
    let framed = parts.headers.contains_key(header::CONTENT_LENGTH);
    if stream.is_http10() && !framed && !body.is_end_stream() {
        stream.last.set(true);
    }
    if !stream.settings.manager.router.suppress_envoy_headers {
        let from = stream.request_done.get().unwrap_or(stream.start);
        let elapsed = now.saturating_duration_since(from).as_millis() as u64;
        parts
            .headers
            .insert(names::UPSTREAM_SERVICE_TIME, number(elapsed));
    }
    let empty = caller.bodiless || body.is_end_stream();
    let transforms = respond(&stream, &mut parts, None, false, empty, None);
    stream.note_response(parts.status.as_u16(), &parts.headers);
    if caller.bodiless {
        // nobody reads what there is not
        stream.response_ended();
    }
    if parts
        .headers
        .get(header::CONTENT_LENGTH)
        .is_some_and(|length| length == "0")
    {
        return Response::from_parts(parts, ProxyBody::full(Bytes::new(), end));
    }
    let pipeline = Pipeline::new(transforms).filter(|_| !caller.bodiless);
    let trailers = Trailers {
        taken: has_trailers(&stream),
        given: takes_trailers(&stream),
    };
    let body = ProxyBody::upstream(body, trailers, deadlines, pipeline, end);
    Response::from_parts(parts, body)
}

/// Whether the upstream's trailers are taken: HTTP/1 has them where they are enabled.
fn has_trailers(stream: &Stream) -> bool {
    let facts = stream.facts.borrow();
    match (facts.upstream_version, &facts.cluster) {
        (Some(HttpVersion::Http1), Some(cluster)) => cluster.config().http.http1.trailers,
        _ => true,
    }
}

/// Whether trailers go to the client: to one of HTTP/1 where they are enabled.
fn takes_trailers(stream: &Stream) -> bool {
    stream.is_http2() || stream.settings.manager.config.http1.trailers
}

/// Whether the connection ends with this response, which HTTP/1 says in its headers. A server that
/// is to fail health checks wants its clients elsewhere.
fn closes(stream: &Stream) -> bool {
    let connection = &stream.connection;
    if connection.worker.is_failing() && connection.ending() == Ending::Open {
        connection.with_manager(|_, stats| stats.downstream_cx_drain_close.inc());
        connection.end(Ending::Draining);
    }
    !stream.is_http2() && (stream.last.get() || connection.ending() != Ending::Open)
}

/// Adds what an answer has of itself to what its route added, and it prevails, but for the type of its
/// content: that is the route's to say, where there is content and it is not gRPC's.
fn add_own(mut own: HeaderMap, headers: &mut HeaderMap) {
    let grpc = |it: &HeaderValue| it.as_bytes().starts_with(b"application/grpc");
    match own.get(header::CONTENT_TYPE) {
        None => drop(headers.remove(header::CONTENT_TYPE)),
        Some(kind) if !grpc(kind) && headers.contains_key(header::CONTENT_TYPE) => {
            own.remove(header::CONTENT_TYPE);
        }
        Some(_) => {}
    }
    for name in own.keys() {
        headers.remove(name);
    }
    headers.extend(own);
}

/// Makes the response's headers what the client may see; `by` is who gives it where it is not the
/// upstream. Returns what filters make of its body.
fn respond(
    stream: &Rc<Stream>,
    parts: &mut http::response::Parts,
    by: Option<Author>,
    upgrade: bool,
    is_empty: bool,
    body: Option<&mut Bytes>,
) -> Vec<Box<dyn BodyTransform>> {
    let from_upstream = by.is_none();
    let settings = &stream.settings;
    let manager = &settings.manager;
    let (index, cluster_at, attempts) = {
        let facts = stream.facts.borrow();
        (facts.route, facts.cluster_at, facts.attempts)
    };
    if let (Some(table), Some(index)) = (&settings.routes, index) {
        // A filter's answer gets the headers of a route that forwards. What an answer of our own has of
        // itself comes after the route's headers, and Envoy has not noted its status yet.
        let is_adorned = match by {
            None | Some(Author::Router | Author::Manager) => true,
            Some(Author::Filter) => stream.route_settings().target().is_some(),
            Some(Author::Preflight) => false,
        };
        let mutations = table.response_mutations(index, cluster_at);
        let (status, own) = match from_upstream {
            true => (parts.status.as_u16(), HeaderMap::new()),
            false => (0, std::mem::take(&mut parts.headers)),
        };
        for mutation in mutations.filter(|_| is_adorned) {
            stream.mutate_response(mutation, status, &mut parts.headers);
        }
        if !from_upstream {
            add_own(own, &mut parts.headers);
        }
        let tried = attempts > 0 && matches!(by, None | Some(Author::Router));
        if tried && table.host(index).config.include_attempt_count_in_response {
            parts
                .headers
                .insert(names::ATTEMPT_COUNT, number(u64::from(attempts)));
        }
        if !matches!(by, Some(Author::Filter | Author::Preflight)) {
            let cookies = std::mem::take(&mut stream.facts.borrow_mut().set_cookies);
            for cookie in cookies {
                parts.headers.append(header::SET_COOKIE, cookie);
            }
        }
    }
    let transforms = if manager.filters.is_empty() {
        Vec::new()
    } else {
        chain::response(stream, parts, from_upstream, is_empty, body)
    };
    response::prepare(
        &mut parts.headers,
        &manager.config,
        &manager.server,
        upgrade,
    );
    if !upgrade && closes(stream) {
        parts.headers.insert(header::CONNECTION, names::CLOSE);
    }
    if manager.config.always_set_request_id_in_response
        && let Some(id) = stream.request_id()
    {
        parts.headers.insert(names::X_REQUEST_ID, id);
    }
    transforms
}
