//! One request's way through the connection manager: checks, normalization, route, filters,
//! then the router or an answer of our own; and the response's way back. Both codecs call
//! [`handle`]; `docs/life-of-a-request.md` follows it.

mod accept;
mod respond;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use meltemi_ir as ir;
use meltemi_telemetry::{Protocol, ResponseFlags};
use meltemi_upstream::ResponseBody;

use crate::body::ProxyBody;
use crate::connection::Connection;
use crate::deadline::Deadlines;
use crate::filter::{Decision, HttpFilter as _, RequestContext};
use crate::head::RequestHead;
use crate::headers::forwarded::{self, Surroundings};
use crate::headers::names;
use crate::headers::scan::Seen;
use crate::route::{Action, Route, RouteIndex, RouteMatch, location};
use crate::router::reply::{Author, LocalReply};
use crate::router::{self, Forwarding, timeout::stream_duration};
use crate::stream::{Stream, StreamEnd};
use crate::upgrade::{self, Offer};

use accept::{Refusal, accept};
use respond::{answer, finish};

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

/// A request being served: answered at once, or on its way upstream. Small, because codecs
/// move it about.
pub(crate) enum Exchange<F> {
    Answered(Option<Box<Response<ProxyBody>>>),
    Forwarded(Pin<Box<F>>),
}

/// A request that goes upstream.
struct Pending {
    end: StreamEnd,
    forwarding: Forwarding,
    deadlines: Deadlines,
    offer: Option<Offer>,
    caller: Caller,
}

impl<F> Future for Exchange<F>
where
    F: Future<Output = Response<ProxyBody>>,
{
    type Output = Result<Response<ProxyBody>, Reset>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Answered(response) => {
                Poll::Ready(response.take().map(|response| *response).ok_or(Reset))
            }
            Self::Forwarded(forwarded) => forwarded.as_mut().poll(cx).map(Ok),
        }
    }
}

/// Serves one request.
pub(crate) fn handle(
    connection: &Rc<Connection>,
    request: Request<Incoming>,
) -> Exchange<impl Future<Output = Response<ProxyBody>> + use<>> {
    match begin(connection, request) {
        Err(response) => Exchange::Answered(Some(response)),
        Ok(mut pending) => Exchange::Forwarded(Box::pin(async move {
            let result = pending.forwarding.run(&mut pending.deadlines).await;
            match result {
                Ok(response) => pending.finish(response),
                Err(reply) => {
                    let Pending {
                        end, mut caller, ..
                    } = pending;
                    caller.unread = end.0.request_done.get().is_none();
                    answer(end, *reply, None, &caller)
                }
            }
        })),
    }
}

/// Everything up to the point where somebody is waited for. An error is the response.
fn begin(
    connection: &Rc<Connection>,
    request: Request<Incoming>,
) -> Result<Pending, Box<Response<ProxyBody>>> {
    let protocol = match request.version() {
        Version::HTTP_2 => Protocol::Http2,
        Version::HTTP_10 | Version::HTTP_09 => Protocol::Http10,
        _ => Protocol::Http11,
    };
    connection.expects_head.set(false);
    connection.head_began.set(None);
    let end = Stream::begin(connection, connection.settings(), protocol);
    let stream = end.0.clone();
    let (parts, body) = request.into_parts();
    if body.is_end_stream() {
        stream.request_done.set(Some(stream.start));
    }
    let seen = Seen::scan(&parts.headers);
    let caller = Caller {
        grpc: seen.any(Seen::GRPC),
        bodiless: parts.method == Method::HEAD,
        unread: !body.is_end_stream(),
    };
    let mut head = match accept(&stream, parts, protocol, seen) {
        Ok(head) => head,
        Err(refused) => {
            let Refusal { reply, head } = *refused;
            return Err(Box::new(answer(end, *reply, head.as_ref(), &caller)));
        }
    };
    let commands = prepare(&stream, &mut head, seen);
    let mut deadlines = Deadlines::default();
    let index = match decide(&stream, &mut head, &mut deadlines) {
        Ok(index) => index,
        Err(reply) => return Err(Box::new(answer(end, *reply, Some(&head), &caller))),
    };
    let offer = head
        .extensions
        .remove::<OnUpgrade>()
        .filter(|_| head.upgrade.is_some() || head.path.is_none())
        .map(|on_upgrade| Offer::new(on_upgrade, &head, protocol));
    match router::prepare(&stream, index, head, body, &mut deadlines, commands) {
        Ok(forwarding) => Ok(Pending {
            end,
            forwarding,
            deadlines,
            offer,
            caller,
        }),
        Err(reply) => Err(Box::new(answer(end, *reply, None, &caller))),
    }
}

impl Pending {
    /// The upstream's response on its way downstream.
    fn finish(self, response: Response<ResponseBody>) -> Response<ProxyBody> {
        let Self {
            end,
            forwarding: _done,
            deadlines,
            offer,
            caller,
        } = self;
        finish(end, response, deadlines, offer, &caller)
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
    let stats = manager.stats.shard(stream.connection.worker.worker);
    if matches!(matched, RouteMatch::RequireTls { .. }) {
        stats.rq_total.inc();
        stats.rq_direct_response.inc();
        let location = format!("https://{}{}", head.authority(), head.path());
        let status = StatusCode::MOVED_PERMANENTLY;
        return Err(LocalReply::redirect(status, &location, "direct_response"));
    }
    let nowhere = head.path.is_none() && route.is_none();
    if !nowhere && !upgrade::is_allowed(head, config, target.map(|(config, _)| config)) {
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
    stats.rq_total.inc();
    let Some((index, route)) = route else {
        stats.no_route.inc();
        let reply = LocalReply::route_not_found();
        return Err(if nowhere { reply.closing() } else { reply });
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
            stats.rq_direct_response.inc();
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
            reply.by = Author::Filter;
            return Err(reply);
        }
    }
    Ok(())
}
