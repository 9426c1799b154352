//! HTTP/2 connections: one task drives the codec and the streams that it carries.
//!
//! In: a byte stream. Out: requests for [`exchange::handle`], and its responses for the client.

mod keepalive;
mod outgoing;
mod ready;
mod streams;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::{Builder, Handshake, SendResponse};
use h2::{Reason, RecvStream};
use http::{Method, Request, Response};
use meltemi_ir as ir;
use meltemi_net::{Gathered, Turn, gather};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::coop::{has_budget_remaining, unconstrained};
use tokio::time::Instant;

use super::close::{Manner, close};
use super::io::ClientIo;
use crate::body::ProxyBody;
use crate::client_body::{ClientBody, content_length};
use crate::connection::{Connection, Ending};
use crate::exchange::{self, Reset};
use crate::upgrade::handover;
use keepalive::Keepalive;
use ready::{Marked, Ready};
use streams::Streams;

/// How often all that has something to do is asked before other connections have their turn.
const ROUNDS: u32 = 16;

/// Most bytes of responses that a stream holds while its window is closed.
const SEND_BUFFER: usize = 400 << 10;

/// Most resets for the client's errors before the connection ends.
const ERROR_RESETS: usize = 1024;

/// Why a connection failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Codec(#[from] h2::Error),
    #[error("a PING was not answered")]
    Keepalive,
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
    let (io, turn) = gather(io);
    let result = {
        let ready = Ready::new();
        let handle = |request| exchange::handle(connection, request);
        let mut driver = Driver::new(io, connection, &options, &ready, handle);
        let codec = ready.codec_waker();
        std::future::poll_fn(|cx| {
            ready.enter(cx.waker());
            let mut cx = Context::from_waker(&codec);
            let progress = driver.poll(&mut cx);
            send(&turn, &mut cx);
            ready.leave();
            progress
        })
        .await
    };
    connection.with_manager(|_, stats| stats.downstream_cx_http2_active.dec());
    if let Err(error) = result {
        connection.with_manager(|_, stats| stats.downstream_cx_protocol_error.inc());
        tracing::debug!(%error, "HTTP/2 client connection failed");
    }
    if let Some(io) = turn.into_stream() {
        close(io, connection, Manner::Delayed).await;
    }
}

/// Sends what was written in a turn, however much the streams have done in it.
fn send<I>(turn: &Turn<ClientIo<I>>, cx: &mut Context<'_>)
where
    I: AsyncWrite + Unpin,
{
    // ignored: the codec hears of a failure when it reads or writes next
    let _ = match has_budget_remaining() {
        true => turn.poll_send(cx),
        false => {
            let send = std::future::poll_fn(|cx| turn.poll_send(cx));
            std::pin::pin!(unconstrained(send)).poll(cx)
        }
    };
}

/// A connection and its streams.
struct Driver<'a, I, H, F> {
    codec: Codec<Gathered<ClientIo<I>>>,
    connection: &'a Rc<Connection>,
    keepalive: Option<ir::Http2Keepalive>,
    /// The client has been told that the connection ends.
    told: bool,
    /// It did not answer a PING.
    lost: bool,
    handle: H,
    streams: Streams<F>,
    ready: Arc<Ready>,
    marked: Marked,
}

/// What speaks HTTP/2.
enum Codec<I> {
    Handshaking(Box<Handshake<I, Bytes>>),
    Serving {
        connection: Box<h2::server::Connection<I, Bytes>>,
        keepalive: Option<Keepalive>,
    },
}

impl<'a, I, H, F> Driver<'a, I, H, F>
where
    I: AsyncRead + AsyncWrite + Unpin,
    H: FnMut(Request<ClientBody>) -> F,
    F: Future<Output = Result<Response<ProxyBody>, Reset>> + Unpin,
{
    fn new(
        io: Gathered<ClientIo<I>>,
        connection: &'a Rc<Connection>,
        options: &ir::Http2Options,
        ready: &Arc<Ready>,
        handle: H,
    ) -> Self {
        let most = connection.with_manager(|it, _| it.config.max_request_headers_bytes);
        let mut builder = Builder::new();
        builder
            .initial_window_size(options.initial_stream_window)
            .initial_connection_window_size(options.initial_connection_window)
            .max_concurrent_streams(options.max_concurrent_streams)
            .max_frame_size(16 << 10)
            .max_header_list_size(most)
            .max_local_error_reset_streams(Some(ERROR_RESETS))
            .max_send_buffer_size(SEND_BUFFER);
        if options.allow_connect {
            builder.enable_connect_protocol();
        }
        if options.keepalive.is_some() {
            connection.read_at.set(Some(Instant::now()));
        }
        Self {
            codec: Codec::Handshaking(Box::new(builder.handshake(io))),
            connection,
            keepalive: options.keepalive,
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
            // The handshake comes first: without it there is nobody to tell.
            if let Codec::Serving { connection, .. } = &mut self.codec {
                self.told = true;
                connection.graceful_shutdown();
                return self.poll_accept(cx);
            }
        }
        progress
    }

    /// Takes what comes until nothing does. Ready when the connection is at its end.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        loop {
            let (codec, keepalive) = match &mut self.codec {
                Codec::Serving {
                    connection,
                    keepalive,
                } => (connection, keepalive),
                Codec::Handshaking(handshake) => {
                    let mut connection = Box::new(ready!(Pin::new(handshake).poll(cx))?);
                    let config = self.keepalive;
                    let pings = config.and_then(|it| Some((it, connection.ping_pong()?)));
                    let keepalive = pings.map(|(config, pings)| Keepalive::new(config, pings));
                    self.codec = Codec::Serving {
                        connection,
                        keepalive,
                    };
                    continue;
                }
            };
            if let (Some(pings), Some(heard)) = (&mut *keepalive, self.connection.read_at.get())
                && pings.poll(cx, heard).is_ready()
            {
                codec.abrupt_shutdown(Reason::NO_ERROR);
                *keepalive = None;
                self.lost = true;
            }
            match ready!(codec.poll_accept(cx)) {
                Some(Ok((request, reply))) => self.accept(request, reply),
                Some(Err(error)) => return Poll::Ready(Err(error.into())),
                None if self.lost => return Poll::Ready(Err(Failure::Keepalive)),
                None => return Poll::Ready(Ok(())),
            }
        }
    }

    /// A request begins.
    fn accept(&mut self, request: Request<RecvStream>, mut reply: SendResponse<Bytes>) {
        let (mut parts, receive) = request.into_parts();
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
        let (give, take) = handover();
        parts.extensions.insert(take);
        let exchange = (self.handle)(Request::from_parts(parts, ClientBody::Empty));
        self.streams.begin(exchange, reply, Some((receive, give)));
    }
}
