//! One try: a connection, the request on it, its response. And what the client is told where
//! it fails.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use http::{Request, Response, StatusCode};
use meltemi_telemetry::ResponseFlags;
use meltemi_upstream::{
    Called, ConnectFailure, HttpLease, HttpOptions, HttpVersion, Outcome, Proxied, ResetReason,
    ResponseBody, SendFailure, UpstreamBody, WorkerHost,
};
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use super::Forwarding;
use super::reply::{Author, LocalReply};
use super::retry::Failure;
use crate::body::reset_flags;
use crate::deadline::Expired;
use crate::headers::{names, parse_number};

/// The gRPC status of what took too long.
const DEADLINE_EXCEEDED: u32 = 4;

/// How often a request is sent again because an idle connection turned out to be closed.
const STALE_CONNECTIONS: usize = 8;

impl Forwarding {
    /// Sends the request to `host`. A connection that was closed while it lay idle costs
    /// nothing: the request goes out on another one, whatever the retry policy says.
    pub(super) async fn attempt(
        &mut self,
        host: &Rc<WorkerHost>,
    ) -> Result<Response<ResponseBody>, Failure> {
        self.started = false;
        if self.terminates {
            return Box::pin(self.terminate(host)).await;
        }
        let mut lease = self.lease(host).await?;
        let version = lease.version();
        let repeatable = self.is_idempotent();
        let mut request = self.request(&lease)?;
        for _ in 0..STALE_CONNECTIONS {
            self.started = true;
            let reused = lease.is_reused();
            let SendFailure {
                reason,
                request: unsent,
                unprocessed,
                sent,
            } = match lease.send(request).await {
                Ok(response) => {
                    self.stream.note_received_upstream(&response, version);
                    return Ok(response);
                }
                Err(failure) => failure,
            };
            let may_repeat = |reason: &ResetReason| match reason {
                ResetReason::ConnectionTermination => (reused && repeatable) || unprocessed,
                ResetReason::RemoteRefused | ResetReason::RequestBody(_) => unprocessed,
                _ => false,
            } && self.body.is_available();
            request = match unsent {
                Some(unsent) => *unsent,
                // Sent, but perhaps into a connection that was closed already, or was closing.
                None if may_repeat(&reason) => {
                    let head = sent.ok_or(Failure::Reset(reason))?;
                    head.map(|()| self.body.next())
                }
                None => return Err(Failure::Reset(reason)),
            };
            self.started = false;
            lease = self.lease(host).await?;
            if lease.version() != version {
                break;
            }
        }
        Err(Failure::Reset(ResetReason::ConnectionTermination))
    }

    /// Whether the request may be processed twice.
    fn is_idempotent(&self) -> bool {
        let head = self.head.as_ref();
        self.body.is_empty() && head.is_some_and(|head| head.method.is_idempotent())
    }

    /// The request as it goes out.
    fn request(&mut self, lease: &HttpLease) -> Result<Request<UpstreamBody>, Failure> {
        let head = self.head.take().ok_or_else(invalid_request)?;
        let has_body = !self.body.is_empty();
        self.stream
            .note_sent_upstream(&head, lease.version(), has_body);
        head.into_request(lease.version(), self.body.next())
            .ok_or_else(invalid_request)
    }

    async fn lease(&mut self, host: &Rc<WorkerHost>) -> Result<HttpLease, Failure> {
        let downstream = if self.stream.is_http2() {
            HttpVersion::Http2
        } else {
            HttpVersion::Http1
        };
        let priority = self.target().0.priority;
        let alpn = self.stream.facts.borrow().notes.alpn.clone();
        let from = &self.cluster.config().http.from_request;
        let head = self.head.as_ref();
        let called =
            head.and_then(|head| Called::of(from, head.authority.as_bytes(), &head.headers));
        let proxied = host
            .is_told_clients()
            .then(|| Proxied::of(&self.stream.connection.info));
        let options = HttpOptions {
            downstream,
            priority,
            alpn: alpn.as_deref(),
            called: called.as_ref(),
            proxied: proxied.as_ref(),
        };
        let asked = Instant::now();
        self.stream.facts.borrow_mut().upstream_connection = None;
        let mut leasing = pin!(self.cluster.http(host, options));
        let at_once = poll_fn(|cx| Poll::Ready(leasing.as_mut().poll(cx))).await;
        let (lease, ready) = match at_once {
            Poll::Ready(lease) => (lease, asked),
            Poll::Pending => (leasing.await, Instant::now()),
        };
        self.stream.facts.borrow_mut().leased = Some((asked, ready));
        let lease = lease.map_err(Failure::Connect)?;
        host.report(Outcome::Connected);
        self.used = Some((lease.version(), lease.details().clone()));
        self.note_used();
        Ok(lease)
    }
}

impl Forwarding {
    /// Ends a `CONNECT` here: what follows it goes on over a connection of its own.
    async fn terminate(
        &mut self,
        host: &Rc<WorkerHost>,
    ) -> Result<Response<ResponseBody>, Failure> {
        let proxied = Proxied::of(&self.stream.connection.info);
        let connected = self.cluster.tcp(host, &proxied).await;
        let mut upstream = connected.map_err(Failure::Connect)?;
        if let Some(settings) = &self.target().0.connect_header {
            let header = proxied.header(settings);
            // what fails here fails again with the first of the client's bytes
            let _ = upstream.write_all(&header).await;
        }
        let details = upstream.details().clone();
        self.stream.facts.borrow_mut().upstream_connection = Some(details);
        Ok(Response::new(ResponseBody::raw(upstream)))
    }

    /// Records the connection of the last try.
    pub(super) fn note_used(&self) {
        if let Some((version, details)) = &self.used {
            let mut facts = self.stream.facts.borrow_mut();
            facts.upstream_version = Some(*version);
            facts.upstream_connection = Some(details.clone());
        }
    }
}

/// The status that outlier detection sees: what the gRPC status stands for, where the headers
/// have one.
pub(super) fn outlier_status(response: &Response<ResponseBody>) -> u16 {
    match parse_number(response.headers().get(names::GRPC_STATUS)) {
        None => response.status().as_u16(),
        Some(0) => 200,
        Some(1) => 499,
        Some(3 | 9 | 11) => 400,
        Some(4) => 504,
        Some(5) => 404,
        Some(6 | 10) => 409,
        Some(7) => 403,
        Some(8) => 429,
        Some(12) => 501,
        Some(14) => 503,
        Some(16) => 401,
        Some(_) => 500,
    }
}

fn invalid_request() -> Failure {
    Failure::Reset(ResetReason::InvalidRequest("no such request target".into()))
}

/// What the client is told of a failure.
pub(super) fn failure_reply(failure: &Failure, retried: bool) -> Box<LocalReply> {
    match failure {
        Failure::PerTryTimeout => timeout_reply("upstream_per_try_timeout"),
        Failure::PerTryIdleTimeout => timeout_reply("upstream_per_try_idle_timeout"),
        Failure::Connect(ConnectFailure::Overflow(_)) => {
            let mut reply = reset_reply("overflow", "", retried, ResponseFlags::UPSTREAM_OVERFLOW);
            reply.headers.insert(names::OVERLOADED, names::TRUE);
            reply
        }
        Failure::Connect(connect) => {
            let reason = match connect {
                ConnectFailure::Timeout => "connection timeout",
                ConnectFailure::Local(_) => "local connection failure",
                ConnectFailure::Overflow(_)
                | ConnectFailure::Transport(_)
                | ConnectFailure::Tls(_) => "remote connection failure",
            };
            reset_reply(
                reason,
                connect.transport_failure_reason(),
                retried,
                ResponseFlags::UPSTREAM_CONNECTION_FAILURE,
            )
        }
        Failure::Reset(ResetReason::RequestBody(_)) => LocalReply::new(
            StatusCode::BAD_REQUEST,
            "Bad Request",
            "http1.codec_error",
            ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR,
        )
        .closing(),
        Failure::Reset(reason) => {
            let mut reply = reset_reply(&reason.to_string(), "", retried, reset_flags(reason));
            if matches!(reason, ResetReason::ProtocolError(_)) {
                reply.status = StatusCode::BAD_GATEWAY;
            }
            reply
        }
    }
}

fn reset_reply(
    reason: &str,
    transport: &str,
    retried: bool,
    flags: ResponseFlags,
) -> Box<LocalReply> {
    let again = if retried {
        "retried and the latest "
    } else {
        ""
    };
    let mut reply = LocalReply::new(StatusCode::SERVICE_UNAVAILABLE, "", "", flags);
    reply.body = format!(
        "upstream connect error or disconnect/reset before headers. {again}reset reason: {reason}"
    )
    .into();
    let mut details = reason.to_owned();
    if !transport.is_empty() {
        details.push('|');
        details.push_str(transport);
    }
    reply.details = format!(
        "upstream_reset_before_response_started{{{}}}",
        details.replace(' ', "_")
    )
    .into();
    reply
}

fn timeout_reply(details: &'static str) -> Box<LocalReply> {
    LocalReply::new(
        StatusCode::GATEWAY_TIMEOUT,
        "upstream request timeout",
        details,
        ResponseFlags::UPSTREAM_REQUEST_TIMEOUT,
    )
}

/// What the client is told when a limit on the stream is reached. `received` says whether the
/// whole request had come.
pub(crate) fn expired_reply(
    expired: Expired,
    received: bool,
    alternative: bool,
) -> Box<LocalReply> {
    let status = if received {
        StatusCode::GATEWAY_TIMEOUT
    } else {
        StatusCode::REQUEST_TIMEOUT
    };
    let mut reply = match expired {
        Expired::Route | Expired::PerTry | Expired::PerTryIdle => {
            let mut reply = timeout_reply("response_timeout");
            if alternative {
                reply.status = StatusCode::NO_CONTENT;
                reply.body = bytes::Bytes::new();
            }
            return reply;
        }
        Expired::Idle => LocalReply::new(
            status,
            "stream timeout",
            "stream_idle_timeout",
            ResponseFlags::STREAM_IDLE_TIMEOUT,
        ),
        Expired::Duration => {
            let mut reply = LocalReply::new(
                status,
                "downstream duration timeout",
                "max_duration_timeout",
                ResponseFlags::NONE,
            );
            reply.grpc_status = Some(DEADLINE_EXCEEDED);
            reply
        }
        Expired::Request => LocalReply::new(
            StatusCode::REQUEST_TIMEOUT,
            "request timeout",
            "request_overall_timeout",
            ResponseFlags::NONE,
        ),
    };
    reply.by = Author::Manager;
    reply
}
