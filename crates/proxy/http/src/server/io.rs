//! The client's byte stream as the codecs see it: bytes that were read too early come first,
//! what passes is counted, and for HTTP/1 the bytes of a request's head are kept for a look at
//! its framing.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use meltemi_net::poll_write_joined;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::refusal::{CodecRefusal, is_codecs};
use crate::connection::Connection;

/// A client's byte stream.
pub(super) struct ClientIo<I> {
    inner: I,
    unread: Bytes,
    connection: Rc<Connection>,
    /// What goes out in the place of the codec's own answer.
    instead: Bytes,
    /// The codec's end is not the connection's.
    held_open: bool,
}

/// Kept of a head for the look at its framing.
const HEAD_LIMIT: usize = 64 << 10;

impl<I> ClientIo<I> {
    pub(super) fn new(inner: I, connection: Rc<Connection>) -> Self {
        Self {
            inner,
            unread: Bytes::new(),
            connection,
            instead: Bytes::new(),
            held_open: true,
        }
    }

    /// Lets a shutdown through, which until now only flushes.
    pub(super) fn release(&mut self) {
        self.held_open = false;
    }

    /// The stream below, for whoever looks at it first.
    pub(super) fn inner(&mut self) -> &mut I {
        &mut self.inner
    }

    /// Gives bytes back, to be read again.
    pub(super) fn unread(&mut self, bytes: Bytes) {
        self.unread = bytes;
    }

    fn note_read(&self, read: &[u8]) {
        let connection = &self.connection;
        let headers_are_limited = connection.with_manager(|manager, stats| {
            stats.downstream_cx_rx_bytes_total.add(read.len() as u64);
            manager.config.request_headers_timeout.is_some()
        });
        connection.heard.set(true);
        if connection.read_at.get().is_some() {
            connection.read_at.set(Some(Instant::now()));
        }
        if !connection.expects_head.get() || read.is_empty() {
            return;
        }
        if headers_are_limited && connection.head_began.get().is_none() {
            connection.head_began.set(Some(Instant::now()));
        }
        let mut kept = connection.head_bytes.borrow_mut();
        if kept.len() + read.len() <= HEAD_LIMIT {
            kept.extend_from_slice(read);
        }
    }

    /// Whether the codec answers by itself: to a head that never became a request.
    fn is_refused(&self, bytes: &[u8]) -> bool {
        let connection = &self.connection;
        connection.expects_head.get()
            && !connection.answered.get()
            && connection.active.get() == 0
            && is_codecs(bytes)
    }

    /// Puts an answer in the place of the codec's own.
    fn refuse(&mut self, bytes: &[u8]) {
        let connection = &self.connection;
        let too_large = bytes.starts_with(b"HTTP/1.1 431") || bytes.starts_with(b"HTTP/1.1 414");
        let refusal = CodecRefusal::of(&connection.head_bytes.borrow(), too_large);
        connection.refused.set(Some(refusal));
        self.instead = refusal.bytes(connection).into();
    }

    fn note_written(&self, count: usize) {
        self.connection.answered.set(false);
        self.connection.with_manager(|_, stats| {
            stats.downstream_cx_tx_bytes_total.add(count as u64);
        });
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for ClientIo<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        if this.unread.is_empty() {
            let read = ready!(Pin::new(&mut this.inner).poll_read(cx, buf));
            if read.is_err() {
                this.connection.client_is_gone();
            }
            read?;
        } else {
            let count = this.unread.len().min(buf.remaining());
            buf.put_slice(&this.unread[..count]);
            this.unread.advance(count);
        }
        let read = &buf.filled()[before..];
        if read.is_empty() {
            this.connection.client_is_gone();
        }
        this.note_read(read);
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for ClientIo<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.instead.is_empty() && this.is_refused(buf) {
            this.refuse(buf);
        }
        if !this.instead.is_empty() {
            while !this.instead.is_empty() {
                let count = ready!(Pin::new(&mut this.inner).poll_write(cx, &this.instead))?;
                this.note_written(count);
                this.instead.advance(count);
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
            }
            return Poll::Ready(Ok(buf.len()));
        }
        let count = ready!(Pin::new(&mut this.inner).poll_write(cx, buf))?;
        this.note_written(count);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.held_open {
            return Pin::new(&mut this.inner).poll_flush(cx);
        }
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let first = bufs.first().map_or(&[][..], |first| first);
        if !this.instead.is_empty() || this.is_refused(first) {
            return Pin::new(this).poll_write(cx, first);
        }
        let count = ready!(poll_write_joined(&mut this.inner, cx, bufs))?;
        this.note_written(count);
        Poll::Ready(Ok(count))
    }
}
