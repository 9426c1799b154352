//! Several small buffers in one plain write: for the system `writev(2)` is dearer than `send(2)` by more
//! than it takes to copy a few kilobytes.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

/// What is joined at most, in bytes.
const MOST: usize = 4 * 1024;

thread_local! {
    /// Where buffers are put beside each other. Empty between writes.
    static JOINED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Writes what `bufs` hold, or the first of it.
///
/// # Errors
/// What the stream says.
pub fn poll_write_joined<S: AsyncWrite + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    bufs: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let mut filled = bufs.iter().filter(|buf| !buf.is_empty());
    let first = filled.next().map_or(&[][..], |buf| buf);
    if filled.next().is_none() {
        return Pin::new(stream).poll_write(cx, first);
    }
    let length: usize = bufs.iter().map(|buf| buf.len()).sum();
    if length > MOST {
        return Pin::new(stream).poll_write_vectored(cx, bufs);
    }
    JOINED.with(|joined| {
        let Ok(mut joined) = joined.try_borrow_mut() else {
            // a stream that writes to another one here
            return Pin::new(stream).poll_write(cx, first);
        };
        for buf in bufs {
            joined.extend_from_slice(buf);
        }
        let written = Pin::new(stream).poll_write(cx, &joined);
        joined.clear();
        written
    })
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn everything_is_written_however_it_is_cut() {
        let large = vec![b'x'; MOST];
        let cases: [&[&[u8]]; 6] = [
            &[],
            &[b"", b""],
            &[b"", b"one", b""],
            &[b"one", b"", b"two", b"three"],
            &[&large, b"more"],
            &[&large],
        ];
        for case in cases {
            let whole = case.concat();
            let bufs: Vec<_> = case.iter().map(|buf| IoSlice::new(buf)).collect();
            let (mut near, mut far) = tokio::io::duplex(2 * MOST);
            let written = std::future::poll_fn(|cx| poll_write_joined(&mut near, cx, &bufs)).await;
            let count = written.unwrap_or_default();
            drop(near);
            let mut came = Vec::new();
            far.read_to_end(&mut came).await.unwrap_or_default();
            assert_eq!(came, whole[..count]);
            assert!(count > 0 || whole.is_empty());
            assert!(whole.len() > MOST || count == whole.len());
        }
    }
}
