//! The server's end of a connection.

use std::task::{Context, Poll, ready};

use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::core::{Core, Limits, Side};
use crate::driver::Driver;
use crate::share::Handle;
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

/// A server's connection. When it is dropped, its streams have failed.
#[derive(Debug)]
pub struct Connection<I> {
    driver: Driver<I>,
    has_ended: bool,
}

/// A request, and what answers it.
pub type Accepted = (Request<RecvStream>, SendResponse);

/// What answers a request. Dropped without an answer, it resets the stream.
#[derive(Debug)]
pub struct SendResponse(Handle);

impl<I: AsyncRead + AsyncWrite + Unpin> Connection<I> {
    /// Begins to serve; what there is to be said at first is sent with the first flush.
    pub fn new(io: I, config: &Config) -> Self {
        let limits = Limits {
            stream_window: config.stream_window,
            connection_window: config.connection_window,
            max_streams: config.max_concurrent_streams,
            max_header_list: config.max_header_list_size as usize,
            connect_protocol: config.enable_connect_protocol,
        };
        Self {
            driver: Driver::new(io, Core::new(Side::Server, limits, 0)),
            has_ended: false,
        }
    }

    /// The next request. None when the connection has ended as it should; after an error, too,
    /// nothing follows. Reads and digests whatever has come; what is to be sent waits for
    /// [`Self::poll_flush`], which the same task has to call before it rests. What a stream sends
    /// later wakes this task.
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Accepted, Error>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        let driver = &mut self.driver;
        if let Some(accepted) = next(driver) {
            return Poll::Ready(Some(Ok(accepted)));
        }
        let ended = driver.poll_read(cx);
        if let Some(accepted) = next(driver) {
            return Poll::Ready(Some(Ok(accepted)));
        }
        let result = ready!(ended);
        self.has_ended = true;
        Poll::Ready(result.err().map(Err))
    }

    /// Sends what there is to be sent.
    ///
    /// # Errors
    /// When the connection broke; [`Self::poll_accept`] tells that too.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.driver.poll_flush(cx)
    }

    /// Tells the client that the connection ends (GOAWAY), and serves what it has begun by the
    /// time it knows.
    pub fn graceful_shutdown(&mut self) {
        self.driver.core.borrow_mut().announce_end();
    }

    /// Ends the connection at once, with a GOAWAY that says why.
    pub fn abrupt_shutdown(&mut self, reason: Reason) {
        self.driver.core.borrow_mut().leave_at_once(reason);
    }

    /// The PINGs of this connection.
    pub fn ping_pong(&self) -> PingPong {
        PingPong(self.driver.core.clone())
    }

    /// The stream below. What was not sent is lost.
    pub fn into_io(self) -> I {
        self.driver.into_io()
    }
}

/// A request that has come.
fn next<I>(driver: &Driver<I>) -> Option<Accepted> {
    let mut core = driver.core.borrow_mut();
    let (request, key) = core.accepted.pop_front()?;
    let receive = RecvStream(Handle::new(&driver.core, &mut core, key));
    let send = SendResponse(Handle::new(&driver.core, &mut core, key));
    Some((request.map(|()| receive), send))
}

impl SendResponse {
    /// Sends the head of the response; `end` says that nothing follows.
    ///
    /// # Errors
    /// When the stream was reset, or the head cannot be sent.
    pub fn send_response(
        &mut self,
        response: Response<()>,
        end: bool,
    ) -> Result<SendStream, Error> {
        let mut core = self.0.core.borrow_mut();
        core.send_response(self.0.key, &response, end)?;
        core.decoder.reuse(response.into_parts().0.headers);
        let handle = Handle::new(&self.0.core, &mut core, self.0.key);
        Ok(SendStream(handle))
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
