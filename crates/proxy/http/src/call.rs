//! Requests that the proxy makes itself, for a filter: over the worker's own pools, counted among
//! the cluster's requests. A call is whole: a request with its body enters, an answer with its
//! body, or why there is none, leaves. Filters call it; `ext_authz` and remote key sets of
//! `jwt_authn` do.

use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Extensions, Method, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt as _;
use meltemi_ir as ir;
use meltemi_upstream::{
    BodyError, Called, HttpOptions, HttpVersion, LbContext, Outcome, UpstreamBody,
};

use crate::head::RequestHead;
use crate::headers::client_cert::append;
use crate::headers::{names, parse_number};
use crate::worker::WorkerContext;

/// A request of the proxy's own.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) secure: bool,
    pub(crate) authority: HeaderValue,
    pub(crate) path: PathAndQuery,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// How long the answer is waited for.
    pub(crate) timeout: Option<Duration>,
    /// The most bytes that the answer's body may have.
    pub(crate) most: usize,
    /// The service is told this proxy's address.
    pub(crate) forwarded: bool,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: HeaderMap,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallFailure {
    /// There is no such cluster.
    #[error("there is no such cluster")]
    NoCluster,
    /// The cluster has no host to offer.
    #[error("no healthy upstream")]
    NoHost,
    /// No connection was made.
    #[error("no connection")]
    Connect,
    /// The connection or the stream ended before the answer.
    #[error("reset")]
    Reset,
    /// It took too long.
    #[error("timeout")]
    Timeout,
    /// The answer is larger than allowed.
    #[error("the answer is too large")]
    TooLarge,
}

impl Call {
    /// A `GET` or `POST` and so on, of a configured URI.
    pub(crate) fn to(uri: &ir::HttpUri, method: Method) -> Self {
        Self {
            method,
            secure: uri.secure,
            authority: HeaderValue::from_str(&uri.authority)
                .unwrap_or_else(|_| HeaderValue::from_static("")),
            path: uri.path.clone(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            timeout: Some(uri.timeout),
            most: 1 << 20,
            forwarded: true,
        }
    }

    /// Makes the request, and makes it again where that is allowed and it failed.
    pub(crate) async fn make(
        self,
        worker: &WorkerContext,
        cluster: &str,
        retry: Option<ir::CallRetry>,
    ) -> Result<Answer, CallFailure> {
        let mut tries = retry.map_or(0, |retry| retry.tries);
        let mut pause = retry.map_or(Duration::ZERO, |retry| retry.base);
        loop {
            let result = self.clone().once(worker, cluster).await;
            let failed = match &result {
                Ok(answer) => answer.status.is_server_error(),
                Err(failure) => *failure != CallFailure::NoCluster,
            };
            let Some(retry) = retry.filter(|_| failed && tries > 0) else {
                return result;
            };
            tries -= 1;
            let jittered = worker.random.below(pause.as_millis().max(1) as u64);
            tokio::time::sleep(Duration::from_millis(jittered)).await;
            pause = (pause * 2).min(retry.most);
        }
    }

    async fn once(self, worker: &WorkerContext, cluster: &str) -> Result<Answer, CallFailure> {
        let Some(cluster) = worker.pools.cluster(cluster) else {
            return Err(CallFailure::NoCluster);
        };
        let limit = self.timeout;
        let head = self.head(worker);
        let (body, most) = (self.body, self.most);
        let stats = cluster.clone();
        let exchange = async {
            let Some(host) = cluster.choose(&LbContext {
                headers: Some(&head.headers),
                max_attempts: 1,
                ..LbContext::default()
            }) else {
                cluster.stats().upstream_cx_none_healthy.inc();
                return Err(CallFailure::NoHost);
            };
            let result = Self::exchange(&cluster, &host, head, body, most).await;
            let status = result.as_ref().map(|answer| answer.status);
            host.record_response(status.is_ok_and(|status| !status.is_server_error()));
            match status {
                Ok(status) => host.report(Outcome::Answer(status.as_u16())),
                Err(CallFailure::Reset) => host.report(Outcome::Failed),
                Err(_) => {}
            }
            result
        };
        let result = match limit {
            None => exchange.await,
            Some(limit) => match tokio::time::timeout(limit, exchange).await {
                Ok(result) => result,
                Err(_) => {
                    stats.stats().upstream_rq_timeout.inc();
                    Err(CallFailure::Timeout)
                }
            },
        };
        let status = match &result {
            Ok(answer) => answer.status,
            Err(CallFailure::Timeout) => StatusCode::GATEWAY_TIMEOUT,
            Err(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        stats.stats().count_response(status.as_u16(), true);
        result
    }

    async fn exchange(
        cluster: &Rc<meltemi_upstream::WorkerCluster>,
        host: &Rc<meltemi_upstream::WorkerHost>,
        head: RequestHead,
        body: Bytes,
        most: usize,
    ) -> Result<Answer, CallFailure> {
        /// How often a request goes out again because an idle connection was closed already.
        const STALE: usize = 8;
        let from = &cluster.config().http.from_request;
        let called = Called::of(from, head.authority.as_bytes(), &head.headers);
        let options = HttpOptions {
            downstream: HttpVersion::Http1,
            priority: ir::Priority::Default,
            alpn: None,
            called: called.as_ref(),
            proxied: None,
        };
        for _ in 0..STALE {
            let lease = cluster.http(host, options).await;
            let lease = lease.map_err(|_| CallFailure::Connect)?;
            host.report(Outcome::Connected);
            let reused = lease.is_reused();
            let began = tokio::time::Instant::now();
            let sent = if body.is_empty() {
                UpstreamBody::Empty
            } else if head.headers.contains_key(header::CONTENT_LENGTH) {
                UpstreamBody::Full(body.clone())
            } else {
                let whole = http_body_util::Full::new(body.clone());
                let whole = http_body_util::StreamBody::new(whole.into_data_stream().map(frame));
                UpstreamBody::Boxed(Box::pin(whole))
            };
            let request = head.clone().into_request(lease.version(), sent);
            let request = request.ok_or(CallFailure::Reset)?;
            match lease.send(request).await {
                Ok(response) => {
                    let (mut parts, body) = response.into_parts();
                    let collected = read(body, most).await?;
                    let milliseconds = u64::try_from(began.elapsed().as_millis());
                    let took = crate::headers::number(milliseconds.unwrap_or(u64::MAX));
                    parts.headers.insert(names::UPSTREAM_SERVICE_TIME, took);
                    return Ok(Answer {
                        status: parts.status,
                        headers: parts.headers,
                        body: collected.0,
                        trailers: collected.1,
                    });
                }
                Err(failure) if may_repeat(&failure, reused) => {}
                Err(_) => return Err(CallFailure::Reset),
            }
        }
        Err(CallFailure::Reset)
    }

    /// The head, with what Envoy says of its own requests.
    fn head(&self, worker: &WorkerContext) -> RequestHead {
        let mut headers = self.headers.clone();
        headers.insert(names::INTERNAL, names::TRUE);
        if let Some(ip) = worker.local_ip.filter(|_| self.forwarded) {
            let ip = ip.to_string();
            append(&mut headers, &names::X_FORWARDED_FOR, ip.as_bytes(), b",");
        }
        if let Some(timeout) = self.timeout {
            let milliseconds = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
            headers.insert(
                names::EXPECTED_TIMEOUT,
                crate::headers::number(milliseconds),
            );
        }
        RequestHead {
            method: self.method.clone(),
            secure: self.secure,
            names_scheme: false,
            authority: self.authority.clone(),
            path: Some(self.path.clone()),
            headers,
            host_in_headers: false,
            upgrade: None,
            extensions: Extensions::default(),
        }
    }
}

/// A piece of a body whose length is not told beforehand, as gRPC has it.
fn frame(data: Result<Bytes, std::convert::Infallible>) -> Result<Frame<Bytes>, BodyError> {
    match data {
        Ok(data) => Ok(Frame::data(data)),
        Err(never) => match never {},
    }
}

/// A body, and its trailers.
async fn read(
    mut body: meltemi_upstream::ResponseBody,
    most: usize,
) -> Result<(Bytes, HeaderMap), CallFailure> {
    let mut collected = BytesMut::new();
    let mut trailers = HeaderMap::new();
    while let Some(frame) = body.frame().await {
        match frame.map_err(|_| CallFailure::Reset)?.into_data() {
            Ok(data) if collected.len() + data.len() > most => return Err(CallFailure::TooLarge),
            Ok(data) => collected.extend_from_slice(&data),
            Err(other) => {
                if let Ok(found) = other.into_trailers() {
                    trailers = found;
                }
            }
        }
    }
    Ok((collected.freeze(), trailers))
}

/// Why a gRPC call gave no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GrpcFailure {
    /// It got no answer.
    #[error(transparent)]
    Call(#[from] CallFailure),
    /// It was answered with this status.
    #[error("gRPC status {0}")]
    Status(u64),
    /// The answer is not what gRPC says.
    #[error("malformed answer")]
    Malformed,
}

/// Calls a unary gRPC method: a message enters, the answer's message leaves.
pub(crate) async fn grpc(
    worker: &WorkerContext,
    target: &ir::GrpcTarget,
    path: PathAndQuery,
    metadata: HeaderMap,
    message: &[u8],
) -> Result<Bytes, GrpcFailure> {
    let mut body = grpc_body(worker, target, path, metadata, message).await?;
    if body.len() < 5 || body.get_u8() != 0 || body.get_u32() as usize != body.len() {
        return Err(GrpcFailure::Malformed);
    }
    Ok(body)
}

/// Calls a gRPC method with one message; what it answers is left as it came, perhaps nothing.
pub(crate) async fn grpc_body(
    worker: &WorkerContext,
    target: &ir::GrpcTarget,
    path: PathAndQuery,
    metadata: HeaderMap,
    message: &[u8],
) -> Result<Bytes, GrpcFailure> {
    const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
    let mut headers = metadata;
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert(header::CONTENT_TYPE, names::GRPC);
    if let Some(timeout) = target.timeout
        && let Ok(value) = HeaderValue::from_str(&format!("{}m", timeout.as_millis()))
    {
        headers.insert(TIMEOUT, value);
    }
    let mut body = BytesMut::with_capacity(message.len() + 5);
    body.put_u8(0);
    body.put_u32(u32::try_from(message.len()).map_err(|_| GrpcFailure::Malformed)?);
    body.put_slice(message);
    let call = Call {
        method: Method::POST,
        secure: false,
        authority: HeaderValue::from_str(&target.authority).map_err(|_| GrpcFailure::Malformed)?,
        path,
        headers,
        body: body.freeze(),
        timeout: target.timeout,
        most: 4 << 20,
        forwarded: true,
    };
    let answer = call.make(worker, &target.cluster, None).await?;
    if answer.status != StatusCode::OK {
        return Err(GrpcFailure::Malformed);
    }
    let status = answer.trailers.get(names::GRPC_STATUS);
    let status = status.or_else(|| answer.headers.get(names::GRPC_STATUS));
    match parse_number(status) {
        Some(0) => {}
        Some(status) => return Err(GrpcFailure::Status(status)),
        None => return Err(GrpcFailure::Malformed),
    }
    Ok(answer.body)
}

/// Whether the request was lost to a connection that was closed while it lay idle.
fn may_repeat(failure: &meltemi_upstream::SendFailure, reused: bool) -> bool {
    failure.request.is_some()
        || failure.unprocessed
        || (reused && failure.reason == meltemi_upstream::ResetReason::ConnectionTermination)
}
