//! Upstream streams that stop being HTTP: 101, `CONNECT`, extended `CONNECT`; and the bytes of a
//! stream of HTTP/2, which are the same on the downstream's side.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::Response;
use meltemi_http2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::body::Upgrade;
use crate::pool::{Http1Upgrade, Http2Lease, http2_reason};
use crate::{BodyError, ResetReason, ResponseBody, UpstreamStream};

/// Most bytes of a write to a stream of HTTP/2 that are kept while its window is closed.
const MOST_KEPT: usize = 64 << 10;

/// The bytes after an upgrade. The request stays active until it is dropped.
pub struct UpgradedStream(Inner);

enum Inner {
    Http1(Http1Upgrade),
    Http2 {
        bytes: Http2Bytes,
        _lease: Http2Lease,
    },
    Raw(Box<UpstreamStream>),
}

/// What is carried by the data frames of a stream of HTTP/2, in both directions. Whoever drives
/// its connection writes.
pub struct Http2Bytes {
    send: SendStream,
    receive: RecvStream,
    /// Received, not read yet.
    unread: Bytes,
}

impl Http2Bytes {
    /// Takes both halves of a stream whose heads have passed.
    pub fn new(send: SendStream, receive: RecvStream) -> Self {
        Self {
            send,
            receive,
            unread: Bytes::new(),
        }
    }
}

/// Takes the byte stream of an upgraded exchange: after a 101, or a 2xx answer to `CONNECT`.
///
/// # Errors
/// When the connection ended first, or the response upgrades nothing.
pub async fn upgrade(response: Response<ResponseBody>) -> Result<UpgradedStream, BodyError> {
    match response.into_body().into_upgrade() {
        Some(Upgrade::Http1(mut upgrade)) => {
            let sent = poll_fn(|cx| upgrade.wire.poll_upload(cx)).await;
            sent.map_err(BodyError::Upstream)?;
            Ok(UpgradedStream(Inner::Http1(upgrade)))
        }
        Some(Upgrade::Http2 {
            send,
            receive,
            lease,
        }) => Ok(UpgradedStream(Inner::Http2 {
            bytes: Http2Bytes::new(send, receive),
            _lease: lease,
        })),
        Some(Upgrade::Raw(stream)) => Ok(UpgradedStream(Inner::Raw(stream))),
        None => Err(no_upgrade()),
    }
}

fn no_upgrade() -> BodyError {
    BodyError::Upstream(ResetReason::InvalidRequest("no upgrade".into()))
}

fn failed(error: &meltemi_http2::Error) -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionReset,
        http2_reason(error).to_string(),
    )
}

impl AsyncRead for Http2Bytes {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self {
            receive, unread, ..
        } = self.get_mut();
        while unread.is_empty() {
            match ready!(receive.poll_data(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Ok(data)) => *unread = data,
                Some(Err(error)) => return Poll::Ready(Err(failed(&error))),
            }
        }
        let count = unread.len().min(buf.remaining());
        buf.put_slice(&unread[..count]);
        unread.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Http2Bytes {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let send = &mut self.get_mut().send;
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(send.poll_room(cx)).map_err(|error| failed(&error))?;
        // What the windows do not take yet, the codec keeps.
        let count = buf.len().min(MOST_KEPT);
        send.send_data(Bytes::copy_from_slice(&buf[..count]), false)
            .map_err(|error| failed(&error))?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection's task writes.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Err(error) = self.get_mut().send.send_data(Bytes::new(), true) {
            // Ended before, by us or by them.
            if error.reason() == Some(Reason::NO_ERROR) || error.is_io() {
                return Poll::Ready(Err(failed(&error)));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl std::fmt::Debug for Http2Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Http2Bytes")
    }
}

impl AsyncRead for UpgradedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Inner::Http1(upgrade) => Pin::new(&mut *upgrade.wire).poll_read(cx, buf),
            Inner::Raw(stream) => Pin::new(stream).poll_read(cx, buf),
            Inner::Http2 { bytes, .. } => Pin::new(bytes).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for UpgradedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Inner::Http1(upgrade) => Pin::new(&mut *upgrade.wire).poll_write(cx, buf),
            Inner::Raw(stream) => Pin::new(stream).poll_write(cx, buf),
            Inner::Http2 { bytes, .. } => Pin::new(bytes).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Inner::Http1(upgrade) => Pin::new(&mut *upgrade.wire).poll_flush(cx),
            Inner::Raw(stream) => Pin::new(stream).poll_flush(cx),
            Inner::Http2 { bytes, .. } => Pin::new(bytes).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Inner::Http1(upgrade) => Pin::new(&mut *upgrade.wire).poll_shutdown(cx),
            Inner::Raw(stream) => Pin::new(stream).poll_shutdown(cx),
            Inner::Http2 { bytes, .. } => Pin::new(bytes).poll_shutdown(cx),
        }
    }
}

impl std::fmt::Debug for UpgradedStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Inner::Http1(_) => "UpgradedStream(HTTP/1)",
            Inner::Http2 { .. } => "UpgradedStream(HTTP/2)",
            Inner::Raw(_) => "UpgradedStream(raw)",
        })
    }
}
