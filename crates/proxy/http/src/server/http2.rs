//! HTTP/2 connections: one task drives the codec and the streams that it carries.
//!
//! In: a byte stream. Out: requests for [`exchange::handle`], and its responses for the client.

mod keepalive;
mod outgoing;
mod ready;
mod streams;

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Method, Request, Response};
use meltemi_http2::server::{self as codec, SendResponse};
use meltemi_http2::{Reason, RecvStream};
use meltemi_ir as ir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::task::coop::{has_budget_remaining, unconstrained};
use tokio::time::Instant;

use super::close::{Manner, close};
use super::io::ClientIo;
use crate::body::ProxyBody;
use crate::client_body::{ClientBody, content_length};
use crate::connection::{Connection, Ending};
use crate::exchange::{self, Reset};
use keepalive::Keepalive;
use ready::{Marked, Ready};
use streams::Streams;

/// How often all that has something to do is asked before other connections have their turn.
const ROUNDS: u32 = 16;

/// Why a connection failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Codec(#[from] meltemi_http2::Error),
    #[error("a PING was not answered")]
    Keepalive,
}

impl Failure {
    /// Whether the client reset too many of its requests too early.
    fn is_for_resets(&self) -> bool {
        match self {
            Self::Codec(error) => error.is_premature_resets(),
            Self::Keepalive => false,
        }
    }
}

/// Serves requests until the connection ends.
pub(super) async fn serve<I>(io: ClientIo<I>, connection: &Rc<Connection>)
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let options = connection.last_settings().manager.config.http2.clone();
    connection.keeps_heads.set(false);
    connection.expects_head.set(false);
    connection.head_began.set(None);
    connection.forget_head();
    connection.with_manager(|_, stats| {
        stats.downstream_cx_http2_total.inc();
        stats.downstream_cx_http2_active.inc();
    });
    let (result, io) = {
        let ready = Ready::new();
        let handle = |request| exchange::handle(connection, request);
        let mut driver = Driver::new(io, connection, &options, &ready, handle);
        let codec = ready.codec_waker();
        let result = std::future::poll_fn(|cx| {
            ready.enter(cx.waker());
            let mut cx = Context::from_waker(&codec);
            let progress = driver.poll(&mut cx);
            driver.send(&mut cx);
            ready.leave();
            progress
        })
        .await;
        (result, driver.codec.into_io())
    };
    connection.with_manager(|_, stats| stats.downstream_cx_http2_active.dec());
    if let Err(error) = result {
        connection.with_manager(|_, stats| {
            stats.downstream_cx_protocol_error.inc();
            if error.is_for_resets() {
                stats.downstream_rq_too_many_premature_resets.inc();
            }
        });
        tracing::debug!(%error, "HTTP/2 client connection failed");
    }
    close(io, connection, Manner::Delayed).await;
}

/// A connection and its streams.
struct Driver<'a, I, H, F> {
    codec: codec::Connection<ClientIo<I>>,
    connection: &'a Rc<Connection>,
    keepalive: Option<Keepalive>,
    /// The client has been told that the connection ends.
    told: bool,
    /// It did not answer a PING.
    lost: bool,
    handle: H,
    streams: Streams<F>,
    ready: Arc<Ready>,
    marked: Marked,
}

impl<'a, I, H, F> Driver<'a, I, H, F>
where
    I: AsyncRead + AsyncWrite + Unpin,
    H: FnMut(Request<ClientBody>) -> F,
    F: Future<Output = Result<Response<ProxyBody>, Reset>> + Unpin,
{
    fn new(
        io: ClientIo<I>,
        connection: &'a Rc<Connection>,
        options: &ir::Http2Options,
        ready: &Arc<Ready>,
        handle: H,
    ) -> Self {
        let most = connection.with_manager(|it, _| it.config.max_request_headers_bytes);
        let config = codec::Config {
            stream_window: options.initial_stream_window,
            connection_window: options.initial_connection_window,
            max_concurrent_streams: options.max_concurrent_streams,
            max_header_list_size: most,
            enable_connect_protocol: options.allow_connect,
        };
        let codec = codec::Connection::new(io, &config);
        let keepalive = options.keepalive;
        let keepalive = keepalive.map(|it| Keepalive::new(it, codec.ping_pong()));
        if keepalive.is_some() {
            connection.read_at.set(Some(Instant::now()));
        }
        Self {
            codec,
            connection,
            keepalive,
            told: false,
            lost: false,
            handle,
            streams: Streams::new(ready.clone(), connection.clone()),
            ready: ready.clone(),
            marked: Marked::default(),
        }
    }

    /// Lets everybody work who has something to do. `cx` is the codec's.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        for _ in 0..ROUNDS {
            if !self.ready.take(&mut self.marked) {
                // a client that does not take note of the end is not waited for
                let over = self.connection.ending() == Ending::Graceful;
                return match over && self.connection.active.get() == 0 {
                    true => Poll::Ready(Ok(())),
                    false => Poll::Pending,
                };
            }
            if self.marked.codec {
                let progress = self.poll_codec(cx);
                if progress.is_ready() {
                    return progress;
                }
                self.streams.poll_begun();
            }
            while let Some(index) = self.marked.next_stream() {
                self.streams.poll(index);
            }
            if !has_budget_remaining() {
                break;
            }
        }
        // the marks that there are wake the task again
        Poll::Pending
    }

    fn poll_codec(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.connection.driven_by(cx.waker());
        let progress = self.poll_accept(cx);
        if progress.is_pending() && !self.told && self.connection.ending() != Ending::Open {
            self.told = true;
            self.codec.graceful_shutdown();
            return self.poll_accept(cx);
        }
        progress
    }

    /// Takes what comes until nothing does. Ready when the connection is at its end.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        loop {
            if let (Some(pings), Some(heard)) = (&mut self.keepalive, self.connection.read_at.get())
                && pings.poll(cx, heard).is_ready()
            {
                self.codec.abrupt_shutdown(Reason::NO_ERROR);
                self.keepalive = None;
                self.lost = true;
            }
            match ready!(self.codec.poll_accept(cx)) {
                Some(Ok((request, reply))) => self.accept(request, reply),
                Some(Err(error)) => return Poll::Ready(Err(error.into())),
                None if self.lost => return Poll::Ready(Err(Failure::Keepalive)),
                None => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Sends what was written in a turn, however much the streams have done in it.
    fn send(&mut self, cx: &mut Context<'_>) {
        // ignored: what comes next from the codec tells of a failure
        let _ = match has_budget_remaining() {
            true => self.codec.poll_flush(cx),
            false => {
                let flush = std::future::poll_fn(|cx| self.codec.poll_flush(cx));
                pin!(unconstrained(flush)).poll(cx)
            }
        };
    }

    /// A request begins.
    fn accept(&mut self, request: Request<RecvStream>, mut reply: SendResponse) {
        let (parts, receive) = request.into_parts();
        if parts.method != Method::CONNECT {
            let body = ClientBody::http2(receive, &parts.headers);
            let exchange = (self.handle)(Request::from_parts(parts, body));
            self.streams.begin(exchange, reply, None);
            return;
        }
        // what follows the head is no content
        if content_length(&parts.headers).is_some_and(|length| length != 0) {
            reply.send_reset(Reason::INTERNAL_ERROR);
            return;
        }
        let (give, take) = oneshot::channel();
        let exchange = (self.handle)(Request::from_parts(parts, ClientBody::Tunnel(take)));
        self.streams.begin(exchange, reply, Some((receive, give)));
    }
}
