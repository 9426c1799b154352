//! Request bodies as they go to an upstream, and response bodies as they come from one.
//!
//! The HTTP connection manager makes [`UpstreamBody`] and reads [`ResponseBody`].

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use meltemi_http2::{Reason, RecvStream, SendStream};

use crate::pool::{Http1Body, Http1Upgrade, Http2Lease};
use crate::{ResetReason, UpstreamStream};

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The upstream's side of the stream or its connection failed.
    #[error("{0}")]
    Upstream(ResetReason),
    /// Whoever produced the body failed, such as the downstream connection.
    #[error(transparent)]
    Source(#[from] Box<dyn std::error::Error + Send + Sync>),
}

/// A request's body on its way to an upstream. Stays on its worker.
#[derive(Default)]
pub enum UpstreamBody {
    /// No body.
    #[default]
    Empty,
    /// The whole body.
    Full(Bytes),
    /// A body that arrives by and by.
    Boxed(Pin<Box<dyn Body<Data = Bytes, Error = BodyError>>>),
}

impl std::fmt::Debug for UpstreamBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Full(bytes) => write!(f, "Full({} bytes)", bytes.len()),
            Self::Boxed(_) => f.write_str("Boxed"),
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match this {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *this = Self::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Self::Boxed(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Boxed(body) => body.size_hint(),
        }
    }
}

/// A response's body as it comes from the upstream.
///
/// It holds the lease: when its end has been read, or when it is dropped, the connection
/// goes back to its pool (or is closed, if the end had not been reached on HTTP/1) and the
/// request no longer counts as active. Stays on its worker.
pub struct ResponseBody(Inner);

enum Inner {
    /// The end was reached; the lease is given back.
    Ended,
    Http1(Http1Body),
    Http2 {
        stream: RecvStream,
        /// What `content-length` says is still to come.
        left: Option<u64>,
        /// No data is to come, only trailers.
        data_ended: bool,
        _lease: Http2Lease,
    },
    /// The exchange became a byte stream, which [`crate::upgrade`] takes.
    Upgrade(Upgrade),
}

/// What an upgraded exchange is made of.
pub(crate) enum Upgrade {
    Http1(Http1Upgrade),
    Http2 {
        send: SendStream,
        receive: RecvStream,
        lease: Http2Lease,
    },
    /// No HTTP at all: a `CONNECT` that ended here.
    Raw(Box<UpstreamStream>),
}

impl ResponseBody {
    /// What follows a `CONNECT` that ends here and goes on over this connection.
    pub fn raw(stream: UpstreamStream) -> Self {
        Self(Inner::Upgrade(Upgrade::Raw(Box::new(stream))))
    }

    /// No body, or one that has been read.
    pub(crate) fn ended() -> Self {
        Self(Inner::Ended)
    }

    pub(crate) fn http1(body: Http1Body) -> Self {
        Self(Inner::Http1(body))
    }

    pub(crate) fn http1_upgrade(upgrade: Http1Upgrade) -> Self {
        Self(Inner::Upgrade(Upgrade::Http1(upgrade)))
    }

    pub(crate) fn http2(
        stream: RecvStream,
        length: Option<u64>,
        tunnel: Option<SendStream>,
        lease: Http2Lease,
    ) -> Self {
        if let Some(send) = tunnel {
            return Self(Inner::Upgrade(Upgrade::Http2 {
                send,
                receive: stream,
                lease,
            }));
        }
        if stream.is_end_stream() {
            return Self(Inner::Ended);
        }
        Self(Inner::Http2 {
            stream,
            left: length,
            data_ended: false,
            _lease: lease,
        })
    }

    pub(crate) fn into_upgrade(self) -> Option<Upgrade> {
        match self.0 {
            Inner::Upgrade(upgrade) => Some(upgrade),
            Inner::Ended | Inner::Http1(_) | Inner::Http2 { .. } => None,
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let inner = &mut self.get_mut().0;
        let (frame, ended) = match inner {
            Inner::Ended | Inner::Upgrade(_) => return Poll::Ready(None),
            // It gives its lease back itself.
            Inner::Http1(body) => return body.poll_frame(cx),
            Inner::Http2 {
                stream,
                left,
                data_ended,
                _lease,
            } => ready!(poll_http2(stream, left, data_ended, cx)),
        };
        if ended {
            // Gives the lease back.
            *inner = Inner::Ended;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Ended | Inner::Upgrade(_) => true,
            Inner::Http1(body) => body.is_end_stream(),
            // its end makes it `Ended`
            Inner::Http2 { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Ended | Inner::Upgrade(_) => SizeHint::with_exact(0),
            Inner::Http1(body) => body.size_hint(),
            Inner::Http2 { left, .. } => left.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

type FrameAndEnd = (Option<Result<Frame<Bytes>, BodyError>>, bool);

/// The next frame, and whether it is the last.
fn poll_http2(
    stream: &mut RecvStream,
    left: &mut Option<u64>,
    data_ended: &mut bool,
    cx: &mut Context<'_>,
) -> Poll<FrameAndEnd> {
    if !*data_ended {
        match ready!(stream.poll_data(cx)) {
            Some(Ok(data)) => {
                if let Some(left) = left {
                    *left = left.saturating_sub(data.len() as u64);
                }
                let ended = stream.is_end_stream();
                return Poll::Ready((Some(Ok(Frame::data(data))), ended));
            }
            Some(Err(error)) => {
                // A stream reset without an error after a whole response says that the
                // rest of the request was not needed.
                let is_end = error.reason() == Some(Reason::NO_ERROR) && *left == Some(0);
                let frame = (!is_end).then(|| Err(error.into()));
                return Poll::Ready((frame, true));
            }
            None => *data_ended = true,
        }
    }
    Poll::Ready(match ready!(stream.poll_trailers(cx)) {
        Ok(Some(trailers)) => (Some(Ok(Frame::trailers(trailers))), true),
        Ok(None) => (None, true),
        Err(error) => (Some(Err(error.into())), true),
    })
}

impl std::fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Inner::Ended => "Ended",
            Inner::Http1(_) => "Http1",
            Inner::Http2 { .. } => "Http2",
            Inner::Upgrade(_) => "Upgrade",
        })
    }
}
