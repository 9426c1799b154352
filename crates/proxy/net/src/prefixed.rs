//! A stream whose first bytes have been read already.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pin_project_lite::pin_project! {
    /// Gives the bytes that inspection has read, then those of the stream.
    #[derive(Debug)]
    pub struct Prefixed<S> {
        prefix: Vec<u8>,
        given: usize,
        #[pin]
        stream: S,
    }
}

impl<S> Prefixed<S> {
    /// A stream of `prefix`, then what `stream` has.
    pub fn new(prefix: Vec<u8>, stream: S) -> Self {
        Self {
            prefix,
            given: 0,
            stream,
        }
    }

    /// The stream inside.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Whether bytes that were read before are still to be given.
    pub fn has_prefix(&self) -> bool {
        self.given < self.prefix.len()
    }
}

impl<S: AsyncRead> AsyncRead for Prefixed<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.project();
        let left = &this.prefix[*this.given..];
        if left.is_empty() {
            return this.stream.poll_read(cx, buf);
        }
        let count = left.len().min(buf.remaining());
        buf.put_slice(&left[..count]);
        *this.given += count;
        if *this.given == this.prefix.len() {
            *this.prefix = Vec::new();
            *this.given = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite> AsyncWrite for Prefixed<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.project().stream.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.project().stream.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().stream.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().stream.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn the_prefix_comes_first_and_once() {
        for size in [1, 2, 3, 64] {
            let mut stream = Prefixed::new(b"GET ".to_vec(), &b"/ HTTP/1.1"[..]);
            let mut read = Vec::new();
            let mut part = vec![0; size];
            loop {
                let count = stream.read(&mut part).await.unwrap();
                if count == 0 {
                    break;
                }
                read.extend_from_slice(&part[..count]);
            }
            assert_eq!(read, b"GET / HTTP/1.1");
        }
    }
}
