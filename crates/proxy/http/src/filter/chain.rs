//! The filters of a connection manager, one after the other: for a request from the first to
//! the last, for a response back.

use std::rc::Rc;

use bytes::Bytes;
use http::StatusCode;
use http::response::Parts;

use super::{
    BodyTransform, Decision, Entry, HttpFilter as _, Place, RequestContext, ResponseContext,
    Resume, Waiting,
};
use crate::head::RequestHead;
use crate::request_body::RequestSource;
use crate::route::RouteSettings;
use crate::router::reply::{Author, LocalReply};
use crate::stream::Stream;

/// How far a request has come.
pub(crate) enum Outcome {
    /// Past all filters.
    Done,
    /// It has been answered.
    Reply(Box<LocalReply>),
    /// It waits.
    Pause(Pause),
}

/// What the filters came to.
pub(crate) enum Step {
    /// Here a request stops, or is past them.
    Reached(Outcome),
    /// The route is to be looked for again before the next one.
    Reroute,
}

/// What a request waits for.
pub(crate) enum Pause {
    /// Its whole body, of so many bytes at most.
    Body(usize),
    /// Its whole body, or more than so many bytes of it.
    SomeBody(usize),
    /// What a filter waits for.
    Filter(Waiting),
}

/// How a request goes on.
pub(crate) enum Continue {
    /// With the filter whose turn it is.
    Next,
    /// With the filter that waited for the body.
    WholeBody,
    /// As the filter that waited says.
    Resume(Resume),
}

/// Lets the filters look at a request from position `at` on, which is kept for a pause.
pub(crate) fn request(
    stream: &Rc<Stream>,
    head: &mut RequestHead,
    body: &mut RequestSource,
    at: &mut usize,
    how: Continue,
) -> Step {
    let settings = &stream.settings;
    let mut how = Some(how);
    while let Some(entry) = settings.manager.filters.get(*at) {
        let route = stream.route_settings();
        let resumed = how.take().unwrap_or(Continue::Next);
        let waited = !matches!(resumed, Continue::Next);
        if !waited && !is_active(entry, &route) {
            *at += 1;
            continue;
        }
        let mut context = RequestContext {
            stream,
            head,
            body,
            place: Place {
                name: &entry.name,
                position: *at,
                route,
            },
        };
        let decision = match resumed {
            Continue::Next => entry.filter.on_request(&mut context),
            Continue::WholeBody => entry.filter.on_whole_body(&mut context),
            Continue::Resume(resume) => resume(&mut context),
        };
        match decision {
            Decision::Continue => {
                *at += 1;
                if std::mem::take(&mut stream.facts.borrow_mut().notes.reroute) {
                    return Step::Reroute;
                }
            }
            Decision::Reply(mut reply) => {
                if reply.by == Author::Router {
                    reply.by = Author::Filter;
                }
                // what was to become a tunnel is of no other use
                reply.close |= context.head.upgrade.is_some() || context.head.path.is_none();
                return Step::Reached(Outcome::Reply(reply));
            }
            Decision::Buffer(limit) => return Step::Reached(Outcome::Pause(Pause::Body(limit))),
            Decision::BufferUpTo(limit) => {
                return Step::Reached(Outcome::Pause(Pause::SomeBody(limit)));
            }
            Decision::Wait(waiting) => {
                return Step::Reached(Outcome::Pause(Pause::Filter(waiting)));
            }
        }
    }
    Step::Reached(Outcome::Done)
}

/// Lets the filters look at a response. Returns the changes to its body.
pub(crate) fn response(
    stream: &Rc<Stream>,
    parts: &mut Parts,
    from_upstream: bool,
    is_empty: bool,
    mut body: Option<&mut Bytes>,
) -> Vec<Box<dyn BodyTransform>> {
    let mut transforms = Vec::new();
    let settings = &stream.settings;
    let mut status: StatusCode = parts.status;
    for (position, entry) in settings.manager.filters.iter().enumerate().rev() {
        let route = stream.route_settings();
        if !is_active(entry, &route) {
            continue;
        }
        entry.filter.on_response(&mut ResponseContext {
            stream,
            status: &mut status,
            headers: &mut parts.headers,
            from_upstream,
            is_empty,
            body: body.as_deref_mut(),
            transforms: &mut transforms,
            place: Place {
                name: &entry.name,
                position,
                route,
            },
        });
    }
    parts.status = status;
    transforms
}

fn is_active(entry: &Entry, route: &RouteSettings<'_>) -> bool {
    route.enables(&entry.name).unwrap_or(!entry.disabled)
}
