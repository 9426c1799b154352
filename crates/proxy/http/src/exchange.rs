//! One request's way through the connection manager: checks, normalization, route, filters,
//! then the router or an answer of our own; and the response's way back. Both codecs call
//! [`handle`]; `docs/life-of-a-request.md` follows it.

use std::rc::Rc;

use http::header::{self, HeaderMap};
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use meltemi_ir as ir;
use meltemi_telemetry::{Protocol, ResponseFlags};
use meltemi_upstream::ResponseBody;
use tokio::time::Instant;

use crate::body::ProxyBody;
use crate::connection::Connection;
use crate::deadline::Deadlines;
use crate::filter::{Decision, HttpFilter as _, RequestContext, ResponseContext};
use crate::head::{BadHead, RequestHead, is_standard_method};
use crate::headers::forwarded::{self, Surroundings};
use crate::headers::scan::Seen;
use crate::headers::{names, number, response};
use crate::mutation::NoPseudo;
use crate::path::{NormalPath, normalize};
use crate::route::{Action, Route, RouteIndex, RouteMatch, location, port_of, without_port};
use crate::router::{self, reply::LocalReply, timeout::stream_duration};
use crate::stream::{Stream, StreamEnd};
use crate::upgrade::{self, Offer};

/// A stream that gets no response but a reset.
#[derive(Debug, thiserror::Error)]
#[error("the stream was reset")]
pub(crate) struct Reset;

/// What of a request matters for answering it, whoever answers.
struct Caller {
    grpc: bool,
    bodiless: bool,
    /// Its body had not come whole when the answer was made.
    unread: bool,
}

/// A request that is no request, or asks for a path in need of mending.
struct Refusal {
    reply: Box<LocalReply>,
    head: Option<RequestHead>,
}

/// Serves one request.
pub(crate) async fn handle(
    connection: Rc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<ProxyBody>, Reset> {
    let protocol = match request.version() {
        Version::HTTP_2 => Protocol::Http2,
        Version::HTTP_10 | Version::HTTP_09 => Protocol::Http10,
        _ => Protocol::Http11,
    };
    connection.expects_head.set(false);
    connection.head_began.set(None);
    let end = Stream::begin(&connection, connection.settings(), protocol);
    let stream = end.0.clone();
    let (parts, body) = request.into_parts();
    if body.is_end_stream() {
        stream.request_done.set(Some(stream.start));
    }
    let seen = Seen::scan(&parts.headers);
    let mut caller = Caller {
        grpc: seen.any(Seen::GRPC),
        bodiless: parts.method == Method::HEAD,
        unread: false,
    };
    let mut head = match accept(&stream, parts, protocol, seen) {
        Ok(head) => head,
        Err(refused) => {
            caller.unread = stream.request_done.get().is_none();
            let Refusal { reply, head } = *refused;
            return Ok(answer(end, reply, head.as_ref(), &caller));
        }
    };
    let commands = prepare(&stream, &mut head, seen);
    let mut deadlines = Deadlines::default();
    let decided = decide(&stream, &mut head, &mut deadlines);
    let index = match decided {
        Ok(index) => index,
        Err(reply) => {
            caller.unread = stream.request_done.get().is_none();
            return Ok(answer(end, reply, Some(&head), &caller));
        }
    };
    let offer = head
        .extensions
        .remove::<OnUpgrade>()
        .filter(|_| head.upgrade.is_some() || head.path.is_none())
        .map(|on_upgrade| Offer::new(on_upgrade, &head, protocol));
    let result = router::forward(&stream, index, head, body, &mut deadlines, commands).await;
    match result {
        Ok(response) => Ok(finish(end, response, deadlines, offer, &caller)),
        Err(reply) => {
            caller.unread = stream.request_done.get().is_none();
            Ok(answer(end, reply, None, &caller))
        }
    }
}

/// Checks what the codec let through and puts the head into its one form. An error has the
/// answer, and the head where there is one.
fn accept(
    stream: &Rc<Stream>,
    parts: http::request::Parts,
    protocol: Protocol,
    seen: Seen,
) -> Result<RequestHead, Box<Refusal>> {
    let config = stream.settings.manager.config.clone();
    let refuse = |status, body, details, flags| {
        Box::new(Refusal {
            reply: LocalReply::new(status, body, details, flags).closing(),
            head: None,
        })
    };
    const DPE: ResponseFlags = ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR;
    if protocol == Protocol::Http10 && !config.http1.accept_http_10 {
        let status = StatusCode::UPGRADE_REQUIRED;
        return Err(refuse(status, "Upgrade Required", "low_version", DPE));
    }
    if protocol != Protocol::Http2 {
        if seen.any(Seen::TRANSFER_ENCODING.or(Seen::CONTENT_LENGTH))
            && let Err((status, body, details)) =
                check_framing(&stream.connection, &parts.headers, seen)
        {
            return Err(refuse(status, body, details, DPE));
        }
        if !is_standard_method(&parts.method) {
            let status = StatusCode::BAD_REQUEST;
            return Err(refuse(status, "Bad Request", "http1.codec_error", DPE));
        }
    }
    stream.connection.head_bytes.borrow_mut().clear();
    let default_host = (protocol == Protocol::Http10
        && !config.http1.default_host_for_http_10.is_empty())
    .then_some(&*config.http1.default_host_for_http_10);
    if config.max_headers_count > 0 && parts.headers.len() > config.max_headers_count as usize {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        let details = "http1.too_many_headers";
        return Err(refuse(
            status,
            "Request Header Fields Too Large",
            details,
            DPE,
        ));
    }
    let mut head = RequestHead::new(parts, default_host).map_err(|bad| match bad {
        BadHead::MissingHost => refuse(
            StatusCode::BAD_REQUEST,
            "",
            "missing_host_header",
            ResponseFlags::NONE,
        ),
        BadHead::InvalidHost => refuse(
            StatusCode::BAD_REQUEST,
            "Bad Request",
            "http.invalid_authority",
            DPE,
        ),
        BadHead::RelativePath => Box::new(Refusal {
            reply: LocalReply::new(
                StatusCode::NOT_FOUND,
                "",
                "absolute_path_rejected",
                ResponseFlags::NONE,
            ),
            head: None,
        }),
        BadHead::NoPath => refuse(
            StatusCode::BAD_REQUEST,
            "Bad Request",
            "http1.codec_error",
            DPE,
        ),
    })?;
    strip_port(&config, stream, &mut head);
    let stats = stream
        .settings
        .manager
        .stats
        .shard(stream.connection.worker.worker);
    let details = "path_normalization_failed";
    match normalize(head.path(), &config.path) {
        NormalPath::Unchanged => {}
        NormalPath::Changed(path) => {
            if !head.set_path(path) {
                stats.downstream_rq_failed_path_normalization.inc();
                return Err(refuse(
                    StatusCode::BAD_REQUEST,
                    "",
                    details,
                    ResponseFlags::NONE,
                ));
            }
        }
        NormalPath::Reject => {
            stats.downstream_rq_failed_path_normalization.inc();
            return Err(refuse(
                StatusCode::BAD_REQUEST,
                "",
                details,
                ResponseFlags::NONE,
            ));
        }
        NormalPath::Redirect(path) => {
            stats.downstream_rq_redirected_with_normalized_path.inc();
            let reply = LocalReply::redirect(StatusCode::TEMPORARY_REDIRECT, &path, details);
            return Err(Box::new(Refusal {
                reply,
                head: Some(head),
            }));
        }
    }
    Ok(head)
}

/// Refuses a message whose length is said in more than one way. The codec itself is safe: it
/// takes one way, forwards that one only, and closes the connection.
fn check_framing(
    connection: &Connection,
    headers: &HeaderMap,
    seen: Seen,
) -> Result<(), (StatusCode, &'static str, &'static str)> {
    if seen.any(Seen::TRANSFER_ENCODING) {
        let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
        let chunked = codings
            .next()
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"chunked"));
        if !chunked || codings.next().is_some() {
            return Err((
                StatusCode::NOT_IMPLEMENTED,
                "Not Implemented",
                "http1.invalid_transfer_encoding",
            ));
        }
    }
    let bytes = connection.head_bytes.borrow();
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(());
    };
    let mut lengths = 0;
    let mut codings = 0;
    for line in bytes[..end].split(|byte| *byte == b'\n').skip(1) {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        lengths += usize::from(name.eq_ignore_ascii_case(b"content-length"));
        codings += usize::from(name.eq_ignore_ascii_case(b"transfer-encoding"));
    }
    let status = StatusCode::BAD_REQUEST;
    if codings > 0 && lengths > 0 {
        let details = "http1.content_length_and_chunked_not_allowed";
        return Err((status, "Bad Request", details));
    }
    if lengths > 1 {
        return Err((status, "Bad Request", "http1.codec_error"));
    }
    Ok(())
}

fn strip_port(config: &ir::HttpConnectionManager, stream: &Stream, head: &mut RequestHead) {
    let port = match config.strip_port {
        ir::StripPort::No => return,
        ir::StripPort::Matching => Some(stream.connection.info.local.port()),
        ir::StripPort::Any => None,
    };
    if head.path.is_none() {
        return;
    }
    let authority = head.authority();
    if let Some(named) = port_of(authority)
        && port.is_none_or(|port| port == named)
    {
        let host = without_port(authority).to_owned();
        if let Ok(host) = http::HeaderValue::from_str(&host) {
            head.set_authority(host);
        }
    }
}

/// Makes the headers what filters may see. Returns whether headers that overrule the route may
/// be among them.
fn prepare(stream: &Rc<Stream>, head: &mut RequestHead, seen: Seen) -> bool {
    let connection = &stream.connection;
    let settings = &stream.settings;
    let client = forwarded::prepare(
        &mut head.headers,
        seen,
        &Surroundings {
            config: &settings.manager.config,
            info: &connection.info,
            random: &connection.worker.random,
            local_ip: connection.worker.local_ip,
            certificate: settings.certificate.as_ref(),
            upgrade: head.upgrade.is_some(),
        },
    );
    head.secure = head.headers.get(names::X_FORWARDED_PROTO) == Some(&names::HTTPS);
    let mut facts = stream.facts.borrow_mut();
    facts.internal = client.internal;
    if client.address != connection.info.remote {
        facts.client = Some(client.address);
    }
    client.internal && seen.any(Seen::ENVOY)
}

/// Finds the route, chooses its cluster, asks the filters. An error is the answer, unless the
/// request is to be forwarded.
fn decide(
    stream: &Rc<Stream>,
    head: &mut RequestHead,
    deadlines: &mut Deadlines,
) -> Result<RouteIndex, Box<LocalReply>> {
    let settings = stream.settings.clone();
    let manager = &settings.manager;
    let config = &manager.config;
    let table = settings.routes.as_deref();
    let matched = table.map_or(RouteMatch::None, |table| {
        table.route(&head.view(stream.random))
    });
    let route = match (table, matched) {
        (Some(table), RouteMatch::Route(index)) => Some((index, table.entry(index))),
        _ => None,
    };
    let target = route.and_then(|(_, route)| route.target());
    if let (Some((index, _)), Some((config, target))) = (route, target) {
        let at = target.choose(stream.random);
        let mut facts = stream.facts.borrow_mut();
        facts.route = Some(index);
        facts.cluster_at = Some(at);
        facts.cluster = config
            .clusters
            .get(at)
            .and_then(|choice| stream.connection.worker.pools.cluster(&choice.name));
    } else if let Some((index, _)) = route {
        stream.facts.borrow_mut().route = Some(index);
    }
    deadlines.idle = target
        .and_then(|(config, _)| config.idle_timeout)
        .unwrap_or(config.stream_idle_timeout);
    deadlines.duration = stream_duration(config, target.map(|(config, _)| config), &head.headers);
    deadlines.request = config.request_timeout;
    if matches!(matched, RouteMatch::RequireTls { .. }) {
        let location = format!("https://{}{}", head.authority(), head.path());
        let status = StatusCode::MOVED_PERMANENTLY;
        return Err(LocalReply::redirect(status, &location, "direct_response"));
    }
    if !upgrade::is_allowed(head, config, target.map(|(config, _)| config)) {
        let stats = manager.stats.shard(stream.connection.worker.worker);
        stats.downstream_rq_ws_on_non_ws_route.inc();
        let reply = LocalReply::new(
            StatusCode::FORBIDDEN,
            "",
            "upgrade_failed",
            ResponseFlags::NONE,
        );
        return Err(reply.closing());
    }
    if !manager.filters.is_empty() {
        ask_filters(
            stream,
            head,
            target.and_then(|(_, target)| target.cors.as_deref()),
        )?;
    }
    let stats = manager.stats.shard(stream.connection.worker.worker);
    stats.rq_total.inc();
    let Some((index, route)) = route else {
        stats.no_route.inc();
        return Err(LocalReply::route_not_found());
    };
    match own_answer(stream, head, route) {
        None => Ok(index),
        Some(reply) => Err(reply),
    }
}

/// The answer of a route that forwards nothing.
fn own_answer(stream: &Rc<Stream>, head: &RequestHead, route: &Route) -> Option<Box<LocalReply>> {
    let worker = stream.connection.worker.worker;
    let stats = stream.settings.manager.stats.shard(worker);
    Some(match (&route.config.action, &route.action) {
        (ir::RouteAction::Redirect(redirect), Action::Redirect(plan)) => {
            stats.rq_redirect.inc();
            let view = head.view(stream.random);
            let location = location(redirect, plan, &route.config.matcher.path, &view);
            LocalReply::redirect(redirect.status, &location, "direct_response")
        }
        (ir::RouteAction::Direct(direct), Action::Direct(body)) => {
            stats.rq_direct_response.inc();
            let details = "direct_response";
            let mut reply = LocalReply::new(direct.status, "", details, ResponseFlags::NONE);
            reply.body = body.clone();
            reply
        }
        (ir::RouteAction::NonForwarding, _) => {
            stats.no_cluster.inc();
            LocalReply::cluster_not_found(StatusCode::SERVICE_UNAVAILABLE)
        }
        _ => return None,
    })
}

fn ask_filters(
    stream: &Rc<Stream>,
    head: &mut RequestHead,
    cors: Option<&ir::Cors>,
) -> Result<(), Box<LocalReply>> {
    let facts = &mut *stream.facts.borrow_mut();
    let mut context = RequestContext {
        method: &head.method,
        headers: &mut head.headers,
        connection: &stream.connection.info,
        cors,
        cluster_metadata: facts
            .cluster
            .as_ref()
            .map(|cluster| &cluster.config().metadata),
        worker: &stream.connection.worker,
        notes: &mut facts.notes,
    };
    for filter in &stream.settings.manager.filters {
        if let Decision::Reply(answer) = filter.on_request(&mut context) {
            let mut reply = LocalReply::new(answer.status, "", answer.details, ResponseFlags::NONE);
            reply.headers = answer.headers;
            reply.body = answer.body;
            return Err(reply);
        }
    }
    Ok(())
}

/// The response for an answer of our own. `head` is the request's where it has not been noted.
fn answer(
    end: StreamEnd,
    mut reply: Box<LocalReply>,
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
    stream.explain(std::mem::take(&mut reply.details));
    let http1 = !stream.is_http2();
    reply.close = http1 && (reply.close || caller.unread);
    let close = reply.close;
    let (mut parts, body) = reply
        .into_response(caller.grpc, caller.bodiless)
        .into_parts();
    respond(&stream, &mut parts, false, false);
    if close {
        parts.headers.insert(header::CONNECTION, names::CLOSE);
    }
    stream.note_response(parts.status.as_u16(), &parts.headers);
    Response::from_parts(parts, ProxyBody::full(body, end))
}

/// The upstream's response on its way downstream.
fn finish(
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
        return answer(end, reply, None, caller);
    }
    if let (Some(offer), true) = (offer, switched) {
        let (mut parts, tunnel) = offer.accept(upstream, deadlines, end);
        respond(&stream, &mut parts, true, true);
        stream.note_response(parts.status.as_u16(), &parts.headers);
        tunnel.start(&stream.connection);
        return Response::from_parts(parts, ProxyBody::nothing());
    }
    let (mut parts, body) = upstream.into_parts();
    parts.version = Version::HTTP_11;
    if !stream.settings.manager.suppress_envoy_headers {
        let from = stream.request_done.get().unwrap_or(stream.start);
        let elapsed = now.saturating_duration_since(from).as_millis() as u64;
        parts
            .headers
            .insert(names::UPSTREAM_SERVICE_TIME, number(elapsed));
    }
    respond(&stream, &mut parts, true, false);
    stream.note_response(parts.status.as_u16(), &parts.headers);
    let drop_trailers = !stream.is_http2() && !stream.settings.manager.config.http1.trailers;
    let body = ProxyBody::upstream(body, drop_trailers, deadlines, end);
    Response::from_parts(parts, body)
}

/// Makes the response's headers what the client may see.
fn respond(
    stream: &Rc<Stream>,
    parts: &mut http::response::Parts,
    from_upstream: bool,
    upgrade: bool,
) {
    let settings = &stream.settings;
    let manager = &settings.manager;
    let (index, cluster_at, attempts) = {
        let facts = stream.facts.borrow();
        (facts.route, facts.cluster_at, facts.attempts)
    };
    let mut cors = None;
    if let (Some(table), Some(index)) = (&settings.routes, index) {
        for mutation in table.response_mutations(index, cluster_at) {
            let values = if mutation.needs_record() {
                stream.facts.borrow_mut().status = Some(parts.status.as_u16());
                stream.with_record(None, None, Some(&parts.headers), |record| {
                    mutation.values(record)
                })
            } else {
                Vec::new()
            };
            mutation.apply(&mut parts.headers, &mut NoPseudo, values);
        }
        if attempts > 0 && table.host(index).config.include_attempt_count_in_response {
            parts
                .headers
                .insert(names::ATTEMPT_COUNT, number(u64::from(attempts)));
        }
        cors = table
            .entry(index)
            .target()
            .and_then(|(_, target)| target.cors.as_deref());
    }
    if !manager.filters.is_empty() {
        let facts = &mut *stream.facts.borrow_mut();
        let mut context = ResponseContext {
            headers: &mut parts.headers,
            from_upstream,
            cors,
            worker: &stream.connection.worker,
            notes: &mut facts.notes,
        };
        for filter in manager.filters.iter().rev() {
            filter.on_response(&mut context);
        }
    }
    response::prepare(
        &mut parts.headers,
        &manager.config,
        &manager.server,
        !from_upstream,
        upgrade,
    );
    if manager.config.always_set_request_id_in_response
        && let Some(id) = stream.request_id()
    {
        parts.headers.insert(names::X_REQUEST_ID, id);
    }
}
