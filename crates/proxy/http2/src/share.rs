//! The halves of a stream as they are used.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;

use crate::{Error, Reason};

/// What is sent on a stream, once its head is. Dropped with everything else of an unfinished
/// stream, it resets the stream.
#[derive(Debug)]
pub struct SendStream {}

/// What is received on a stream, once its head is.
#[derive(Debug)]
pub struct RecvStream {}

/// PINGs of a connection, for keepalive.
#[derive(Debug)]
pub struct PingPong {}

impl SendStream {
    /// Ready when everything that was given has left for the connection's buffer and the windows
    /// allow more.
    ///
    /// # Errors
    /// When the stream has ended or was reset.
    pub fn poll_room(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        todo!()
    }

    /// Sends data, or keeps it until the windows allow it; `end` says that nothing follows.
    ///
    /// # Errors
    /// When the stream's sending half has ended or was reset.
    pub fn send_data(&mut self, _data: Bytes, _end: bool) -> Result<(), Error> {
        todo!()
    }

    /// Ends with trailers, after all data.
    ///
    /// # Errors
    /// When the stream's sending half has ended or was reset.
    pub fn send_trailers(&mut self, _trailers: HeaderMap) -> Result<(), Error> {
        todo!()
    }

    /// Resets the stream, if it has not ended.
    pub fn send_reset(&mut self, _reason: Reason) {
        todo!()
    }

    /// Ready when the stream was reset or the connection failed.
    pub fn poll_reset(&mut self, _cx: &mut Context<'_>) -> Poll<Error> {
        todo!()
    }
}

impl RecvStream {
    /// The next data, which makes room for as much more; none at their end.
    pub fn poll_data(&mut self, _cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        todo!()
    }

    /// The trailers, if there are any. For when all data have been taken.
    ///
    /// # Errors
    /// When the stream was reset or the connection failed.
    pub fn poll_trailers(
        &mut self,
        _cx: &mut Context<'_>,
    ) -> Poll<Result<Option<HeaderMap>, Error>> {
        todo!()
    }

    /// Whether nothing more is to be had, not even trailers.
    #[must_use]
    pub fn is_end_stream(&self) -> bool {
        todo!()
    }
}

impl PingPong {
    /// Sends a PING, unless one is unanswered: then false.
    pub fn send_ping(&mut self) -> bool {
        todo!()
    }

    /// Ready when the PING was answered. Pending for ever once the connection has ended.
    pub fn poll_pong(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        todo!()
    }
}
