//! HTTP/1.1 connections: one request at a time, back to the pool when both it and its
//! response are through.

mod beside;
mod slot;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use super::lease::ActiveRequest;
use super::{HttpPool, STALE_AFTER};
use crate::http1::{Manner, Wire};
use crate::stream::ConnectionDetails;
use crate::{
    BodyError, ResetReason, ResponseBody, SendFailure, UpstreamBody, UpstreamStream, WorkerCluster,
};
use beside::Beside;
use slot::Slot;

/// An HTTP/1.1 connection. Dropping it closes the connection once it is idle.
pub(crate) struct Http1Connection {
    slot: Rc<Slot>,
    /// Requests it may still carry.
    left: u32,
    reused: bool,
    /// It ends with the request that it carries.
    last: bool,
    /// It waited for a request, its first perhaps.
    was_idle: bool,
    idle_since: Instant,
    opened: Instant,
}

/// A connection in use. Dropped, the connection is closed.
pub(crate) struct Http1Lease {
    connection: Http1Connection,
    pool: Rc<HttpPool>,
    active: ActiveRequest,
}

/// A request on its way, until its response comes. Dropping it closes the connection.
pub(crate) struct Sending(State);

enum State {
    /// It could not be sent.
    Failed(SendFailure),
    Going(Box<Wire>, Http1Lease),
    Over,
}

/// What follows a response's head. When its end has been read, the connection goes back to its
/// pool.
pub(crate) struct Http1Body(Reading);

enum Reading {
    /// The request is through.
    Alone(Box<Wire>, Http1Lease),
    Beside(Rc<Beside>, Http1Lease),
    /// It broke off, which is still to be said.
    Broken(ResetReason),
    Over,
}

/// An exchange that became a stream of bytes. The request stays active until it is dropped.
pub(crate) struct Http1Upgrade {
    pub(crate) wire: Box<Wire>,
    _lease: Http1Lease,
}

/// Starts HTTP/1.1 on a new connection.
pub(super) fn open(
    stream: UpstreamStream,
    cluster: &Rc<WorkerCluster>,
    pool: &Rc<HttpPool>,
) -> Http1Connection {
    let config = cluster.config();
    let manner = Manner {
        title_case: config.http.http1.proper_case,
        keeps_case: config.http.http1.preserve_case,
        buffer: usize::try_from(config.per_connection_buffer_limit).unwrap_or(usize::MAX),
    };
    Http1Connection {
        slot: Slot::watched(stream, manner, pool),
        left: match config.max_requests_per_connection {
            0 => u32::MAX,
            limit => limit,
        },
        reused: false,
        last: false,
        was_idle: false,
        idle_since: Instant::now(),
        opened: Instant::now(),
    }
}

impl Http1Connection {
    #[inline]
    pub(super) fn is_usable(&self) -> bool {
        self.slot.is_occupied()
    }

    /// Whether it lay idle for so long that the upstream may have closed it without the
    /// runtime having looked.
    #[inline]
    pub(super) fn is_stale(&self) -> bool {
        self.was_idle && self.idle_since.elapsed() >= STALE_AFTER
    }

    /// The next request is the last.
    pub(super) fn take_no_more(&mut self) {
        self.last = true;
    }

    /// It waits for a request.
    pub(super) fn lie_idle(&mut self) {
        self.was_idle = true;
    }

    pub(super) fn opened(&self) -> Instant {
        self.opened
    }

    pub(super) fn idle_since(&self) -> Instant {
        self.idle_since
    }

    /// Whether the upstream may have closed it already, having waited for a request.
    pub(super) fn is_reused(&self) -> bool {
        self.reused || self.was_idle
    }

    pub(super) fn details(&self) -> &Arc<ConnectionDetails> {
        self.slot.details()
    }
}

impl Drop for Http1Connection {
    fn drop(&mut self) {
        self.slot.close();
    }
}

impl Http1Lease {
    pub(super) fn new(
        connection: Http1Connection,
        pool: Rc<HttpPool>,
        active: ActiveRequest,
    ) -> Self {
        Self {
            connection,
            pool,
            active,
        }
    }

    /// Encodes the request; what is returned sends it.
    pub(super) fn send(mut self, request: Request<UpstreamBody>) -> Sending {
        let Some(mut wire) = self.connection.slot.take_quiet() else {
            return Sending(State::Failed(SendFailure {
                reason: ResetReason::ConnectionTermination,
                request: Some(Box::new(request)),
                unprocessed: true,
                sent: None,
            }));
        };
        if let Err(reason) = wire.start(request) {
            // Nothing of it was sent.
            self.give_back(wire);
            return Sending(State::Failed(SendFailure {
                reason,
                request: None,
                unprocessed: true,
                sent: None,
            }));
        }
        let connection = &mut self.connection;
        connection.left = connection.left.saturating_sub(1);
        connection.reused = true;
        connection.details().sent.restart();
        Sending(State::Going(wire, self))
    }

    /// Gives the connection back, whose request and response are through.
    fn give_back(self, wire: Box<Wire>) {
        let Self {
            connection,
            pool,
            active,
        } = self;
        give_back(connection, active.cluster(), &pool, wire);
    }

    /// Where the connection goes later; the request counts as active no more.
    fn home(self) -> (Http1Connection, Rc<WorkerCluster>, Rc<HttpPool>) {
        let Self {
            connection,
            pool,
            active,
        } = self;
        (connection, Rc::clone(active.cluster()), pool)
    }
}

/// Puts a connection that is free again into its pool, unless it is to end.
fn give_back(
    mut connection: Http1Connection,
    cluster: &Rc<WorkerCluster>,
    pool: &Rc<HttpPool>,
    wire: Box<Wire>,
) {
    if connection.last || !wire.keeps_alive() {
        return;
    }
    if connection.left == 0 {
        cluster.stats().upstream_cx_max_requests.inc();
        return;
    }
    let now = Instant::now();
    let limit = cluster.config().max_connection_duration;
    if limit.is_some_and(|limit| now.duration_since(connection.opened) >= limit) {
        cluster.stats().upstream_cx_max_duration_reached.inc();
        return;
    }
    connection.idle_since = now;
    if connection.slot.put(wire) {
        pool.put_http1(connection);
    }
}

impl Future for Sending {
    type Output = Result<Response<ResponseBody>, SendFailure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let state = &mut self.get_mut().0;
        let result = match state {
            State::Going(wire, lease) => {
                let sent = &lease.connection.details().sent;
                ready!(poll_exchange(wire, sent.has_begun(), cx))
            }
            State::Failed(_) | State::Over => Err(ResetReason::ConnectionTermination),
        };
        Poll::Ready(match std::mem::replace(state, State::Over) {
            State::Failed(failure) => Err(failure),
            State::Over => unreachable!("a future is not polled after its end"),
            State::Going(mut wire, lease) => match result {
                Ok(response) => Ok(response.map(|()| body(wire, lease))),
                Err(reason) => Err(SendFailure {
                    reason,
                    request: None,
                    // The upstream had closed before the request came, and all of it came after.
                    unprocessed: lease.connection.details().sent.was_too_late(),
                    sent: wire.take_sent(),
                }),
            },
        })
    }
}

/// Sends, and reads the response's head. Where the upstream takes no more of a request, its
/// response may have come before.
fn poll_exchange(
    wire: &mut Wire,
    has_begun: bool,
    cx: &mut Context<'_>,
) -> Poll<Result<Response<()>, ResetReason>> {
    if !wire.is_sent()
        && let Poll::Ready(Err(reason)) = wire.poll_upload(cx)
    {
        if !has_begun || matches!(reason, ResetReason::RequestBody(_)) {
            return Poll::Ready(Err(reason));
        }
        wire.give_up_upload();
        return match wire.poll_response(cx) {
            Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Ready(Err(reason)),
        };
    }
    wire.poll_response(cx)
}

fn body(wire: Box<Wire>, lease: Http1Lease) -> ResponseBody {
    if wire.is_upgraded() {
        return ResponseBody::http1_upgrade(Http1Upgrade {
            wire,
            _lease: lease,
        });
    }
    if !wire.is_sent() {
        let mut body = Http1Body(Reading::Beside(Beside::upload(wire), lease));
        return if body.size_hint().exact() == Some(0) {
            body.end(true);
            ResponseBody::ended()
        } else {
            ResponseBody::http1(body)
        };
    }
    // Without a body the connection is free at once.
    if wire.is_read() {
        lease.give_back(wire);
        return ResponseBody::ended();
    }
    ResponseBody::http1(Http1Body(Reading::Alone(wire, lease)))
}

impl Http1Body {
    /// The next of the body.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let (frame, is_over) = match &mut self.0 {
            Reading::Over => return Poll::Ready(None),
            Reading::Broken(reason) => {
                let error = BodyError::Upstream(reason.clone());
                self.0 = Reading::Over;
                return Poll::Ready(Some(Err(error)));
            }
            Reading::Alone(wire, _) => (ready!(wire.poll_body(cx)), wire.is_read()),
            Reading::Beside(beside, _) => ready!(beside.poll_body(cx)),
        };
        if let Some(Err(reason)) = frame {
            self.end(false);
            self.0 = Reading::Broken(reason);
            // What came before goes on its way first.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if is_over {
            self.end(true);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Upstream)))
    }

    /// Nothing more is read.
    fn end(&mut self, is_whole: bool) {
        match std::mem::replace(&mut self.0, Reading::Over) {
            // What is there of it already costs nothing to skip.
            Reading::Alone(mut wire, lease) => {
                if is_whole && wire.skip_body() {
                    lease.give_back(wire);
                }
            }
            Reading::Beside(beside, lease) => beside.end(lease, is_whole),
            Reading::Broken(_) | Reading::Over => {}
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        matches!(self.0, Reading::Over)
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        let left = match &self.0 {
            Reading::Over => Some(0),
            Reading::Broken(_) => None,
            Reading::Alone(wire, _) => wire.body_left(),
            Reading::Beside(beside, _) => beside.body_left(),
        };
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Http1Body {
    fn drop(&mut self) {
        self.end(true);
    }
}
