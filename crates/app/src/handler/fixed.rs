//! The paths that every instance serves for tests: echoes, streams, trailers, failures.

use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use serde_json::json;

use super::service::header_map;
use super::{Body, Handler, respond, text};

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Handler {
    /// 503 for the first `failures` requests of the query's `key`, then 200.
    pub(super) fn flaky(&self, request: &Request<Incoming>, failures: u32) -> StatusCode {
        let query = request.uri().query().unwrap_or_default();
        let key = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("key="))
            .unwrap_or_default();
        let mut counts = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = counts.entry(key.to_owned()).or_default();
        if *failed >= failures {
            return StatusCode::OK;
        }
        *failed += 1;
        StatusCode::SERVICE_UNAVAILABLE
    }
}

/// The request's headers, as JSON.
pub(super) fn headers(request: &Request<Incoming>) -> Response<Body> {
    answer(&json!({ "headers": header_map(request.headers()) }))
}

/// All of the request, as JSON.
pub(super) async fn echo(name: &str, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return text(StatusCode::BAD_REQUEST, "the body broke off\n");
    };
    let trailers = body.trailers().map(header_map).unwrap_or_default();
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    let host = parts
        .headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    answer(&json!({
        "name": name,
        "method": parts.method.as_str(),
        "uri": parts.uri.path_and_query().map(|target| target.as_str()),
        "version": format!("{:?}", parts.version),
        "host": host.or(authority),
        "headers": header_map(&parts.headers),
        "body": String::from_utf8_lossy(&body.to_bytes()),
        "trailers": trailers,
    }))
}

/// The request's body and trailers, as they arrive.
pub(super) fn echo_raw(request: Request<Incoming>) -> Response<Body> {
    let kind = request.headers().get(header::CONTENT_TYPE).cloned();
    let mut response = Response::new(request.into_body().map_err(Failure::from).boxed_unsync());
    if let Some(kind) = kind {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}

/// Numbered lines, a chunk each, with a pause before every one but the first.
pub(super) fn stream(chunks: u32, pause: Duration) -> Response<Body> {
    let frames = futures_util::stream::unfold(0, move |number| async move {
        if number == chunks {
            return None;
        }
        if number > 0 {
            tokio::time::sleep(pause).await;
        }
        let line = Bytes::from(format!("chunk {}\n", number + 1));
        Some((Ok::<_, Failure>(Frame::data(line)), number + 1))
    });
    plain(StreamBody::new(frames).boxed_unsync())
}

/// A body and a trailer; HTTP/1.1 clients get the trailer when they send `te: trailers`.
pub(super) fn trailers() -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-trailer", HeaderValue::from_static("end"));
    let frames = [
        Frame::data(Bytes::from_static(b"a trailer follows\n")),
        Frame::trailers(trailers),
    ];
    let frames = futures_util::stream::iter(frames.map(Ok::<_, Failure>));
    let mut response = plain(StreamBody::new(frames).boxed_unsync());
    response
        .headers_mut()
        .insert(header::TRAILER, HeaderValue::from_static("x-trailer"));
    response
}

fn plain(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn answer(value: &serde_json::Value) -> Response<Body> {
    respond(StatusCode::OK, "application/json", format!("{value:#}\n"))
}
