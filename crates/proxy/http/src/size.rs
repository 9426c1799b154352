//! How many bytes heads take, for access logs.

use http::{HeaderMap, header};
use meltemi_telemetry::Protocol;

use crate::head::RequestHead;

/// The header of a body that comes in chunks.
pub(crate) const CHUNKED: u64 = "transfer-encoding: chunked\r\n".len() as u64;

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
