//! The client's end of a connection.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{Error, PingPong, RecvStream, SendStream};

/// What a client allows.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bytes of a stream that may be on their way (SETTINGS_INITIAL_WINDOW_SIZE).
    pub stream_window: u32,
    /// Bytes of all streams that may be on their way.
    pub connection_window: u32,
    /// Bytes of a response's headers (SETTINGS_MAX_HEADER_LIST_SIZE). A stream that has more is
    /// reset.
    pub max_header_list_size: u32,
    /// Streams at a time before the server has said how many it allows.
    pub initial_max_send_streams: usize,
}

/// Sends requests. When the last one is dropped, the connection ends with its last stream.
#[derive(Debug)]
pub struct SendRequest {}

/// A client's connection, which somebody has to poll.
#[derive(Debug)]
pub struct Connection<I>(PhantomData<I>);

/// A response that is waited for. Dropped with everything else of an unfinished stream, it
/// resets the stream.
#[derive(Debug)]
pub struct ResponseFuture {}

/// Begins; what there is to be said at first is sent when the connection is polled.
pub fn connect<I: AsyncRead + AsyncWrite + Unpin>(
    _io: I,
    _config: &Config,
) -> (SendRequest, Connection<I>) {
    todo!()
}

impl SendRequest {
    /// Whether the connection takes streams: it has not failed, and the server is not going away.
    #[must_use]
    pub fn is_open(&self) -> bool {
        todo!()
    }

    /// Streams that the server allows at a time.
    #[must_use]
    pub fn max_send_streams(&self) -> usize {
        todo!()
    }

    /// Sends the head of a request; `end` says that nothing follows.
    ///
    /// # Errors
    /// When the connection takes no more streams, or the head cannot be sent.
    pub fn send_request(
        &mut self,
        _request: Request<()>,
        _end: bool,
    ) -> Result<(ResponseFuture, SendStream), Error> {
        todo!()
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Connection<I> {
    /// Reads, digests and writes. Ready when the connection has ended.
    ///
    /// # Errors
    /// Why it ended, if not as it should.
    pub fn poll(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        todo!()
    }

    /// The PINGs of this connection.
    pub fn ping_pong(&self) -> PingPong {
        todo!()
    }
}

impl Future for ResponseFuture {
    type Output = Result<Response<RecvStream>, Error>;

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        todo!()
    }
}
