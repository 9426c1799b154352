//! The halves of a stream as they are used.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;

use crate::core::{Core, Ping};
use crate::error::Kind;
use crate::stream::{Key, remember};
use crate::{Error, Reason};

/// The state that a connection and its streams share.
pub(crate) type Shared = Rc<RefCell<Core>>;

/// One that holds a stream. When the last one is gone, so is the stream.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) core: Shared,
    pub(crate) key: Key,
}

/// What is sent on a stream, once its head is. Dropped with everything else of an unfinished
/// stream, it resets the stream.
#[derive(Debug)]
pub struct SendStream(pub(crate) Handle);

/// What is received on a stream, once its head is.
#[derive(Debug)]
pub struct RecvStream(pub(crate) Handle);

/// PINGs of a connection, for keepalive.
#[derive(Debug)]
pub struct PingPong(pub(crate) Shared);

impl Handle {
    /// Another holder of a stream; `state` is what `core` holds.
    pub(crate) fn new(core: &Shared, state: &mut Core, key: Key) -> Self {
        state.streams.get(key).handles += 1;
        Self {
            core: Rc::clone(core),
            key,
        }
    }

    pub(crate) fn send_reset(&self, reason: Reason) {
        let mut core = self.core.borrow_mut();
        core.reset(self.key, Error(Kind::Cancelled(reason)));
    }

    pub(crate) fn poll_reset(&self, cx: &mut Context<'_>) -> Poll<Error> {
        let mut core = self.core.borrow_mut();
        let stream = core.streams.get(self.key);
        match &stream.reset {
            Some(error) => Poll::Ready(error.clone()),
            None => {
                remember(&mut stream.send_waker, cx);
                Poll::Pending
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut core = self.core.borrow_mut();
        let stream = core.streams.get(self.key);
        stream.handles -= 1;
        if stream.handles == 0 {
            core.release(self.key);
        }
    }
}

impl SendStream {
    /// Ready when everything that was given has left for the connection's buffer and the windows
    /// allow more.
    ///
    /// # Errors
    /// When the stream has ended or was reset.
    pub fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.core.borrow_mut().poll_room(self.0.key, cx)
    }

    /// Sends data, or keeps it until the windows allow it; `end` says that nothing follows.
    ///
    /// # Errors
    /// When the stream's sending half has ended or was reset.
    pub fn send_data(&mut self, data: Bytes, end: bool) -> Result<(), Error> {
        self.0.core.borrow_mut().send_data(self.0.key, data, end)
    }

    /// Ends with trailers, after all data.
    ///
    /// # Errors
    /// When the stream's sending half has ended or was reset, or they cannot be sent.
    pub fn send_trailers(&mut self, trailers: HeaderMap) -> Result<(), Error> {
        let mut core = self.0.core.borrow_mut();
        core.send_trailers(self.0.key, trailers)
    }

    /// Resets the stream, if it has not ended.
    pub fn send_reset(&mut self, reason: Reason) {
        self.0.send_reset(reason);
    }

    /// Ready when the stream was reset or the connection failed.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        self.0.poll_reset(cx)
    }
}

impl RecvStream {
    /// The next data, which makes room for as much more; none at their end.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        let mut core = self.0.core.borrow_mut();
        if let Some(data) = core.take_data(self.0.key) {
            return Poll::Ready(Some(Ok(data)));
        }
        let stream = core.streams.get(self.0.key);
        if stream.has_ended {
            stream.ends_late = false;
            return Poll::Ready(None);
        }
        if let Some(error) = &stream.reset {
            return Poll::Ready(Some(Err(error.clone())));
        }
        remember(&mut stream.receive_waker, cx);
        Poll::Pending
    }

    /// The trailers, if there are any. For when all data have been taken.
    ///
    /// # Errors
    /// When the stream was reset or the connection failed.
    pub fn poll_trailers(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<HeaderMap>, Error>> {
        let mut core = self.0.core.borrow_mut();
        let stream = core.streams.get(self.0.key);
        if stream.has_ended {
            return Poll::Ready(Ok(stream.trailers.take()));
        }
        if let Some(error) = &stream.reset {
            return Poll::Ready(Err(error.clone()));
        }
        remember(&mut stream.receive_waker, cx);
        Poll::Pending
    }

    /// Whether nothing more is to be had, not even trailers. An end that comes by itself, in a frame
    /// without data, is had by asking for data: what is known of it does not depend on when it came.
    #[must_use]
    pub fn is_end_stream(&self) -> bool {
        let mut core = self.0.core.borrow_mut();
        let stream = core.streams.get(self.0.key);
        stream.has_ended && !stream.ends_late && stream.data.is_empty() && stream.trailers.is_none()
    }
}

impl Drop for RecvStream {
    fn drop(&mut self) {
        self.0.core.borrow_mut().stop_reading(self.0.key);
    }
}

impl PingPong {
    /// Sends a PING, unless one is unanswered: then false.
    pub fn send_ping(&mut self) -> bool {
        self.0.borrow_mut().send_ping()
    }

    /// Ready when the PING was answered. Pending for ever once the connection has ended.
    pub fn poll_pong(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut core = self.0.borrow_mut();
        if core.ping == Ping::Answered {
            core.ping = Ping::None;
            return Poll::Ready(());
        }
        remember(&mut core.ping_waker, cx);
        Poll::Pending
    }
}
