//! The streams of one connection of HTTP/2. Each has a place, which the next stream gets when it
//! is done, and with it the place's waker.
//!
//! In: exchanges as they begin. Out: their responses, as fast as the client takes them.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use http::Response;
use http_body::Body as _;
use meltemi_http2::server::SendResponse;
use meltemi_http2::{Reason, RecvStream};
use meltemi_upstream::Http2Bytes;
use tokio::io::AsyncWrite as _;

use super::outgoing::{Outgoing, finish_head};
use super::ready::Ready;
use crate::body::ProxyBody;
use crate::connection::Connection;
use crate::exchange::Reset;
use crate::upgrade::Give;

/// So many places are kept while no stream is there: what comes in waves would else make all of them
/// anew for each.
const KEPT: usize = 64;

/// The streams of a connection.
pub(super) struct Streams<F> {
    places: Vec<Place<F>>,
    free: Vec<usize>,
    /// Where streams are that have not worked yet.
    begun: Vec<usize>,
    ready: Arc<Ready>,
    connection: Rc<Connection>,
}

/// What a tunnel needs of a stream besides its sending half: the receiving half, and where they
/// are waited for.
pub(super) type Tunnelled = (RecvStream, Give);

struct Place<F> {
    waker: Waker,
    work: Work<F>,
}

/// What a stream does.
#[allow(
    clippy::large_enum_variant,
    reason = "a place is used again, and a box for each response costs more"
)]
enum Work<F> {
    /// There is none.
    Nothing,
    /// It waits for the response.
    Exchange {
        exchange: F,
        reply: SendResponse,
        tunnelled: Option<Box<Tunnelled>>,
    },
    /// It sends the response's body.
    Outgoing(Outgoing),
}

impl<F> Streams<F>
where
    F: Future<Output = Result<Response<ProxyBody>, Reset>> + Unpin,
{
    pub(super) fn new(ready: Arc<Ready>, connection: Rc<Connection>) -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            begun: Vec::new(),
            ready,
            connection,
        }
    }

    /// Takes a stream. It works when all that has come has been taken, and the client has been told
    /// what there is to tell.
    pub(super) fn begin(&mut self, exchange: F, reply: SendResponse, tunnelled: Option<Tunnelled>) {
        let work = Work::Exchange {
            exchange,
            reply,
            tunnelled: tunnelled.map(Box::new),
        };
        let index = match self.free.pop() {
            Some(index) => {
                self.places[index].work = work;
                index
            }
            None => {
                let index = self.places.len();
                let waker = self.ready.stream_waker(index);
                self.places.push(Place { waker, work });
                index
            }
        };
        self.begun.push(index);
    }

    /// Lets the streams work that have begun.
    pub(super) fn poll_begun(&mut self) {
        let mut begun = std::mem::take(&mut self.begun);
        for index in begun.drain(..) {
            self.poll(index);
        }
        self.begun = begun;
    }

    /// Lets the stream in this place work, if there still is one.
    pub(super) fn poll(&mut self, index: usize) {
        let Some(Place { waker, work }) = self.places.get_mut(index) else {
            return;
        };
        if matches!(work, Work::Nothing) {
            return;
        }
        let mut cx = Context::from_waker(waker);
        if work.poll(&self.connection, &mut cx).is_pending() {
            return;
        }
        *work = Work::Nothing;
        self.free.push(index);
        // What a connection needed once it does not keep when it needs less.
        if self.free.len() == self.places.len() && self.places.len() > KEPT {
            self.free = Vec::new();
            self.places = Vec::new();
        }
    }
}

impl<F> Work<F>
where
    F: Future<Output = Result<Response<ProxyBody>, Reset>> + Unpin,
{
    /// Ready when the stream is done, or gone.
    fn poll(&mut self, connection: &Connection, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Nothing => Poll::Ready(()),
            Self::Outgoing(outgoing) => match outgoing.poll_reset(cx) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => outgoing.poll(cx),
            },
            Self::Exchange {
                exchange,
                reply,
                tunnelled,
            } => match Pin::new(exchange).poll(cx) {
                // a client that resets the stream is answered no more
                Poll::Pending => reply.poll_reset(cx).map(drop),
                Poll::Ready(Err(Reset)) => {
                    reply.send_reset(Reason::INTERNAL_ERROR);
                    Poll::Ready(())
                }
                Poll::Ready(Ok(response)) => {
                    let tunnelled = tunnelled.take();
                    let Some(mut outgoing) = respond(reply, response, tunnelled, connection, cx)
                    else {
                        return Poll::Ready(());
                    };
                    if outgoing.poll(cx).is_ready() || outgoing.poll_reset(cx).is_ready() {
                        return Poll::Ready(());
                    }
                    *self = Self::Outgoing(outgoing);
                    Poll::Pending
                }
            },
        }
    }
}

/// Sends the response's head. Gives what is still to be sent.
fn respond(
    reply: &mut SendResponse,
    response: Response<ProxyBody>,
    tunnelled: Option<Box<Tunnelled>>,
    connection: &Connection,
    cx: &mut Context<'_>,
) -> Option<Outgoing> {
    let (mut parts, body) = response.into_parts();
    let tunnelled = tunnelled.filter(|_| parts.status.is_success());
    let ends = tunnelled.is_none() && body.is_end_stream();
    let length = match tunnelled {
        None if !ends => body.size_hint().exact(),
        _ => None,
    };
    let is_sound = finish_head(&mut parts.headers, length, tunnelled.is_some(), || {
        connection.worker.date()
    });
    let sent = match is_sound {
        true => reply.send_response(Response::from_parts(parts, ()), ends),
        false => {
            reply.send_reset(Reason::INTERNAL_ERROR);
            return None;
        }
    };
    let send = match sent {
        Ok(send) => send,
        Err(error) => {
            tracing::debug!(%error, "a response cannot be sent");
            reply.send_reset(Reason::INTERNAL_ERROR);
            return None;
        }
    };
    match tunnelled {
        _ if ends => None,
        None => Some(Outgoing::new(body, send)),
        Some(tunnelled) => {
            let (receive, give) = *tunnelled;
            if let Err(mut unwanted) = give.send(Http2Bytes::new(send, receive)) {
                // ignored: who is gone needs no end
                let _ = Pin::new(&mut unwanted).poll_shutdown(cx);
            }
            None
        }
    }
}
