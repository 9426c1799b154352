//! The head of a response: its parse, and what it says of the body and the connection.

use std::mem::MaybeUninit;

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use http::{Response, StatusCode, Version};
use hyper::ext::ReasonPhrase;

use super::decode::{Chunks, Decoder};
use super::{MAX_HEADER_BYTES, MAX_HEADERS, case, malformed};
use crate::ResetReason;

/// What kind of request a response answers, as far as its framing goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// `HEAD`: whatever it says, there is no body.
    Head,
    /// `CONNECT`: success makes a tunnel.
    Connect,
    Other,
}

/// A response without its body.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) response: Response<()>,
    pub(super) body: Decoder,
    /// The connection may carry another request.
    pub(super) keeps_alive: bool,
    /// What follows is no HTTP.
    pub(super) is_upgrade: bool,
}

/// What the fields say of the framing.
#[derive(Default)]
struct Notes {
    /// Nothing, a length, or several that differ or are none.
    length: Option<Result<u64, ()>>,
    /// Lines of `transfer-encoding`, and whether the last says no more than `chunked`.
    codings: usize,
    is_chunked: bool,
    closes: bool,
    keeps_alive: bool,
}

/// Reads heads out of a connection's bytes.
#[derive(Debug)]
pub(super) struct Reader {
    /// How much of an incomplete head was looked at.
    seen: usize,
    /// Most that one may have.
    limit: usize,
    /// Whether a response remembers how its names were written.
    keeps_case: bool,
}

impl Reader {
    pub(super) fn new(limit: usize, keeps_case: bool) -> Self {
        Self {
            seen: 0,
            limit: limit.min(MAX_HEADER_BYTES),
            keeps_case,
        }
    }

    /// Takes the head of a final response out of `unread`, if all of it is there; interim ones
    /// before it are skipped. `spare` is a map to use again.
    pub(super) fn read(
        &mut self,
        unread: &mut BytesMut,
        asked: Asked,
        spare: &mut HeaderMap,
    ) -> Result<Option<Head>, ResetReason> {
        while !unread.is_empty() {
            let seen = std::mem::replace(&mut self.seen, unread.len());
            if seen > 0 && !may_be_complete(unread, seen) {
                return self.incomplete();
            }
            let Some(head) = parse(unread, asked, self.keeps_case, spare)? else {
                return self.incomplete();
            };
            self.seen = 0;
            if let Some(head) = head {
                return Ok(Some(head));
            }
        }
        Ok(None)
    }

    fn incomplete(&self) -> Result<Option<Head>, ResetReason> {
        if self.seen >= self.limit {
            return Err(malformed("a response's headers are over the limit"));
        }
        Ok(None)
    }
}

/// Whether there is an empty line after what was looked at before.
fn may_be_complete(bytes: &[u8], seen: usize) -> bool {
    let new = &bytes[seen.saturating_sub(3)..];
    new.windows(2).any(|it| it == b"\n\n") || new.windows(3).any(|it| it == b"\n\r\n")
}

/// One head: none that is whole, an interim one, or that of the response.
fn parse(
    unread: &mut BytesMut,
    asked: Asked,
    keeps_case: bool,
    spare: &mut HeaderMap,
) -> Result<Option<Option<Head>>, ResetReason> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let complete = config
        .parse_response_with_uninit_headers(&mut parsed, unread, &mut fields)
        .map_err(|error| malformed(&error.to_string()))?;
    let httparse::Status::Complete(length) = complete else {
        return Ok(None);
    };
    if length > MAX_HEADER_BYTES {
        return Err(malformed("a response's headers are over the limit"));
    }
    let status = StatusCode::from_u16(parsed.code.unwrap_or_default())
        .map_err(|error| malformed(&error.to_string()))?;
    if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
        unread.advance(length);
        return Ok(Some(None));
    }
    // One copy, of which every value is a slice.
    let bytes = Bytes::copy_from_slice(&unread[..length]);
    let version = match parsed.version {
        Some(1) => Version::HTTP_11,
        _ => Version::HTTP_10,
    };
    let mut headers = std::mem::take(spare);
    let notes = fill(&mut headers, parsed.headers, unread, &bytes)?;
    let mut response = Response::new(());
    let reason = parsed.reason.unwrap_or_default();
    if Some(reason) != status.canonical_reason()
        && let Ok(reason) = ReasonPhrase::try_from(reason.as_bytes())
    {
        response.extensions_mut().insert(reason);
    }
    if keeps_case {
        case::note(&bytes, &mut response);
    }
    unread.advance(length);
    *response.status_mut() = status;
    *response.version_mut() = version;
    *response.headers_mut() = headers;
    let is_upgrade = status == StatusCode::SWITCHING_PROTOCOLS
        || (asked == Asked::Connect && status.is_success());
    let body = notes.framing(status, version, asked)?;
    Ok(Some(Some(Head {
        response,
        body: if is_upgrade { Decoder::Ended } else { body },
        keeps_alive: notes.lives_on(version) && !is_upgrade,
        is_upgrade,
    })))
}

/// Puts the fields into the map. Their places in `from` are those in its copy too.
fn fill(
    headers: &mut HeaderMap,
    fields: &[httparse::Header<'_>],
    from: &[u8],
    copy: &Bytes,
) -> Result<Notes, ResetReason> {
    headers.reserve(fields.len());
    let mut notes = Notes::default();
    let start = from.as_ptr().addr();
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes())
            .map_err(|error| malformed(&error.to_string()))?;
        let at = field.value.as_ptr().addr().wrapping_sub(start);
        let value = match copy.get(at..at.wrapping_add(field.value.len())) {
            Some(_) if !field.value.is_empty() => copy.slice(at..at + field.value.len()),
            _ => Bytes::new(),
        };
        let value =
            HeaderValue::from_maybe_shared(value).map_err(|error| malformed(&error.to_string()))?;
        notes.note(&name, &value);
        headers.append(name, value);
    }
    Ok(notes)
}

impl Notes {
    #[inline]
    fn note(&mut self, name: &HeaderName, value: &HeaderValue) {
        if *name == CONTENT_LENGTH {
            let length = content_length(value.as_bytes());
            self.length = Some(match (self.length, length) {
                (None, Some(length)) => Ok(length),
                (Some(Ok(before)), Some(length)) if before == length => Ok(length),
                _ => Err(()),
            });
        } else if *name == TRANSFER_ENCODING {
            self.codings += 1;
            self.is_chunked = value.as_bytes().eq_ignore_ascii_case(b"chunked");
        } else if *name == CONNECTION {
            self.closes |= has_token(value, "close");
            self.keeps_alive |= has_token(value, "keep-alive");
        }
    }

    /// How the body ends (RFC 9112, section 6.3). Refused is what two readers may take to end in
    /// different places: it says so in two ways, has a coding other than `chunked`, or has any
    /// where no body may be (section 6.1).
    fn framing(
        &self,
        status: StatusCode,
        version: Version,
        asked: Asked,
    ) -> Result<Decoder, ResetReason> {
        let is_misframed = self.codings > 0
            && (status.is_informational()
                || status == StatusCode::NO_CONTENT
                || self.length.is_some()
                || self.codings > 1
                || !self.is_chunked);
        if is_misframed {
            return Err(malformed(
                "a response whose end two readers may see in different places",
            ));
        }
        let is_tunnel = asked == Asked::Connect && status.is_success();
        if asked == Asked::Head
            || is_tunnel
            || status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED
        {
            return Ok(Decoder::Ended);
        }
        if self.codings > 0 {
            return match version {
                Version::HTTP_11 => Ok(Decoder::Chunked(Chunks::default())),
                _ => Err(malformed("HTTP/1.0 has no transfer codings")),
            };
        }
        match self.length {
            None => Ok(Decoder::UntilClose),
            Some(Ok(0)) => Ok(Decoder::Ended),
            Some(Ok(length)) => Ok(Decoder::Length(length)),
            Some(Err(())) => Err(malformed("a malformed content-length")),
        }
    }

    fn lives_on(&self, version: Version) -> bool {
        !self.closes && (version == Version::HTTP_11 || self.keeps_alive)
    }
}

/// The length that all values of a list agree on.
pub(super) fn content_length(list: &[u8]) -> Option<u64> {
    let mut length = None;
    for value in list.split(|byte| *byte == b',') {
        let value = value.trim_ascii();
        if value.is_empty() {
            return None;
        }
        let mut number = 0u64;
        for byte in value {
            if !byte.is_ascii_digit() {
                return None;
            }
            number = number
                .checked_mul(10)?
                .checked_add(u64::from(byte - b'0'))?;
        }
        if length.is_some_and(|length| length != number) {
            return None;
        }
        length = Some(number);
    }
    length
}

/// Whether a `connection` header names an option.
pub(super) fn has_token(value: &HeaderValue, token: &str) -> bool {
    let mut tokens = value.as_bytes().split(|byte| *byte == b',');
    tokens.any(|it| it.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}
