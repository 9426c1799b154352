//! HTTP/1 connections.

use std::future::Future as _;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use http::header::{self, HeaderValue};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use meltemi_telemetry::{Protocol, ResponseFlags};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use super::close::{Manner, close};
use super::io::ClientIo;
use super::refusal::CodecRefusal;
use crate::client_body::ClientBody;
use crate::connection::{Connection, Ending};
use crate::exchange;
use crate::stream::Stream;

/// Serves requests until the connection ends; after an upgrade, lets its bytes flow.
pub(super) async fn serve<I>(io: ClientIo<I>, connection: &Rc<Connection>)
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let settings = connection.last_settings();
    let config = settings.manager.config.clone();
    drop(settings);
    connection.with_manager(|_, stats| {
        stats.downstream_cx_http1_total.inc();
        stats.downstream_cx_http1_active.inc();
    });
    let mut builder = http1::Builder::new();
    builder
        .max_header_size(config.max_request_headers_bytes as usize)
        .preserve_header_case(config.http1.preserve_case)
        .title_case_headers(config.http1.proper_case);
    if config.max_headers_count > 100 {
        builder.max_headers(config.max_headers_count as usize);
    }
    drop(config);
    let mut io = Some(io);
    // A codec ends with the response that says so. Where that was said for a drain, the connection
    // gets another for whoever comes all the same.
    while let Some(stream) = io.take() {
        io = serve_some(stream, &builder, connection).await;
    }
    connection.with_manager(|_, stats| stats.downstream_cx_http1_active.dec());
}

/// Serves until the codec ends. Gives the stream back where it may carry more requests; else the
/// connection is closed.
async fn serve_some<I>(
    io: ClientIo<I>,
    builder: &http1::Builder,
    connection: &Rc<Connection>,
) -> Option<ClientIo<I>>
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let service = service_fn(|request: Request<Incoming>| async {
        let request = request.map(ClientBody::Http1);
        let answer = exchange::handle(connection, request).await;
        answer.map(|answer| announced(connection, answer))
    });
    let mut codec = builder.serve_connection(TokioIo::new(io), service);
    let mut ending = Ending::Open;
    let mut idle = false;
    let result = std::future::poll_fn(|cx| {
        connection.driven_by(cx.waker());
        if ending != connection.ending() {
            ending = connection.ending();
            match ending {
                Ending::HeaderTimeout => return Poll::Ready(Ok(())),
                Ending::Open | Ending::Draining => {}
                Ending::Graceful => {
                    idle = connection.active.get() == 0;
                    Pin::new(&mut codec).graceful_shutdown();
                }
            }
        }
        let progress = Pin::new(&mut codec).poll(cx);
        if progress.is_pending() && connection.head_began.get().is_some() {
            connection.watch.notify_one();
        }
        progress
    })
    .await;
    let is_parse = result.as_ref().is_err_and(hyper::Error::is_parse);
    let is_too_large = result.as_ref().is_err_and(hyper::Error::is_parse_too_large);
    if let Err(error) = result
        && !is_parse
    {
        tracing::debug!(%error, "HTTP/1 client connection failed");
        connection.client_is_gone();
    }
    let parts = codec.into_parts();
    let mut io = parts.io.into_inner();
    if is_parse {
        connection.with_manager(|_, stats| stats.downstream_cx_protocol_error.inc());
        match connection.refused.take() {
            Some(refusal) => record_failure(connection, refusal),
            // the codec had no answer to this
            None => {
                let head = connection.head_bytes.borrow().clone();
                let refusal = CodecRefusal::of(&head, is_too_large);
                refuse(&mut io, connection, refusal).await;
            }
        }
        close(io, connection, Manner::Delayed).await;
        return None;
    }
    if ending == Ending::HeaderTimeout {
        refuse(&mut io, connection, CodecRefusal::LATE).await;
        close(io, connection, Manner::Delayed).await;
        return None;
    }
    let tunnel = connection.tunnel.take();
    if let Some(tunnel) = tunnel {
        io.release();
        io.unread(parts.read_buf);
        tunnel.run(io).await;
        return None;
    }
    let left = connection.left.get();
    if left.whole && connection.ending() == Ending::Draining && !connection.is_gone() {
        io.unread(parts.read_buf);
        return Some(io);
    }
    let manner = match idle {
        true if !connection.heard.get() => Manner::AtOnce,
        true => Manner::Told,
        false if left.for_good => Manner::AtOnce,
        false => Manner::Delayed,
    };
    close(io, connection, manner).await;
    None
}

/// The answer, which says that it is the last where the connection drains.
fn announced<B>(connection: &Connection, mut answer: Response<B>) -> Response<B> {
    let is_http = answer.status() != StatusCode::SWITCHING_PROTOCOLS;
    if connection.ending() == Ending::Draining && is_http {
        let close = HeaderValue::from_static("close");
        answer.headers_mut().insert(header::CONNECTION, close);
    }
    answer
}

/// Answers to what is no request.
async fn refuse<I>(io: &mut ClientIo<I>, connection: &Rc<Connection>, refusal: CodecRefusal)
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    // Whether or not the client still listens.
    let _ = io.write_all(&refusal.bytes(connection)).await;
    record_failure(connection, refusal);
}

/// Writes the record of a request that never became one.
fn record_failure(connection: &Rc<Connection>, refusal: CodecRefusal) {
    let end = Stream::begin(connection, connection.settings(), Protocol::Http11);
    if refusal.breaks_in() {
        connection.with_manager(|_, stats| {
            stats.downstream_rq_response_before_rq_complete.inc();
            stats.downstream_rq_rx_reset.inc();
        });
    }
    if refusal != CodecRefusal::LATE {
        end.0.flag(ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR);
    }
    end.0.explain(refusal.details);
    end.0.bytes_sent.set(refusal.text.len() as u64);
    end.0.note_response(refusal.status, &http::HeaderMap::new());
    end.0.response_ended();
}
