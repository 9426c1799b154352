//! HTTP/2 connections.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use meltemi_net::gather;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep};

use super::io::ClientIo;
use crate::connection::{Connection, Ending};
use crate::exchange;

/// How long at least until it is looked again whether a connection that is to end is still in use.
const LEAST: Duration = Duration::from_millis(50);

/// Spawns a connection's streams on its worker.
#[derive(Clone, Copy, Debug)]
struct LocalExecutor;

impl<F> Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// Serves requests until the connection ends.
pub(super) async fn serve<I>(io: ClientIo<I>, connection: &Rc<Connection>)
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let config = connection.last_settings().manager.config.clone();
    connection.keeps_heads.set(false);
    connection.expects_head.set(false);
    connection.head_began.set(None);
    connection.forget_head();
    connection.with_manager(|_, stats| {
        stats.downstream_cx_http2_total.inc();
        stats.downstream_cx_http2_active.inc();
    });
    let mut builder = http2::Builder::new(LocalExecutor);
    builder
        .initial_stream_window_size(config.http2.initial_stream_window)
        .initial_connection_window_size(config.http2.initial_connection_window)
        .max_concurrent_streams(config.http2.max_concurrent_streams)
        .max_header_list_size(config.max_request_headers_bytes);
    if config.http2.allow_connect {
        builder.enable_connect_protocol();
    }
    if let Some(keepalive) = config.http2.keepalive {
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(keepalive.interval)
            .keep_alive_timeout(keepalive.timeout);
    }
    let drain = config.drain_timeout;
    drop(config);
    let streams = connection.clone();
    let service = service_fn(move |request| exchange::handle(&streams, request));
    let (io, turn) = gather(io);
    let mut codec = std::pin::pin!(builder.serve_connection(TokioIo::new(io), service));
    let mut ending = Ending::Open;
    let mut patience: Option<Pin<Box<Sleep>>> = None;
    let result = std::future::poll_fn(|cx| {
        connection.driven_by(cx.waker());
        let mut progress = codec.as_mut().poll(cx);
        if progress.is_pending() && ending != connection.ending() {
            ending = connection.ending();
            // The handshake came first: without it there is nobody to tell.
            Pin::as_mut(&mut codec).graceful_shutdown();
            patience = Some(Box::pin(tokio::time::sleep(drain)));
            progress = codec.as_mut().poll(cx);
        }
        // ignored: the codec hears of a failure when it reads or writes next
        let _ = turn.poll_send(cx);
        if progress.is_ready() {
            return progress;
        }
        // a client that does not take note of the end is not waited for
        if let Some(sleep) = &mut patience
            && sleep.as_mut().poll(cx).is_ready()
        {
            if connection.active.get() == 0 {
                return Poll::Ready(Ok(()));
            }
            sleep.as_mut().reset(Instant::now() + drain.max(LEAST));
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    })
    .await;
    connection.with_manager(|_, stats| stats.downstream_cx_http2_active.dec());
    if let Err(error) = result {
        connection.with_manager(|_, stats| stats.downstream_cx_protocol_error.inc());
        tracing::debug!(%error, "HTTP/2 client connection failed");
    }
}
