//! The h2c side of the scripted upstream, by prior knowledge: one connection in, replies out.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::reply::{Content, Ending};
use super::{Received, Reply, State, on_purpose};
use crate::message::Headers;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A response body fed by the task that carries out the script.
struct Feed(mpsc::Receiver<io::Result<Frame<Bytes>>>);

/// Whether the client opens with HTTP/2's preface; takes nothing from the stream.
pub(super) async fn starts_with_preface(stream: &TcpStream) -> io::Result<bool> {
    let mut bytes = [0; PREFACE.len()];
    loop {
        let length = stream.peek(&mut bytes).await?;
        if length == 0 || !PREFACE.starts_with(&bytes[..length]) {
            return Ok(false);
        }
        if length == PREFACE.len() {
            return Ok(true);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(super) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    state: &Arc<State>,
    number: usize,
) -> io::Result<()> {
    let service = service_fn(move |request| respond(request, Arc::clone(state), number));
    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await
        .map_err(io::Error::other)
}

async fn respond(
    request: http::Request<Incoming>,
    state: Arc<State>,
    number: usize,
) -> io::Result<http::Response<Feed>> {
    let request = receive(request, number).await?;
    let mut reply = state.receive(request.clone());
    tokio::time::sleep(reply.delay).await;
    match reply.ending {
        Ending::Silence => return std::future::pending().await,
        Ending::BreakBeforeHead | Ending::EchoBytes => return Err(on_purpose()),
        Ending::KeepAlive | Ending::Close | Ending::BreakInBody => {}
    }
    let (pieces, pause) = match std::mem::replace(&mut reply.content, Content::Echo) {
        Content::Raw(_) => return Err(on_purpose()),
        Content::Whole(body) => (vec![body], Duration::ZERO),
        Content::Pieces { pieces, pause } => (pieces, pause),
        Content::Echo => {
            if let Some(kind) = request.header("content-type") {
                reply.headers.push("content-type", kind);
            }
            (vec![request.body], Duration::ZERO)
        }
    };
    let mut response = http::Response::builder().status(reply.status);
    if let Some(headers) = response.headers_mut() {
        *headers = header_map(&reply.headers)?;
    }
    let (feed, body) = mpsc::channel(1);
    tokio::spawn(write_body(feed, reply, pieces, pause));
    response.body(Feed(body)).map_err(io::Error::other)
}

async fn receive(request: http::Request<Incoming>, connection: usize) -> io::Result<Received> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?;
    let mut headers = Headers::new();
    if let Some(authority) = parts.uri.authority() {
        headers.push(":authority", authority.as_str());
    }
    for (name, value) in Headers::from(&parts.headers).iter() {
        headers.push(name, value);
    }
    let trailers = body.trailers().map(Headers::from).unwrap_or_default();
    Ok(Received {
        method: parts.method.to_string(),
        target: parts
            .uri
            .path_and_query()
            .map_or_else(|| "*".to_owned(), ToString::to_string),
        version: "HTTP/2".to_owned(),
        headers,
        body: body.to_bytes(),
        trailers,
        connection,
    })
}

async fn write_body(
    feed: mpsc::Sender<io::Result<Frame<Bytes>>>,
    reply: Reply,
    pieces: Vec<Bytes>,
    pause: Duration,
) {
    for piece in pieces.into_iter().filter(|piece| !piece.is_empty()) {
        if feed.send(Ok(Frame::data(piece))).await.is_err() {
            return;
        }
        tokio::time::sleep(pause).await;
    }
    let end = if reply.ending == Ending::BreakInBody {
        Err(on_purpose())
    } else if reply.trailers.is_empty() {
        return;
    } else {
        header_map(&reply.trailers).map(Frame::trailers)
    };
    // ignored: a client that left early wants no end
    let _ = feed.send(end).await;
}

/// Converts scripted fields; a name or value that HTTP/2 cannot carry is an error.
pub(crate) fn header_map(headers: &Headers) -> io::Result<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in headers.iter() {
        let name = HeaderName::try_from(name).map_err(io::Error::other)?;
        map.append(
            name,
            HeaderValue::try_from(value).map_err(io::Error::other)?,
        );
    }
    Ok(map)
}

impl Body for Feed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(context)
    }
}
