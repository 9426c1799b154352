//! The body of a request as its codec gives it.
//!
//! In: hyper's body for HTTP/1, a stream's receiving half for HTTP/2. Out: frames, for
//! [`RequestSource`](crate::request_body::RequestSource).

use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use meltemi_http2::{Reason, RecvStream};

use crate::upgrade::Take;

/// A request's body.
pub(crate) enum ClientBody {
    /// There is none.
    Empty,
    /// Nothing of it is HTTP.
    Tunnel(Take),
    Http1(Incoming),
    Http2(StreamBody),
}

/// The body of a stream of HTTP/2.
pub(crate) struct StreamBody {
    receive: RecvStream,
    /// What is to come, where the client says so. The codec sees to it that it is true.
    left: Option<u64>,
    data_done: bool,
    /// All has been taken.
    ended: Cell<bool>,
}

/// A request's body broke off.
#[derive(Debug)]
pub(crate) enum ClientBodyError {
    Http1(hyper::Error),
    Http2(meltemi_http2::Error),
}

impl ClientBody {
    /// The body of a stream of HTTP/2 whose head is this.
    pub(crate) fn http2(receive: RecvStream, headers: &HeaderMap) -> Self {
        if receive.is_end_stream() {
            return Self::Empty;
        }
        Self::Http2(StreamBody {
            receive,
            left: content_length(headers),
            data_done: false,
            ended: Cell::new(false),
        })
    }

    /// The body, none where nothing of it is to come, and where a tunnel's bytes will be. For a
    /// body that is new.
    pub(crate) fn split(self) -> (Option<Self>, Option<Take>) {
        match self {
            Self::Empty => (None, None),
            Self::Tunnel(take) => (None, Some(take)),
            Self::Http1(body) if body.is_end_stream() => (None, None),
            Self::Http1(_) | Self::Http2(_) => (Some(self), None),
        }
    }
}

/// What the client says of its body's length; none also where it says several things.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    let mut known = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        for text in value.to_str().ok()?.split(',') {
            let text = text.trim();
            let is_number = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
            let length: u64 = text.parse().ok().filter(|_| is_number)?;
            if known.is_some_and(|known| known != length) {
                return None;
            }
            known = Some(length);
        }
    }
    known
}

impl StreamBody {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, meltemi_http2::Error>>> {
        if !self.data_done {
            match ready!(self.receive.poll_data(cx)) {
                Some(Ok(data)) => {
                    if let Some(left) = &mut self.left {
                        *left = left.saturating_sub(data.len() as u64);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return self.failed(error),
                None => self.data_done = true,
            }
        }
        match ready!(self.receive.poll_trailers(cx)) {
            Ok(trailers) => {
                self.ended.set(true);
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Err(error) => self.failed(error),
        }
    }

    fn failed(
        &self,
        error: meltemi_http2::Error,
    ) -> Poll<Option<Result<Frame<Bytes>, meltemi_http2::Error>>> {
        // who resets without an error has its answer and needs to send no more (RFC 9113, 8.1)
        if error.reason() == Some(Reason::NO_ERROR) {
            self.ended.set(true);
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Err(error)))
    }

    fn is_end(&self) -> bool {
        if self.ended.get() {
            return true;
        }
        if self.left.is_some_and(|left| left > 0) {
            return false;
        }
        let ended = self.receive.is_end_stream();
        self.ended.set(ended);
        ended
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = ClientBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientBodyError>>> {
        match self.get_mut() {
            Self::Empty | Self::Tunnel(_) => Poll::Ready(None),
            Self::Http1(body) => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(ClientBodyError::Http1)))
            }
            Self::Http2(body) => {
                let frame = ready!(body.poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(ClientBodyError::Http2)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty | Self::Tunnel(_) => true,
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Tunnel(_) => SizeHint::with_exact(0),
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body
                .left
                .map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

impl ClientBodyError {
    /// Whether a body of HTTP/1 was broken off, rather than being none.
    pub(crate) fn is_broken_off(&self) -> bool {
        use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        let Self::Http1(error) = self else {
            return false;
        };
        let cause = error.source();
        let cause = cause.and_then(|it| it.downcast_ref::<std::io::Error>());
        error.is_incomplete_message()
            || cause.is_some_and(|it| {
                matches!(
                    it.kind(),
                    BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
                )
            })
    }
}

impl fmt::Display for ClientBodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http1(error) => error.fmt(f),
            Self::Http2(_) => f.write_str("error reading a body from connection"),
        }
    }
}

impl Error for ClientBodyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Http1(error) => error.source(),
            Self::Http2(error) => Some(error),
        }
    }
}
