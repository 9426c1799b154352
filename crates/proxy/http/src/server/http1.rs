//! HTTP/1 connections.

use std::future::Future as _;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use meltemi_telemetry::{Protocol, ResponseFlags};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use super::io::ClientIo;
use super::refusal::CodecRefusal;
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
    let service = service_fn(|request| async {
        let answer = exchange::handle(connection, request).await;
        answer.map(|answer| announced(connection, answer))
    });
    let mut codec = builder.serve_connection(TokioIo::new(io), service);
    let mut ending = Ending::Open;
    let result = std::future::poll_fn(|cx| {
        connection.driven_by(cx.waker());
        if ending != connection.ending() {
            ending = connection.ending();
            match ending {
                Ending::HeaderTimeout => return Poll::Ready(Ok(())),
                Ending::Open | Ending::Draining => {}
                Ending::Graceful => Pin::new(&mut codec).graceful_shutdown(),
            }
        }
        let progress = Pin::new(&mut codec).poll(cx);
        if progress.is_pending() && connection.head_began.get().is_some() {
            connection.watch.notify_one();
        }
        progress
    })
    .await;
    connection.with_manager(|_, stats| stats.downstream_cx_http1_active.dec());
    match result {
        Ok(()) if ending == Ending::HeaderTimeout => {
            refuse(
                codec.into_parts().io.into_inner(),
                connection,
                CodecRefusal::LATE,
            )
            .await;
        }
        Ok(()) => {
            let tunnel = connection.tunnel.take();
            if let Some(tunnel) = tunnel {
                let parts = codec.into_parts();
                let mut io = parts.io.into_inner();
                io.unread(parts.read_buf);
                tunnel.run(io).await;
            }
        }
        Err(error) if error.is_parse() => {
            connection.with_manager(|_, stats| stats.downstream_cx_protocol_error.inc());
            match connection.refused.take() {
                Some(refusal) => record_failure(connection, refusal),
                // the codec had no answer to this
                None => {
                    let head = connection.head_bytes.borrow().clone();
                    let refusal = CodecRefusal::of(&head, error.is_parse_too_large());
                    let io = codec.into_parts().io.into_inner();
                    refuse(io, connection, refusal).await;
                }
            }
        }
        Err(error) => tracing::debug!(%error, "HTTP/1 client connection failed"),
    }
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

/// Answers to what is no request, and ends the connection.
async fn refuse<I>(mut io: ClientIo<I>, connection: &Rc<Connection>, refusal: CodecRefusal)
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    // Whether or not the client still listens.
    let _ = io.write_all(&refusal.bytes(connection)).await;
    let _ = io.shutdown().await;
    record_failure(connection, refusal);
}

/// Writes the record of a request that never became one.
fn record_failure(connection: &Rc<Connection>, refusal: CodecRefusal) {
    let end = Stream::begin(connection, connection.settings(), Protocol::Http11);
    if refusal != CodecRefusal::LATE {
        end.0.flag(ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR);
    }
    end.0.explain(refusal.details);
    end.0.bytes_sent.set(refusal.text.len() as u64);
    end.0.note_response(refusal.status, &http::HeaderMap::new());
    end.0.response_ended();
}
