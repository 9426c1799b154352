//! How many bytes heads take, for access logs.

use http::{HeaderMap, Response, StatusCode, header};
use meltemi_telemetry::{Protocol, WireBytes};
use meltemi_upstream::HttpVersion;

use crate::head::RequestHead;

const CHUNKED: u64 = "transfer-encoding: chunked\r\n".len() as u64;

/// The bytes that headers take on the wire with HTTP/1, and those of their names and values alone.
/// With HTTP/2 the second stand for the first too: how small HPACK makes them, nobody counts.
pub(crate) fn header_bytes(headers: &HeaderMap) -> (u64, u64) {
    let sizes = headers
        .iter()
        .map(|(name, value)| (name.as_str().len() + value.len()) as u64);
    let text: u64 = sizes.sum();
    (text + 4 * headers.len() as u64, text)
}

/// The same of a request, pseudo-headers included in the second.
pub(crate) fn request_bytes(head: &RequestHead) -> (u64, u64) {
    const NAMES: usize = ":method:scheme:authority:path".len();
    let (wire, mut text) = header_bytes(&head.headers);
    if head.host_in_headers {
        text -= ("host".len() + head.authority.len()) as u64;
    }
    let values =
        head.method.as_str().len() + head.scheme().len() + head.authority.len() + head.path().len();
    (wire, text + (NAMES + values) as u64)
}

/// The same of a response, `:status` included in the second, and what the codec adds: the date, and
/// that a body comes in chunks. And whether it does.
pub(crate) fn response_bytes(
    status: u16,
    headers: &HeaderMap,
    protocol: Protocol,
) -> (u64, u64, bool) {
    const STATUS: u64 = ":status200".len() as u64;
    const DATE: u64 = "date".len() as u64 + 29;
    let (mut wire, mut text) = header_bytes(headers);
    text += STATUS;
    if !headers.contains_key(header::DATE) {
        text += DATE;
        wire += DATE + 4;
    }
    let has_body = !matches!(status, 100..=199 | 204 | 304);
    let framed = headers.contains_key(header::CONTENT_LENGTH);
    let chunked = protocol == Protocol::Http11 && has_body && !framed;
    if chunked {
        wire += CHUNKED;
    }
    (wire, text, chunked)
}

/// How a message goes over the wire.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wire {
    /// Bytes of its headers.
    headers: u64,
    /// Bytes of its head, the first line and the last included.
    head: u64,
    /// Its body comes in chunks.
    chunked: bool,
}

impl Wire {
    /// A message of HTTP/2, whose headers are counted before HPACK.
    fn http2(headers: u64) -> Self {
        Self {
            headers,
            head: headers,
            chunked: false,
        }
    }

    /// A message of HTTP/1, whose first line has so many bytes.
    fn http1(headers: u64, line: usize, chunked: bool) -> Self {
        Self {
            headers,
            head: headers + (line + LINE_END.len()) as u64,
            chunked,
        }
    }

    /// With its body, what stands between its chunks, and its trailers.
    pub(crate) fn with_body(&self, body: u64, framing: u64, trailers: u64) -> WireBytes {
        let around = match self.chunked {
            true => framing + LAST_CHUNK.len() as u64 + trailers,
            false => 0,
        };
        WireBytes {
            headers: self.headers,
            whole: self.head + body + around,
        }
    }
}

const LINE_END: &str = "\r\n";
const LAST_CHUNK: &str = "0\r\n\r\n";

/// What stands around a chunk.
pub(crate) fn framing(data: &[u8]) -> u64 {
    let digits = data.len().checked_ilog(16).unwrap_or(0) + 1;
    u64::from(digits) + 2 * LINE_END.len() as u64
}

/// The bytes of headers as Envoy counts them when they come: without the space after the colon.
fn received_headers(headers: &HeaderMap) -> (u64, u64) {
    let (wire, _) = header_bytes(headers);
    (wire - headers.len() as u64, headers.len() as u64)
}

/// A request as it comes from a client.
pub(crate) fn request_wire(parts: &http::request::Parts, protocol: Protocol) -> Wire {
    let (headers, spaces) = received_headers(&parts.headers);
    let method = parts.method.as_str().len();
    match protocol {
        Protocol::Http2 => {
            let pseudo = method + parts.uri.to_string().len();
            let (_, text) = header_bytes(&parts.headers);
            Wire::http2(text + (":method:scheme:authority:path".len() + pseudo) as u64)
        }
        Protocol::Http10 | Protocol::Http11 => {
            let line = method + parts.uri.to_string().len() + "  HTTP/1.1\r\n".len();
            let chunked = parts.headers.contains_key(header::TRANSFER_ENCODING);
            let mut wire = Wire::http1(headers, line, chunked);
            wire.head += spaces;
            wire
        }
    }
}

/// A response as it goes to a client, whose headers have so many bytes.
pub(crate) fn response_wire(
    headers: u64,
    status: StatusCode,
    protocol: Protocol,
    chunked: bool,
) -> Wire {
    match protocol {
        Protocol::Http2 => Wire::http2(headers),
        Protocol::Http10 | Protocol::Http11 => {
            let reason = status.canonical_reason().unwrap_or_default();
            Wire::http1(headers, STATUS_LINE.len() + reason.len(), chunked)
        }
    }
}

const STATUS_LINE: &str = "HTTP/1.1 200 \r\n";

/// A request as it goes to an upstream.
pub(crate) fn upstream_request_wire(
    head: &RequestHead,
    version: HttpVersion,
    has_body: bool,
) -> Wire {
    let (mut headers, _) = header_bytes(&head.headers);
    match version {
        HttpVersion::Http1 => {
            if !head.host_in_headers {
                headers += ("host: \r\n".len() + head.authority.len()) as u64;
            }
            let chunked = has_body && !head.headers.contains_key(header::CONTENT_LENGTH);
            if chunked {
                headers += CHUNKED;
            }
            let line = head.method.as_str().len() + head.path().len() + "  HTTP/1.1\r\n".len();
            Wire::http1(headers, line, chunked)
        }
        HttpVersion::Http2 => Wire::http2(request_bytes(head).1),
    }
}

/// A response as it comes from an upstream.
pub(crate) fn upstream_response_wire<B>(response: &Response<B>, version: HttpVersion) -> Wire {
    let headers = response.headers();
    match version {
        HttpVersion::Http1 => {
            let reason = response.extensions().get::<hyper::ext::ReasonPhrase>();
            let usual = response.status().canonical_reason().unwrap_or_default();
            let reason = reason.map_or(usual.len(), |reason| reason.as_bytes().len());
            let chunked = headers.contains_key(header::TRANSFER_ENCODING);
            let (headers, spaces) = received_headers(headers);
            let mut wire = Wire::http1(headers, STATUS_LINE.len() + reason, chunked);
            wire.head += spaces;
            wire
        }
        HttpVersion::Http2 => Wire::http2(header_bytes(headers).1 + ":status200".len() as u64),
    }
}
