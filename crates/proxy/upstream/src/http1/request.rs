//! A request as it is written: its head, and its body bit by bit.

use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{
    self, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use http::uri::{PathAndQuery, Uri};
use http::{Method, Request, Version, request};
use http_body::Body as _;

use super::case;
use super::head::{Asked, content_length, has_token};
use super::outgoing::Outgoing;
use crate::{ResetReason, UpstreamBody};

/// The last chunk of a body without trailers.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// What is known of a request whose head is written.
pub(super) struct Written {
    pub(super) asked: Asked,
    /// It is the connection's last, as it says itself.
    pub(super) is_last: bool,
    pub(super) upload: Upload,
    /// The head as it was written.
    pub(super) head: request::Parts,
}

/// The rest of a request.
#[derive(Debug, Default)]
pub(super) struct Upload {
    body: UpstreamBody,
    framing: Framing,
}

#[derive(Debug)]
enum Framing {
    /// So much is to come.
    Length(u64),
    /// Chunks, and of trailers those that were announced.
    Chunked(Vec<HeaderName>),
}

impl Default for Framing {
    fn default() -> Self {
        Self::Length(0)
    }
}

/// Writes the head of a request to the end of `out`.
///
/// # Errors
/// When it cannot be written as it is.
pub(super) fn write(
    request: Request<UpstreamBody>,
    title_case: bool,
    out: &mut Vec<u8>,
) -> Result<Written, ResetReason> {
    let (mut head, body) = request.into_parts();
    add_host(&mut head)?;
    let framing = frame(&head.method, &mut head.headers, &body);
    let asked = match head.method {
        Method::HEAD => Asked::Head,
        Method::CONNECT => Asked::Connect,
        _ => Asked::Other,
    };
    let is_last = if head.extensions.is_empty() {
        write_head(&head, title_case, out)
    } else {
        let is_last = write_head(&head, title_case, out);
        spell(&mut head, &framing, title_case, out);
        is_last
    };
    let mut upload = Upload { body, framing };
    upload.end_if_complete();
    Ok(Written {
        asked,
        is_last,
        upload,
        head,
    })
}

/// Writes the head anew if it is known in which case its names are to be.
#[cold]
fn spell(head: &mut request::Parts, framing: &Framing, title_case: bool, out: &mut Vec<u8>) {
    head.extensions.remove::<hyper::ext::Protocol>();
    if head.extensions.is_empty() {
        return;
    }
    let mut copy = head.clone();
    copy.version = Version::HTTP_11;
    if copy.method != Method::CONNECT
        && let Some(path) = copy.uri.path_and_query()
    {
        copy.uri = Uri::from(path.clone());
    }
    let has_body = !matches!(framing, Framing::Length(0));
    if let Some(spelt) = case::spell(copy, has_body, title_case) {
        *out = spelt;
    }
}

/// Makes sure of a `host` header.
fn add_host(head: &mut request::Parts) -> Result<(), ResetReason> {
    if head.uri.scheme().is_none()
        || head.method == Method::CONNECT
        || head.headers.contains_key(HOST)
    {
        return Ok(());
    }
    if let Some(authority) = head.uri.authority() {
        let host = HeaderValue::from_str(authority.as_str())
            .map_err(|error| ResetReason::InvalidRequest(Arc::from(error.to_string())))?;
        head.headers.insert(HOST, host);
    }
    Ok(())
}

/// Decides how the body is framed, and has the headers say so. A length that they state goes
/// before what is known of the body.
fn frame(method: &Method, headers: &mut HeaderMap, body: &UpstreamBody) -> Framing {
    if body.is_end_stream() {
        headers.remove(TRANSFER_ENCODING);
        return Framing::Length(0);
    }
    if !headers.contains_key(TRANSFER_ENCODING) {
        if let Some(length) = stated_length(headers) {
            return Framing::Length(length);
        }
        if let Some(length) = body.size_hint().exact() {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            return Framing::Length(length);
        }
        if *method == Method::CONNECT {
            return Framing::Length(0);
        }
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let last = codings.next_back().map(HeaderValue::as_bytes);
    let last = last.and_then(|it| it.rsplit(|byte| *byte == b',').next());
    let is_chunked = last.is_some_and(|it| it.trim_ascii().eq_ignore_ascii_case(b"chunked"));
    if !is_chunked {
        headers.append(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    headers.remove(CONTENT_LENGTH);
    let announced = headers.get_all(header::TRAILER).iter();
    let announced = announced.flat_map(|it| it.as_bytes().split(|byte| *byte == b','));
    let names = announced.filter_map(|it| HeaderName::from_bytes(it.trim_ascii()).ok());
    Framing::Chunked(names.collect())
}

/// What all `content-length` headers agree on.
fn stated_length(headers: &HeaderMap) -> Option<u64> {
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    let first = content_length(values.next()?.as_bytes())?;
    let mut others = values.map(|it| content_length(it.as_bytes()));
    others.all(|it| it == Some(first)).then_some(first)
}

/// Whether it says that the connection ends with it.
fn write_head(head: &request::Parts, title_case: bool, out: &mut Vec<u8>) -> bool {
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.push(b' ');
    write_target(head, out);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let mut is_last = false;
    for (name, value) in &head.headers {
        if *name == CONNECTION {
            is_last |= has_token(value, "close");
        }
        write_field(name, value, title_case, out);
    }
    out.extend_from_slice(b"\r\n");
    is_last
}

/// The origin form, or what an URI without a scheme has.
fn write_target(head: &request::Parts, out: &mut Vec<u8>) {
    let is_origin = head.method != Method::CONNECT
        && (head.uri.scheme().is_some() || head.uri.authority().is_none());
    if !is_origin {
        // Writing to memory does not fail.
        let _ = write!(out, "{}", head.uri);
        return;
    }
    let path = head.uri.path_and_query().map_or("", PathAndQuery::as_str);
    if !path.starts_with(['/', '*']) {
        out.push(b'/');
    }
    out.extend_from_slice(path.as_bytes());
}

fn write_field(name: &HeaderName, value: &HeaderValue, title_case: bool, out: &mut Vec<u8>) {
    let name = name.as_str().as_bytes();
    out.reserve(name.len() + value.len() + 4);
    if title_case {
        let mut before = b'-';
        out.extend(name.iter().map(|&byte| {
            let begins = before == b'-';
            before = byte;
            if begins {
                byte.to_ascii_uppercase()
            } else {
                byte
            }
        }));
    } else {
        out.extend_from_slice(name);
    }
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

impl Upload {
    /// Whether all of it was encoded.
    #[inline]
    pub(super) fn is_ended(&self) -> bool {
        matches!(self.framing, Framing::Length(0))
    }

    /// Nothing more is sent.
    pub(super) fn end(&mut self) {
        *self = Self::default();
    }

    fn end_if_complete(&mut self) {
        if self.is_ended() {
            self.body = UpstreamBody::Empty;
        }
    }

    /// Encodes what the body gives next, for which there has to be room.
    pub(super) fn poll_encode(
        &mut self,
        title_case: bool,
        out: &mut Outgoing,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ResetReason>> {
        let failed = |text: String| Err(ResetReason::RequestBody(Arc::from(text)));
        Poll::Ready(match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            None => self.finish(out),
            Some(Err(error)) => failed(error.to_string()),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => self.data(data, out),
                Err(frame) => match frame.into_trailers() {
                    Ok(trailers) => self.trailers(&trailers, title_case, out),
                    Err(_) => Ok(()),
                },
            },
        })
    }

    fn data(&mut self, mut data: Bytes, out: &mut Outgoing) -> Result<(), ResetReason> {
        let is_last = self.body.is_end_stream();
        if data.is_empty() {
            return if is_last { self.finish(out) } else { Ok(()) };
        }
        match &mut self.framing {
            Framing::Length(left) => {
                // More than was stated is not sent.
                data.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= data.len() as u64;
                out.push(data, b"");
                if is_last {
                    return self.finish(out);
                }
                self.end_if_complete();
            }
            Framing::Chunked(_) => {
                // Writing to memory does not fail.
                let _ = write!(out.buffer(), "{:X}\r\n", data.len());
                if is_last {
                    out.push(data, b"\r\n0\r\n\r\n");
                    self.end();
                } else {
                    out.push(data, b"\r\n");
                }
            }
        }
        Ok(())
    }

    fn trailers(
        &mut self,
        trailers: &HeaderMap,
        title_case: bool,
        out: &mut Outgoing,
    ) -> Result<(), ResetReason> {
        let Framing::Chunked(announced) = &self.framing else {
            return self.finish(out);
        };
        let buffer = out.buffer();
        buffer.extend_from_slice(b"0\r\n");
        for (name, value) in trailers {
            if announced.contains(name) && may_trail(name) {
                write_field(name, value, title_case, buffer);
            }
        }
        buffer.extend_from_slice(b"\r\n");
        self.end();
        Ok(())
    }

    /// The body gave its last.
    fn finish(&mut self, out: &mut Outgoing) -> Result<(), ResetReason> {
        match self.framing {
            Framing::Length(0) => {}
            Framing::Length(left) => {
                let text = format!("the body ended {left} bytes early");
                return Err(ResetReason::RequestBody(Arc::from(text)));
            }
            Framing::Chunked(_) => out.buffer().extend_from_slice(LAST_CHUNK),
        }
        self.end();
        Ok(())
    }
}

/// Whether a field may stand after a body (RFC 9110, section 6.5.1).
fn may_trail(name: &HeaderName) -> bool {
    !matches!(
        *name,
        header::AUTHORIZATION
            | header::CACHE_CONTROL
            | header::CONTENT_ENCODING
            | CONTENT_LENGTH
            | header::CONTENT_RANGE
            | header::CONTENT_TYPE
            | HOST
            | header::MAX_FORWARDS
            | header::SET_COOKIE
            | header::TRAILER
            | TRANSFER_ENCODING
            | header::TE
    )
}
