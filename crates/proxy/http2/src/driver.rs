//! A connection's reading and writing: between the stream below and the state that streams share.
//!
//! Called by both ends' `Connection`.

use std::cell::RefCell;
use std::io;
use std::ops::Deref;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

use crate::Error;
use crate::core::{Core, Leaving, Side};
use crate::error::Kind;
use crate::frame::PREFACE;
use crate::share::Shared;
use crate::stream::remember;

/// How much is read at a time at first, and at most.
const READ: (usize, usize) = (2 << 10, 128 << 10);
/// So often is read before what has come is worked on.
const READS: usize = 4;
/// With so much to be sent, nothing more is read: whoever asks without listening waits.
const UNSENT: usize = 1 << 20;

/// What of a preface has to come yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Preface {
    Awaited,
    Seen,
}

/// The state of a connection that is driven. When it is dropped, the streams have failed.
#[derive(Debug)]
pub(crate) struct Owned(Shared);

/// The stream below, and what was read from it.
#[derive(Debug)]
pub(crate) struct Driver<I> {
    io: I,
    pub(crate) core: Owned,
    input: BytesMut,
    /// How much is read at a time.
    room: usize,
    preface: Preface,
    has_ended: bool,
}

impl<I: AsyncRead + AsyncWrite + Unpin> Driver<I> {
    pub(crate) fn new(io: I, core: Core) -> Self {
        let preface = match core.side {
            Side::Client => Preface::Seen,
            Side::Server => Preface::Awaited,
        };
        Self {
            io,
            core: Owned(Rc::new(RefCell::new(core))),
            input: BytesMut::new(),
            room: READ.0,
            preface,
            has_ended: false,
        }
    }

    pub(crate) fn into_io(self) -> I {
        self.io
    }

    /// Reads and digests what has come. Ready when the connection is at its end, for whatever
    /// reason, and everything has been sent.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        {
            let mut core = self.core.borrow_mut();
            core.is_stirred = true;
            remember(&mut core.task, cx);
            if core.failed.is_none() && !self.has_ended {
                core.look_at_clock();
            }
        }
        let mut is_full = false;
        for _ in 0..READS {
            let mut core = self.core.borrow_mut();
            if core.failed.is_some() || self.has_ended {
                break;
            }
            if core.unsent() > UNSENT {
                // the task is woken when the peer takes what there is
                let flushed = core.poll_flush(&mut self.io, cx);
                match flushed {
                    Poll::Pending => {
                        is_full = true;
                        break;
                    }
                    Poll::Ready(Ok(())) => core.is_stirred = true,
                    Poll::Ready(Err(error)) => core.fail(error.into()),
                }
                continue;
            }
            drop(core);
            match self.poll_fill(cx) {
                Poll::Pending => return self.poll_end(cx),
                Poll::Ready(Ok(0)) => self.end_of_input(),
                Poll::Ready(Ok(_)) => self.digest(),
                Poll::Ready(Err(error)) => self.core.borrow_mut().fail(error.into()),
            }
        }
        let ended = self.poll_end(cx);
        if ended.is_pending() && !is_full && self.core.borrow().failed.is_none() {
            // there may be more
            cx.waker().wake_by_ref();
        }
        ended
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let (least, most) = READ;
        if self.input.capacity() - self.input.len() < self.room / 2 {
            self.input.reserve(self.room);
        }
        let free = self.input.capacity() - self.input.len();
        let read = pin!(self.io.read_buf(&mut self.input)).poll(cx);
        match &read {
            // more is there than was asked for
            Poll::Ready(Ok(count)) if *count == free => self.room = (2 * self.room).min(most),
            Poll::Ready(Ok(count)) if *count < self.room / 4 => {
                self.room = (self.room / 2).max(least);
            }
            // a connection that rests needs little
            Poll::Pending
                if self.input.is_empty()
                    && self.input.capacity() > least
                    && self.core.borrow().active == 0 =>
            {
                self.input = BytesMut::new();
            }
            _ => {}
        }
        read
    }

    fn digest(&mut self) {
        let mut core = self.core.borrow_mut();
        if self.preface == Preface::Awaited {
            let count = self.input.len().min(PREFACE.len());
            if self.input[..count] != PREFACE[..count] {
                core.failed = Some(Error(Kind::Io(io::ErrorKind::InvalidData)));
                return;
            }
            if count < PREFACE.len() {
                return;
            }
            self.input.advance(count);
            self.preface = Preface::Seen;
        }
        if let Err(error) = core.digest(&mut self.input) {
            core.fail(error);
        }
    }

    fn end_of_input(&mut self) {
        self.has_ended = true;
        let mut core = self.core.borrow_mut();
        core.end_streams(&Error(Kind::Io(io::ErrorKind::UnexpectedEof)));
        // nobody is to open more while it is closed
        core.leaving = Leaving::AtOnce;
        if !self.input.is_empty() {
            core.fail(Error(Kind::Io(io::ErrorKind::UnexpectedEof)));
        }
    }

    /// Ready when the connection is at its end and everything has been sent.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut core = self.core.borrow_mut();
        if let Some(error) = core.failed.clone() {
            if !error.is_io() {
                let flushed = core.poll_flush(&mut self.io, cx);
                // A server that does not listen is not waited for; for a client that does not, there
                // is the connection's idle timeout. Whether it could be sent does not matter.
                if core.side == Side::Server {
                    let _ = ready!(flushed);
                }
            }
            return Poll::Ready(Err(error));
        }
        if self.has_ended && core.accepted.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if core.is_done() {
            ready!(core.poll_flush(&mut self.io, cx))?;
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }

    /// Sends what there is to be sent.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut core = self.core.borrow_mut();
        let flushed = ready!(core.poll_flush(&mut self.io, cx));
        if let Err(error) = &flushed
            && core.failed.is_none()
        {
            core.fail(Error(Kind::Io(error.kind())));
            // who flushes has looked for the connection's end already
            cx.waker().wake_by_ref();
        }
        Poll::Ready(flushed.map_err(Error::from))
    }

    /// Ends the stream below.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl Deref for Owned {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let mut core = self.0.borrow_mut();
        let gone = Error(Kind::Io(io::ErrorKind::NotConnected));
        core.end_streams(&gone);
        core.failed.get_or_insert(gone);
        core.task = None;
    }
}
