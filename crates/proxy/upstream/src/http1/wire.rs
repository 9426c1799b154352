//! One HTTP/1.1 connection: its stream, its buffers, and where in an exchange it is.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Request, Response, request};
use http_body::Frame;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use super::decode::{Decoder, Piece};
use super::head::{Asked, Reader};
use super::outgoing::Outgoing;
use super::request::{Upload, write};
use crate::{ResetReason, UpstreamBody, UpstreamStream};

/// What is read at a time at first, and what is kept of the buffer between requests.
const READ: usize = 8 << 10;
/// Most that is read at a time, whatever the configuration allows.
const MAX_READ: usize = 400 << 10;

/// An HTTP/1.1 connection. Dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: UpstreamStream,
    title_case: bool,
    /// Most that is buffered of what was read.
    limit: usize,
    /// How much is read at a time.
    room: usize,
    /// Less than that came the last time.
    was_short: bool,
    unread: BytesMut,
    out: Outgoing,
    upload: Upload,
    reader: Reader,
    asked: Asked,
    body: Decoder,
    keeps_alive: bool,
    is_upgraded: bool,
    /// The head of the request whose response is awaited.
    sent: Option<request::Parts>,
    /// A map to be used again.
    spare: HeaderMap,
}

/// How a connection writes and reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// Header names have capitals at the beginning of words.
    pub(crate) title_case: bool,
    /// Responses remember how their header names were written.
    pub(crate) keeps_case: bool,
    /// Most bytes of a connection that are buffered.
    pub(crate) buffer: usize,
}

impl Wire {
    pub(crate) fn new(stream: UpstreamStream, manner: Manner) -> Self {
        let limit = manner.buffer.clamp(READ, MAX_READ);
        Self {
            stream,
            title_case: manner.title_case,
            limit,
            room: READ,
            was_short: false,
            unread: BytesMut::new(),
            out: Outgoing::default(),
            upload: Upload::default(),
            reader: Reader::new(limit, manner.keeps_case),
            asked: Asked::Other,
            body: Decoder::Ended,
            keeps_alive: true,
            is_upgraded: false,
            sent: None,
            spare: HeaderMap::new(),
        }
    }

    /// Begins a request. What is polled next sends it.
    ///
    /// # Errors
    /// When it cannot be written as it is; nothing was.
    pub(crate) fn start(&mut self, request: Request<UpstreamBody>) -> Result<(), ResetReason> {
        let written = write(request, self.title_case, self.out.buffer())?;
        self.asked = written.asked;
        self.keeps_alive = !written.is_last;
        self.upload = written.upload;
        self.sent = Some(written.head);
        Ok(())
    }

    /// Sends what there is of the request. Ready when all of it is sent.
    pub(crate) fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ResetReason>> {
        loop {
            let mut waits = false;
            while !waits && !self.upload.is_ended() && self.out.has_room() {
                let encoded = self.upload.poll_encode(self.title_case, &mut self.out, cx);
                waits = encoded?.is_pending();
            }
            if ready!(self.out.poll_write(&mut self.stream, cx)).is_err() {
                return Poll::Ready(Err(ResetReason::ConnectionTermination));
            }
            if self.upload.is_ended() {
                return Poll::Ready(Ok(()));
            }
            if waits {
                return Poll::Pending;
            }
        }
    }

    /// The request's rest is not sent, and the connection ends with the response.
    pub(crate) fn give_up_upload(&mut self) {
        self.upload.end();
        self.out.clear();
        self.keeps_alive = false;
    }

    /// The head of the request that got no response.
    pub(crate) fn take_sent(&mut self) -> Option<Box<Request<()>>> {
        let head = self.sent.take()?;
        Some(Box::new(Request::from_parts(head, ())))
    }

    /// Whether all of the request is sent.
    pub(crate) fn is_sent(&self) -> bool {
        self.upload.is_ended() && self.out.is_empty()
    }

    /// The head of the final response.
    pub(crate) fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<()>, ResetReason>> {
        loop {
            if !self.unread.is_empty() {
                let read = self
                    .reader
                    .read(&mut self.unread, self.asked, &mut self.spare);
                if let Some(head) = read? {
                    self.body = head.body;
                    self.keeps_alive &= head.keeps_alive;
                    self.is_upgraded = head.is_upgrade;
                    if let Some(sent) = self.sent.take() {
                        self.spare = sent.headers;
                        self.spare.clear();
                    }
                    return Poll::Ready(Ok(head.response));
                }
            }
            match ready!(self.poll_fill(cx)) {
                Ok(count) if count > 0 => {}
                Ok(_) | Err(_) => return Poll::Ready(Err(ResetReason::ConnectionTermination)),
            }
        }
    }

    /// The next of the response's body; none at its end.
    pub(crate) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResetReason>>> {
        loop {
            let mut piece = self.body.decode(&mut self.unread);
            if let Ok(Piece::Missing) = piece {
                piece = match ready!(self.poll_fill(cx)) {
                    Ok(count) if count > 0 => continue,
                    Ok(_) => {
                        self.keeps_alive = false;
                        self.body.close()
                    }
                    Err(_) => Err(ResetReason::ConnectionTermination),
                };
            }
            return Poll::Ready(match piece {
                Ok(Piece::Data(data)) => Some(Ok(Frame::data(data))),
                Ok(Piece::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
                Ok(Piece::End | Piece::Missing) => None,
                Err(reason) => {
                    self.keeps_alive = false;
                    self.body = Decoder::Ended;
                    Some(Err(reason))
                }
            });
        }
    }

    /// Whether the response was read to its end.
    #[inline]
    pub(crate) fn is_read(&self) -> bool {
        self.body.is_ended()
    }

    /// How much of the response's body is to come, where that is known.
    pub(crate) fn body_left(&self) -> Option<u64> {
        self.body.left()
    }

    /// Skips the rest of the response, if it is there already.
    pub(crate) fn skip_body(&mut self) -> bool {
        loop {
            match self.body.decode(&mut self.unread) {
                Ok(Piece::Data(_) | Piece::Trailers(_)) => {}
                Ok(Piece::End) => return true,
                Ok(Piece::Missing) | Err(_) => return false,
            }
        }
    }

    /// Whether the connection became a stream of bytes, which [`AsyncRead`] and [`AsyncWrite`]
    /// are for.
    pub(crate) fn is_upgraded(&self) -> bool {
        self.is_upgraded
    }

    /// Whether another request may follow the one that is through.
    #[inline]
    pub(crate) fn keeps_alive(&self) -> bool {
        self.keeps_alive && self.unread.is_empty()
    }

    /// Frees what a large response needed.
    pub(crate) fn rest(&mut self) {
        if self.unread.capacity() > 2 * READ {
            self.unread = BytesMut::new();
            self.room = READ;
        }
    }

    /// Whether the upstream left the connection alone that waits for a request: it neither closed
    /// it nor said anything. If it does so later, the context's waker is woken.
    #[inline]
    pub(crate) fn is_quiet(&mut self, cx: &mut Context<'_>) -> bool {
        let mut byte = [0];
        let mut buf = ReadBuf::new(&mut byte);
        Pin::new(&mut self.stream)
            .poll_read(cx, &mut buf)
            .is_pending()
    }

    /// Reads more, as much as there is room for.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let room = self.room.min(self.limit.saturating_sub(self.unread.len()));
        let room = room.max(1);
        self.unread.reserve(room);
        let mut into = (&mut self.unread).limit(room);
        let count = ready!(pin!(self.stream.read_buf(&mut into)).poll(cx))?;
        if count == room {
            self.room = (self.room * 2).min(self.limit);
            self.was_short = false;
        } else if count < self.room / 2 {
            if self.was_short {
                self.room = (self.room / 2).max(READ);
            }
            self.was_short = !self.was_short;
        }
        Poll::Ready(Ok(count))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // Says so, where TLS is spoken. A stream of bytes ends as its user has it.
        if self.stream.details().tls.is_some() && !self.is_upgraded {
            let mut cx = Context::from_waker(Waker::noop());
            // Whether it could be said does not matter any more.
            let _ = Pin::new(&mut self.stream).poll_shutdown(&mut cx);
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.unread.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        let count = this.unread.len().min(buf.remaining());
        buf.put_slice(&this.unread[..count]);
        this.unread.advance(count);
        if this.unread.is_empty() {
            this.unread = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
