//! The client's end of a connection.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::core::{Core, Limits, Side};
use crate::driver::Driver;
use crate::share::{Handle, Shared};
use crate::stream::remember;
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
pub struct SendRequest(Shared);

/// A client's connection, which somebody has to poll.
#[derive(Debug)]
pub struct Connection<I> {
    driver: Driver<I>,
    /// How it ended; what is left is to close it.
    ended: Option<Result<(), Error>>,
}

/// A response that is waited for. Dropped with everything else of an unfinished stream, it
/// resets the stream.
#[derive(Debug)]
pub struct ResponseFuture(Option<Handle>);

/// Begins; what there is to be said at first is sent when the connection is polled.
pub fn connect<I: AsyncRead + AsyncWrite + Unpin>(
    io: I,
    config: &Config,
) -> (SendRequest, Connection<I>) {
    let limits = Limits {
        stream_window: config.stream_window,
        connection_window: config.connection_window,
        max_streams: 0,
        max_header_list: config.max_header_list_size as usize,
        connect_protocol: false,
    };
    let mut core = Core::new(Side::Client, limits, config.initial_max_send_streams);
    core.senders = 1;
    let driver = Driver::new(io, core);
    let sender = SendRequest(driver.core.clone());
    let ended = None;
    (sender, Connection { driver, ended })
}

impl SendRequest {
    /// Whether the connection takes streams: it has not failed, and the server is not going away.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.borrow().is_open()
    }

    /// Streams that the server allows at a time.
    #[must_use]
    pub fn max_send_streams(&self) -> usize {
        self.0.borrow().peer.max_streams
    }

    /// Takes headers that nobody needs any more, for those of a response.
    pub fn reuse(&self, headers: HeaderMap) {
        self.0.borrow_mut().decoder.reuse(headers);
    }

    /// Sends the head of a request; `end` says that nothing follows.
    ///
    /// # Errors
    /// When the connection takes no more streams, or the head cannot be sent.
    pub fn send_request(
        &mut self,
        request: &Request<()>,
        end: bool,
    ) -> Result<(ResponseFuture, SendStream), Error> {
        let mut core = self.0.borrow_mut();
        let key = core.send_request(request, end)?;
        let receive = Handle::new(&self.0, &mut core, key);
        let send = Handle::new(&self.0, &mut core, key);
        Ok((ResponseFuture(Some(receive)), SendStream(send)))
    }
}

impl Drop for SendRequest {
    fn drop(&mut self) {
        let mut core = self.0.borrow_mut();
        core.senders -= 1;
        core.look_at_end();
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Connection<I> {
    /// Reads, digests and writes. Ready when the connection has ended.
    ///
    /// # Errors
    /// Why it ended, if not as it should.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.ended.is_none() {
            match self.driver.poll_read(cx) {
                Poll::Ready(result) => self.ended = Some(result),
                Poll::Pending => {
                    // ignored: a failure is told when the task is polled again
                    let _ = self.driver.poll_flush(cx);
                    return Poll::Pending;
                }
            }
        }
        // ignored: whether it can be closed in good order does not matter any more
        let _ = ready!(self.driver.poll_shutdown(cx));
        Poll::Ready(self.ended.clone().unwrap_or(Ok(())))
    }

    /// The PINGs of this connection.
    pub fn ping_pong(&self) -> PingPong {
        PingPong(self.driver.core.clone())
    }
}

impl Future for ResponseFuture {
    type Output = Result<Response<RecvStream>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let handle = self
            .0
            .as_ref()
            .expect("a future is polled until it is ready");
        let response = {
            let mut core = handle.core.borrow_mut();
            let stream = core.streams.get(handle.key);
            match (stream.response.take(), &stream.reset) {
                (Some(response), _) => Ok(response),
                (None, Some(error)) => Err(error.clone()),
                (None, None) => {
                    remember(&mut stream.receive_waker, cx);
                    return Poll::Pending;
                }
            }
        };
        let handle = self.0.take().expect("it was there just now");
        Poll::Ready(response.map(|response| response.map(|()| RecvStream(handle))))
    }
}
