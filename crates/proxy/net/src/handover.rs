//! Listening sockets that go from one process to another: lines of text over a Unix socket, each
//! with the sockets that it is about.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// How many sockets one line may have.
pub const MOST_SOCKETS: usize = 200;

/// The longest line.
const LONGEST: usize = 1024;

/// The other process, one line at a time each way.
pub struct Handover {
    stream: UnixStream,
}

impl Handover {
    /// Connects to the process that listens under `name`.
    ///
    /// # Errors
    /// When nobody does, or it does not answer within the limit.
    pub fn connect(name: &str, limit: Duration) -> io::Result<Self> {
        let stream = UnixStream::connect_addr(&address(name)?)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        Ok(Self { stream })
    }

    /// Waits for a process of the same user; one of another is turned away.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn accept(listener: &UnixListener) -> io::Result<Self> {
        loop {
            let (stream, _) = listener.accept()?;
            let peer = rustix::net::sockopt::socket_peercred(&stream)?;
            if peer.uid == rustix::process::geteuid() {
                return Ok(Self { stream });
            }
        }
    }

    /// Sends a line with its sockets.
    ///
    /// # Errors
    /// When there are too many, or the other process is gone.
    pub fn send(&self, line: &str, sockets: &[TcpListener]) -> io::Result<()> {
        let fds: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(io::Error::other("too many sockets for one line"));
        }
        let line = format!("{line}\n");
        let parts = [IoSlice::new(line.as_bytes())];
        let sent = sendmsg(&self.stream, &parts, &mut control, SendFlags::NOSIGNAL)?;
        if sent == line.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::WriteZero.into())
        }
    }

    /// Receives a line with its sockets.
    ///
    /// # Errors
    /// When the other process is gone, or takes too long.
    pub fn receive(&self) -> io::Result<(String, Vec<TcpListener>)> {
        let mut line = Vec::new();
        let mut sockets = Vec::new();
        while !line.ends_with(b"\n") {
            let mut bytes = [0; LONGEST];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut bytes)];
            let flags = RecvFlags::CMSG_CLOEXEC;
            let received = recvmsg(&self.stream, &mut parts, &mut control, flags)?;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(fds) = message {
                    sockets.extend(fds.map(TcpListener::from));
                }
            }
            if received.bytes == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            line.extend_from_slice(&bytes[..received.bytes]);
            if line.len() > LONGEST {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        line.pop();
        let line = String::from_utf8(line).map_err(|_| io::ErrorKind::InvalidData)?;
        Ok((line, sockets))
    }
}

/// Listens under a name for the process that takes over: of a file, or without one where it begins
/// with `@`.
///
/// # Errors
/// When the name is taken.
pub fn listen_for_successor(name: &str) -> io::Result<UnixListener> {
    UnixListener::bind_addr(&address(name)?)
}

fn address(name: &str) -> io::Result<SocketAddr> {
    match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_socket_goes_over_with_who_waits_at_it() {
        let name = format!("@meltemi-handover-test-{}", std::process::id());
        let listener = listen_for_successor(&name).unwrap();
        assert!(listen_for_successor(&name).is_err(), "one at a time");
        let before = Handover::connect(&name, Duration::from_secs(5)).unwrap();
        let after = Handover::accept(&listener).unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let waiting = std::net::TcpStream::connect(address).unwrap();
        before.send("here it is", &[socket]).unwrap();
        let (line, sockets) = after.receive().unwrap();
        assert_eq!(line, "here it is");
        drop(before);
        assert_eq!(sockets[0].local_addr().unwrap(), address);
        let (_, peer) = sockets[0].accept().unwrap();
        assert_eq!(peer, waiting.local_addr().unwrap());
        assert!(after.receive().is_err(), "the other end is gone");
    }
}
