//! The writes of one turn as one: a codec writes frame after frame into a buffer, and whoever
//! drives the codec sends them together when the codec has no more to do for now.
//!
//! In: a byte stream. Out: the stream that the codec gets, and the [`Turn`] whose holder sends.
//! The HTTP/2 codecs of both sides are driven so: theirs would make a system call for each frame
//! of a body.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is gathered at most, in bytes; more goes out at once.
const MOST: usize = 64 * 1024;

/// A buffer of this size is kept though little went through it.
const SMALL: usize = 4 * 1024;

/// A stream whose writes wait for the end of the turn.
pub struct Gathered<S>(Rc<RefCell<State<S>>>);

/// Sends what was written in a turn.
pub struct Turn<S>(Rc<RefCell<State<S>>>);

struct State<S> {
    stream: S,
    buffer: Vec<u8>,
    sent: usize,
}

/// Gathers the writes to `stream`. They are sent by [`Turn::poll_send`], by a shutdown, or when
/// there are too many of them; a flush alone sends nothing.
pub fn gather<S>(stream: S) -> (Gathered<S>, Turn<S>) {
    let state = Rc::new(RefCell::new(State {
        stream,
        buffer: Vec::new(),
        sent: 0,
    }));
    (Gathered(state.clone()), Turn(state))
}

impl<S: AsyncWrite + Unpin> Turn<S> {
    /// Sends what was written. Call it after each turn of the codec, in the codec's task: while
    /// it is pending the task is woken when the stream takes more.
    ///
    /// # Errors
    /// What the stream says.
    pub fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_send(cx)
    }

    /// The stream, when the codec that wrote to it is gone; what has not been sent is lost.
    pub fn into_stream(self) -> Option<S> {
        Some(Rc::into_inner(self.0)?.into_inner().stream)
    }
}

impl<S: AsyncWrite + Unpin> State<S> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.buffer.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while self.sent < self.buffer.len() {
            let rest = &self.buffer[self.sent..];
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += count;
        }
        // What a connection needed once it does not keep when it needs less.
        if self.sent < self.buffer.capacity() / 4 && self.buffer.capacity() > SMALL {
            self.buffer = Vec::with_capacity(self.sent.max(SMALL));
        }
        self.buffer.clear();
        self.sent = 0;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Whether so many bytes more are gathered; if not, nothing is in the buffer any more.
    fn poll_room(&mut self, cx: &mut Context<'_>, count: usize) -> Poll<io::Result<bool>> {
        if self.buffer.len() + count <= MOST {
            return Poll::Ready(Ok(true));
        }
        ready!(self.poll_send(cx))?;
        Poll::Ready(Ok(count <= MOST))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let state = &mut *self.0.borrow_mut();
        if !ready!(state.poll_room(cx, buf.len()))? {
            return Pin::new(&mut state.stream).poll_write(cx, buf);
        }
        state.buffer.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let state = &mut *self.0.borrow_mut();
        let count = bufs.iter().map(|buf| buf.len()).sum();
        if !ready!(state.poll_room(cx, count))? {
            return Pin::new(&mut state.stream).poll_write_vectored(cx, bufs);
        }
        for buf in bufs {
            state.buffer.extend_from_slice(buf);
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = &mut *self.0.borrow_mut();
        ready!(state.poll_send(cx))?;
        Pin::new(&mut state.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::task::Waker;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    /// Counts the writes that reach a stream.
    struct Counting(DuplexStream, Rc<RefCell<Vec<usize>>>);

    impl AsyncWrite for Counting {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            let count = ready!(Pin::new(&mut self.0).poll_write(cx, buf))?;
            self.1.borrow_mut().push(count);
            Poll::Ready(Ok(count))
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    fn counted(size: usize) -> (Counting, DuplexStream, Rc<RefCell<Vec<usize>>>) {
        let (near, far) = duplex(size);
        let writes = Rc::new(RefCell::new(Vec::new()));
        (Counting(near, writes.clone()), far, writes)
    }

    #[tokio::test]
    async fn a_turn_is_one_write() {
        let (stream, mut far, writes) = counted(1 << 20);
        let (mut codec, turn) = gather(stream);
        for _ in 0..20 {
            codec.write_all(b"head").await.unwrap();
            let slices = [IoSlice::new(b"er"), IoSlice::new(b"s")];
            assert_eq!(codec.write_vectored(&slices).await.unwrap(), 3);
            codec.flush().await.unwrap();
        }
        assert!(writes.borrow().is_empty());
        std::future::poll_fn(|cx| turn.poll_send(cx)).await.unwrap();
        assert_eq!(*writes.borrow(), [140]);
        let mut got = [0; 140];
        far.read_exact(&mut got).await.unwrap();
        assert_eq!(&got[..14], b"headersheaders");
    }

    #[tokio::test]
    async fn much_goes_out_before_the_turn_ends_and_in_order() {
        let (stream, mut far, writes) = counted(1 << 20);
        let (mut codec, turn) = gather(stream);
        codec.write_all(b"first").await.unwrap();
        codec.write_all(&vec![b'x'; MOST + 1]).await.unwrap();
        assert_eq!(*writes.borrow(), [5, MOST + 1]);
        codec.write_all(b"last").await.unwrap();
        std::future::poll_fn(|cx| turn.poll_send(cx)).await.unwrap();
        let mut got = vec![0; MOST + 10];
        far.read_exact(&mut got).await.unwrap();
        assert_eq!(&got[..6], b"firstx");
        assert_eq!(&got[MOST + 5..], b"xlast");
    }

    #[tokio::test]
    async fn a_full_stream_holds_the_turn_back_and_a_shutdown_sends_the_rest() {
        let (stream, mut far, _) = counted(8);
        let (mut codec, turn) = gather(stream);
        codec.write_all(b"more than eight").await.unwrap();
        let pending = turn.poll_send(&mut Context::from_waker(Waker::noop()));
        assert!(pending.is_pending());
        let mut got = Vec::new();
        let (shutdown, read) = tokio::join!(codec.shutdown(), far.read_to_end(&mut got));
        shutdown.unwrap();
        read.unwrap();
        assert_eq!(got, b"more than eight");
    }
}
