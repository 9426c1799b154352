//! The server's end of a connection.

use std::marker::PhantomData;
use std::task::{Context, Poll};

use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{Error, PingPong, Reason, RecvStream, SendStream};

/// What a server allows.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bytes of a stream that may be on their way (SETTINGS_INITIAL_WINDOW_SIZE).
    pub stream_window: u32,
    /// Bytes of all streams that may be on their way.
    pub connection_window: u32,
    /// Streams at a time (SETTINGS_MAX_CONCURRENT_STREAMS).
    pub max_concurrent_streams: u32,
    /// Bytes of a request's headers (SETTINGS_MAX_HEADER_LIST_SIZE). A request that has more is
    /// answered with 431.
    pub max_header_list_size: u32,
    /// Extended CONNECT (RFC 8441).
    pub enable_connect_protocol: bool,
}

/// A server's connection. Its streams live on without it, but nothing moves then.
#[derive(Debug)]
pub struct Connection<I>(PhantomData<I>);

/// What answers a request. Dropped without an answer, it resets the stream.
#[derive(Debug)]
pub struct SendResponse {}

impl<I: AsyncRead + AsyncWrite + Unpin> Connection<I> {
    /// Begins to serve; what there is to be said at first is sent with the first flush.
    pub fn new(_io: I, _config: &Config) -> Self {
        todo!()
    }

    /// The next request. None when the connection has ended as it should; after an error, too,
    /// nothing follows. Reads and digests whatever has come; what is to be sent waits for
    /// [`Self::poll_flush`], and what a stream sends later wakes this task.
    pub fn poll_accept(
        &mut self,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<(Request<RecvStream>, SendResponse), Error>>> {
        todo!()
    }

    /// Sends what there is to be sent.
    ///
    /// # Errors
    /// When the connection broke; [`Self::poll_accept`] tells that too.
    pub fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        todo!()
    }

    /// Tells the client that the connection ends (GOAWAY), and serves what it has begun by the
    /// time it knows.
    pub fn graceful_shutdown(&mut self) {
        todo!()
    }

    /// Ends the connection at once, with a GOAWAY that says why.
    pub fn abrupt_shutdown(&mut self, _reason: Reason) {
        todo!()
    }

    /// The PINGs of this connection.
    pub fn ping_pong(&self) -> PingPong {
        todo!()
    }

    /// The stream below. What was not sent is lost.
    pub fn into_io(self) -> I {
        todo!()
    }
}

impl SendResponse {
    /// Sends the head of the response; `end` says that nothing follows.
    ///
    /// # Errors
    /// When the stream was reset, or the head cannot be sent.
    pub fn send_response(
        &mut self,
        _response: Response<()>,
        _end: bool,
    ) -> Result<SendStream, Error> {
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
