//! The body of a response on its way downstream. It counts what passes, keeps the stream's
//! limits while it lasts, and ends the stream when it is done or dropped.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use meltemi_telemetry::ResponseFlags;
use meltemi_upstream::{BodyError, ResetReason, ResponseBody};

use crate::deadline::{Deadlines, Expired};
use crate::stream::StreamEnd;

/// A response's body.
pub struct ProxyBody {
    source: Source,
    /// Trailers go nowhere.
    drop_trailers: bool,
    deadlines: Deadlines,
    end: Option<StreamEnd>,
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
            drop_trailers: false,
            deadlines: Deadlines::default(),
            end: Some(end),
        }
    }

    /// No body, and no end of the stream either: something else goes on with it.
    pub(crate) fn nothing() -> Self {
        Self {
            source: Source::Done,
            drop_trailers: false,
            deadlines: Deadlines::default(),
            end: None,
        }
    }

    /// The upstream's body.
    pub(crate) fn upstream(
        body: ResponseBody,
        drop_trailers: bool,
        deadlines: Deadlines,
        end: StreamEnd,
    ) -> Self {
        if body.is_end_stream() {
            end.0.response_ended();
        }
        Self {
            source: Source::Upstream(body),
            drop_trailers,
            deadlines,
            end: Some(end),
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

impl Body for ProxyBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let this = self.get_mut();
        let body = match &mut this.source {
            Source::Done => return Poll::Ready(None),
            Source::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                if let Some(end) = &this.end {
                    end.0.bytes_sent.set(bytes.len() as u64);
                }
                this.finish();
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            Source::Upstream(body) => body,
        };
        loop {
            match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Pending => {
                    if let Some(end) = &this.end
                        && let Poll::Ready(expired) = this.deadlines.poll(&end.0, cx)
                    {
                        this.expired(expired);
                        return Poll::Ready(Some(Err(BrokenOff::Limit)));
                    }
                    return Poll::Pending;
                }
                Poll::Ready(None) => {
                    this.finish();
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Err(error))) => {
                    this.failed(&error);
                    return Poll::Ready(Some(Err(error.into())));
                }
                Poll::Ready(Some(Ok(frame))) => {
                    let Some(end) = &this.end else {
                        return Poll::Ready(Some(Ok(frame)));
                    };
                    let stream = &end.0;
                    stream.touch();
                    if let Some(data) = frame.data_ref() {
                        stream
                            .bytes_sent
                            .set(stream.bytes_sent.get() + data.len() as u64);
                    } else if let Some(trailers) = frame.trailers_ref() {
                        stream.note_trailers(trailers);
                        if this.drop_trailers {
                            continue;
                        }
                    }
                    if body.is_end_stream() {
                        stream.response_ended();
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Done => true,
            Source::Full(bytes) => bytes.is_empty(),
            Source::Upstream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
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
