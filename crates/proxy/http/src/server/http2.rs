//! HTTP/2 connections.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use meltemi_net::gather;
use tokio::io::{AsyncRead, AsyncWrite};

use super::close::{Manner, close};
use super::io::ClientIo;
use crate::connection::{Connection, Ending};
use crate::exchange;

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
    drop(config);
    let streams = connection.clone();
    let service = service_fn(move |request| exchange::handle(&streams, request));
    let (io, turn) = gather(io);
    let result = {
        let mut codec = std::pin::pin!(builder.serve_connection(TokioIo::new(io), service));
        let mut told = false;
        std::future::poll_fn(|cx| {
            connection.driven_by(cx.waker());
            let mut progress = codec.as_mut().poll(cx);
            let ending = connection.ending();
            if progress.is_pending() && !told && ending != Ending::Open {
                told = true;
                // The handshake came first: without it there is nobody to tell.
                Pin::as_mut(&mut codec).graceful_shutdown();
                progress = codec.as_mut().poll(cx);
            }
            // ignored: the codec hears of a failure when it reads or writes next
            let _ = turn.poll_send(cx);
            // a client that does not take note of the end is not waited for
            let over = ending == Ending::Graceful && connection.active.get() == 0;
            if progress.is_pending() && over {
                return Poll::Ready(Ok(()));
            }
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
