//! HTTP/1.1 connections: one request at a time, back to the pool when both it and its
//! response are through.

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
pub(crate) struct Http1Body {
    /// There until the end.
    exchange: Option<(Box<Wire>, Http1Lease)>,
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
        let connection = &mut self.connection;
        let Some(mut wire) = connection.slot.take_quiet() else {
            return Sending(State::Failed(SendFailure {
                reason: ResetReason::ConnectionTermination,
                request: Some(Box::new(request)),
                unprocessed: true,
            }));
        };
        connection.left = connection.left.saturating_sub(1);
        connection.reused = true;
        if let Err(reason) = wire.start(request) {
            return Sending(State::Failed(SendFailure {
                reason,
                request: None,
                unprocessed: true,
            }));
        }
        connection.details().sent.restart();
        Sending(State::Going(wire, self))
    }

    /// The response is through: gives the connection back, when the request is too.
    fn end(self, mut wire: Box<Wire>) {
        if wire.is_sent() {
            self.give_back(wire);
            return;
        }
        // Rarely: the request's body is still going out.
        let Self {
            connection,
            pool,
            active,
        } = self;
        let cluster = Rc::clone(active.cluster());
        drop(active);
        tokio::task::spawn_local(async move {
            let is_sent = std::future::poll_fn(|cx| match wire.poll_upload(cx) {
                Poll::Ready(result) => Poll::Ready(result.is_ok()),
                Poll::Pending if wire.is_quiet(cx) => Poll::Pending,
                Poll::Pending => Poll::Ready(false),
            });
            if is_sent.await {
                give_back(connection, &cluster, &pool, wire);
            }
        });
    }

    fn give_back(self, wire: Box<Wire>) {
        let Self {
            connection,
            pool,
            active,
        } = self;
        give_back(connection, active.cluster(), &pool, wire);
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
            State::Going(wire, lease) => match result {
                Ok(response) => Ok(response.map(|()| body(wire, lease))),
                Err(reason) => Err(SendFailure {
                    reason,
                    request: None,
                    // The upstream had closed before the request came, and all of it came after.
                    unprocessed: lease.connection.details().sent.was_too_late(),
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
    // Without a body the connection is free at once.
    if wire.is_read() {
        lease.end(wire);
        return ResponseBody::ended();
    }
    ResponseBody::http1(Http1Body {
        exchange: Some((wire, lease)),
    })
}

impl Http1Body {
    /// The next of the body, while the request's goes out beside it.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some((wire, _)) = &mut self.exchange else {
            return Poll::Ready(None);
        };
        if !wire.is_sent()
            && let Poll::Ready(Err(reason)) = wire.poll_upload(cx)
        {
            wire.give_up_upload();
            if let ResetReason::RequestBody(_) = reason {
                self.exchange = None;
                let reason = ResetReason::ConnectionTermination;
                return Poll::Ready(Some(Err(BodyError::Upstream(reason))));
            }
        }
        let frame = ready!(wire.poll_body(cx));
        let is_over = wire.is_read();
        if is_over && let Some((wire, lease)) = self.exchange.take() {
            lease.end(wire);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Upstream)))
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.exchange.is_none()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match &self.exchange {
            None => SizeHint::with_exact(0),
            Some((wire, _)) => {
                let left = wire.body_left();
                left.map_or_else(SizeHint::default, SizeHint::with_exact)
            }
        }
    }
}

impl Drop for Http1Body {
    fn drop(&mut self) {
        // What is there of it already costs nothing to skip.
        if let Some((mut wire, lease)) = self.exchange.take()
            && wire.skip_body()
        {
            lease.end(wire);
        }
    }
}
