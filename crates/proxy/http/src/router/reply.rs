//! Answers that the proxy gives itself: status, text and headers as Envoy words them, for
//! gRPC callers as a gRPC status.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use meltemi_telemetry::ResponseFlags;

use crate::headers::{names, number};

/// An answer of the proxy's own.
#[derive(Debug)]
pub(crate) struct LocalReply {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
    pub(crate) headers: HeaderMap,
    pub(crate) details: Cow<'static, str>,
    pub(crate) flags: ResponseFlags,
    /// The connection is of no more use.
    pub(crate) close: bool,
    /// Who gives it.
    pub(crate) by: Author,
    /// The gRPC status, where it is not what the HTTP status means.
    pub(crate) grpc_status: Option<u32>,
}

/// Who gives an answer; what else is said in its headers depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Author {
    /// The router, which says how often it tried.
    Router,
    /// A limit of the connection manager.
    Manager,
    /// A filter, whose answer gets the headers of a route that forwards.
    Filter,
    /// The CORS filter, whose answer to a preflight gets none of the route's headers.
    Preflight,
}

impl LocalReply {
    /// An answer with this text.
    pub(crate) fn new(
        status: StatusCode,
        body: &'static str,
        details: &'static str,
        flags: ResponseFlags,
    ) -> Box<Self> {
        Box::new(Self {
            status,
            body: Bytes::from_static(body.as_bytes()),
            headers: HeaderMap::new(),
            details: Cow::Borrowed(details),
            flags,
            close: false,
            by: Author::Router,
            grpc_status: None,
        })
    }

    /// No route, or a route that leads nowhere.
    pub(crate) fn route_not_found() -> Box<Self> {
        Self::new(
            StatusCode::NOT_FOUND,
            "",
            "route_not_found",
            ResponseFlags::NO_ROUTE_FOUND,
        )
    }

    /// The route's cluster does not exist.
    pub(crate) fn cluster_not_found(status: StatusCode) -> Box<Self> {
        Self::new(
            status,
            "",
            "cluster_not_found",
            ResponseFlags::NO_CLUSTER_FOUND,
        )
    }

    /// The cluster has no host to offer.
    pub(crate) fn no_healthy_upstream() -> Box<Self> {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no healthy upstream",
            "no_healthy_upstream",
            ResponseFlags::NO_HEALTHY_UPSTREAM,
        )
    }

    /// A redirection.
    pub(crate) fn redirect(status: StatusCode, location: &str, details: &'static str) -> Box<Self> {
        let mut reply = Self::new(status, "", details, ResponseFlags::NONE);
        if let Ok(location) = HeaderValue::from_str(location) {
            reply.headers.insert(header::LOCATION, location);
        }
        reply
    }

    /// The same with the connection closed after it.
    pub(crate) fn closing(mut self: Box<Self>) -> Box<Self> {
        self.close = true;
        self
    }

    /// The response. `grpc` puts it into a gRPC status; `bodiless` is an answer to `HEAD`.
    pub(crate) fn into_response(self, grpc: bool, bodiless: bool) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        let headers = response.headers_mut();
        *headers = self.headers;
        if grpc {
            headers.insert(header::CONTENT_TYPE, names::GRPC);
            let status = self.grpc_status.map(u64::from);
            let status = status.unwrap_or_else(|| grpc_status(self.status));
            headers.insert(names::GRPC_STATUS, number(status));
            if !self.body.is_empty()
                && let Ok(message) = HeaderValue::from_str(&percent_encode(&self.body))
            {
                headers.insert(names::GRPC_MESSAGE, message);
            }
            return response;
        }
        if !self.body.is_empty() {
            headers.insert(header::CONTENT_LENGTH, number(self.body.len() as u64));
            headers
                .entry(header::CONTENT_TYPE)
                .or_insert(names::TEXT_PLAIN);
        }
        if self.close {
            headers.insert(header::CONNECTION, names::CLOSE);
        }
        *response.status_mut() = self.status;
        if !bodiless {
            *response.body_mut() = self.body;
        }
        response
    }
}

/// The gRPC status that stands for an HTTP status.
pub(crate) fn grpc_status(status: StatusCode) -> u64 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// Percent-encoding of `grpc-message`.
pub(crate) fn percent_encode(text: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text {
        match byte {
            b' '..=b'~' if *byte != b'%' => encoded.push(char::from(*byte)),
            _ => {
                encoded.push('%');
                for nibble in [byte >> 4, byte & 15] {
                    encoded.push(char::from(b"0123456789ABCDEF"[usize::from(nibble)]));
                }
            }
        }
    }
    encoded
}
