//! Asking over HTTP: the control plane's debug endpoints and the proxies' administration.
//!
//! In: `host:port` and a path. Out: the whole answer. Called by the readiness checks and by the
//! tools of the command line.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(10);

/// An answer of any status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Nothing accepts connections there.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The address.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The exchange failed.
    #[error("{address}: {source}")]
    Exchange {
        /// The address.
        address: String,
        /// What happened.
        source: hyper::Error,
    },
    /// The path is none.
    #[error("{0:?} cannot be asked for")]
    Path(String),
    /// It took too long.
    #[error("no answer from {0} within {LIMIT:?}")]
    TimedOut(String),
}

/// `GET path`.
///
/// # Errors
/// When there is no answer.
pub async fn get(address: &str, path: &str) -> Result<Answer, HttpError> {
    ask(Method::GET, address, path, None).await
}

/// `POST path` with no body, as the administration endpoints take it.
///
/// # Errors
/// When there is no answer.
pub async fn post(address: &str, path: &str) -> Result<Answer, HttpError> {
    ask(Method::POST, address, path, None).await
}

/// `POST path` with JSON.
///
/// # Errors
/// When there is no answer.
pub async fn post_json(address: &str, path: &str, json: String) -> Result<Answer, HttpError> {
    ask(Method::POST, address, path, Some(json)).await
}

async fn ask(
    method: Method,
    address: &str,
    path: &str,
    json: Option<String>,
) -> Result<Answer, HttpError> {
    let exchange = exchange(method, address, path, json);
    let late = |_| HttpError::TimedOut(address.to_owned());
    timeout(LIMIT, exchange).await.map_err(late)?
}

async fn exchange(
    method: Method,
    address: &str,
    path: &str,
    json: Option<String>,
) -> Result<Answer, HttpError> {
    let failed = |source| HttpError::Exchange {
        address: address.to_owned(),
        source,
    };
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", address)
        .header("connection", "close");
    if json.is_some() {
        request = request.header("content-type", "application/json");
    }
    let request = request
        .body(Full::new(Bytes::from(json.unwrap_or_default())))
        .map_err(|_| HttpError::Path(path.to_owned()))?;
    let stream = TcpStream::connect(address).await;
    let stream = stream.map_err(|source| HttpError::Connect {
        address: address.to_owned(),
        source,
    })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(failed)?;
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(failed)?.to_bytes();
    driver.abort();
    Ok(Answer {
        status: head.status,
        body,
    })
}
