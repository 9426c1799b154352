//! Listening sockets, and where an intercepted connection was going.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::TcpStream;

/// How a listening socket is made.
#[derive(Clone, Copy, Debug)]
pub struct BindOptions {
    /// The kernel's accept queue.
    pub backlog: u32,
    /// `IP_TRANSPARENT`, which needs `CAP_NET_ADMIN`.
    pub transparent: bool,
}

/// Binds one listening socket for each worker, all on `address` with `SO_REUSEPORT`.
///
/// A port that another process listens on is refused, though `SO_REUSEPORT` alone would
/// share it. Port 0 takes a free port, the same for all.
///
/// # Errors
/// Whatever the system says: the address is in use, is not of this machine, or needs a
/// privilege.
pub fn bind(
    address: SocketAddr,
    workers: usize,
    options: BindOptions,
) -> io::Result<Vec<TcpListener>> {
    let probe = socket(address, options)?;
    probe.bind(&address.into())?;
    probe.listen(1)?;
    drop(probe);
    bind_more(address, workers.max(1), options)
}

/// Binds `count` more sockets to an address whose other sockets this process has already.
///
/// # Errors
/// As [`bind`].
pub fn bind_more(
    mut address: SocketAddr,
    count: usize,
    options: BindOptions,
) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::with_capacity(count);
    for _ in 0..count {
        let socket = socket(address, options)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
        socket.set_nonblocking(true)?;
        let listener = TcpListener::from(socket);
        address = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(listeners)
}

fn socket(address: SocketAddr, options: BindOptions) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if options.transparent {
        match address {
            SocketAddr::V4(_) => socket.set_ip_transparent_v4(true)?,
            SocketAddr::V6(_) => {
                return Err(io::Error::other(
                    "a transparent listener needs an IPv4 address",
                ));
            }
        }
    }
    Ok(socket)
}

/// Makes the connection end in a reset when it is dropped.
pub fn reset_when_dropped(stream: &TcpStream) {
    // ignored: without it the peer sees an end in order
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Where the connection was going before the kernel redirected it here
/// (`SO_ORIGINAL_DST`); none where it was not redirected.
pub fn original_destination(stream: &TcpStream) -> Option<SocketAddr> {
    let socket = SockRef::from(stream);
    let local = stream.local_addr().ok()?;
    let found = if local.is_ipv4() {
        socket.original_dst_v4()
    } else {
        socket.original_dst_v6()
    };
    found.ok()?.as_socket()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const OPTIONS: BindOptions = BindOptions {
        backlog: 16,
        transparent: false,
    };

    #[test]
    fn workers_share_a_port_that_nobody_else_gets() {
        let sockets = bind("127.0.0.1:0".parse().unwrap(), 3, OPTIONS).unwrap();
        let address = sockets[0].local_addr().unwrap();
        assert!(
            sockets
                .iter()
                .all(|socket| socket.local_addr().unwrap() == address)
        );
        let refused = bind(address, 1, OPTIONS).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        drop(sockets);
        bind(address, 2, OPTIONS).unwrap();
    }
}
