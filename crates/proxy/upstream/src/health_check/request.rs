//! HTTP checks: a request, whose answer's status decides.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderValue, USER_AGENT};
use http::{HeaderMap, HeaderName, Request, Response, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use meltemi_ir::{AppendAction, HeaderMutation, HeaderTarget, HealthCheck, HttpHealthCheck};
use meltemi_lifecycle::WorkerId;
use tokio::task::AbortHandle;

use super::{Verdict, connect, host_name, tcp};
use crate::{Cluster, Host};

const AGENT: HeaderValue = HeaderValue::from_static("Envoy/HC");
const DEGRADED: HeaderName = HeaderName::from_static("x-envoy-degraded");
const IMMEDIATE_FAIL: HeaderName = HeaderName::from_static("x-envoy-immediate-health-check-fail");
const CHECKED_CLUSTER: HeaderName =
    HeaderName::from_static("x-envoy-upstream-healthchecked-cluster");

/// A connection that the next check may use. Dropping it closes it.
pub(super) struct Kept {
    sender: Sender,
    task: AbortHandle,
}

enum Sender {
    Http1(http1::SendRequest<Whole>),
    Http2(http2::SendRequest<Whole>),
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A body of one piece.
pub(super) struct Whole(Option<Bytes>);

impl Body for Whole {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

/// A request of a check.
pub(super) struct Asked<'a> {
    pub(super) method: http::Method,
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) http2: bool,
}

pub(super) async fn check(
    cluster: &Cluster,
    host: &Host,
    settings: &HealthCheck,
    config: &HttpHealthCheck,
    kept: &mut Option<Kept>,
) -> Verdict {
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, AGENT);
    if !config.send.is_empty() {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(config.send.len()));
    }
    let mut name = host_name(cluster, host, &config.host).to_owned();
    apply(&config.headers, &mut headers, &mut name);
    let asked = Asked {
        method: config.method.clone(),
        host: &name,
        path: &config.path,
        headers,
        body: Bytes::copy_from_slice(&config.send),
        http2: config.http2,
    };
    let Some(response) = ask(cluster, host, settings, asked, kept).await else {
        return Verdict::Network;
    };
    let (head, body) = response.into_parts();
    let closes = head.version != Version::HTTP_2
        && head
            .headers
            .get(CONNECTION)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
    let Some((body, _)) = read(body, config.response_buffer).await else {
        return Verdict::Network;
    };
    if closes {
        *kept = None;
    }
    let status = head.status.as_u16();
    let contains = |ranges: &[std::ops::Range<u16>]| ranges.iter().any(|r| r.contains(&status));
    let excluded = head.headers.contains_key(IMMEDIATE_FAIL);
    let fails = |retriable| Verdict::Failed {
        retriable,
        excluded,
    };
    if !contains(&config.expected) {
        return fails(contains(&config.retriable));
    }
    if !config.receive.is_empty() && !tcp::holds(&body, &config.receive) {
        return fails(false);
    }
    if let Some(matcher) = &config.service_name {
        let stats = cluster.stats(WorkerId::MAIN).health_check.get();
        stats.verify_cluster.inc();
        let named = head.headers.get(CHECKED_CLUSTER);
        let named = named.and_then(|value| value.to_str().ok());
        if !named.is_some_and(|name| matcher.matches(name)) {
            return fails(false);
        }
    }
    Verdict::Healthy {
        degraded: head.headers.contains_key(DEGRADED),
        excluded,
    }
}

/// Sends a request, on the connection that was kept where there is one.
pub(super) async fn ask(
    cluster: &Cluster,
    host: &Host,
    settings: &HealthCheck,
    asked: Asked<'_>,
    kept: &mut Option<Kept>,
) -> Option<Response<Incoming>> {
    let Asked {
        method,
        host: name,
        path,
        headers,
        body,
        http2,
    } = asked;
    if kept.as_ref().is_some_and(Kept::is_closed) {
        *kept = None;
    }
    if kept.is_none() {
        *kept = Some(open(cluster, host, settings, http2).await?);
    }
    let uri = if http2 {
        let scheme = if super::is_tls(host.transport()) {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{name}{path}").parse::<Uri>().ok()?
    } else {
        path.parse::<Uri>().ok()?
    };
    let body = Whole((!body.is_empty()).then_some(body));
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    let sent = match &mut kept.as_mut()?.sender {
        Sender::Http1(sender) => {
            let name = HeaderValue::from_str(name).ok()?;
            request.headers_mut().insert(HOST, name);
            sender.ready().await.ok()?;
            sender.send_request(request).await
        }
        Sender::Http2(sender) => sender.send_request(request).await,
    };
    sent.ok()
}

async fn open(cluster: &Cluster, host: &Host, settings: &HealthCheck, http2: bool) -> Option<Kept> {
    let alpn: &[&[u8]] = if http2 { &[b"h2"] } else { &[b"http/1.1"] };
    let stream = TokioIo::new(connect(cluster, host, settings, alpn).await?);
    if http2 {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.ok()?;
        let task = tokio::spawn(async move {
            // The request's own future tells of an error.
            let _ = connection.await;
        });
        return Some(Kept {
            sender: Sender::Http2(sender),
            task: task.abort_handle(),
        });
    }
    let (sender, connection) = http1::handshake(stream).await.ok()?;
    let task = tokio::spawn(async move {
        // The request's own future tells of an error.
        let _ = connection.await;
    });
    Some(Kept {
        sender: Sender::Http1(sender),
        task: task.abort_handle(),
    })
}

impl Kept {
    fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }
}

/// The beginning of a body, all of which is read, and its trailers; none where it broke off.
pub(super) async fn read(mut body: Incoming, most: usize) -> Option<(Vec<u8>, Option<HeaderMap>)> {
    let mut bytes = Vec::new();
    let mut trailers = None;
    loop {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        match frame {
            None => return Some((bytes, trailers)),
            Some(Err(_)) => return None,
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    let room = most.saturating_sub(bytes.len()).min(data.len());
                    bytes.extend_from_slice(&data[..room]);
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
        }
    }
}

/// Makes the configured changes, whose values are all literal.
pub(super) fn apply(mutation: &HeaderMutation, headers: &mut HeaderMap, host: &mut String) {
    for name in &mutation.remove {
        headers.remove(name);
    }
    for header in &mutation.add {
        let Some(value) = header.literal.clone() else {
            continue;
        };
        let name = match &header.name {
            HeaderTarget::Name(name) => name.clone(),
            HeaderTarget::Authority => {
                *host = header.value.clone();
                continue;
            }
            _ => continue,
        };
        let is_there = headers.contains_key(&name);
        match (header.action, is_there) {
            (AppendAction::AppendOrAdd, _) => {
                headers.append(name, value);
            }
            (AppendAction::AddIfAbsent, true) | (AppendAction::OverwriteIfExists, false) => {}
            (
                AppendAction::AddIfAbsent
                | AppendAction::OverwriteOrAdd
                | AppendAction::OverwriteIfExists,
                _,
            ) => {
                headers.insert(name, value);
            }
        }
    }
}
