//! TCP connections carried over HTTP: the request that asks a host for it, and the bytes that then
//! go both ways (`tunneling_config` of the TCP proxy, which calls this).
//!
//! In: a cluster's host and what is known of the connection. Out: a stream, or why there is none.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::header::{HOST, HeaderValue};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body::{Body, Frame};
use meltemi_ir as ir;
use meltemi_telemetry::{Formatter, StreamRecord};
use meltemi_upstream::{
    BodyError, ConnectFailure, ConnectionDetails, HttpOptions, HttpVersion, Outcome, Proxied,
    ResponseBody, UpgradedStream, UpstreamBody, WorkerCluster, WorkerHost, upgrade,
};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use crate::Mutation;

/// How many of a client's bytes wait for a request's body to take them.
const BUFFER: usize = 64 << 10;

/// How connections are carried over HTTP, compiled.
#[derive(Debug)]
pub struct Tunneling {
    hostname: Formatter,
    headers: Mutation,
    post: Option<PathAndQuery>,
    keep_headers: bool,
}

/// A tunnel that a host has agreed to.
pub struct Tunnel {
    /// The bytes.
    pub stream: TunnelStream,
    /// The connection that they go over.
    pub details: Arc<ConnectionDetails>,
    /// The answer's head as filter state, where it is to be kept.
    pub headers: Option<String>,
}

/// Why there is none.
#[derive(Debug)]
pub enum TunnelFailure {
    /// There is no connection to the host.
    Connect(ConnectFailure),
    /// The host said something else than that there is one.
    Refused {
        /// What it said.
        status: StatusCode,
        /// Its answer's head as filter state, where it is to be kept.
        headers: Option<String>,
    },
    /// It said nothing that is an answer.
    Broken,
}

/// The bytes of a tunnel. The request stays active until it is dropped.
pub enum TunnelStream {
    /// After `CONNECT`.
    Upgraded(UpgradedStream),
    /// In the bodies of a `POST` and its answer.
    Bodies {
        /// What becomes the request's.
        send: DuplexStream,
        /// The answer's.
        receive: ResponseBody,
        /// Received, not read yet.
        unread: Bytes,
    },
}

impl Tunneling {
    /// Compiles the settings.
    ///
    /// # Errors
    /// With the field and what is wrong with it.
    pub fn new(config: &ir::Tunneling) -> Result<Self, String> {
        let ir::Tunneling {
            hostname,
            post,
            headers_to_add,
            propagate_response_headers,
        } = config;
        Ok(Self {
            hostname: Formatter::parse(hostname).map_err(|error| format!("hostname: {error}"))?,
            headers: Mutation::new(headers_to_add)
                .map_err(|error| format!("headers_to_add: {error}"))?,
            post: post.clone(),
            keep_headers: *propagate_response_headers,
        })
    }

    /// Asks a host for a tunnel.
    ///
    /// # Errors
    /// When it gives none.
    pub async fn open(
        &self,
        cluster: &Rc<WorkerCluster>,
        host: &Rc<WorkerHost>,
        record: &StreamRecord<'_>,
        proxied: &Proxied,
    ) -> Result<Tunnel, TunnelFailure> {
        let options = HttpOptions {
            downstream: HttpVersion::Http1,
            priority: ir::Priority::Default,
            alpn: None,
            called: None,
            proxied: Some(proxied),
        };
        let lease = cluster.http(host, options).await;
        let mut lease = lease.map_err(TunnelFailure::Connect)?;
        // who refuses a tunnel is asked again on a connection that nothing was refused on
        lease.ends_connection();
        host.report(Outcome::Connected);
        let (version, details) = (lease.version(), Arc::clone(lease.details()));
        let (request, send) = self.request(record).ok_or(TunnelFailure::Broken)?;
        let response = lease.send(request).await;
        let response = response.map_err(|_| TunnelFailure::Broken)?;
        let headers = self.keep_headers.then(|| as_state(&response));
        let status = response.status();
        let agreed = match version {
            HttpVersion::Http1 => status.is_success(),
            HttpVersion::Http2 => status == StatusCode::OK,
        };
        if !agreed {
            return Err(TunnelFailure::Refused { status, headers });
        }
        let stream = match send {
            Some(send) => TunnelStream::Bodies {
                send,
                receive: response.into_body(),
                unread: Bytes::new(),
            },
            None => {
                let upgraded = upgrade(response).await;
                TunnelStream::Upgraded(upgraded.map_err(|_| TunnelFailure::Broken)?)
            }
        };
        Ok(Tunnel {
            stream,
            details,
            headers,
        })
    }

    /// The request, and what its body is written to; none where it names no host.
    fn request(
        &self,
        record: &StreamRecord<'_>,
    ) -> Option<(Request<UpstreamBody>, Option<DuplexStream>)> {
        let mut name = Vec::new();
        self.hostname.format(record, &mut name);
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_bytes(&name).ok()?);
        self.headers.write(&mut headers, record);
        let (method, uri, body, send) = match &self.post {
            None => {
                let authority = Authority::try_from(name.as_slice()).ok()?;
                let mut parts = http::uri::Parts::default();
                parts.authority = Some(authority);
                let uri = Uri::from_parts(parts).ok()?;
                (Method::CONNECT, uri, UpstreamBody::Empty, None)
            }
            Some(path) => {
                let (send, body) = tokio::io::duplex(BUFFER);
                let body = UpstreamBody::Boxed(Box::pin(Sent(body)));
                (Method::POST, Uri::from(path.clone()), body, Some(send))
            }
        };
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Some((request, send))
    }
}

/// An answer's head as Envoy's filter state has it.
fn as_state(response: &Response<ResponseBody>) -> String {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let status = json!({ "key": ":status", "value": response.status().as_str() });
    let headers = response.headers().iter();
    let headers =
        headers.map(|(name, value)| json!({ "key": name.as_str(), "value": text(value) }));
    let all: Vec<_> = std::iter::once(status).chain(headers).collect();
    json!({ "headers": all }).to_string()
}

/// What is written to the other end, as a body.
struct Sent(DuplexStream);

impl Body for Sent {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut space = [MaybeUninit::uninit(); 16 << 10];
        let mut buffer = ReadBuf::uninit(&mut space);
        let read = ready!(Pin::new(&mut self.0).poll_read(cx, &mut buffer));
        Poll::Ready(match read {
            Err(error) => Some(Err(BodyError::Source(error.into()))),
            Ok(()) if buffer.filled().is_empty() => None,
            Ok(()) => Some(Ok(Frame::data(Bytes::copy_from_slice(buffer.filled())))),
        })
    }
}

impl AsyncRead for TunnelStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Upgraded(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Bodies {
                receive, unread, ..
            } => {
                while unread.is_empty() {
                    match ready!(Pin::new(&mut *receive).poll_frame(cx)) {
                        None => return Poll::Ready(Ok(())),
                        Some(Ok(frame)) => *unread = frame.into_data().unwrap_or_default(),
                        Some(Err(error)) => {
                            let kind = io::ErrorKind::ConnectionReset;
                            return Poll::Ready(Err(io::Error::new(kind, error.to_string())));
                        }
                    }
                }
                let count = unread.len().min(buf.remaining());
                buf.put_slice(&unread[..count]);
                unread.advance(count);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Upgraded(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Bodies { send, .. } => Pin::new(send).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Upgraded(stream) => Pin::new(stream).poll_flush(cx),
            Self::Bodies { send, .. } => Pin::new(send).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Upgraded(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Bodies { send, .. } => Pin::new(send).poll_shutdown(cx),
        }
    }
}
