//! The body of a request on its way upstream: counted as it passes, and kept for another try
//! where one may come, as long as it is not too large.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use meltemi_upstream::{BodyError, UpstreamBody};

use crate::stream::Stream;

/// Where the bodies of a request's tries come from.
pub(crate) enum RequestBody {
    /// There is none.
    Empty,
    /// It can be sent once; none when it has been.
    Once(Option<Counted>),
    /// It can be sent again.
    Replay(Rc<RefCell<Replay>>),
}

/// A body that counts what passes.
pub(crate) struct Counted {
    incoming: Incoming,
    drop_trailers: bool,
    stream: Rc<Stream>,
}

/// A body and what has passed of it.
pub(crate) struct Replay {
    source: Counted,
    kept: Vec<Kept>,
    bytes: usize,
    limit: usize,
    too_large: bool,
    ended: bool,
    /// The try that may read on; earlier ones are history.
    current: u32,
}

#[derive(Clone)]
enum Kept {
    Data(Bytes),
    Trailers(HeaderMap),
}

/// One try's view of a [`Replay`].
struct ReplayBody {
    shared: Rc<RefCell<Replay>>,
    position: usize,
    turn: u32,
}

/// A body that was taken over by a later try.
#[derive(Debug, thiserror::Error)]
#[error("another try sends this body now")]
struct TakenOver;

impl RequestBody {
    /// Takes a request's body. `replay` is how much may be kept for another try; none where
    /// there will be no other.
    pub(crate) fn new(
        incoming: Incoming,
        stream: &Rc<Stream>,
        drop_trailers: bool,
        replay: Option<usize>,
    ) -> Self {
        if incoming.is_end_stream() {
            return Self::Empty;
        }
        let source = Counted {
            incoming,
            drop_trailers,
            stream: stream.clone(),
        };
        match replay {
            None => Self::Once(Some(source)),
            Some(limit) => Self::Replay(Rc::new(RefCell::new(Replay {
                source,
                kept: Vec::new(),
                bytes: 0,
                limit,
                too_large: false,
                ended: false,
                current: 0,
            }))),
        }
    }

    /// Whether there is no body.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// Whether the whole of it can be sent (again) now.
    pub(crate) fn is_available(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Once(body) => body.is_some(),
            Self::Replay(shared) => !shared.borrow().too_large,
        }
    }

    /// It was too large to be kept.
    pub(crate) fn was_abandoned(&self) -> bool {
        matches!(self, Self::Replay(shared) if shared.borrow().too_large)
    }

    /// The body for the next try; empty if it is not available.
    pub(crate) fn next(&mut self) -> UpstreamBody {
        match self {
            Self::Empty => UpstreamBody::Empty,
            Self::Once(body) => match body.take() {
                Some(body) => UpstreamBody::Boxed(Box::pin(body)),
                None => UpstreamBody::Empty,
            },
            Self::Replay(shared) => {
                let turn = {
                    let mut replay = shared.borrow_mut();
                    replay.current += 1;
                    replay.current
                };
                UpstreamBody::Boxed(Box::pin(ReplayBody {
                    shared: shared.clone(),
                    position: 0,
                    turn,
                }))
            }
        }
    }
}

impl Body for Counted {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        loop {
            let frame = match Pin::new(&mut this.incoming).poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => {
                    this.stream.request_ended();
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Some(Err(BodyError::Source(error.into()))));
                }
                Poll::Ready(Some(Ok(frame))) => frame,
            };
            this.stream.touch();
            if let Some(data) = frame.data_ref() {
                let received = &this.stream.bytes_received;
                received.set(received.get() + data.len() as u64);
                if this.incoming.is_end_stream() {
                    this.stream.request_ended();
                }
            } else {
                this.stream.request_ended();
                if this.drop_trailers {
                    continue;
                }
            }
            return Poll::Ready(Some(Ok(frame)));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Replay {
    fn keep(&mut self, frame: &Frame<Bytes>) {
        if self.too_large {
            return;
        }
        if let Some(data) = frame.data_ref() {
            self.bytes += data.len();
            if self.bytes > self.limit {
                self.too_large = true;
                self.kept = Vec::new();
            } else {
                self.kept.push(Kept::Data(data.clone()));
            }
        } else if let Some(trailers) = frame.trailers_ref() {
            self.kept.push(Kept::Trailers(trailers.clone()));
        }
    }
}

impl Body for ReplayBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let replay = &mut *this.shared.borrow_mut();
        if replay.current != this.turn {
            return Poll::Ready(Some(Err(BodyError::Source(TakenOver.into()))));
        }
        if let Some(kept) = replay.kept.get(this.position) {
            this.position += 1;
            return Poll::Ready(Some(Ok(match kept.clone() {
                Kept::Data(data) => Frame::data(data),
                Kept::Trailers(trailers) => Frame::trailers(trailers),
            })));
        }
        if replay.ended {
            return Poll::Ready(None);
        }
        match Pin::new(&mut replay.source).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                replay.keep(&frame);
                this.position = replay.kept.len();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                replay.ended = true;
                Poll::Ready(None)
            }
            other => other,
        }
    }

    fn is_end_stream(&self) -> bool {
        let replay = self.shared.borrow();
        self.position >= replay.kept.len() && (replay.ended || replay.source.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let replay = self.shared.borrow();
        let rest: usize = replay.kept[self.position.min(replay.kept.len())..]
            .iter()
            .map(|kept| match kept {
                Kept::Data(data) => data.len(),
                Kept::Trailers(_) => 0,
            })
            .sum();
        let source = replay.source.size_hint();
        match source.exact() {
            Some(exact) => SizeHint::with_exact(exact + rest as u64),
            None => SizeHint::default(),
        }
    }
}
