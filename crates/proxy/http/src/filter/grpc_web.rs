//! `envoy.filters.http.grpc_web`: lets browsers call gRPC services, whose trailers they cannot
//! read and whose binary bodies they cannot always send.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::transform::{Rest, TransformError};
use super::{BodyTransform, Decision, HttpFilter, RequestContext, ResponseContext};
use crate::headers::{names, number};
use crate::router::reply::{grpc_status, percent_encode};

/// The filter; it has no settings.
pub(crate) struct GrpcWebFilter;

/// A request was a gRPC-Web request, its answer in text or not.
struct Web {
    text: bool,
}

const PROTO: HeaderValue = HeaderValue::from_static("application/grpc-web+proto");
const TEXT: HeaderValue = HeaderValue::from_static("application/grpc-web-text+proto");

impl HttpFilter for GrpcWebFilter {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Decision {
        const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
        let headers = &mut request.head.headers;
        let Some(kind) = headers.get(header::CONTENT_TYPE) else {
            return Decision::Continue;
        };
        let text = is_text(kind);
        if !text
            && !matches!(
                kind.as_bytes(),
                b"application/grpc-web" | b"application/grpc-web+proto"
            )
        {
            return Decision::Continue;
        }
        let text_response = headers.get(header::ACCEPT).is_some_and(is_text);
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONTENT_TYPE, names::GRPC);
        headers.insert(header::TE, names::TRAILERS);
        headers
            .entry(ACCEPT_ENCODING)
            .or_insert(HeaderValue::from_static("identity"));
        if text && request.head.method != Method::HEAD {
            request.body.transform(Box::new(FromText::default()));
        }
        request.remember(Web {
            text: text_response,
        });
        Decision::Continue
    }

    fn on_response(&self, response: &mut ResponseContext<'_>) {
        let Some(Web { text }) = response.recall::<Web>() else {
            return;
        };
        let headers = &mut *response.headers;
        let kind = headers.get(header::CONTENT_TYPE).cloned();
        let is_grpc = *response.status == StatusCode::OK
            && kind.as_ref().is_some_and(|kind| {
                let kind = kind.as_bytes();
                crate::route::is_grpc_type(kind) || kind.starts_with(b"application/grpc-web")
            });
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONTENT_TYPE, if text { TEXT } else { PROTO });
        if response.is_empty {
            return;
        }
        if !is_grpc {
            let status = grpc_status(*response.status);
            headers.insert(names::GRPC_STATUS, number(status));
            let message = response.body.as_deref_mut().map(std::mem::take);
            let message = message.unwrap_or_default();
            if let Ok(message) = HeaderValue::from_str(&percent_encode(&message)) {
                headers.insert(names::GRPC_MESSAGE, message);
            }
            headers.insert(header::CONTENT_LENGTH, number(0));
            response.transforms.push(Box::new(Nothing));
            return;
        }
        response.transforms.push(Box::new(Trailers));
        if text {
            response.transforms.push(Box::new(ToText::default()));
        }
    }
}

fn is_text(kind: &HeaderValue) -> bool {
    matches!(
        kind.as_bytes(),
        b"application/grpc-web-text" | b"application/grpc-web-text+proto"
    )
}

/// Base64 to bytes, four characters at a time.
#[derive(Default)]
struct FromText(Vec<u8>);

const BAD: TransformError = TransformError("Bad gRPC-web request, invalid base64 data.");

impl BodyTransform for FromText {
    fn data(&mut self, data: Bytes) -> Result<Bytes, TransformError> {
        self.0.extend_from_slice(&data);
        let whole = self.0.len() / 4 * 4;
        let rest = self.0.split_off(whole);
        let text = std::mem::replace(&mut self.0, rest);
        let mut plain = Vec::with_capacity(text.len());
        // several messages may each end in padding
        for four in text.chunks(4) {
            plain.extend_from_slice(&STANDARD.decode(four).map_err(|_| BAD)?);
        }
        Ok(plain.into())
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<Rest, TransformError> {
        if self.0.is_empty() {
            Ok((Bytes::new(), trailers))
        } else {
            Err(BAD)
        }
    }
}

/// gRPC frames to base64, each for itself.
#[derive(Default)]
struct ToText(Vec<u8>);

impl BodyTransform for ToText {
    fn data(&mut self, data: Bytes) -> Result<Bytes, TransformError> {
        self.0.extend_from_slice(&data);
        let mut text = String::new();
        while let Some(head) = self.0.get(1..5) {
            let length = head
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            let Some(frame) = self.0.get(..length + 5) else {
                break;
            };
            STANDARD.encode_string(frame, &mut text);
            self.0.drain(..length + 5);
        }
        Ok(text.into())
    }
}

/// Trailers to a frame of the body.
struct Trailers;

impl BodyTransform for Trailers {
    fn data(&mut self, data: Bytes) -> Result<Bytes, TransformError> {
        Ok(data)
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<Rest, TransformError> {
        const TRAILER_FRAME: u8 = 0x80;
        let Some(trailers) = trailers else {
            return Ok((Bytes::new(), None));
        };
        let mut text = Vec::new();
        for (name, value) in &trailers {
            text.extend_from_slice(name.as_str().as_bytes());
            text.push(b':');
            text.extend_from_slice(value.as_bytes());
            text.extend_from_slice(b"\r\n");
        }
        let mut frame = vec![TRAILER_FRAME];
        frame.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        frame.extend_from_slice(&text);
        Ok((frame.into(), None))
    }
}

/// Drops a body that no gRPC client could read.
struct Nothing;

impl BodyTransform for Nothing {
    fn data(&mut self, _data: Bytes) -> Result<Bytes, TransformError> {
        Ok(Bytes::new())
    }
}
