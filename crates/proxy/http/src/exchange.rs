//! One request's way through the connection manager: checks, normalization, route, filters,
//! then the router or an answer of our own; and the response's way back. Both codecs call
//! [`handle`]; `docs/life-of-a-request.md` follows it.

mod accept;
mod lent;
mod redirect;
mod respond;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use meltemi_ir as ir;
use meltemi_telemetry::{Protocol, ResponseFlags};
use meltemi_upstream::ResponseBody;

use crate::body::ProxyBody;
use crate::client_body::ClientBody;
use crate::connection::Connection;
use crate::deadline::{Deadlines, Expired};
use crate::filter::chain::{self, Continue, Outcome, Pause, Step};
use crate::head::RequestHead;
use crate::headers::forwarded::{self, Surroundings};
use crate::headers::scan::Seen;
use crate::headers::{names, parse_number};
use crate::progress;
use crate::request_body::{GatherError, RequestSource};
use crate::route::{Action, RequestView, Route, RouteIndex, RouteMatch, location};
use crate::router::hash::{self, Hashed};
use crate::router::reply::LocalReply;
use crate::router::{self, Forwarding, timeout::stream_duration};
use crate::stream::{Stream, StreamEnd};
use crate::upgrade::{self, Offer, Take};

pub(crate) use lent::Lender;
use lent::Lent;

use accept::{Refusal, accept, ends_connection};
use redirect::{Original, Redirects};
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

/// A request being served: answered at once, on its way upstream, or waiting for a filter first.
/// Small, because codecs move it about.
pub(crate) enum Exchange<F> {
    Answered(Option<Box<Response<ProxyBody>>>),
    Forwarded(Lent<F>),
    Paused(Paused),
}

/// A request that waits for a filter, and all that follows.
type Paused = Pin<Box<dyn Future<Output = Response<ProxyBody>>>>;

/// A request on its way through the filters.
struct Pass {
    end: StreamEnd,
    head: RequestHead,
    body: RequestSource,
    /// Where a tunnel's bytes will be.
    take: Option<Take>,
    /// Whose turn it is.
    at: usize,
    matched: RouteMatch,
    deadlines: Deadlines,
    caller: Caller,
    protocol: Protocol,
    /// Headers that overrule the route may be there.
    commands: bool,
    /// Redirections of upstreams that were followed.
    redirects: Redirects,
}

/// A request that goes upstream.
struct Pending {
    end: StreamEnd,
    forwarding: Forwarding,
    deadlines: Deadlines,
    offer: Option<Offer>,
    caller: Caller,
    /// The head before the router changed it, where a redirection may be followed.
    original: Option<Box<Original>>,
}

/// What is known before somebody is waited for.
#[allow(
    clippy::large_enum_variant,
    reason = "taken apart at once, on the usual way"
)]
enum Begun {
    Ready(Pending),
    Paused(Box<Pass>, Pause),
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
            Self::Forwarded(forwarded) => Pin::new(forwarded).poll(cx).map(Ok),
            Self::Paused(paused) => paused.as_mut().poll(cx).map(Ok),
        }
    }
}

/// Serves one request.
pub(crate) fn handle(
    connection: &Rc<Connection>,
    request: Request<ClientBody>,
) -> Exchange<impl Future<Output = Response<ProxyBody>> + use<>> {
    connection.answered.set(true);
    match begin(connection, request) {
        Err(response) => Exchange::Answered(Some(response)),
        Ok(Begun::Ready(pending)) => {
            Exchange::Forwarded(connection.worker.lender.lend(forward(pending)))
        }
        Ok(Begun::Paused(pass, pause)) => Exchange::Paused(wait(pass, pause)),
    }
}

/// Sends a request upstream and gives what comes back.
#[allow(
    clippy::manual_async_fn,
    reason = "an async function would hold the request twice"
)]
fn forward(mut pending: Pending) -> impl Future<Output = Response<ProxyBody>> {
    async move {
        let result = pending.forwarding.run(&mut pending.deadlines).await;
        match result {
            Ok(response) if pending.original.is_some() => {
                match redirect::follow(pending, response) {
                    Ok(again) => again.await,
                    Err(kept) => {
                        let (pending, response) = *kept;
                        pending.finish(response)
                    }
                }
            }
            Ok(response) => pending.finish(response),
            Err(reply) => {
                let Pending {
                    end, mut caller, ..
                } = pending;
                caller.unread = end.0.request_done.get().is_none();
                answer(end, *reply, None, &caller)
            }
        }
    }
}

/// Waits for a filter, lets the others look, and so on.
fn wait(mut pass: Box<Pass>, mut pause: Pause) -> Paused {
    Box::pin(async move {
        loop {
            let stream = pass.end.0.clone();
            let Pass {
                deadlines, body, ..
            } = &mut *pass;
            deadlines.changed(&stream);
            let how = match pause {
                Pause::Body(limit) => match deadlines.race(&stream, body.gather(limit)).await {
                    Ok(Ok(())) => Ok(Continue::WholeBody),
                    Ok(Err(error)) => Err(not_gathered(&stream, &error)),
                    Err(expired) => Err(too_late(&stream, expired)),
                },
                Pause::SomeBody(limit) => match deadlines.race(&stream, body.gather(limit)).await {
                    Ok(Ok(()) | Err(GatherError::TooLarge)) => Ok(Continue::WholeBody),
                    Ok(Err(error)) => Err(not_gathered(&stream, &error)),
                    Err(expired) => Err(too_late(&stream, expired)),
                },
                Pause::Filter(waiting) => match deadlines.race(&stream, waiting).await {
                    Ok(resume) => Ok(Continue::Resume(resume)),
                    Err(expired) => Err(too_late(&stream, expired)),
                },
            };
            let outcome = match how {
                Ok(how) => pass.advance(how),
                Err(reply) => Outcome::Reply(reply),
            };
            match outcome {
                Outcome::Pause(next) => pause = next,
                Outcome::Reply(reply) => return pass.answer(*reply),
                Outcome::Done => match pass.conclude() {
                    Ok(pending) => return forward(pending).await,
                    Err(response) => return *response,
                },
            }
        }
    })
}

/// The answer to a request whose body was not to be had as a whole.
fn not_gathered(stream: &Stream, error: &GatherError) -> Box<LocalReply> {
    match error {
        GatherError::TooLarge => {
            let worker = stream.connection.worker.worker;
            let stats = stream.settings.manager.stats.shard(worker);
            stats.downstream_rq_too_large.inc();
            LocalReply::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "Payload Too Large",
                "request_payload_too_large",
                ResponseFlags::NONE,
            )
        }
        GatherError::Broken => LocalReply::new(
            StatusCode::BAD_REQUEST,
            "Bad Request",
            "http1.codec_error",
            ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR,
        ),
    }
    .closing()
}

/// The answer to a request that ran into a limit while it waited.
fn too_late(stream: &Stream, expired: Expired) -> Box<LocalReply> {
    let worker = stream.connection.worker.worker;
    let stats = stream.settings.manager.stats.shard(worker);
    match expired {
        Expired::Idle => stats.downstream_rq_idle_timeout.inc(),
        Expired::Duration => stats.downstream_rq_max_duration_reached.inc(),
        Expired::Request => stats.downstream_rq_timeout.inc(),
        Expired::Route | Expired::PerTry | Expired::PerTryIdle => {}
    }
    router::expired_reply(expired, stream.request_done.get().is_some(), false)
}

/// Everything up to the point where somebody is waited for. An error is the response.
fn begin(
    connection: &Rc<Connection>,
    request: Request<ClientBody>,
) -> Result<Begun, Box<Response<ProxyBody>>> {
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
    let (body, take) = body.split();
    if body.is_none() {
        stream.request_done.set(Some(stream.start));
    }
    let seen = Seen::scan(&parts.headers);
    if protocol != Protocol::Http2 {
        connection.client_ends.set(ends_connection(&parts, seen));
    }
    let caller = Caller {
        grpc: seen.any(Seen::GRPC),
        bodiless: parts.method == Method::HEAD,
        unread: body.is_some(),
    };
    stream.set_grpc(caller.grpc);
    let mut head = match accept(&stream, parts, protocol, seen) {
        Ok(head) => head,
        Err(refused) => {
            let Refusal { reply, head } = *refused;
            return Err(Box::new(answer(end, *reply, head.as_ref(), &caller)));
        }
    };
    let commands = match prepare(&stream, &mut head, seen) {
        Ok(commands) => commands,
        Err(reply) => return Err(Box::new(answer(end, *reply, Some(&head), &caller))),
    };
    let mut deadlines = Deadlines::default();
    let matched = find_route(&stream, &head, &mut deadlines);
    progress::begun(&stream, &head);
    let mut pass = Pass {
        body: RequestSource::new(body, &stream),
        take,
        end,
        head,
        at: 0,
        matched,
        deadlines,
        caller,
        protocol,
        commands,
        redirects: Redirects::default(),
    };
    if let Err(reply) = pass.check_upgrade() {
        return Err(Box::new(pass.answer(*reply)));
    }
    if stream.settings.manager.filters.is_empty() {
        return pass.conclude().map(Begun::Ready);
    }
    match pass.advance(Continue::Next) {
        Outcome::Done => pass.conclude().map(Begun::Ready),
        Outcome::Reply(reply) => Err(Box::new(pass.answer(*reply))),
        Outcome::Pause(pause) => Ok(Begun::Paused(Box::new(pass), pause)),
    }
}

impl Pass {
    /// Lets the filters look at the request from where they are.
    fn advance(&mut self, how: Continue) -> Outcome {
        let stream = self.end.0.clone();
        let mut how = how;
        loop {
            let (head, body) = (&mut self.head, &mut self.body);
            match chain::request(&stream, head, body, &mut self.at, how) {
                Step::Reroute => {
                    self.matched = find_route(&stream, &self.head, &mut self.deadlines);
                    how = Continue::Next;
                }
                Step::Reached(outcome) => return outcome,
            }
        }
    }

    /// Refuses an upgrade that is not allowed.
    fn check_upgrade(&self) -> Result<(), Box<LocalReply>> {
        let stream = &self.end.0;
        let settings = &stream.settings;
        let route = stream.route_settings();
        let nowhere = self.head.path.is_none() && !matches!(self.matched, RouteMatch::Route(_));
        if nowhere || upgrade::is_allowed(&self.head, &settings.manager.config, route.target()) {
            return Ok(());
        }
        let worker = stream.connection.worker.worker;
        let stats = settings.manager.stats.shard(worker);
        stats.downstream_rq_ws_on_non_ws_route.inc();
        let reply = LocalReply::new(
            StatusCode::FORBIDDEN,
            "",
            "upgrade_failed",
            ResponseFlags::NONE,
        );
        Err(reply.closing())
    }

    /// The answer of our own.
    fn answer(self, reply: LocalReply) -> Response<ProxyBody> {
        let Self {
            end,
            head,
            mut caller,
            ..
        } = self;
        caller.unread = end.0.request_done.get().is_none();
        answer(end, reply, Some(&head), &caller)
    }

    /// What follows the filters: the router, or an answer of the route's own.
    fn conclude(self) -> Result<Pending, Box<Response<ProxyBody>>> {
        let pass = self;
        let stream = pass.end.0.clone();
        let index = match decide(&stream, &pass.head, pass.matched) {
            Ok(index) => index,
            Err(reply) => return Err(Box::new(pass.answer(*reply))),
        };
        let Self {
            end,
            mut head,
            body,
            take,
            mut deadlines,
            caller,
            protocol,
            commands,
            redirects,
            ..
        } = pass;
        let original = redirect::original(&stream, index, &head, commands, redirects);
        let offer = Offer::of(&mut head, protocol, take);
        match router::prepare(&stream, index, head, body, &mut deadlines, commands) {
            Ok(forwarding) => Ok(Pending {
                end,
                forwarding,
                deadlines,
                offer,
                caller,
                original,
            }),
            Err(reply) => Err(Box::new(answer(end, *reply, None, &caller))),
        }
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
            // ignored: no redirection is followed any more
            original: _,
        } = self;
        finish(end, response, deadlines, offer, &caller)
    }
}

/// Makes the headers what filters may see. Returns whether headers that overrule the route may
/// be among them.
fn prepare(
    stream: &Rc<Stream>,
    head: &mut RequestHead,
    seen: Seen,
) -> Result<bool, Box<LocalReply>> {
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
            internal_only: settings
                .routes
                .as_ref()
                .map_or(&[], |table| &table.config().internal_only_headers),
        },
    );
    head.secure = match settings.manager.config.scheme {
        ir::SchemeOverride::None if head.names_scheme => head.secure,
        ir::SchemeOverride::None => head
            .headers
            .get(names::X_FORWARDED_PROTO)
            .is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https")),
        ir::SchemeOverride::Http => false,
        ir::SchemeOverride::Https => true,
    };
    if let Some(status) = client.reject {
        let worker = connection.worker.worker;
        let stats = settings.manager.stats.shard(worker);
        stats.downstream_rq_rejected_via_ip_detection.inc();
        let details = "rejected_via_ip_detection";
        return Err(LocalReply::new(status, "", details, ResponseFlags::NONE));
    }
    stream.mutate(&settings.manager.early, head);
    let mut facts = stream.facts.borrow_mut();
    facts.internal = client.internal;
    if client.address != connection.info.remote {
        facts.client = Some(client.address);
    }
    Ok(client.internal && seen.any(Seen::ENVOY))
}

/// Finds the route and chooses its cluster.
fn find_route(stream: &Rc<Stream>, head: &RequestHead, deadlines: &mut Deadlines) -> RouteMatch {
    let settings = &stream.settings;
    let config = &settings.manager.config;
    let table = settings.routes.as_deref();
    let mut facts = stream.facts.borrow_mut();
    let facts = &mut *facts;
    let matched = table.map_or(RouteMatch::None, |table| {
        let tls = stream.connection.info.tls.as_ref();
        table.route(&RequestView {
            internal: facts.internal,
            client_certificate: tls
                .map_or((false, false), |tls| (tls.peer_presented, tls.verified)),
            metadata: facts.notes.shared().map(|shared| &shared.metadata),
            ..head.view(stream.random)
        })
    });
    facts.route = None;
    facts.cluster_at = None;
    facts.cluster = None;
    let route = match (table, matched) {
        (Some(table), RouteMatch::Route(index)) => {
            facts.route = Some(index);
            Some(table.entry(index))
        }
        _ => None,
    };
    let target = route.and_then(Route::target);
    if let Some((config, target)) = target {
        let at = match &config.weighted_by {
            ir::WeightedBy::Random => target.choose(stream.random),
            ir::WeightedBy::Header(name) => {
                let asked = parse_number(head.headers.get(name));
                target.choose(asked.unwrap_or(stream.random))
            }
            ir::WeightedBy::Hash => {
                let around = Hashed::new(stream, facts);
                let hash = hash::of_request(&target.hash, head, &around).hash;
                target.choose(hash.unwrap_or(stream.random))
            }
        };
        facts.cluster_at = Some(at);
        let name = config
            .clusters
            .get(at)
            .and_then(|choice| match &choice.name {
                ir::ClusterName::Named(name) => Some(&**name),
                ir::ClusterName::Header(name) => head.headers.get(name)?.to_str().ok(),
            });
        facts.cluster = name.and_then(|name| stream.connection.worker.pools.cluster(name));
    }
    deadlines.idle = target
        .and_then(|(config, _)| config.idle_timeout)
        .unwrap_or(config.stream_idle_timeout);
    deadlines.duration = stream_duration(config, target.map(|(config, _)| config), &head.headers);
    deadlines.request = config.request_timeout;
    matched
}

/// Where a request goes that all filters have let pass. An error is the answer, unless it is to
/// be forwarded.
fn decide(
    stream: &Rc<Stream>,
    head: &RequestHead,
    matched: RouteMatch,
) -> Result<RouteIndex, Box<LocalReply>> {
    let settings = &stream.settings;
    let stats = settings
        .manager
        .stats
        .shard(stream.connection.worker.worker);
    stats.rq_total.inc();
    let index = match matched {
        RouteMatch::Route(index) => index,
        RouteMatch::RequireTls { .. } => {
            stats.rq_direct_response.inc();
            let location = format!("https://{}{}", head.authority(), head.path());
            let status = StatusCode::MOVED_PERMANENTLY;
            return Err(LocalReply::redirect(status, &location, "direct_response"));
        }
        RouteMatch::None => {
            stats.no_route.inc();
            let (reply, tunnel) = (LocalReply::route_not_found(), head.path.is_none());
            return Err(if tunnel { reply.closing() } else { reply });
        }
    };
    let table = settings.routes.as_ref().expect("the route is the table's");
    match own_answer(stream, head, table.entry(index)) {
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
            // where the resource is that was made, or the other one
            if direct.status == StatusCode::CREATED || direct.status.is_redirection() {
                let here = format!("{}://{}{}", head.scheme(), head.authority(), head.path());
                let here = HeaderValue::try_from(here).ok();
                let here = here.map(|here| (header::LOCATION, here));
                reply.headers.extend(here);
            }
            reply
        }
        (ir::RouteAction::NonForwarding, _) => {
            stats.no_cluster.inc();
            LocalReply::cluster_not_found(StatusCode::SERVICE_UNAVAILABLE)
        }
        _ => return None,
    })
}
