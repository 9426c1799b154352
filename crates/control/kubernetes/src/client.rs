//! Asking an API server.
//!
//! In: paths. Out: statuses and bodies. Connections are kept, and shared where the server speaks HTTP/2; one
//! that answers nothing any more is noticed. Called by `watch`, and by whoever has tokens reviewed.

use std::error::Error as _;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::access::{Access, Token};
use crate::connection::Connector;
use crate::plugin::PluginError;

/// How long the head of an answer may take.
const HEAD_LIMIT: Duration = Duration::from_secs(30);
/// How long a whole answer may take that is no stream.
const BODY_LIMIT: Duration = Duration::from_secs(60);
/// The largest answer that is read as a whole: a page of large objects.
const LARGEST: usize = 256 << 20;
/// How often an HTTP/2 connection is asked whether it is still there, and how long that may take.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(15);

/// A client of an API server.
#[derive(Clone)]
pub struct Client {
    access: Access,
    client: legacy::Client<Connector, Full<Bytes>>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server cannot be reached, or breaks off.
    #[error("{0}")]
    Connection(String),
    /// It takes too long.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The token is not to be had.
    #[error("the token: {}: {error}", .path.display())]
    Token {
        /// Its file.
        path: std::path::PathBuf,
        /// What the system says.
        #[source]
        error: std::io::Error,
    },
    /// The program that makes the token fails.
    #[error("the token: {0}")]
    Plugin(#[from] PluginError),
    /// The answer is none that is understood.
    #[error("the answer cannot be read: {0}")]
    Answer(String),
    /// The server refuses.
    #[error("the answer is {0}: {1}")]
    Refused(StatusCode, String),
}

/// What an API server says of a token: `status` of a TokenReview (`authentication.k8s.io/v1`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Review {
    /// `authenticated`.
    pub authenticated: bool,
    /// `error`; empty for none.
    pub error: String,
    /// `user`.
    pub user: ReviewedUser,
    /// `audiences`: those of the token that were asked for.
    pub audiences: Vec<String>,
}

/// `status.user` of a TokenReview.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ReviewedUser {
    /// `username`.
    pub username: String,
    /// `groups`.
    pub groups: Vec<String>,
}

impl Client {
    /// A client; nothing is connected yet.
    pub fn new(access: Access) -> Self {
        let connector = Connector {
            tls: access.tls.clone(),
        };
        let client = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .http2_keep_alive_interval(PING)
            .http2_keep_alive_timeout(PONG)
            .build(connector);
        Self { access, client }
    }

    /// The server's address.
    pub fn server(&self) -> String {
        self.access.server()
    }

    /// What the server says of a token, for one of these audiences.
    ///
    /// # Errors
    /// When it cannot be asked, or will not say.
    pub async fn review(&self, token: &str, audiences: &[String]) -> Result<Review, ClientError> {
        let question = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": { "token": token, "audiences": audiences },
        });
        let path = "/apis/authentication.k8s.io/v1/tokenreviews";
        let body = question.to_string();
        let response = self.send(Method::POST, path, Some(body)).await?;
        let status = response.status();
        let body = read(response).await?;
        if !status.is_success() {
            return Err(ClientError::Refused(status, message(&body)));
        }
        let mut answer: Value = parse(&body)?;
        let review = answer.get_mut("status").map(Value::take);
        serde_json::from_value(review.unwrap_or_default())
            .map_err(|error| ClientError::Answer(error.to_string()))
    }

    /// Asks for what is at a path; the answer may be a refusal.
    pub(crate) async fn get(&self, path: &str) -> Result<Response<Incoming>, ClientError> {
        self.send(Method::GET, path, None).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<Response<Incoming>, ClientError> {
        let mut request = Request::builder()
            .method(method)
            .uri(self.uri(path)?)
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, "meltemi");
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let token = self.token().await?;
        if let Some(token) = &token {
            let value = HeaderValue::from_str(&format!("Bearer {token}"));
            let mut value = value.map_err(|_| {
                ClientError::Connection("the token is not one that a header can hold".to_owned())
            })?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        let request = request
            .body(Full::from(body.unwrap_or_default()))
            .map_err(|error| ClientError::Connection(error.to_string()))?;
        let asking = tokio::time::timeout(HEAD_LIMIT, self.client.request(request));
        match asking.await {
            Ok(Ok(response)) => {
                if response.status() == StatusCode::UNAUTHORIZED
                    && let (Some(Token::Plugin(plugin)), Some(token)) = (&self.access.token, token)
                {
                    plugin.forget(&token).await;
                }
                Ok(response)
            }
            Ok(Err(error)) => Err(ClientError::Connection(innermost(&error))),
            Err(_) => Err(ClientError::Timeout(HEAD_LIMIT)),
        }
    }

    fn uri(&self, path: &str) -> Result<Uri, ClientError> {
        let wrong = |error: http::Error| ClientError::Connection(error.to_string());
        let mut parts = self.access.server.clone().into_parts();
        // A server may be behind a path, as those of Rancher are.
        let before = parts.path_and_query.as_ref().map_or("", PathAndQuery::path);
        let whole = format!("{}{path}", before.trim_end_matches('/'));
        parts.path_and_query = Some(whole.parse().map_err(|it| wrong(http::Error::from(it)))?);
        Uri::from_parts(parts).map_err(|it| wrong(http::Error::from(it)))
    }

    async fn token(&self) -> Result<Option<String>, ClientError> {
        match &self.access.token {
            None => Ok(None),
            Some(Token::Text(token)) => Ok(Some(token.clone())),
            Some(Token::Plugin(plugin)) => Ok(Some(plugin.token().await?)),
            Some(Token::File(path)) => match tokio::fs::read_to_string(path).await {
                Ok(token) => Ok(Some(token.trim().to_owned())),
                Err(error) => Err(ClientError::Token {
                    path: path.clone(),
                    error,
                }),
            },
        }
    }
}

/// A whole answer.
pub(crate) async fn read(response: Response<Incoming>) -> Result<Bytes, ClientError> {
    let body = Limited::new(response.into_body(), LARGEST).collect();
    match tokio::time::timeout(BODY_LIMIT, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) => Err(ClientError::Answer(error.to_string())),
        Err(_) => Err(ClientError::Timeout(BODY_LIMIT)),
    }
}

/// An answer in JSON.
pub(crate) fn parse<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(body).map_err(|error| ClientError::Answer(error.to_string()))
}

/// What a refusal says.
fn message(body: &[u8]) -> String {
    let status: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = status.get("message").and_then(Value::as_str);
    text.unwrap_or("it does not say why").to_owned()
}

/// What is at the bottom of an error: what wraps it only says that there is one.
fn innermost(error: &legacy::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    text
}
