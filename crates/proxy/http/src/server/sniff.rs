//! HTTP/1 or HTTP/2, by the first bytes: HTTP/2 begins with a preface that no HTTP/1 request
//! line can be.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::io::ClientIo;

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
}

/// `PRI * HTTP/2.0` and the end of its line.
const FIRST_LINE: usize = 16;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads until it is clear; what was read is read again by the codec.
pub(super) async fn version<I>(io: &mut ClientIo<I>) -> io::Result<Version>
where
    I: AsyncRead + Unpin,
{
    let mut read = Vec::with_capacity(1024);
    loop {
        let count = io.inner().read_buf(&mut read).await?;
        let common = read.len().min(PREFACE.len());
        // the first line alone is of HTTP/2; what is wrong after it is for its codec to find
        let version = if common >= FIRST_LINE && read[..FIRST_LINE] == PREFACE[..FIRST_LINE] {
            Some(Version::Http2)
        } else if read[..common] != PREFACE[..common] {
            Some(Version::Http1)
        } else if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        } else {
            None
        };
        if let Some(version) = version {
            io.unread(read.into());
            return Ok(version);
        }
    }
}
