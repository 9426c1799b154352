//! How header names were written, where that is kept.
//!
//! It travels with a message in an extension that only hyper's own codec can make and read. Where
//! it is wanted, that codec is given the head alone, in memory.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf as _, Bytes};
use futures_util::FutureExt as _;
use http::{Method, Request, Response, request};
use http_body::{Body, Frame};
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The head of a request as it is written with the case that its extensions know. None where the
/// codec refuses it.
pub(super) fn spell(head: request::Parts, has_body: bool, title_case: bool) -> Option<Vec<u8>> {
    let request = Request::from_parts(head, Unsent { has_body });
    let mut builder = http1::Builder::new();
    builder.title_case_headers(title_case);
    let (written, _) = exchange(&builder, request, Bytes::new())?;
    (!written.is_empty()).then_some(written)
}

/// Has a response remember how the names in its head, of which these are the bytes, are written.
pub(super) fn note(head: &Bytes, response: &mut Response<()>) {
    let mut request = Request::new(Unsent { has_body: false });
    *request.method_mut() = Method::HEAD;
    let mut builder = http1::Builder::new();
    builder.preserve_header_case(true);
    let answer = exchange(&builder, request, head.clone());
    if let Some((_, Some(answer))) = answer {
        let mut extensions = answer.into_parts().0.extensions;
        extensions.remove::<OnUpgrade>();
        *response.extensions_mut() = extensions;
    }
}

/// What the codec writes for a request, and what it reads then.
fn exchange(
    builder: &http1::Builder,
    request: Request<Unsent>,
    input: Bytes,
) -> Option<(Vec<u8>, Option<Response<hyper::body::Incoming>>)> {
    let written = Rc::<RefCell<Vec<u8>>>::default();
    let memory = Memory {
        input,
        written: Rc::clone(&written),
    };
    let started = builder.handshake(TokioIo::new(memory)).now_or_never()?;
    let (mut sender, connection) = started.ok()?;
    let mut answer = pin!(sender.send_request(request));
    let mut connection = pin!(connection);
    let mut cx = Context::from_waker(Waker::noop());
    // Once to write, once to read.
    for _ in 0..2 {
        if connection.as_mut().poll(&mut cx).is_ready() {
            break;
        }
    }
    let answer = match answer.as_mut().poll(&mut cx) {
        Poll::Ready(Ok(answer)) => Some(answer),
        Poll::Ready(Err(_)) | Poll::Pending => None,
    };
    Some((written.take(), answer))
}

/// A body of which nothing comes.
struct Unsent {
    has_body: bool,
}

/// A connection that has all of its input, and takes all output.
struct Memory {
    input: Bytes,
    written: Rc<RefCell<Vec<u8>>>,
}

impl Body for Unsent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        !self.has_body
    }
}

impl AsyncRead for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Nothing is answered before it is asked.
        if self.input.is_empty() || self.written.borrow().is_empty() {
            return Poll::Pending;
        }
        let count = self.input.len().min(buf.remaining());
        buf.put_slice(&self.input[..count]);
        self.input.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Memory {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.written.borrow_mut().extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
