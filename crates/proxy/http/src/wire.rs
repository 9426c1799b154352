//! How many bytes a stream's messages are on the wire, for access logs that ask for it.

use http::{HeaderMap, Response, StatusCode, header};
use meltemi_telemetry::{Protocol, WireBytes};
use meltemi_upstream::HttpVersion;

use crate::head::RequestHead;
use crate::size::{CHUNKED, header_bytes, request_bytes};
use crate::stream::Stream;

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

    /// A request as it comes from a client.
    fn request(parts: &http::request::Parts, protocol: Protocol) -> Self {
        let (headers, spaces) = received_headers(&parts.headers);
        let method = parts.method.as_str().len();
        match protocol {
            Protocol::Http2 => {
                let pseudo = method + parts.uri.to_string().len();
                let (_, text) = header_bytes(&parts.headers);
                Self::http2(text + (":method:scheme:authority:path".len() + pseudo) as u64)
            }
            Protocol::Http10 | Protocol::Http11 => {
                let line = method + parts.uri.to_string().len() + "  HTTP/1.1\r\n".len();
                let chunked = parts.headers.contains_key(header::TRANSFER_ENCODING);
                let mut wire = Self::http1(headers, line, chunked);
                wire.head += spaces;
                wire
            }
        }
    }

    /// A response as it goes to a client, with what [`crate::size::response_bytes`] says of it.
    pub(crate) fn response(
        status: u16,
        protocol: Protocol,
        (wire, text, chunked): (u64, u64, bool),
    ) -> Self {
        match protocol {
            Protocol::Http2 => Self::http2(text),
            Protocol::Http10 | Protocol::Http11 => {
                let reason = StatusCode::from_u16(status).ok();
                let reason = reason.and_then(|status| status.canonical_reason());
                let line = STATUS_LINE.len() + reason.unwrap_or_default().len();
                Self::http1(wire, line, chunked)
            }
        }
    }

    /// A request as it goes to an upstream.
    fn upstream_request(head: &RequestHead, version: HttpVersion, has_body: bool) -> Self {
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
                Self::http1(headers, line, chunked)
            }
            HttpVersion::Http2 => Self::http2(request_bytes(head).1),
        }
    }

    /// A response as it comes from an upstream.
    fn upstream_response<B>(response: &Response<B>, version: HttpVersion) -> Self {
        let headers = response.headers();
        match version {
            HttpVersion::Http1 => {
                let reason = response.extensions().get::<hyper::ext::ReasonPhrase>();
                let usual = response.status().canonical_reason().unwrap_or_default();
                let reason = reason.map_or(usual.len(), |reason| reason.as_bytes().len());
                let chunked = headers.contains_key(header::TRANSFER_ENCODING);
                let (headers, spaces) = received_headers(headers);
                let mut wire = Self::http1(headers, STATUS_LINE.len() + reason, chunked);
                wire.head += spaces;
                wire
            }
            HttpVersion::Http2 => Self::http2(header_bytes(headers).1 + ":status200".len() as u64),
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

const STATUS_LINE: &str = "HTTP/1.1 200 \r\n";
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

/// How a stream's messages go over the wire.
#[derive(Default)]
pub(crate) struct Wires {
    pub(crate) received: Wire,
    pub(crate) sent: Wire,
    /// Each try's.
    sent_upstream: Vec<Wire>,
    received_upstream: Vec<Wire>,
    /// Bytes of the response's trailers.
    pub(crate) trailers: u64,
}

/// Those of a stream of which nobody asks.
pub(crate) static NO_WIRES: Wires = {
    const NOTHING: Wire = Wire {
        headers: 0,
        head: 0,
        chunked: false,
    };
    Wires {
        received: NOTHING,
        sent: NOTHING,
        sent_upstream: Vec::new(),
        received_upstream: Vec::new(),
        trailers: 0,
    }
};

impl Wires {
    pub(crate) fn received(&self, stream: &Stream) -> WireBytes {
        let (framing, _) = stream.framing.get();
        self.received
            .with_body(stream.bytes_received.get(), framing, 0)
    }

    pub(crate) fn sent(&self, stream: &Stream) -> WireBytes {
        let (_, framing) = stream.framing.get();
        self.sent.with_body(stream.bytes_sent.get(), framing, 0)
    }

    pub(crate) fn sent_upstream(&self, stream: &Stream) -> WireBytes {
        let (framing, _) = stream.framing.get();
        sum(&self.sent_upstream, |try_| {
            try_.with_body(stream.bytes_received.get(), framing, 0)
        })
    }

    /// Of a response that is tried again only the head is read.
    pub(crate) fn received_upstream(&self, stream: &Stream) -> WireBytes {
        let (_, framing) = stream.framing.get();
        let Some((last, before)) = self.received_upstream.split_last() else {
            return WireBytes::default();
        };
        let mut all = sum(before, |response| response.with_body(0, 0, 0));
        let last = last.with_body(stream.bytes_sent.get(), framing, self.trailers);
        all.headers += last.headers;
        all.whole += last.whole;
        all
    }
}

fn sum(wires: &[Wire], bytes: impl Fn(&Wire) -> WireBytes) -> WireBytes {
    wires
        .iter()
        .map(bytes)
        .fold(WireBytes::default(), |all, one| WireBytes {
            headers: all.headers + one.headers,
            whole: all.whole + one.whole,
        })
}

impl Stream {
    /// Counts a request as it comes.
    pub(crate) fn note_received(&self, parts: &http::request::Parts, protocol: Protocol) {
        if self.settings.manager.fields.wire_bytes {
            self.facts.borrow_mut().wires().received = Wire::request(parts, protocol);
        }
    }

    /// Counts a request as it goes to an upstream.
    pub(crate) fn note_sent_upstream(
        &self,
        head: &RequestHead,
        version: HttpVersion,
        has_body: bool,
    ) {
        if self.settings.manager.fields.wire_bytes {
            let wire = Wire::upstream_request(head, version, has_body);
            self.facts.borrow_mut().wires().sent_upstream.push(wire);
        }
    }

    /// Counts a response as it comes from an upstream.
    pub(crate) fn note_received_upstream<B>(&self, response: &Response<B>, version: HttpVersion) {
        if self.settings.manager.fields.wire_bytes {
            let wire = Wire::upstream_response(response, version);
            self.facts.borrow_mut().wires().received_upstream.push(wire);
        }
    }
}
