//! A response on its way to a client of HTTP/2: what its head must have and must not, and its
//! body as fast as the client takes it.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http_body::Body as _;
use meltemi_http2::{Reason, SendStream};

use crate::body::{BrokenOff, ProxyBody};
use crate::client_body::content_length;
use crate::headers::names;

/// A response's body that is being sent.
pub(super) struct Outgoing {
    body: ProxyBody,
    send: SendStream,
    /// Taken from the body, to be sent when the client takes more.
    waiting: Option<Bytes>,
    /// Something was sent of which it is not known whether the client has taken it.
    sent: bool,
}

impl Outgoing {
    pub(super) fn new(body: ProxyBody, send: SendStream) -> Self {
        Self {
            body,
            send,
            waiting: None,
            sent: false,
        }
    }

    /// Ready when the client has reset the stream; else it is waited for.
    pub(super) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.send.poll_reset(cx).map(drop)
    }

    /// Sends what can be sent. Ready when that was all.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(data) = self.waiting.take() {
                let room = self.send.poll_room(cx);
                if room.is_pending() {
                    self.waiting = Some(data);
                    return Poll::Pending;
                }
                if matches!(room, Poll::Ready(Err(_))) || self.send.send_data(data, false).is_err()
                {
                    return Poll::Ready(());
                }
            }
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    tracing::debug!(%error, "a response is broken off");
                    self.send.send_reset(reason(&error));
                    return Poll::Ready(());
                }
                None => {
                    // ignored: the client has reset the stream
                    let _ = self.send.send_data(Bytes::new(), true);
                    return Poll::Ready(());
                }
            };
            let data = match frame.into_data() {
                Ok(data) => data,
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        // ignored: the client has reset the stream
                        let _ = self.send.send_trailers(trailers);
                    }
                    return Poll::Ready(());
                }
            };
            // What is last need not be waited with: the codec keeps it, which is in memory anyway.
            let ends = self.body.is_end_stream();
            if !ends && self.sent && !data.is_empty() {
                self.waiting = Some(data);
                continue;
            }
            self.sent |= !data.is_empty();
            if self.send.send_data(data, ends).is_err() || ends {
                return Poll::Ready(());
            }
        }
    }
}

/// Why a stream is reset whose response broke off.
fn reason(error: &BrokenOff) -> Reason {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<meltemi_http2::Error>() {
            return error.reason().unwrap_or(Reason::INTERNAL_ERROR);
        }
        cause = error.source();
    }
    Reason::INTERNAL_ERROR
}

/// What of a head is of interest to the codec.
const DATE: u8 = 1;
const LENGTH: u8 = 2;
const CONNECTION: u8 = 4;

/// Takes what HTTP/2 does not have out of a response's head, and adds what it lacks. Returns
/// whether it can be sent: a tunnel has no length.
pub(super) fn finish_head(
    headers: &mut HeaderMap,
    length: Option<u64>,
    tunnelled: bool,
    date: impl FnOnce() -> HeaderValue,
) -> bool {
    let mut seen = 0;
    for name in headers.keys() {
        seen |= match name.as_str() {
            "date" => DATE,
            "content-length" => LENGTH,
            "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade"
            | "te" => CONNECTION,
            _ => continue,
        };
    }
    if seen & CONNECTION != 0 {
        remove_connection(headers);
    }
    if seen & DATE == 0 {
        headers.insert(header::DATE, date());
    }
    if tunnelled && seen & LENGTH != 0 {
        if content_length(headers).is_some_and(|length| length != 0) {
            return false;
        }
        headers.remove(header::CONTENT_LENGTH);
    } else if let Some(length) = length
        && seen & LENGTH == 0
    {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    true
}

/// Takes out what is said of the connection (RFC 9113, 8.2.2).
fn remove_connection(headers: &mut HeaderMap) {
    for name in [
        &names::KEEP_ALIVE,
        &names::PROXY_CONNECTION,
        &header::TRANSFER_ENCODING,
        &header::UPGRADE,
        &header::TE,
    ] {
        headers.remove(name);
    }
    if let Some(listed) = headers.remove(header::CONNECTION) {
        for name in listed.to_str().unwrap_or_default().split(',') {
            if let Ok(name) = HeaderName::try_from(name.trim()) {
                headers.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn finished(given: &[(&str, &str)], length: Option<u64>, tunnelled: bool) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            let name = HeaderName::try_from(*name).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let date = || HeaderValue::from_static("now");
        finish_head(&mut headers, length, tunnelled, date).then(|| {
            let text = |(name, value): (&HeaderName, &HeaderValue)| {
                format!("{name}={}", value.to_str().unwrap())
            };
            let mut lines: Vec<_> = headers.iter().map(text).collect();
            lines.sort();
            lines.join(" ")
        })
    }

    #[test]
    fn a_head_has_what_it_must_have_and_nothing_of_the_connection() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(finished(&[], None, false), some("date=now"));
        assert_eq!(
            finished(&[("date", "then"), ("a", "1")], Some(3), false),
            some("a=1 content-length=3 date=then")
        );
        assert_eq!(
            finished(&[("content-length", "4")], Some(3), false),
            some("content-length=4 date=now")
        );
        let connection = [
            ("connection", "a, close"),
            ("a", "1"),
            ("te", "gzip"),
            ("upgrade", "x"),
            ("keep-alive", "x"),
        ];
        assert_eq!(finished(&connection, None, false), some("date=now"));
        assert_eq!(
            finished(&[("content-length", "0")], None, true),
            some("date=now")
        );
        assert_eq!(finished(&[("content-length", "1")], None, true), None);
    }
}
