//! Calls to upstreams over HTTP/1.1: a request enters, a whole answer or an error leaves.
//!
//! Called by the handler. Connections are kept for the next call, a few per peer.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::config::Config;
use crate::proxy::ProxySettings;

const IDLE_PER_PEER: usize = 16;
const LARGEST_ANSWER: usize = 64 << 20;

/// Calls upstreams, through a proxy where the settings say so.
pub(crate) struct UpstreamClient {
    proxy: ProxySettings,
    keep_alive: bool,
    timeout: Duration,
    idle: Mutex<HashMap<Peer, Vec<Connection>>>,
}

/// An upstream's whole response.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("cannot connect to {peer}: {source}")]
    Connect {
        peer: String,
        source: std::io::Error,
    },
    #[error("no response from {peer}: {source}")]
    Exchange { peer: String, source: hyper::Error },
    #[error("no whole response body from {peer}: {source}")]
    Body {
        peer: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("no response from {peer} within {within:?}")]
    TimedOut { peer: String, within: Duration },
}

type Connection = SendRequest<Full<Bytes>>;

/// Where to connect, by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Peer {
    host: String,
    port: u16,
}

/// Where a call goes, and what its request line and host say there.
struct NextHop {
    peer: Peer,
    target: Uri,
    host: HeaderValue,
}

impl UpstreamClient {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            proxy: config.proxy.clone(),
            keep_alive: config.client_keep_alive,
            timeout: config.request_timeout,
            idle: Mutex::default(),
        }
    }

    /// Calls an absolute `http://` URI: `GET`, or `POST` when there is a body.
    pub(crate) async fn call(
        &self,
        uri: Uri,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, CallError> {
        let hop = self.next_hop(uri);
        let peer = hop.peer.to_string();
        match tokio::time::timeout(self.timeout, self.exchange(hop, headers, body)).await {
            Ok(result) => result,
            Err(_) => Err(CallError::TimedOut {
                peer,
                within: self.timeout,
            }),
        }
    }

    fn next_hop(&self, uri: Uri) -> NextHop {
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let host = HeaderValue::from_str(authority).expect("an authority is visible ASCII");
        match self.proxy.for_uri(&uri) {
            Some(proxy) => {
                let peer = Peer::new(proxy.host(), proxy.port_u16());
                NextHop {
                    peer,
                    target: uri,
                    host,
                }
            }
            None => {
                let peer = Peer::new(uri.host().unwrap_or_default(), uri.port_u16());
                let path = uri.into_parts().path_and_query;
                NextHop {
                    peer,
                    target: path.map(Uri::from).unwrap_or_default(),
                    host,
                }
            }
        }
    }

    async fn exchange(
        &self,
        hop: NextHop,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, CallError> {
        let NextHop { peer, target, host } = hop;
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = if body.is_empty() {
            Method::GET
        } else {
            Method::POST
        };
        *request.uri_mut() = target;
        *request.headers_mut() = headers;
        request.headers_mut().insert(header::HOST, host);
        request
            .headers_mut()
            .entry(header::USER_AGENT)
            .or_insert(HeaderValue::from_static("meltemi-app"));
        if !self.keep_alive {
            request
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let (response, connection) = self.send(&peer, request).await?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, LARGEST_ANSWER).collect().await;
        let body = body
            .map_err(|source| CallError::Body {
                peer: peer.to_string(),
                source,
            })?
            .to_bytes();
        self.put_back(peer, connection).await;
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        })
    }

    /// Sends on an idle connection if one is alive, and on a new one if it turns out dead.
    async fn send(
        &self,
        peer: &Peer,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(http::Response<hyper::body::Incoming>, Connection), CallError> {
        while let Some(mut connection) = self.take_idle(peer) {
            match connection.try_send_request(request).await {
                Ok(response) => return Ok((response, connection)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => {
                        return Err(CallError::Exchange {
                            peer: peer.to_string(),
                            source: error.into_error(),
                        });
                    }
                },
            }
        }
        let mut connection = connect(peer).await?;
        let sent = connection.send_request(request).await;
        let response = sent.map_err(|source| CallError::Exchange {
            peer: peer.to_string(),
            source,
        })?;
        Ok((response, connection))
    }

    fn take_idle(&self, peer: &Peer) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = idle.get_mut(peer)?;
        while let Some(connection) = connections.pop() {
            if connection.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection for the next call, once its own task has seen the response end.
    async fn put_back(&self, peer: Peer, mut connection: Connection) {
        if !self.keep_alive || connection.ready().await.is_err() {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = idle.entry(peer).or_default();
        if connections.len() < IDLE_PER_PEER {
            connections.push(connection);
        }
    }
}

async fn connect(peer: &Peer) -> Result<Connection, CallError> {
    let failed = |source| CallError::Connect {
        peer: peer.to_string(),
        source,
    };
    let stream = TcpStream::connect((peer.host.as_str(), peer.port))
        .await
        .map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let (sender, connection) =
        handshake(TokioIo::new(stream))
            .await
            .map_err(|source| CallError::Exchange {
                peer: peer.to_string(),
                source,
            })?;
    tokio::spawn(connection);
    Ok(sender)
}

impl Peer {
    fn new(host: &str, port: Option<u16>) -> Self {
        Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: port.unwrap_or(80),
        }
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}
