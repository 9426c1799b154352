//! The body of a response on its way downstream. It counts what passes, keeps the stream's
//! limits while it lasts, and ends the stream when it is done or dropped.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use meltemi_telemetry::ResponseFlags;
use meltemi_upstream::{BodyError, ResetReason, ResponseBody};

use crate::deadline::{Deadlines, Expired};
use crate::filter::transform::Pipeline;
use crate::stream::StreamEnd;
use crate::wire::framing;

/// A response's body.
pub struct ProxyBody {
    source: Source,
    trailers: Trailers,
    deadlines: Deadlines,
    end: Option<StreamEnd>,
    /// What filters make of it.
    pipeline: Option<Box<Pipeline>>,
    /// What holds it back.
    pace: Option<Box<Pace>>,
}

/// What becomes of trailers.
#[derive(Clone, Copy)]
pub(crate) struct Trailers {
    /// The upstream's are looked at.
    pub(crate) taken: bool,
    /// They go to the client.
    pub(crate) given: bool,
}

/// Holds a body back to so many bytes a second.
struct Pace {
    per_second: u64,
    /// What waits for its turn.
    waiting: Option<Frame<Bytes>>,
    sleep: Pin<Box<tokio::time::Sleep>>,
}

enum Source {
    Done,
    Full(Bytes),
    Upstream(ResponseBody),
}

/// A response was broken off.
#[derive(Debug, thiserror::Error)]
pub enum BrokenOff {
    /// By the upstream.
    #[error(transparent)]
    Upstream(#[from] BodyError),
    /// Because it took too long.
    #[error("a limit on the stream's time was reached")]
    Limit,
    /// By a filter.
    #[error("a filter could not make of it what it should")]
    Filter,
}

impl ProxyBody {
    /// A whole body, perhaps empty.
    pub(crate) fn full(bytes: Bytes, end: StreamEnd) -> Self {
        let source = if bytes.is_empty() {
            end.0.response_ended();
            Source::Done
        } else {
            Source::Full(bytes)
        };
        Self {
            source,
            trailers: Trailers {
                taken: true,
                given: true,
            },
            deadlines: Deadlines::default(),
            end: Some(end),
            pipeline: None,
            pace: None,
        }
    }

    /// No body, and no end of the stream either: something else goes on with it.
    pub(crate) fn nothing() -> Self {
        Self {
            source: Source::Done,
            trailers: Trailers {
                taken: true,
                given: true,
            },
            deadlines: Deadlines::default(),
            end: None,
            pipeline: None,
            pace: None,
        }
    }

    /// The upstream's body.
    pub(crate) fn upstream(
        body: ResponseBody,
        trailers: Trailers,
        deadlines: Deadlines,
        pipeline: Option<Box<Pipeline>>,
        end: StreamEnd,
    ) -> Self {
        if body.is_end_stream() {
            end.0.response_ended();
        }
        let pace = end.0.speed().map(Pace::new);
        Self {
            source: Source::Upstream(body),
            trailers,
            deadlines,
            end: Some(end),
            pipeline,
            pace,
        }
    }

    fn finish(&mut self) {
        self.source = Source::Done;
        if let Some(end) = self.end.take() {
            end.0.response_ended();
        }
    }

    fn abort(&mut self, flags: ResponseFlags, details: String) {
        self.source = Source::Done;
        if let Some(end) = self.end.take() {
            let stats = &end.0.settings.manager.stats;
            stats
                .shard(end.0.connection.worker.worker)
                .rq_reset_after_downstream_response_started
                .inc();
            end.0.flag(flags);
            end.0.explain(details);
            end.0.aborted.set(true);
        }
    }

    fn expired(&mut self, expired: Expired) {
        let (flags, details) = match expired {
            Expired::Idle => (ResponseFlags::STREAM_IDLE_TIMEOUT, "stream_idle_timeout"),
            Expired::Duration => (ResponseFlags::NONE, "max_duration_timeout"),
            Expired::Request => (ResponseFlags::NONE, "request_overall_timeout"),
            Expired::Route | Expired::PerTry | Expired::PerTryIdle => {
                if let Some(end) = &self.end
                    && let Some(cluster) = &end.0.facts.borrow().cluster
                {
                    cluster.stats().upstream_rq_timeout.inc();
                }
                (ResponseFlags::UPSTREAM_REQUEST_TIMEOUT, "response_timeout")
            }
        };
        self.abort(flags, details.to_owned());
    }

    fn failed(&mut self, error: &BodyError) {
        let (flags, reason) = match error {
            BodyError::Upstream(reason) => (reset_flags(reason), reason.to_string()),
            BodyError::Source(_) => (ResponseFlags::LOCAL_RESET, "local reset".to_owned()),
        };
        let details = format!(
            "upstream_reset_after_response_started{{{}}}",
            reason.replace(' ', "_")
        );
        self.abort(flags, details);
    }
}

impl Pace {
    fn new(per_second: u64) -> Box<Self> {
        Box::new(Self {
            per_second,
            waiting: None,
            sleep: Box::pin(tokio::time::sleep(std::time::Duration::ZERO)),
        })
    }

    /// Some of what waits, as soon as it may go.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        use std::time::Duration;
        if self.waiting.is_none() {
            return Poll::Ready(None);
        }
        std::task::ready!(self.sleep.as_mut().poll(cx));
        let slice = (self.per_second / 20).max(1);
        let Some(frame) = self.waiting.take() else {
            return Poll::Ready(None);
        };
        let Ok(mut data) = frame.into_data() else {
            return Poll::Ready(None);
        };
        let size = usize::try_from(slice).unwrap_or(usize::MAX).min(data.len());
        let first = data.split_to(size);
        if !data.is_empty() {
            self.waiting = Some(Frame::data(data));
        }
        let share = first.len() as u64 * 1000 / self.per_second.max(1);
        let pause = Duration::from_millis(share);
        self.sleep
            .as_mut()
            .reset(tokio::time::Instant::now() + pause);
        Poll::Ready(Some(Frame::data(first)))
    }
}

/// The flag that a reset sets.
pub(crate) fn reset_flags(reason: &ResetReason) -> ResponseFlags {
    match reason {
        ResetReason::ConnectionTermination => ResponseFlags::UPSTREAM_CONNECTION_TERMINATION,
        ResetReason::RemoteReset | ResetReason::RemoteRefused => {
            ResponseFlags::UPSTREAM_REMOTE_RESET
        }
        ResetReason::ProtocolError(_) => ResponseFlags::UPSTREAM_PROTOCOL_ERROR,
        ResetReason::RequestBody(_) | ResetReason::InvalidRequest(_) => ResponseFlags::LOCAL_RESET,
    }
}

type Polled = Option<Result<Frame<Bytes>, BrokenOff>>;

impl ProxyBody {
    /// The next frame of the source, or of what filters make of it.
    fn poll_source(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Frame<Bytes>>, BrokenOff>> {
        loop {
            let body = match &mut self.source {
                Source::Done => return Poll::Ready(Ok(None)),
                Source::Full(bytes) => {
                    let bytes = std::mem::take(bytes);
                    self.source = Source::Done;
                    return Poll::Ready(Ok(Some(Frame::data(bytes))));
                }
                Source::Upstream(body) => body,
            };
            let next = match std::task::ready!(Pin::new(&mut *body).poll_frame(cx)) {
                Some(Err(error)) => {
                    self.failed(&error);
                    return Poll::Ready(Err(error.into()));
                }
                Some(Ok(frame)) if frame.is_trailers() && !self.trailers.taken => None,
                Some(Ok(frame)) => Some(frame),
                None => None,
            };
            // a codec that knows the length does not ask for what comes after the last byte
            let is_last = next.is_some() && body.is_end_stream();
            if let Some(end) = &self.end {
                end.0.touch();
            }
            let Some(pipeline) = &mut self.pipeline else {
                return Poll::Ready(Ok(next));
            };
            if pipeline.has_ended() {
                return Poll::Ready(Ok(None));
            }
            let mut pushed = pipeline.push(next);
            if is_last && pushed.is_ok() {
                pushed = pipeline.push(None);
            }
            if pushed.is_err() {
                self.abort(ResponseFlags::LOCAL_RESET, "filter_reset".to_owned());
                return Poll::Ready(Err(BrokenOff::Filter));
            }
            if let Some(frame) = pipeline.pop() {
                return Poll::Ready(Ok(Some(frame)));
            }
            if pipeline.is_done() {
                return Poll::Ready(Ok(None));
            }
        }
    }

    /// Waits, unless a limit on the stream has been reached.
    fn poll_limits(&mut self, cx: &mut Context<'_>) -> Poll<Polled> {
        if let Some(end) = &self.end
            && let Poll::Ready(expired) = self.deadlines.poll(&end.0, cx)
        {
            self.expired(expired);
            return Poll::Ready(Some(Err(BrokenOff::Limit)));
        }
        Poll::Pending
    }

    /// Lets a frame go to the client.
    fn pass(&mut self, frame: Frame<Bytes>) -> Poll<Polled> {
        if let (Some(end), Some(data)) = (&self.end, frame.data_ref()) {
            let sent = &end.0.bytes_sent;
            let fields = &end.0.settings.manager.fields;
            if fields.wire_bytes {
                let (received, sent) = end.0.framing.get();
                end.0.framing.set((received, sent + framing(data)));
            }
            let is_first = end.0.body_started.get().is_none();
            if fields.body_started && is_first && end.0.response_started.get().is_some() {
                end.0.body_started.set(Some(tokio::time::Instant::now()));
            }
            sent.set(sent.get() + data.len() as u64);
        }
        if self.is_end_stream() {
            match self.source {
                Source::Done => self.finish(),
                _ => {
                    if let Some(end) = &self.end {
                        end.0.response_ended();
                    }
                }
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

impl Body for ProxyBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let this = self.get_mut();
        loop {
            if let Some(pace) = &mut this.pace
                && pace.waiting.is_some()
            {
                return match pace.poll(cx) {
                    Poll::Pending => this.poll_limits(cx),
                    Poll::Ready(Some(frame)) => this.pass(frame),
                    Poll::Ready(None) => continue,
                };
            }
            let frame = match &mut this.pipeline {
                None => None,
                Some(pipeline) => pipeline.pop(),
            };
            let frame = match frame {
                Some(frame) => frame,
                None => match this.poll_source(cx) {
                    Poll::Pending => return this.poll_limits(cx),
                    Poll::Ready(Ok(Some(frame))) => frame,
                    Poll::Ready(Ok(None)) => {
                        this.finish();
                        return Poll::Ready(None);
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                },
            };
            if frame.is_trailers() {
                if let Some(end) = &this.end {
                    end.0
                        .note_trailers(frame.trailers_ref().unwrap_or(&HeaderMap::new()));
                }
                if !this.trailers.given {
                    continue;
                }
            } else if let Some(pace) = &mut this.pace {
                pace.waiting = Some(frame);
                continue;
            }
            return this.pass(frame);
        }
    }

    fn is_end_stream(&self) -> bool {
        if self
            .pace
            .as_ref()
            .is_some_and(|pace| pace.waiting.is_some())
        {
            return false;
        }
        match (&self.source, &self.pipeline) {
            (Source::Done, None) => true,
            (Source::Done, Some(pipeline)) => self.end.is_none() || pipeline.is_done(),
            (Source::Full(bytes), _) => bytes.is_empty(),
            (Source::Upstream(body), None) => body.is_end_stream(),
            (Source::Upstream(_), Some(pipeline)) => pipeline.is_done(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        if self.pipeline.is_some() {
            return SizeHint::default();
        }
        match &self.source {
            Source::Done => SizeHint::with_exact(0),
            Source::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Upstream(body) => body.size_hint(),
        }
    }
}

impl std::fmt::Debug for ProxyBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &self.source {
            Source::Done => "Done",
            Source::Full(_) => "Full",
            Source::Upstream(_) => "Upstream",
        })
    }
}
