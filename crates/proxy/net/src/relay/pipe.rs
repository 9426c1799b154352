//! Bytes from one TCP connection to another without a copy: out of a socket into a pipe of the
//! kernel's and out of that into the other socket (`splice(2)`).
//!
//! One direction of a relay makes a pipe when it has seen that there is much to move.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::unistd::pipe2;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// What a pipe is asked to hold, in bytes; the kernel may allow less.
const SIZE: i32 = 256 * 1024;

/// A pipe and what it holds.
pub(super) struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
    held: usize,
}

impl Pipe {
    /// An empty pipe; none where the kernel gives none.
    pub(super) fn new() -> Option<Self> {
        let (out, into) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).ok()?;
        // ignored: it moves as much with a smaller one, in more steps
        let _ = fcntl(&into, FcntlArg::F_SETPIPE_SZ(SIZE));
        Some(Self { out, into, held: 0 })
    }

    /// Bytes that have left one socket and not reached the other.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Takes what `from` has; 0 at its end. Call it with nothing in the pipe.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        from: &TcpStream,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(from.poll_read_ready(cx))?;
            match from.try_io(Interest::READABLE, || {
                step(from, &self.into, usize_of(SIZE))
            }) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => {
                    self.held = *result.as_ref().unwrap_or(&0);
                    return Poll::Ready(result);
                }
            }
        }
    }

    /// Gives `to` what the pipe holds, or some of it.
    pub(super) fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        to: &TcpStream,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(to.poll_write_ready(cx))?;
            match to.try_io(Interest::WRITABLE, || step(&self.out, to, self.held)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    self.held -= count.min(self.held);
                    return Poll::Ready(Ok(count));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

fn step<From, To>(from: From, to: To, most: usize) -> io::Result<usize>
where
    From: std::os::fd::AsFd,
    To: std::os::fd::AsFd,
{
    let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
    Ok(splice(from, None, to, None, most, flags)?)
}

fn usize_of(size: i32) -> usize {
    usize::try_from(size).unwrap_or_default()
}
