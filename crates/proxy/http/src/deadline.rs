//! The limits on one stream: route timeout, per-try timeout, idleness, duration. One timer
//! waits for the earliest of them; which it was is found out when it fires.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::Instant;

use crate::stream::Stream;
use crate::timer::PooledSleep;

/// The limits on a stream, and the timer that waits for them.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    /// From the end of the request to the end of the response.
    pub(crate) route: Option<Duration>,
    /// Without anything moving.
    pub(crate) idle: Option<Duration>,
    /// From the beginning of the stream to its end.
    pub(crate) duration: Option<Duration>,
    /// From the beginning of the stream to the end of the request.
    pub(crate) request: Option<Duration>,
    /// One try: when it began, how long it may take until the response begins.
    pub(crate) per_try: Option<(Instant, Duration)>,
    /// One try: when it began, how long nothing may move until the response begins.
    pub(crate) per_try_idle: Option<(Instant, Duration)>,
    sleep: Option<PooledSleep>,
    changed: bool,
}

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expired {
    /// The route's timeout.
    Route,
    /// The stream's idleness.
    Idle,
    /// The stream's duration.
    Duration,
    /// The request's arrival.
    Request,
    /// One try's timeout.
    PerTry,
    /// One try's idleness.
    PerTryIdle,
}

impl Deadlines {
    /// A limit has been set or a try has begun.
    pub(crate) fn changed(&mut self, stream: &Stream) {
        self.changed = true;
        stream
            .watched
            .set(self.idle.is_some() || self.per_try_idle.is_some());
    }

    /// Ready when a limit has been reached.
    pub(crate) fn poll(&mut self, stream: &Stream, cx: &mut Context<'_>) -> Poll<Expired> {
        if self.changed {
            self.changed = false;
            match self.next(stream, stream.last_active()) {
                None => self.sleep = None,
                Some(target) => match &mut self.sleep {
                    Some(sleep) => sleep.no_later_than(target),
                    None => {
                        self.sleep = Some(stream.connection.worker.sleeps.take(target));
                    }
                },
            }
        }
        while let Some(sleep) = &mut self.sleep {
            if sleep.poll_fired(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if let Some(expired) = self.due(stream, now) {
                return Poll::Ready(expired);
            }
            match (self.next(stream, now), &mut self.sleep) {
                (Some(target), Some(sleep)) => sleep.exactly(target),
                _ => self.sleep = None,
            }
        }
        Poll::Pending
    }

    /// When the earliest limit is reached, if nothing moves and no request ends until then.
    fn next(&self, stream: &Stream, now: Instant) -> Option<Instant> {
        self.limits(stream, now).map(|(at, _)| at).min()
    }

    fn due(&self, stream: &Stream, now: Instant) -> Option<Expired> {
        self.limits(stream, now)
            .filter(|(at, _)| *at <= now)
            .min_by_key(|(at, _)| *at)
            .map(|(_, expired)| expired)
    }

    fn limits(
        &self,
        stream: &Stream,
        now: Instant,
    ) -> impl Iterator<Item = (Instant, Expired)> + use<> {
        let request_done = stream.request_done.get();
        let from_request = request_done.unwrap_or(now);
        let last = stream.last_active();
        [
            self.route
                .map(|limit| (from_request + limit, Expired::Route)),
            self.idle.map(|limit| (last + limit, Expired::Idle)),
            self.duration
                .map(|limit| (stream.start + limit, Expired::Duration)),
            self.request
                .filter(|_| request_done.is_none())
                .map(|limit| (stream.start + limit, Expired::Request)),
            self.per_try
                .map(|(began, limit)| (began.max(from_request) + limit, Expired::PerTry)),
            self.per_try_idle
                .map(|(began, limit)| (last.max(began) + limit, Expired::PerTryIdle)),
        ]
        .into_iter()
        .flatten()
    }

    /// Waits for `work` until a limit is reached.
    pub(crate) fn race<'a, F>(&'a mut self, stream: &'a Stream, work: F) -> Race<'a, F> {
        Race {
            deadlines: self,
            stream,
            work,
        }
    }
}

pin_project! {
    /// Work, or the limit that it ran into.
    pub(crate) struct Race<'a, F> {
        deadlines: &'a mut Deadlines,
        stream: &'a Stream,
        #[pin]
        work: F,
    }
}

impl<F: Future> Future for Race<'_, F> {
    type Output = Result<F::Output, Expired>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.work.poll(cx) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending => this.deadlines.poll(this.stream, cx).map(Err),
        }
    }
}
