//! Listening sockets, and where an intercepted connection was going.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpStream;

use crate::options::{Family, SocketOption, SocketState, set_options};

/// How a listening socket is made.
#[derive(Clone, Copy, Debug)]
pub struct BindOptions<'a> {
    /// The kernel's accept queue.
    pub backlog: u32,
    /// `IP_TRANSPARENT`, which needs `CAP_NET_ADMIN`.
    pub transparent: bool,
    /// `IP_FREEBIND`: the address need not be of this machine yet.
    pub freebind: bool,
    /// Keepalive, which connections take over from the socket that they arrive at.
    pub keepalive: Option<Keepalive>,
    /// Further options.
    pub options: &'a [SocketOption],
}

/// TCP keepalive; what is not set is as the system has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keepalive {
    /// How many probes may go unanswered.
    pub probes: Option<u32>,
    /// How long a connection is idle before the first.
    pub time: Option<Duration>,
    /// How long after one probe the next is sent.
    pub interval: Option<Duration>,
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
    options: BindOptions<'_>,
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
    options: BindOptions<'_>,
) -> io::Result<Vec<TcpListener>> {
    let family = family_of(address);
    let mut listeners = Vec::with_capacity(count);
    for _ in 0..count {
        let socket = socket(address, options)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        set_options(options.options, SocketState::Bound, family, &socket)?;
        socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
        set_options(options.options, SocketState::Listening, family, &socket)?;
        socket.set_nonblocking(true)?;
        let listener = TcpListener::from(socket);
        address = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// The version of IP of an address.
pub(crate) fn family_of(address: SocketAddr) -> Family {
    match address {
        SocketAddr::V4(_) => Family::V4,
        SocketAddr::V6(_) => Family::V6,
    }
}

fn socket(address: SocketAddr, options: BindOptions<'_>) -> io::Result<Socket> {
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
    if options.freebind {
        match address {
            SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
            SocketAddr::V6(_) => socket.set_freebind_v6(true)?,
        }
    }
    if let Some(keepalive) = options.keepalive {
        set_keepalive(&socket, keepalive)?;
    }
    set_options(
        options.options,
        SocketState::Prebind,
        family_of(address),
        &socket,
    )?;
    Ok(socket)
}

fn set_keepalive(socket: &Socket, keepalive: Keepalive) -> io::Result<()> {
    let Keepalive {
        probes,
        time,
        interval,
    } = keepalive;
    // Whole seconds are what the system counts in.
    let whole = |time: Duration| time.max(Duration::from_secs(1));
    let mut settings = TcpKeepalive::new();
    if let Some(probes) = probes {
        settings = settings.with_retries(probes);
    }
    if let Some(time) = time {
        settings = settings.with_time(whole(time));
    }
    if let Some(interval) = interval {
        settings = settings.with_interval(whole(interval));
    }
    socket.set_tcp_keepalive(&settings)
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

    const OPTIONS: BindOptions<'static> = BindOptions {
        backlog: 16,
        transparent: false,
        freebind: false,
        keepalive: None,
        options: &[],
    };

    #[test]
    fn connections_keep_alive_as_their_listener_says() {
        let options = BindOptions {
            keepalive: Some(Keepalive {
                probes: Some(3),
                time: Some(Duration::from_secs(30)),
                interval: None,
            }),
            ..OPTIONS
        };
        let sockets = bind("127.0.0.1:0".parse().unwrap(), 1, options).unwrap();
        let address = sockets[0].local_addr().unwrap();
        sockets[0].set_nonblocking(false).unwrap();
        let _client = std::net::TcpStream::connect(address).unwrap();
        let (accepted, _) = sockets[0].accept().unwrap();
        let accepted = SockRef::from(&accepted);
        assert!(accepted.keepalive().unwrap());
        assert_eq!(accepted.tcp_keepalive_retries().unwrap(), 3);
        let time = accepted.tcp_keepalive_time().unwrap();
        assert_eq!(time, Duration::from_secs(30));
    }

    #[test]
    fn an_address_of_another_machine() {
        let address = "192.0.2.1:0".parse().unwrap();
        assert!(bind(address, 1, OPTIONS).is_err());
        let options = BindOptions {
            freebind: true,
            ..OPTIONS
        };
        bind(address, 1, options).unwrap();
    }

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
