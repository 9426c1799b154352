//! Request bodies as they go to an upstream, and response bodies as they come from one.
//!
//! The HTTP connection manager makes [`UpstreamBody`] and reads [`ResponseBody`].

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::ResetReason;

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
#[derive(Debug)]
pub struct ResponseBody {
    _private: (),
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        unimplemented!()
    }

    fn is_end_stream(&self) -> bool {
        unimplemented!()
    }

    fn size_hint(&self) -> SizeHint {
        unimplemented!()
    }
}
