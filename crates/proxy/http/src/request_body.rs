//! The body of a request on its way upstream: counted as it passes, changed where filters ask for
//! it, copied where a mirror is to get it too, and kept for another try where one may come, as
//! long as it is not too large.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use meltemi_upstream::{BodyError, UpstreamBody};

use crate::client_body::ClientBody;
use crate::filter::BodyTransform;
use crate::filter::transform::Pipeline;
use crate::stream::Stream;
use crate::wire::framing;

/// Where the bodies of a request's tries come from.
pub(crate) enum RequestBody {
    /// There is none.
    Empty,
    /// It can be sent once; none when it has been.
    Once(Option<RequestSource>),
    /// It can be sent again.
    Replay(Rc<RefCell<Replay>>),
}

/// A request's body as it comes.
pub(crate) struct RequestSource {
    /// None where all has come before.
    incoming: Option<ClientBody>,
    drop_trailers: bool,
    stream: Rc<Stream>,
    /// What filters and mirrors have to do with it.
    extra: Option<Box<Extra>>,
}

/// What filters and mirrors have to do with a body.
#[derive(Default)]
struct Extra {
    /// What has come before the request went on.
    early: VecDeque<Frame<Bytes>>,
    /// All has come before the request went on.
    whole: bool,
    pipeline: Option<Box<Pipeline>>,
    copies: Vec<CopySender>,
}

/// Where a copy of a body goes.
pub(crate) type CopySender = Box<dyn FnMut(Option<&Frame<Bytes>>)>;

/// Why a body is not at hand as a whole.
#[derive(Debug)]
pub(crate) enum GatherError {
    /// It has more bytes than allowed.
    TooLarge,
    /// It broke off.
    Broken,
}

/// A body and what has passed of it.
pub(crate) struct Replay {
    source: RequestSource,
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

impl Kept {
    fn into_frame(self) -> Frame<Bytes> {
        match self {
            Self::Data(data) => Frame::data(data),
            Self::Trailers(trailers) => Frame::trailers(trailers),
        }
    }
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
        mut source: RequestSource,
        drop_trailers: bool,
        replay: Option<usize>,
    ) -> Self {
        if source.is_end() {
            return Self::Empty;
        }
        source.drop_trailers = drop_trailers;
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

    /// The same body for a try beside others; none where it cannot be sent twice.
    pub(crate) fn share(&self) -> Option<Self> {
        match self {
            Self::Empty => Some(Self::Empty),
            Self::Once(_) => None,
            Self::Replay(shared) => Some(Self::Replay(shared.clone())),
        }
    }

    /// Whether there is no body.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// Whether what has been sent of it is kept.
    pub(crate) fn is_kept(&self) -> bool {
        matches!(self, Self::Replay(_))
    }

    /// The body from its beginning, as far as it was kept.
    pub(crate) fn into_source(self, stream: &Rc<Stream>) -> RequestSource {
        let kept = match &self {
            Self::Replay(shared) => std::mem::take(&mut shared.borrow_mut().kept),
            Self::Empty | Self::Once(_) => Vec::new(),
        };
        let early = kept.into_iter().map(Kept::into_frame).collect();
        RequestSource {
            incoming: None,
            drop_trailers: false,
            stream: stream.clone(),
            extra: Some(Box::new(Extra {
                early,
                whole: true,
                ..Extra::default()
            })),
        }
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

impl RequestSource {
    /// A request's body; none has ended already.
    pub(crate) fn new(incoming: Option<ClientBody>, stream: &Rc<Stream>) -> Self {
        Self {
            incoming,
            drop_trailers: false,
            stream: stream.clone(),
            extra: None,
        }
    }

    /// Nothing in its place.
    pub(crate) fn emptied(mut self) -> Self {
        self.incoming = None;
        self.extra = None;
        self
    }

    /// Whether there is nothing of it, or nothing more.
    pub(crate) fn is_end(&self) -> bool {
        match &self.extra {
            None => self.has_all_come(),
            Some(extra) => extra.is_end(self.has_all_come()),
        }
    }

    fn has_all_come(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    /// Adds a change to it, after all others.
    pub(crate) fn transform(&mut self, stage: Box<dyn BodyTransform>) {
        let extra = self.extra.get_or_insert_default();
        match &mut extra.pipeline {
            Some(pipeline) => pipeline.add(stage),
            None => extra.pipeline = Pipeline::new(vec![stage]),
        }
    }

    /// Copies what passes from now on.
    pub(crate) fn copy_to(&mut self, copy: CopySender) {
        self.extra.get_or_insert_default().copies.push(copy);
    }

    /// Reads it to its end, so many bytes at most.
    pub(crate) async fn gather(&mut self, limit: usize) -> Result<(), GatherError> {
        self.extra.get_or_insert_default();
        while !self.is_whole() {
            let Some(incoming) = &mut self.incoming else {
                break;
            };
            let frame = std::future::poll_fn(|cx| Pin::new(&mut *incoming).poll_frame(cx)).await;
            match frame {
                None => {
                    self.stream.request_ended();
                    self.extra.get_or_insert_default().whole = true;
                }
                Some(Err(_)) => return Err(GatherError::Broken),
                Some(Ok(frame)) => {
                    self.note(&frame);
                    let extra = self.extra.get_or_insert_default();
                    extra.early.push_back(frame);
                    if self.gathered() > limit {
                        return Err(GatherError::TooLarge);
                    }
                }
            }
        }
        Ok(())
    }

    fn is_whole(&self) -> bool {
        self.has_all_come() || self.extra.as_ref().is_some_and(|extra| extra.whole)
    }

    /// How many bytes have come before the request went on.
    pub(crate) fn gathered(&self) -> usize {
        let early = self.extra.iter().flat_map(|extra| &extra.early);
        early
            .filter_map(|frame| frame.data_ref())
            .map(Bytes::len)
            .sum()
    }

    /// The first bytes of what has come before the request went on.
    pub(crate) fn gathered_bytes(&self, most: usize) -> Bytes {
        let early = self.extra.iter().flat_map(|extra| &extra.early);
        let mut bytes = bytes::BytesMut::with_capacity(self.gathered().min(most));
        for data in early.filter_map(|frame| frame.data_ref()) {
            let left = most - bytes.len();
            bytes.extend_from_slice(&data[..data.len().min(left)]);
        }
        bytes.freeze()
    }

    /// How much is still to come from the client.
    fn rest(&self) -> SizeHint {
        match &self.incoming {
            Some(incoming) => incoming.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }

    /// Counts what has come.
    fn note(&self, frame: &Frame<Bytes>) {
        self.stream.touch();
        if let Some(data) = frame.data_ref() {
            let received = &self.stream.bytes_received;
            received.set(received.get() + data.len() as u64);
            if self.stream.settings.manager.fields.wire_bytes {
                let (received, sent) = self.stream.framing.get();
                self.stream.framing.set((received + framing(data), sent));
            }
            if self.has_all_come() {
                self.stream.request_ended();
            }
        } else {
            self.stream.request_ended();
        }
    }

    /// What comes next, as the client sends it.
    fn poll_raw(&mut self, cx: &mut Context<'_>) -> Poll<Polled> {
        if let Some(extra) = &mut self.extra {
            if let Some(frame) = extra.early.pop_front() {
                return Poll::Ready(Some(Ok(frame)));
            }
            if extra.whole {
                return Poll::Ready(None);
            }
        }
        let Some(incoming) = &mut self.incoming else {
            return Poll::Ready(None);
        };
        match Pin::new(incoming).poll_frame(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                self.stream.request_ended();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                if !self.stream.is_http2() && error.is_broken_off() {
                    self.stream.client_left.set(true);
                }
                Poll::Ready(Some(Err(BodyError::Source(error.into()))))
            }
            Poll::Ready(Some(Ok(frame))) => {
                self.note(&frame);
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    /// What comes next after all changes.
    fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<Polled> {
        loop {
            if let Some(pipeline) = self.pipeline() {
                if let Some(frame) = pipeline.pop() {
                    return Poll::Ready(Some(Ok(frame)));
                }
                if pipeline.has_ended() {
                    return Poll::Ready(None);
                }
            }
            let Poll::Ready(next) = self.poll_raw(cx) else {
                return Poll::Pending;
            };
            let Some(pipeline) = self.pipeline() else {
                return Poll::Ready(next);
            };
            let pushed = match next {
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => pipeline.push(Some(frame)),
                None => pipeline.push(None),
            };
            if let Err(error) = pushed {
                return Poll::Ready(Some(Err(BodyError::Source(error.into()))));
            }
        }
    }

    fn pipeline(&mut self) -> Option<&mut Pipeline> {
        self.extra.as_mut()?.pipeline.as_deref_mut()
    }
}

type Polled = Option<Result<Frame<Bytes>, BodyError>>;

impl Extra {
    fn is_end(&self, all_has_come: bool) -> bool {
        let source = self.early.is_empty() && (self.whole || all_has_come);
        match &self.pipeline {
            Some(pipeline) => pipeline.is_done(),
            None => source,
        }
    }
}

impl Body for RequestSource {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        loop {
            let polled = if this.extra.is_none() {
                this.poll_raw(cx)
            } else {
                this.poll_changed(cx)
            };
            let Poll::Ready(next) = polled else {
                return Poll::Pending;
            };
            if let Some(Ok(frame)) = &next
                && frame.is_trailers()
                && this.drop_trailers
            {
                continue;
            }
            if this.extra.is_none() {
                return Poll::Ready(next);
            }
            let all_has_come = this.has_all_come();
            if let Some(extra) = &mut this.extra {
                let ends = extra.is_end(all_has_come);
                for copy in &mut extra.copies {
                    match &next {
                        Some(Ok(frame)) => {
                            copy(Some(frame));
                            if ends {
                                copy(None);
                            }
                        }
                        Some(Err(_)) => {}
                        None => copy(None),
                    }
                }
                if next.is_none() || ends || matches!(next, Some(Err(_))) {
                    extra.copies.clear();
                }
            }
            return Poll::Ready(next);
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_end()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.extra {
            None => self.rest(),
            Some(extra) if extra.pipeline.is_some() => SizeHint::default(),
            Some(extra) if extra.whole => SizeHint::with_exact(self.gathered() as u64),
            Some(_) => match self.rest().exact() {
                Some(rest) => SizeHint::with_exact(self.gathered() as u64 + rest),
                None => SizeHint::default(),
            },
        }
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
        // what has come whole can be read by several tries at once
        if replay.current != this.turn && !replay.ended {
            return Poll::Ready(Some(Err(BodyError::Source(TakenOver.into()))));
        }
        if let Some(kept) = replay.kept.get(this.position) {
            this.position += 1;
            return Poll::Ready(Some(Ok(kept.clone().into_frame())));
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
