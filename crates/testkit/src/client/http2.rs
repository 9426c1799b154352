//! An h2c client by prior knowledge: many requests on one connection, at once if wanted.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::ClientError;
use crate::message::{Headers, Request, Response};
use crate::upstream::header_map;

/// A whole body, with trailers where the request has some.
type RequestBody = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// One HTTP/2 connection, without TLS unless told otherwise; clones share it.
#[derive(Clone)]
pub struct Http2Client {
    sender: SendRequest<RequestBody>,
    address: SocketAddr,
}

impl Http2Client {
    /// Opens a connection and exchanges prefaces.
    ///
    /// # Errors
    /// When the peer refuses or does not speak HTTP/2.
    pub async fn connect(address: SocketAddr) -> Result<Self, ClientError> {
        let io_error = |source| ClientError::Io { address, source };
        let stream = TcpStream::connect(address).await.map_err(io_error)?;
        stream.set_nodelay(true).map_err(io_error)?;
        Self::over(stream, address).await
    }

    /// A client on a connection that is there already, to the peer that errors name.
    ///
    /// # Errors
    /// When the peer does not speak HTTP/2.
    pub async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        address: SocketAddr,
    ) -> Result<Self, ClientError> {
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|source| ClientError::Http2 { address, source })?;
        tokio::spawn(connection);
        Ok(Self { sender, address })
    }

    /// Sends a request and reads the whole response. The request's `host` becomes `:authority`.
    ///
    /// # Errors
    /// When the connection or the stream fails.
    pub async fn send(&self, request: &Request) -> Result<Response, ClientError> {
        let address = self.address;
        let failed = |source| ClientError::Http2 { address, source };
        let request =
            convert(request, address).map_err(|source| ClientError::Io { address, source })?;
        let response = self
            .sender
            .clone()
            .send_request(request)
            .await
            .map_err(failed)?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(failed)?;
        let trailers = body.trailers().map(Headers::from).unwrap_or_default();
        Ok(Response {
            status: parts.status.as_u16(),
            version: "HTTP/2".to_owned(),
            informational: Vec::new(),
            headers: Headers::from(&parts.headers),
            body: body.to_bytes(),
            trailers,
        })
    }

    /// Sends a `GET`.
    ///
    /// # Errors
    /// As [`Http2Client::send`].
    pub async fn get(&self, target: &str) -> Result<Response, ClientError> {
        self.send(&Request::get(target)).await
    }

    /// Whether the peer closed the connection, or said it will.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

fn convert(request: &Request, peer: SocketAddr) -> std::io::Result<http::Request<RequestBody>> {
    let authority = request
        .headers
        .get("host")
        .map_or_else(|| peer.to_string(), str::to_owned);
    let uri = if request.target.contains("://") {
        request.target.clone()
    } else {
        format!("http://{authority}{}", request.target)
    };
    let body = Full::new(request.body.clone());
    let body = if request.trailers.is_empty() {
        body.boxed_unsync()
    } else {
        let trailers = header_map(&request.trailers)?;
        body.with_trailers(async { Some(Ok(trailers)) })
            .boxed_unsync()
    };
    let mut converted = http::Request::builder()
        .method(request.method.as_str())
        .uri(uri)
        .body(body)
        .map_err(std::io::Error::other)?;
    let fields = request
        .headers
        .iter()
        .filter(|(name, _)| !name.eq_ignore_ascii_case("host"));
    *converted.headers_mut() = header_map(&fields.collect())?;
    Ok(converted)
}
