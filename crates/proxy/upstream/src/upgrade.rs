//! Upstream streams that stop being HTTP: 101, `CONNECT`, extended `CONNECT`.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Response;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{BodyError, ResponseBody};

/// The bytes after an upgrade.
#[derive(Debug)]
pub struct UpgradedStream {
    _private: (),
}

/// Takes the byte stream of an upgraded exchange: after a 101 on HTTP/1, or a 2xx answer to
/// `CONNECT`. The request stays active until the stream is dropped.
///
/// # Errors
/// When the connection ended first, or the response upgrades nothing.
pub async fn upgrade(_response: Response<ResponseBody>) -> Result<UpgradedStream, BodyError> {
    unimplemented!()
}

impl AsyncRead for UpgradedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        _buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        unimplemented!()
    }
}

impl AsyncWrite for UpgradedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        _buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        unimplemented!()
    }
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        unimplemented!()
    }
    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        unimplemented!()
    }
}
