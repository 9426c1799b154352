//! A connection from whose client nothing is taken before somebody has let it in.
//!
//! In: a connection, and the question about it, which is asked when the client's first bytes or its end
//! have come. Out: those bytes and what follows, or an error. What goes to the client goes at once. Called
//! by `tcp`, whose upstream may speak first.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::authorization::Refused;
use crate::connection::Socket;

/// How much is read before the question is asked.
const FIRST: usize = 4096;

/// The answer to the question about a connection: why it goes no further, if so.
pub(crate) type Answer<'a> = Pin<Box<dyn Future<Output = Option<Refused>> + 'a>>;

/// A connection that waits for an answer.
pub(crate) struct Held<'a, IO> {
    stream: &'a mut IO,
    state: State<'a>,
}

enum State<'a> {
    /// Nothing has come from the client.
    Silent(Answer<'a>),
    /// These bytes have come.
    Asking(Answer<'a>, Vec<u8>),
    /// The client is let in; so much of its first bytes was given on.
    Open(Vec<u8>, usize),
    /// It is not.
    Closed(Refused),
}

impl<'a, IO> Held<'a, IO> {
    pub fn new(stream: &'a mut IO, answer: Answer<'a>) -> Self {
        Self {
            stream,
            state: State::Silent(answer),
        }
    }

    /// Why the client was not let in, if it was not.
    pub fn refused(self) -> Option<Refused> {
        match self.state {
            State::Closed(refused) => Some(refused),
            State::Silent(_) | State::Asking(..) | State::Open(..) => None,
        }
    }
}

impl<IO: Socket> Socket for Held<'_, IO> {
    fn socket(&self) -> &TcpStream {
        self.stream.socket()
    }

    fn plain(&self) -> Option<&TcpStream> {
        match &self.state {
            State::Open(first, given) if *given == first.len() => self.stream.plain(),
            _ => None,
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Held<'_, IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            this.state = match std::mem::replace(&mut this.state, State::Open(Vec::new(), 0)) {
                State::Silent(answer) => {
                    let mut first = [0; FIRST];
                    let mut first = ReadBuf::new(&mut first);
                    match Pin::new(&mut *this.stream).poll_read(cx, &mut first) {
                        Poll::Ready(Ok(())) => State::Asking(answer, first.filled().to_vec()),
                        other => {
                            this.state = State::Silent(answer);
                            return other;
                        }
                    }
                }
                State::Asking(mut answer, first) => match answer.as_mut().poll(cx) {
                    Poll::Ready(None) => State::Open(first, 0),
                    Poll::Ready(Some(refused)) => State::Closed(refused),
                    Poll::Pending => {
                        this.state = State::Asking(answer, first);
                        return Poll::Pending;
                    }
                },
                State::Open(first, given) if given < first.len() => {
                    let count = buf.remaining().min(first.len() - given);
                    buf.put_slice(&first[given..given + count]);
                    this.state = State::Open(first, given + count);
                    return Poll::Ready(Ok(()));
                }
                State::Open(..) => return Pin::new(&mut *this.stream).poll_read(cx, buf),
                State::Closed(refused) => {
                    this.state = State::Closed(refused);
                    let text = "the client is not let in";
                    let error = io::Error::new(io::ErrorKind::PermissionDenied, text);
                    return Poll::Ready(Err(error));
                }
            };
        }
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Held<'_, IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().stream).poll_shutdown(cx)
    }
}
