//! HTTP/1.1 connections: one request at a time, back to the pool when both it and its
//! response are through.

use std::error::Error as _;
use std::rc::Rc;
use std::sync::Arc;

use http::header::{CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING};
use http::uri::{PathAndQuery, Uri};
use http::{Method, Request, Response, Version};
use hyper::body::Body as _;
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::lease::ActiveRequest;
use super::{HttpPool, STALE_AFTER, on_end};
use crate::stream::ConnectionDetails;
use crate::{
    ConnectFailure, ResetReason, ResponseBody, SendFailure, UpstreamBody, UpstreamStream,
    WorkerCluster,
};

/// Most bytes of a response's headers, as Envoy's default.
const MAX_HEADER_BYTES: usize = 60 << 10;
/// What hyper buffers of a connection at most, whatever the configuration allows.
const MAX_BUFFER: usize = 400 << 10;
/// What hyper needs at least.
const MIN_BUFFER: usize = 8 << 10;

/// An HTTP/1.1 connection. Dropping it closes the connection once it is idle.
pub(crate) struct Http1Connection {
    sender: http1::SendRequest<UpstreamBody>,
    details: Arc<ConnectionDetails>,
    /// Requests it may still carry.
    left: u32,
    reused: bool,
    /// It ends with the request that it carries.
    last: bool,
    /// It waited for a request, its first perhaps.
    was_idle: bool,
    idle_since: Instant,
    opened: Instant,
}

/// A connection in use. Dropped, the connection goes back to its pool when it is free.
pub(crate) struct Http1Lease {
    connection: Option<Http1Connection>,
    pool: Rc<HttpPool>,
    active: ActiveRequest,
}

/// Starts HTTP/1.1 on a new connection.
pub(super) async fn open(
    stream: UpstreamStream,
    cluster: &Rc<WorkerCluster>,
    pool: &Rc<HttpPool>,
) -> Result<Http1Connection, ConnectFailure> {
    let config = cluster.config();
    let details = Arc::clone(stream.details());
    let mut builder = http1::Builder::new();
    let buffer = usize::try_from(config.per_connection_buffer_limit).unwrap_or(MAX_BUFFER);
    builder
        .max_buf_size(buffer.clamp(MIN_BUFFER, MAX_BUFFER))
        .max_header_size(MAX_HEADER_BYTES)
        .preserve_header_case(config.http.http1.preserve_case)
        .title_case_headers(config.http.http1.proper_case);
    let (sender, connection) = builder
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| ConnectFailure::Transport(Arc::from(error.to_string())))?;
    let pool = Rc::downgrade(pool);
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "HTTP/1 upstream connection failed");
        }
        on_end(&pool);
    });
    Ok(Http1Connection {
        sender,
        details,
        left: match config.max_requests_per_connection {
            0 => u32::MAX,
            limit => limit,
        },
        reused: false,
        last: false,
        was_idle: false,
        idle_since: Instant::now(),
        opened: Instant::now(),
    })
}

impl Http1Connection {
    #[inline]
    pub(super) fn is_usable(&self) -> bool {
        // A new one takes a request before its task has run for the first time.
        !self.sender.is_closed() && (self.sender.is_ready() || !self.reused)
    }

    /// Whether it lay idle for so long that the upstream may have closed it without the
    /// runtime having looked.
    #[inline]
    pub(super) fn is_stale(&self) -> bool {
        self.was_idle && self.idle_since.elapsed() >= STALE_AFTER
    }

    /// The next request is the last.
    pub(super) fn take_no_more(&mut self) {
        self.last = true;
    }

    /// It waits for a request.
    pub(super) fn lie_idle(&mut self) {
        self.was_idle = true;
    }

    pub(super) fn opened(&self) -> Instant {
        self.opened
    }

    pub(super) fn idle_since(&self) -> Instant {
        self.idle_since
    }

    /// Whether the upstream may have closed it already, having waited for a request.
    pub(super) fn is_reused(&self) -> bool {
        self.reused || self.was_idle
    }

    pub(super) fn details(&self) -> &Arc<ConnectionDetails> {
        &self.details
    }
}

impl Http1Lease {
    pub(super) fn new(
        connection: Http1Connection,
        pool: Rc<HttpPool>,
        active: ActiveRequest,
    ) -> Self {
        Self {
            connection: Some(connection),
            pool,
            active,
        }
    }

    pub(super) async fn send(
        mut self,
        mut request: Request<UpstreamBody>,
    ) -> Result<Response<ResponseBody>, SendFailure> {
        if let Err(reason) = to_http1(&mut request) {
            return Err(SendFailure {
                reason,
                request: None,
                unprocessed: true,
            });
        }
        // Taken out, so that a request that is given up closes its connection.
        let mut connection = self.connection.take().expect("taken once, here");
        connection.left = connection.left.saturating_sub(1);
        connection.reused = true;
        connection.details.sent.restart();
        match connection.sender.try_send_request(request).await {
            Ok(response) if is_misframed(&response) => Err(SendFailure {
                reason: ResetReason::ProtocolError(Arc::from(
                    "a response whose end two readers may see in different places",
                )),
                request: None,
                unprocessed: false,
            }),
            Ok(response) => {
                self.connection = Some(connection);
                let is_upgrade = response.extensions().get::<OnUpgrade>().is_some();
                Ok(response.map(|body| ResponseBody::http1(body, self, is_upgrade)))
            }
            Err(mut failure) => {
                let request = failure.take_message().map(Box::new);
                // The upstream had closed before the request came, and all of it came after.
                let too_late = connection.details.sent.was_too_late();
                Err(SendFailure {
                    reason: reason(failure.error()),
                    unprocessed: too_late || request.is_some(),
                    request,
                })
            }
        }
    }
}

impl Drop for Http1Lease {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        if connection.last {
            return;
        }
        let cluster = self.active.cluster();
        if connection.left == 0 {
            cluster.stats().upstream_cx_max_requests.inc();
            return;
        }
        let now = Instant::now();
        let limit = cluster.config().max_connection_duration;
        if limit.is_some_and(|limit| now.duration_since(connection.opened) >= limit) {
            cluster.stats().upstream_cx_max_duration_reached.inc();
            return;
        }
        connection.idle_since = now;
        if connection.sender.is_closed() {
            return;
        }
        if connection.sender.is_ready() {
            self.pool.put_http1(connection);
            return;
        }
        // Rarely: the request's body is still going out, or the response was given up and
        // its rest is being drained.
        let pool = Rc::clone(&self.pool);
        tokio::task::spawn_local(async move {
            if connection.sender.ready().await.is_ok() {
                pool.put_http1(connection);
            }
        });
    }
}

/// Whether two readers of a response may take its body to end in different places: it says so in
/// two ways, has a coding other than `chunked`, or has any where no body may be (RFC 9112, section
/// 6.1).
fn is_misframed<B>(response: &Response<B>) -> bool {
    let headers = response.headers();
    let Some(coding) = headers.get(TRANSFER_ENCODING) else {
        return false;
    };
    let bodiless = response.status().is_informational() || response.status() == 204;
    bodiless
        || headers.contains_key(CONTENT_LENGTH)
        || !coding.as_bytes().eq_ignore_ascii_case(b"chunked")
}

/// Makes sure that a body is framed: the codec leaves out one of a method that seldom has any.
fn frame(request: &mut Request<UpstreamBody>) {
    let seldom = matches!(*request.method(), Method::GET | Method::HEAD);
    if seldom
        && !request.body().is_end_stream()
        && request.body().size_hint().exact().is_none()
        && !request.headers().contains_key(CONTENT_LENGTH)
    {
        let chunked = HeaderValue::from_static("chunked");
        request.headers_mut().insert(TRANSFER_ENCODING, chunked);
    }
}

/// Makes sure of the origin form and a `host` header.
fn to_http1(request: &mut Request<UpstreamBody>) -> Result<(), ResetReason> {
    *request.version_mut() = Version::HTTP_11;
    frame(request);
    if request.method() == Method::CONNECT || request.uri().scheme().is_none() {
        return Ok(());
    }
    let invalid = |text: String| ResetReason::InvalidRequest(Arc::from(text));
    if !request.headers().contains_key(HOST)
        && let Some(authority) = request.uri().authority()
    {
        let host = HeaderValue::from_str(authority.as_str())
            .map_err(|error| invalid(error.to_string()))?;
        request.headers_mut().insert(HOST, host);
    }
    let path = request
        .uri()
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    Ok(())
}

/// Whether a body is none, rather than broken off. What TLS finds wrong has another kind.
fn is_malformed(error: &hyper::Error) -> bool {
    let cause = error.source();
    let cause = cause.and_then(|it| it.downcast_ref::<std::io::Error>());
    let invalid = |it: &std::io::Error| it.kind() == std::io::ErrorKind::InvalidInput;
    !error.is_user() && cause.is_some_and(invalid)
}

/// Whose fault an error is.
pub(crate) fn reason(error: &hyper::Error) -> ResetReason {
    let text = || -> Arc<str> {
        match error.source() {
            Some(source) => Arc::from(format!("{error}: {source}")),
            None => Arc::from(error.to_string()),
        }
    };
    if error.is_parse() || is_malformed(error) {
        ResetReason::ProtocolError(text())
    } else if error.is_body_write_aborted() {
        ResetReason::RequestBody(text())
    } else if error.is_user() {
        // A user error is what we gave it: a failing body, or a request it cannot write.
        if error.source().is_some() {
            ResetReason::RequestBody(text())
        } else {
            ResetReason::InvalidRequest(text())
        }
    } else {
        ResetReason::ConnectionTermination
    }
}
