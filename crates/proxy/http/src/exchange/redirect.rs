//! Redirections of an upstream that the proxy follows itself, as the route's policy allows: the
//! request begins anew with another target.

use std::rc::Rc;

use http::header;
use http::{HeaderValue, Method, Response, StatusCode, Uri};
use meltemi_ir as ir;
use meltemi_telemetry::HttpStats;
use meltemi_upstream::ResponseBody;

use super::{Outcome, Pass, Paused, Pending, find_route, forward, wait};
use crate::deadline::Deadlines;
use crate::filter::chain::Continue;
use crate::head::RequestHead;
use crate::route::{RouteIndex, RouteMatch};
use crate::stream::Stream;

/// Redirections that were followed for one request.
#[derive(Clone, Debug, Default)]
pub(super) struct Redirects {
    count: u32,
    /// The routes that they came from, by name.
    routes: Vec<String>,
}

/// What a request was before the router changed it.
pub(super) struct Original {
    head: RequestHead,
    policy: std::sync::Arc<ir::InternalRedirect>,
    route: String,
    commands: bool,
    redirects: Redirects,
}

/// Why a redirection goes to the client.
enum Refused {
    TooMany,
    NoLocation,
    BadLocation,
    UnsafeScheme,
    NoRoute,
    Predicate,
    /// The request cannot be sent again.
    Unrepeatable,
}

/// Keeps what the request is now, where its route follows redirections.
pub(super) fn original(
    stream: &Rc<Stream>,
    index: RouteIndex,
    head: &RequestHead,
    commands: bool,
    redirects: Redirects,
) -> Option<Box<Original>> {
    let table = stream.settings.routes.as_ref()?;
    let route = table.entry(index);
    let (config, _) = route.target()?;
    let policy = config.internal_redirect.clone()?;
    if head.upgrade.is_some() || head.path.is_none() {
        return None;
    }
    let mut copy = head.clone();
    copy.extensions = http::Extensions::new();
    Some(Box::new(Original {
        head: copy,
        policy,
        route: route.config.name.clone(),
        commands,
        redirects,
    }))
}

/// Follows a redirection, or gives back what the client is to get.
pub(super) fn follow(
    mut pending: Pending,
    response: Response<ResponseBody>,
) -> Result<Paused, Box<(Pending, Response<ResponseBody>)>> {
    let Some(original) = pending.original.take() else {
        return Err(Box::new((pending, response)));
    };
    if !original.policy.codes.contains(&response.status()) {
        return Err(Box::new((pending, response)));
    }
    let stream = pending.end.0.clone();
    let worker = stream.connection.worker.worker;
    let stats = stream.settings.manager.stats.shard(worker);
    match target(&pending, &original, &response) {
        Ok(head) => {
            let stats = pending.forwarding.cluster_stats();
            stats.upstream_internal_redirect_succeeded_total.inc();
            Ok(again(pending, *original, head))
        }
        Err(refused) => {
            count(stats, &refused);
            let cluster = pending.forwarding.cluster_stats();
            cluster.upstream_internal_redirect_failed_total.inc();
            restore(&stream, &pending);
            Err(Box::new((pending, response)))
        }
    }
}

fn count(stats: &HttpStats, refused: &Refused) {
    match refused {
        Refused::TooMany => stats.passthrough_internal_redirect_too_many_redirects.inc(),
        Refused::BadLocation => stats.passthrough_internal_redirect_bad_location.inc(),
        Refused::UnsafeScheme => stats.passthrough_internal_redirect_unsafe_scheme.inc(),
        Refused::NoRoute => stats.passthrough_internal_redirect_no_route.inc(),
        Refused::Predicate => stats.passthrough_internal_redirect_predicate.inc(),
        Refused::NoLocation | Refused::Unrepeatable => {}
    }
}

/// Makes the stream's route again that of the request that was answered.
fn restore(stream: &Rc<Stream>, pending: &Pending) {
    let (index, cluster_at, cluster) = pending.forwarding.place();
    let mut facts = stream.facts.borrow_mut();
    facts.route = Some(index);
    facts.cluster_at = cluster_at;
    facts.cluster = Some(cluster);
}

/// The head of the request that follows.
fn target(
    pending: &Pending,
    original: &Original,
    response: &Response<ResponseBody>,
) -> Result<RequestHead, Refused> {
    let policy = &original.policy;
    let location = response.headers().get(header::LOCATION);
    let location = location.ok_or(Refused::NoLocation)?;
    let location = location.to_str().map_err(|_| Refused::BadLocation)?;
    if original.redirects.count >= policy.most {
        return Err(Refused::TooMany);
    }
    if !pending.forwarding.is_repeatable() || pending.end.0.request_done.get().is_none() {
        return Err(Refused::Unrepeatable);
    }
    let mut head = original.head.clone();
    let was_secure = head.secure;
    let uri: Uri = location.parse().map_err(|_| Refused::BadLocation)?;
    // a location without scheme and host is not followed
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(Refused::BadLocation);
    };
    let secure = match scheme {
        "http" => false,
        "https" => true,
        _ => return Err(Refused::UnsafeScheme),
    };
    if secure != was_secure && !policy.cross_scheme {
        return Err(Refused::UnsafeScheme);
    }
    head.secure = secure;
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| Refused::BadLocation)?;
    head.set_authority(host);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    if !head.set_path(path.to_owned()) {
        return Err(Refused::BadLocation);
    }
    if response.status() == StatusCode::SEE_OTHER
        && !matches!(head.method, Method::GET | Method::HEAD)
    {
        head.method = Method::GET;
        head.headers.remove(header::CONTENT_LENGTH);
    }
    const ORIGINAL_URL: http::HeaderName = http::HeaderName::from_static("x-envoy-original-url");
    let url = format!(
        "{}://{}{}",
        original.head.scheme(),
        original.head.authority(),
        original.head.path()
    );
    if let Ok(url) = HeaderValue::from_str(&url) {
        head.headers.insert(ORIGINAL_URL, url);
    }
    for name in &policy.headers_to_copy {
        match response.headers().get(name) {
            Some(value) => {
                head.headers.insert(name, value.clone());
            }
            None => {
                head.headers.remove(name);
            }
        }
    }
    check_route(pending, original, &head, was_secure)?;
    Ok(head)
}

/// Whether the new route is one that may be taken.
fn check_route(
    pending: &Pending,
    original: &Original,
    head: &RequestHead,
    was_secure: bool,
) -> Result<(), Refused> {
    let stream = &pending.end.0;
    let matched = find_route(stream, head, &mut Deadlines::default());
    let RouteMatch::Route(index) = matched else {
        return Err(Refused::NoRoute);
    };
    let table = stream.settings.routes.as_ref().ok_or(Refused::NoRoute)?;
    let name = &table.entry(index).config.name;
    for predicate in &original.policy.predicates {
        let accepted = match predicate {
            ir::RedirectPredicate::AllowListedRoutes(routes) => routes.contains(name),
            ir::RedirectPredicate::PreviousRoutes => {
                let known = &original.redirects.routes;
                *name != original.route && !known.contains(name)
            }
            ir::RedirectPredicate::SafeCrossScheme => was_secure || !head.secure,
        };
        if !accepted {
            return Err(Refused::Predicate);
        }
    }
    Ok(())
}

/// Begins the request anew.
fn again(pending: Pending, original: Original, head: RequestHead) -> Paused {
    let Pending {
        end,
        forwarding,
        caller,
        ..
    } = pending;
    let stream = end.0.clone();
    let mut redirects = original.redirects;
    redirects.count += 1;
    redirects.routes.push(original.route);
    let mut deadlines = Deadlines::default();
    let matched = find_route(&stream, &head, &mut deadlines);
    let protocol = {
        let mut facts = stream.facts.borrow_mut();
        facts.attempts = 0;
        facts.protocol
    };
    let source = forwarding.into_source();
    // what is asked for by another method has no body
    let body = if head.method == original.head.method {
        source
    } else {
        source.emptied()
    };
    let mut pass = Pass {
        end,
        head,
        body,
        take: None,
        at: 0,
        matched,
        deadlines,
        caller,
        protocol,
        commands: original.commands,
        redirects,
    };
    Box::pin(async move {
        match pass.advance(Continue::Next) {
            Outcome::Done => match pass.conclude() {
                Ok(pending) => forward(pending).await,
                Err(response) => *response,
            },
            Outcome::Reply(reply) => pass.answer(*reply),
            Outcome::Pause(pause) => wait(Box::new(pass), pause).await,
        }
    })
}
