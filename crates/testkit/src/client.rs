//! Clients that report what they saw: one request per connection, raw HTTP/1.1, and h2c.
//!
//! Requests enter as [`Request`], responses leave as [`Response`]; tests call them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::message::{Request, Response};
use crate::wire::Wire;

mod http2;

pub use http2::Http2Client;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Sends each request on an HTTP/1.1 connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    address: SocketAddr,
    timeout: Duration,
}

/// One HTTP/1.1 connection under the test's full control, over TCP unless told otherwise.
pub struct RawClient<S = TcpStream> {
    wire: Wire<S>,
    address: SocketAddr,
}

/// Why a client has no response to show.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection failed, broke, or carried no HTTP.
    #[error("{address}: {source}")]
    Io {
        /// The peer.
        address: SocketAddr,
        /// What happened.
        source: io::Error,
    },
    /// The peer closed the connection before the response began.
    #[error("{address} closed the connection before a response")]
    Closed {
        /// The peer.
        address: SocketAddr,
    },
    /// The response did not come in time.
    #[error("{address} did not answer within {within:?}")]
    TimedOut {
        /// The peer.
        address: SocketAddr,
        /// How long was waited.
        within: Duration,
    },
    /// HTTP/2 failed: the connection as a whole, or this stream.
    #[error("{address}: {source}")]
    Http2 {
        /// The peer.
        address: SocketAddr,
        /// What happened.
        source: hyper::Error,
    },
}

impl Client {
    /// A client of one address that waits up to 30 seconds for each response.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            timeout: DEFAULT_TIMEOUT,
        }
    }

    /// Sets how long to wait for a whole response.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends a request and reads the whole response.
    ///
    /// # Errors
    /// When there is no whole response in time.
    pub async fn send(&self, request: &Request) -> Result<Response, ClientError> {
        let exchange = async {
            RawClient::connect(self.address)
                .await?
                .exchange(request)
                .await
        };
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(result) => result,
            Err(_) => Err(ClientError::TimedOut {
                address: self.address,
                within: self.timeout,
            }),
        }
    }

    /// Sends a `GET`.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn get(&self, target: &str) -> Result<Response, ClientError> {
        self.send(&Request::get(target)).await
    }

    /// Sends a `POST`.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn post(
        &self,
        target: &str,
        body: impl Into<Bytes>,
    ) -> Result<Response, ClientError> {
        self.send(&Request::post(target, body)).await
    }
}

impl RawClient {
    /// Opens a connection.
    ///
    /// # Errors
    /// When the peer refuses.
    pub async fn connect(address: SocketAddr) -> Result<Self, ClientError> {
        let failed = |source| ClientError::Io { address, source };
        let stream = TcpStream::connect(address).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        Ok(Self::over(stream, address))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> RawClient<S> {
    /// A client on a connection that is there already, to the peer that errors name.
    #[must_use]
    pub fn over(stream: S, address: SocketAddr) -> Self {
        Self {
            wire: Wire::new(stream),
            address,
        }
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        let sent = self.wire.write(bytes).await;
        self.checked(sent)
    }

    /// Writes a request.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn send(&mut self, request: &Request) -> Result<(), ClientError> {
        let bytes = encode(request, self.address);
        self.send_bytes(&bytes).await
    }

    /// Reads a whole response to a request of `method`. After a 101 the stream is the test's:
    /// go on with [`RawClient::send_bytes`] and [`RawClient::read_some`].
    ///
    /// # Errors
    /// When the connection breaks, ends or does not carry HTTP.
    pub async fn read_response(&mut self, method: &str) -> Result<Response, ClientError> {
        let mut response = self.read_head().await?;
        let framing = head_of(&response).response_framing(method, response.status);
        let framing = self.checked(framing)?;
        let body = self.wire.read_body(framing).await;
        (response.body, response.trailers) = self.checked(body)?;
        Ok(response)
    }

    /// Reads a response's status and headers and leaves its body, framing included, unread.
    ///
    /// # Errors
    /// When the connection breaks, ends or does not carry HTTP.
    pub async fn read_head(&mut self) -> Result<Response, ClientError> {
        let mut informational = Vec::new();
        loop {
            let head = self.wire.read_head().await;
            let head = self.checked(head)?.ok_or(ClientError::Closed {
                address: self.address,
            })?;
            let mut start = head.start.splitn(3, ' ');
            let version = start.next().unwrap_or_default().to_owned();
            let status = start.next().and_then(|status| status.parse().ok());
            let status: u16 = self.checked(status.ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("no status line: {:?}", head.start),
                )
            }))?;
            if (100..200).contains(&status) && status != 101 {
                informational.push(status);
                continue;
            }
            return Ok(Response {
                status,
                version,
                informational,
                headers: head.headers,
                body: Bytes::new(),
                trailers: crate::Headers::new(),
            });
        }
    }

    /// Reads whatever comes next; empty at the end of the stream.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn read_some(&mut self) -> Result<Bytes, ClientError> {
        let read = self.wire.read_some().await;
        self.checked(read)
    }

    /// Sends a request and reads its response; the connection can be used again.
    ///
    /// # Errors
    /// As [`RawClient::send`] and [`RawClient::read_response`].
    pub async fn exchange(&mut self, request: &Request) -> Result<Response, ClientError> {
        self.send(request).await?;
        self.read_response(&request.method).await
    }

    /// Closes the sending side; the peer reads the end of the stream.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn finish_sending(&mut self) -> Result<(), ClientError> {
        let done = self.wire.shutdown().await;
        self.checked(done)
    }

    /// The stream, and bytes that were read from it and not used.
    #[must_use]
    pub fn into_parts(self) -> (S, Bytes) {
        self.wire.into_parts()
    }

    fn checked<T>(&self, result: io::Result<T>) -> Result<T, ClientError> {
        result.map_err(|source| ClientError::Io {
            address: self.address,
            source,
        })
    }
}

fn head_of(response: &Response) -> crate::wire::Head {
    crate::wire::Head {
        start: String::new(),
        headers: response.headers.clone(),
    }
}

fn encode(request: &Request, peer: SocketAddr) -> Vec<u8> {
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
    let mut field = |name: &str, value: &str| head.extend([name, ": ", value, "\r\n"]);
    if !request.headers.contains("host") {
        field("host", &peer.to_string());
    }
    for (name, value) in request.headers.iter() {
        field(name, value);
    }
    let framed =
        request.headers.contains("content-length") || request.headers.contains("transfer-encoding");
    let chunked = !request.trailers.is_empty() && !framed;
    if chunked {
        field("transfer-encoding", "chunked");
    } else if !request.body.is_empty() && !framed {
        field("content-length", &request.body.len().to_string());
    }
    head.push_str("\r\n");
    if chunked && !request.body.is_empty() {
        head.push_str(&format!("{:x}\r\n", request.body.len()));
    }
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(&request.body);
    if chunked {
        let end = if request.body.is_empty() {
            "0\r\n"
        } else {
            "\r\n0\r\n"
        };
        bytes.extend_from_slice(end.as_bytes());
        for (name, value) in request.trailers.iter() {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

#[cfg(test)]
mod tests;
