//! Bytes on their way to an upstream.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::AsyncWrite;

/// As much of a body is copied to what stands before it, so that it all goes out in one piece.
const SMALL: usize = 4 << 10;
/// So much is gathered at most.
const BATCH: usize = 16 << 10;
/// What is kept for the next request.
const KEPT: usize = 16 << 10;

/// What is to be written: encoded bytes, a piece of a body, what stands after it.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    buffer: Vec<u8>,
    /// So much of the buffer is written.
    written: usize,
    piece: Bytes,
    after: &'static [u8],
    /// Something was written since the last flush.
    is_dirty: bool,
}

impl Outgoing {
    /// To be added to while there is room.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Whether more may be encoded before this is written.
    pub(super) fn has_room(&self) -> bool {
        self.piece.is_empty() && self.after.is_empty() && self.buffer.len() < BATCH
    }

    /// Whether all is written.
    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.piece.is_empty() && self.after.is_empty()
    }

    /// Adds a piece of a body and what stands after it.
    pub(super) fn push(&mut self, piece: Bytes, after: &'static [u8]) {
        if piece.len() <= SMALL {
            self.buffer.extend_from_slice(&piece);
            self.buffer.extend_from_slice(after);
        } else {
            self.piece = piece;
            self.after = after;
        }
    }

    /// Forgets what is not written.
    pub(super) fn clear(&mut self) {
        self.buffer.clear();
        self.written = 0;
        self.piece = Bytes::new();
        self.after = b"";
        self.is_dirty = false;
    }

    /// Writes all.
    pub(super) fn poll_write(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let head = &self.buffer[self.written..];
            let count = if self.piece.is_empty() && self.after.is_empty() {
                if head.is_empty() {
                    break;
                }
                ready!(Pin::new(&mut *io).poll_write(cx, head))?
            } else {
                let slices = [head, &self.piece, self.after].map(IoSlice::new);
                ready!(Pin::new(&mut *io).poll_write_vectored(cx, &slices))?
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.is_dirty = true;
            self.advance(count);
        }
        if self.is_dirty {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.buffer.clear();
            self.buffer.shrink_to(KEPT);
            self.written = 0;
            self.is_dirty = false;
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut count: usize) {
        let head = count.min(self.buffer.len() - self.written);
        self.written += head;
        count -= head;
        let piece = count.min(self.piece.len());
        self.piece.advance(piece);
        self.after = &self.after[count - piece..];
    }
}
