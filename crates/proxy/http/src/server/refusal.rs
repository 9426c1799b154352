//! What a client of HTTP/1 gets whose request is none. The codec finds that out and answers with a
//! status alone; here the answer gets its words, its headers and sometimes a better status. The
//! client's byte stream puts it in the place of the codec's, and the connection's end logs it.

use http::{HeaderMap, HeaderValue, header};

use crate::connection::Connection;
use crate::headers::response;

/// Why a head is none, as it is answered and logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CodecRefusal {
    pub(crate) status: u16,
    /// The reason phrase, which is the body too.
    pub(crate) text: &'static str,
    pub(crate) details: &'static str,
}

impl CodecRefusal {
    /// The head did not end in time.
    pub(super) const LATE: Self = Self {
        status: 408,
        text: "request header timeout",
        details: "request_header_timeout",
    };

    /// It has too many bytes.
    const TOO_LARGE: Self = Self {
        status: 431,
        text: "Request Header Fields Too Large",
        details: "http1.headers_too_large",
    };

    const BAD: Self = Self {
        status: 400,
        text: "Bad Request",
        details: "http1.codec_error",
    };

    /// What is wrong with a head that the codec refused, perhaps as too large.
    pub(super) fn of(head: &[u8], too_large: bool) -> Self {
        if too_large {
            return Self::TOO_LARGE;
        }
        let mut lines = head
            .split(|byte| *byte == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let first = lines.find(|line| !line.is_empty()).unwrap_or_default();
        if !is_current(first) {
            return Self {
                status: 426,
                text: "Upgrade Required",
                details: "low_version",
            };
        }
        let mut coding = None;
        let mut length = false;
        for line in lines.take_while(|line| !line.is_empty()) {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else {
                return Self::BAD;
            };
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            if value.iter().any(|byte| is_control(*byte)) {
                let details = "http1.invalid_characters";
                return Self {
                    details,
                    ..Self::BAD
                };
            }
            length |= name.eq_ignore_ascii_case(b"content-length");
            if name.eq_ignore_ascii_case(b"transfer-encoding") {
                coding = Some(value);
            }
        }
        match coding {
            Some(_) if length => Self {
                details: "http1.content_length_and_chunked_not_allowed",
                ..Self::BAD
            },
            Some(coding) if !coding.eq_ignore_ascii_case(b"chunked") => Self {
                status: 501,
                text: "Not Implemented",
                details: "http1.invalid_transfer_encoding",
            },
            _ => Self::BAD,
        }
    }

    /// Whether the head was good as far as it went, so that a request was broken off.
    pub(super) fn breaks_in(self) -> bool {
        self == Self::LATE || self == Self::TOO_LARGE
    }

    /// The whole answer.
    pub(super) fn bytes(self, connection: &Connection) -> Vec<u8> {
        let reason = http::StatusCode::from_u16(self.status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or_default();
        let mut text = format!("HTTP/1.1 {} {reason}\r\n", self.status).into_bytes();
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, self.text.len().into());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        let now = std::time::UNIX_EPOCH + connection.worker.clock.since_epoch();
        if let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(now)) {
            headers.insert(header::DATE, date);
        }
        connection.with_manager(|manager, _| {
            response::prepare(&mut headers, &manager.config, &manager.server, false);
        });
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        for (name, value) in &headers {
            text.extend_from_slice(name.as_str().as_bytes());
            text.extend_from_slice(b": ");
            text.extend_from_slice(value.as_bytes());
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(b"\r\n");
        text.extend_from_slice(self.text.as_bytes());
        text
    }
}

/// Whether bytes are the codec's own answer: a status of 400 and more, no content, and nothing
/// after the head.
pub(super) fn is_codecs(bytes: &[u8]) -> bool {
    bytes.starts_with(b"HTTP/1.1 4")
        && bytes.len() < 200
        && bytes.ends_with(b"\r\n\r\n")
        && bytes
            .windows(19)
            .any(|part| part == b"content-length: 0\r\n")
        && !bytes.windows(8).any(|part| part == b"server: ")
}

/// Whether a request line may be of HTTP/1.1: one that names another version, or none, is of a
/// client too old or too new.
fn is_current(line: &[u8]) -> bool {
    let mut words = line.split(|byte| *byte == b' ').filter(|it| !it.is_empty());
    let (method, version) = (words.next().unwrap_or_default(), line);
    if method == b"PRI" || !method.iter().all(u8::is_ascii_alphabetic) {
        return true;
    }
    let last = version.rsplit(|byte| *byte == b' ').next();
    match last.and_then(|last| last.strip_prefix(b"HTTP/")) {
        Some(b"1.1") => true,
        Some([major, b'.', minor]) => !(major.is_ascii_digit() && minor.is_ascii_digit()),
        Some(_) => true,
        None => words.count() != 1,
    }
}

fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

#[cfg(test)]
mod tests;
