//! HTTP/2 connections: shared by requests up to the number of streams that both ends allow.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, poll_fn, ready};
use http::header::{CONNECTION, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body;
use meltemi_http2::client::{self, ResponseFuture, SendRequest};
use meltemi_http2::{PingPong, Protocol, Reason, RecvStream, SendStream};
use meltemi_ir::Http2Keepalive;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::lease::ActiveRequest;
use super::{HttpPool, STALE_AFTER, on_end};
use crate::stream::ConnectionDetails;
use crate::{
    BodyError, ResetReason, ResponseBody, SendFailure, UpstreamBody, UpstreamStream, WorkerCluster,
};

/// Streams that are opened before the upstream has said how many it allows.
pub(super) const INITIAL_STREAMS: usize = 100;
/// Most bytes of a response's headers, as Envoy's default.
const MAX_HEADER_BYTES: u32 = 60 << 10;

static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// An HTTP/2 connection. It closes when neither the pool nor a request has it any more.
pub(crate) struct Http2Connection {
    sender: RefCell<SendRequest>,
    details: Arc<ConnectionDetails>,
    is_tls: bool,
    /// Streams that the configuration allows at a time.
    limit: u32,
    active: Cell<u32>,
    /// Requests it may still carry.
    left: Cell<u32>,
    reused: Cell<bool>,
    /// It takes no more streams: it failed, or the upstream is going away.
    closed: Cell<bool>,
    idle_since: Cell<Instant>,
    opened: Instant,
    /// It takes no more streams once it is older.
    max_age: Option<Duration>,
}

/// A place on a connection. Dropped, the place is free again.
pub(crate) struct Http2Lease {
    connection: Rc<Http2Connection>,
    pool: Rc<HttpPool>,
    active: Option<ActiveRequest>,
    /// Sends the request's body, while there is more of it.
    upload: Option<AbortHandle>,
}

/// A request whose head was sent.
struct Sent {
    head: Box<Request<()>>,
    /// What an HTTP/1 client asked to be switched to.
    upgrade: Option<HeaderValue>,
    response: ResponseFuture,
    /// What is still to be sent.
    body: Option<(UpstreamBody, SendStream)>,
    /// What goes on as a tunnel.
    tunnel: Option<SendStream>,
}

/// Starts HTTP/2 on a new connection.
pub(super) fn open(
    stream: UpstreamStream,
    cluster: &Rc<WorkerCluster>,
    pool: &Rc<HttpPool>,
) -> Rc<Http2Connection> {
    let config = cluster.config();
    let options = &config.http.http2;
    let details = Arc::clone(stream.details());
    let streams = options.max_concurrent_streams.max(1);
    let codec = client::Config {
        stream_window: options.initial_stream_window,
        connection_window: options.initial_connection_window,
        max_header_list_size: MAX_HEADER_BYTES,
        initial_max_send_streams: INITIAL_STREAMS.min(streams as usize),
    };
    let (sender, mut connection) = client::connect(stream, &codec);
    let keepalive = options.keepalive.map(|it| (it, connection.ping_pong()));
    let is_tls = details.tls.is_some();
    let opened = Rc::new(Http2Connection {
        sender: RefCell::new(sender),
        details,
        is_tls,
        limit: streams,
        active: Cell::new(0),
        left: Cell::new(match config.max_requests_per_connection {
            0 => u32::MAX,
            limit => limit,
        }),
        reused: Cell::new(false),
        closed: Cell::new(false),
        idle_since: Cell::new(Instant::now()),
        opened: Instant::now(),
        max_age: config.max_connection_duration,
    });
    let pool = Rc::downgrade(pool);
    let opened_weak = Rc::downgrade(&opened);
    tokio::task::spawn_local(async move {
        let driven = poll_fn(|cx| connection.poll(cx));
        let result = match keepalive {
            None => driven.await,
            Some((keepalive, pings)) => tokio::select! {
                result = driven => result,
                () = lost(keepalive, pings) => Ok(()),
            },
        };
        if let Err(error) = result {
            tracing::debug!(%error, "HTTP/2 upstream connection failed");
        }
        if let Some(connection) = opened_weak.upgrade() {
            connection.closed.set(true);
        }
        on_end(&pool);
    });
    opened
}

/// Ends when a PING is not answered in time.
async fn lost(keepalive: Http2Keepalive, mut pings: PingPong) {
    let Http2Keepalive { interval, timeout } = keepalive;
    loop {
        tokio::time::sleep(interval).await;
        // It is the only one: the one before was answered.
        pings.send_ping();
        let pong = poll_fn(|cx| pings.poll_pong(cx));
        if tokio::time::timeout(timeout, pong).await.is_err() {
            return;
        }
    }
}

impl Http2Connection {
    /// Whether it can take another stream now.
    pub(super) fn has_room(&self) -> bool {
        if self.is_spent() || self.active.get() >= self.limit {
            return false;
        }
        let sender = self.sender.borrow();
        if !sender.is_open() {
            self.closed.set(true);
            return false;
        }
        (self.active.get() as usize) < sender.max_send_streams()
    }

    /// Whether it will never take another.
    pub(super) fn is_spent(&self) -> bool {
        self.closed.get() || self.left.get() == 0 || self.is_too_old()
    }

    /// Whether it is older than connections may get.
    pub(super) fn is_too_old(&self) -> bool {
        self.max_age
            .is_some_and(|limit| self.opened.elapsed() >= limit)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.active.get() == 0
    }

    /// Whether it lay idle for so long that the upstream may have closed it without the
    /// runtime having looked.
    pub(super) fn is_stale(&self) -> bool {
        self.is_idle() && self.reused.get() && self.idle_since.get().elapsed() >= STALE_AFTER
    }

    pub(super) fn opened(&self) -> Instant {
        self.opened
    }

    pub(super) fn idle_since(&self) -> Instant {
        self.idle_since.get()
    }

    pub(super) fn occupy(connection: &Rc<Self>, pool: &Rc<HttpPool>) -> Http2Lease {
        connection.active.set(connection.active.get() + 1);
        Http2Lease {
            connection: Rc::clone(connection),
            pool: Rc::clone(pool),
            active: None,
            upload: None,
        }
    }
}

impl Http2Lease {
    pub(super) fn is_reused(&self) -> bool {
        self.connection.reused.get()
    }

    pub(super) fn details(&self) -> &Arc<ConnectionDetails> {
        &self.connection.details
    }

    pub(super) fn send(
        mut self,
        request: Request<UpstreamBody>,
        active: ActiveRequest,
    ) -> impl Future<Output = Result<Response<ResponseBody>, SendFailure>> {
        let allow_connect = active.cluster().config().http.http2.allow_connect;
        self.active = Some(active);
        let sent = match self.start(request, allow_connect) {
            Ok(sent) => sent,
            Err(failure) => return Either::Left(ready(Err(failure))),
        };
        Either::Right(async move {
            let Sent {
                head,
                upgrade,
                response,
                body,
                tunnel,
            } = sent;
            if let Some((body, stream)) = body {
                self.upload(body, stream).await;
            }
            match response.await {
                Ok(response) => {
                    let headers = head.into_parts().0.headers;
                    self.connection.sender.borrow().reuse(headers);
                    Ok(self.respond(response, upgrade, tunnel))
                }
                Err(error) => {
                    let reason = reason(&error);
                    let unseen = error.is_go_away() && reason == ResetReason::RemoteRefused;
                    Err(SendFailure {
                        sent: Some(from_http2(head, upgrade)),
                        ..failure(reason, unseen)
                    })
                }
            }
        })
    }

    /// Sends the request's head.
    fn start(
        &mut self,
        mut request: Request<UpstreamBody>,
        allow_connect: bool,
    ) -> Result<Sent, SendFailure> {
        if !self.is_open() {
            return Err(SendFailure {
                reason: ResetReason::ConnectionTermination,
                request: Some(Box::new(request)),
                unprocessed: true,
                sent: None,
            });
        }
        let invalid = |text| failure(ResetReason::InvalidRequest(text), false);
        let upgrade = to_http2(&mut request, self.connection.is_tls, allow_connect)
            .map_err(|text| invalid(Arc::from(text)))?;
        let is_tunnel = request.method() == Method::CONNECT;
        let (head, body) = request.into_parts();
        let ends = !is_tunnel && body.is_end_stream();
        self.count_use();
        let head = Box::new(Request::from_parts(head, ()));
        let sent = {
            let mut sender = self.connection.sender.borrow_mut();
            sender.send_request(&head, ends)
        };
        let (response, stream) = match sent {
            Ok(sent) => sent,
            Err(error) if error.is_io() || error.is_go_away() => {
                return Err(SendFailure {
                    sent: Some(from_http2(head, upgrade)),
                    ..failure(ResetReason::RemoteRefused, true)
                });
            }
            Err(error) => return Err(invalid(Arc::from(error.to_string()))),
        };
        let (body, tunnel) = match (is_tunnel, ends) {
            (true, _) => (None, Some(stream)),
            (false, false) => (Some((body, stream)), None),
            (false, true) => (None, None),
        };
        Ok(Sent {
            head,
            upgrade,
            response,
            body,
            tunnel,
        })
    }

    fn count_use(&self) {
        let left = self.connection.left.get().saturating_sub(1);
        self.connection.left.set(left);
        self.connection.reused.set(true);
        self.connection.details.sent.count_request();
        if left == 0
            && let Some(active) = &self.active
        {
            active.cluster().stats().upstream_cx_max_requests.inc();
        }
    }

    /// Whether the connection still takes streams; the last look before the request is its.
    fn is_open(&self) -> bool {
        let sender = self.connection.sender.borrow();
        if !sender.is_open() {
            self.connection.closed.set(true);
            return false;
        }
        // The upstream may allow less by now.
        self.connection.active.get() as usize <= sender.max_send_streams()
    }

    /// Sends what there is of the body, and leaves the rest to a task.
    async fn upload(&mut self, body: UpstreamBody, mut stream: SendStream) {
        if let UpstreamBody::Full(bytes) = body {
            // Beyond the window the codec keeps it; it is in memory anyway. An error shows in the
            // response's future.
            let _ = stream.send_data(bytes, true);
            return;
        }
        let mut pipe = Box::pin(pipe(body, stream));
        let at_once = poll_fn(|cx| Poll::Ready(pipe.as_mut().poll(cx))).await;
        if at_once.is_pending() {
            self.upload = Some(tokio::task::spawn_local(pipe).abort_handle());
        }
    }

    fn respond(
        self,
        response: Response<RecvStream>,
        upgrade: Option<HeaderValue>,
        tunnel: Option<SendStream>,
    ) -> Response<ResponseBody> {
        let (mut head, stream) = response.into_parts();
        if let Some(protocol) = upgrade
            && head.status == StatusCode::OK
        {
            // The stream is what an HTTP/1 client asked to be switched to.
            head.status = StatusCode::SWITCHING_PROTOCOLS;
            head.headers
                .insert(CONNECTION, HeaderValue::from_static("upgrade"));
            head.headers.insert(UPGRADE, protocol);
        }
        let tunnel = tunnel
            .filter(|_| head.status.is_success() || head.status == StatusCode::SWITCHING_PROTOCOLS);
        let length = head
            .headers
            .get(http::header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let body = ResponseBody::http2(stream, length, tunnel, self);
        Response::from_parts(head, body)
    }
}

impl Drop for Http2Lease {
    fn drop(&mut self) {
        if let Some(upload) = self.upload.take() {
            upload.abort();
        }
        let connection = &self.connection;
        connection.active.set(connection.active.get() - 1);
        self.active = None;
        if connection.is_idle() {
            connection.idle_since.set(Instant::now());
        }
        self.pool.put_http2();
    }
}

/// Sends a body as the stream's window allows.
async fn pipe(mut body: UpstreamBody, mut stream: SendStream) {
    loop {
        if poll_fn(|cx| stream.poll_room(cx)).await.is_err() {
            return;
        }
        let frame = poll_fn(|cx| {
            if let Poll::Ready(_reset) = stream.poll_reset(cx) {
                return Poll::Ready(None);
            }
            Pin::new(&mut body).poll_frame(cx).map(Some)
        });
        let result = match frame.await {
            None => return,
            Some(None) => {
                let _ = stream.send_data(Bytes::new(), true);
                return;
            }
            Some(Some(Err(_))) => {
                stream.send_reset(Reason::CANCEL);
                return;
            }
            Some(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => stream.send_data(data, body.is_end_stream()),
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        let _ = stream.send_trailers(trailers);
                    }
                    return;
                }
            },
        };
        if result.is_err() || body.is_end_stream() {
            return;
        }
    }
}

/// Makes a request fit for HTTP/2: absolute URI, no connection headers. An HTTP/1 upgrade
/// becomes an extended `CONNECT` (RFC 8441); what it upgrades to is returned.
fn to_http2(
    request: &mut Request<UpstreamBody>,
    is_tls: bool,
    allow_connect: bool,
) -> Result<Option<HeaderValue>, String> {
    *request.version_mut() = Version::HTTP_2;
    let upgrade = take_upgrade(request, allow_connect)?;
    let headers = request.headers_mut();
    if let Some(listed) = headers.remove(CONNECTION) {
        strip_listed(headers, &listed);
    }
    for name in [&KEEP_ALIVE, &PROXY_CONNECTION, &TRANSFER_ENCODING, &UPGRADE] {
        headers.remove(name);
    }
    if headers.get(TE).is_some_and(|te| te != "trailers") {
        headers.remove(TE);
    }
    let is_plain_connect = request.method() == Method::CONNECT && upgrade.is_none();
    if is_plain_connect || request.uri().scheme().is_some() {
        request.headers_mut().remove(HOST);
        return Ok(upgrade);
    }
    let mut parts = http::uri::Parts::default();
    let uri = request.uri();
    let authority = match uri.authority() {
        Some(authority) => Some(authority.clone()),
        None => {
            let host = request.headers().get(HOST);
            let parse = |host: &HeaderValue| Authority::try_from(host.as_bytes());
            host.map(parse)
                .transpose()
                .map_err(|error| format!("host: {error}"))?
        }
    };
    if authority.is_none() {
        return Err("no authority and no host header".to_owned());
    }
    parts.scheme = Some(if is_tls { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = authority;
    parts.path_and_query = Some(
        uri.path_and_query()
            .cloned()
            .unwrap_or_else(|| PathAndQuery::from_static("/")),
    );
    *request.uri_mut() = Uri::from_parts(parts).map_err(|error| error.to_string())?;
    request.headers_mut().remove(HOST);
    Ok(upgrade)
}

/// The head of a request as it was before an upgrade became an extended `CONNECT`.
fn from_http2(mut head: Box<Request<()>>, upgrade: Option<HeaderValue>) -> Box<Request<()>> {
    if let Some(protocol) = upgrade {
        *head.method_mut() = Method::GET;
        head.extensions_mut().remove::<Protocol>();
        head.headers_mut().insert(UPGRADE, protocol);
    }
    head
}

/// Turns an HTTP/1 upgrade into an extended `CONNECT`.
fn take_upgrade(
    request: &mut Request<UpstreamBody>,
    allow_connect: bool,
) -> Result<Option<HeaderValue>, String> {
    if request.method() == Method::CONNECT {
        // An extended CONNECT of a downstream HTTP/2 request goes on as it is.
        return Ok(None);
    }
    let Some(protocol) = request.headers().get(UPGRADE).cloned() else {
        return Ok(None);
    };
    if !allow_connect {
        return Err("the upstream's HTTP/2 settings do not allow upgrades".to_owned());
    }
    protocol
        .to_str()
        .map_err(|error| format!("upgrade: {error}"))?;
    request.extensions_mut().insert(Protocol(protocol.clone()));
    *request.method_mut() = Method::CONNECT;
    request.headers_mut().remove(http::header::CONTENT_LENGTH);
    Ok(Some(protocol))
}

fn strip_listed(headers: &mut HeaderMap, listed: &HeaderValue) {
    for name in listed.to_str().unwrap_or_default().split(',') {
        if let Ok(name) = HeaderName::try_from(name.trim()) {
            headers.remove(name);
        }
    }
}

/// The end of a request that was sent, or cannot be.
fn failure(reason: ResetReason, unprocessed: bool) -> SendFailure {
    SendFailure {
        reason,
        request: None,
        unprocessed,
        sent: None,
    }
}

/// Whose fault an error is.
pub(crate) fn reason(error: &meltemi_http2::Error) -> ResetReason {
    let code = error.reason();
    if error.is_io() {
        ResetReason::ConnectionTermination
    } else if error.is_go_away() && error.is_remote() {
        match code {
            // Streams that the upstream says it has not seen.
            Some(Reason::NO_ERROR) => ResetReason::RemoteRefused,
            _ => ResetReason::ConnectionTermination,
        }
    } else if error.is_remote() {
        match code {
            Some(Reason::REFUSED_STREAM) => ResetReason::RemoteRefused,
            _ => ResetReason::RemoteReset,
        }
    } else if error.is_library() {
        ResetReason::ProtocolError(Arc::from(error.to_string()))
    } else if code == Some(Reason::CANCEL) {
        ResetReason::RequestBody(Arc::from("the request's body failed"))
    } else {
        ResetReason::ConnectionTermination
    }
}

impl From<meltemi_http2::Error> for BodyError {
    fn from(error: meltemi_http2::Error) -> Self {
        Self::Upstream(reason(&error))
    }
}
