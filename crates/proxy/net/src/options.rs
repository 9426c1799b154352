//! Socket options by their numbers, as configurations give them.
//!
//! In: level, name, value and the moment at which it is set. Out: an option of a socket, or that it
//! is none that is known here. Called where sockets are made.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::time::Duration;

use nix::sys::socket::SetSockOpt as _;
use nix::sys::socket::sockopt::{BindToDevice, SetStruct, TcpCongestion};
use socket2::SockRef;

/// When an option is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketState {
    /// Before the socket is bound.
    Prebind,
    /// Once it is, before it connects or listens.
    Bound,
    /// Once it listens.
    Listening,
}

/// The value of an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketValue {
    /// A number.
    Number(i64),
    /// Bytes: a name, or what the system's structure is made of.
    Bytes(Vec<u8>),
}

/// An option to set.
#[derive(Clone, Debug)]
pub struct SocketOption {
    set: Set,
    state: SocketState,
    /// Only on sockets of IPv4, or only on those of IPv6.
    family: Option<Family>,
}

/// A version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

#[derive(Clone, Debug)]
enum Set {
    Number(Setter, libc::c_int),
    Linger(Option<Duration>),
    Congestion(OsString),
    Device(OsString),
}

type Setter = fn(&BorrowedFd<'_>, &libc::c_int) -> nix::Result<()>;

/// Declares the options whose values are numbers.
macro_rules! numbers {
    ($($name:ident: $level:path, $option:path;)*) => {
        $(
            #[derive(Clone)]
            struct $name;

            nix::setsockopt_impl!(
                $name,
                $level,
                $option,
                libc::c_int,
                SetStruct<'_, libc::c_int>
            );
        )*

        fn number(level: libc::c_int, name: libc::c_int) -> Option<Setter> {
            match (level, name) {
                $(($level, $option) => Some(|socket, value| $name.set(socket, value)),)*
                _ => None,
            }
        }
    };
}

numbers! {
    ReuseAddress: libc::SOL_SOCKET, libc::SO_REUSEADDR;
    SendBuffer: libc::SOL_SOCKET, libc::SO_SNDBUF;
    ReceiveBuffer: libc::SOL_SOCKET, libc::SO_RCVBUF;
    KeepAlive: libc::SOL_SOCKET, libc::SO_KEEPALIVE;
    Priority: libc::SOL_SOCKET, libc::SO_PRIORITY;
    ReusePort: libc::SOL_SOCKET, libc::SO_REUSEPORT;
    Mark: libc::SOL_SOCKET, libc::SO_MARK;
    BusyPoll: libc::SOL_SOCKET, libc::SO_BUSY_POLL;
    IncomingCpu: libc::SOL_SOCKET, libc::SO_INCOMING_CPU;
    NoDelay: libc::IPPROTO_TCP, libc::TCP_NODELAY;
    MaxSegment: libc::IPPROTO_TCP, libc::TCP_MAXSEG;
    KeepIdle: libc::IPPROTO_TCP, libc::TCP_KEEPIDLE;
    KeepInterval: libc::IPPROTO_TCP, libc::TCP_KEEPINTVL;
    KeepCount: libc::IPPROTO_TCP, libc::TCP_KEEPCNT;
    SynCount: libc::IPPROTO_TCP, libc::TCP_SYNCNT;
    DeferAccept: libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT;
    WindowClamp: libc::IPPROTO_TCP, libc::TCP_WINDOW_CLAMP;
    QuickAck: libc::IPPROTO_TCP, libc::TCP_QUICKACK;
    UserTimeout: libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT;
    FastOpen: libc::IPPROTO_TCP, libc::TCP_FASTOPEN;
    NotSentLowWater: libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT;
    FastOpenConnect: libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT;
    TypeOfService: libc::IPPROTO_IP, libc::IP_TOS;
    TimeToLive: libc::IPPROTO_IP, libc::IP_TTL;
    FreeBind: libc::IPPROTO_IP, libc::IP_FREEBIND;
    Transparent: libc::IPPROTO_IP, libc::IP_TRANSPARENT;
    LatePort: libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT;
    HopLimit: libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS;
    OnlyV6: libc::IPPROTO_IPV6, libc::IPV6_V6ONLY;
    TrafficClass: libc::IPPROTO_IPV6, libc::IPV6_TCLASS;
    FreeBindV6: libc::IPPROTO_IPV6, libc::IPV6_FREEBIND;
    TransparentV6: libc::IPPROTO_IPV6, libc::IPV6_TRANSPARENT;
}

impl SocketOption {
    /// The option of these numbers; none where it is not known, or its value not of its kind.
    pub fn new(
        (level, name): (i64, i64),
        value: SocketValue,
        state: SocketState,
        family: Option<Family>,
    ) -> Option<Self> {
        let level = libc::c_int::try_from(level).ok()?;
        let name = libc::c_int::try_from(name).ok()?;
        let set = match (level, name, value) {
            (libc::SOL_SOCKET, libc::SO_LINGER, SocketValue::Bytes(bytes)) => {
                let (on, rest) = bytes.split_first_chunk()?;
                let (seconds, []) = rest.split_first_chunk()? else {
                    return None;
                };
                let seconds = u64::try_from(libc::c_int::from_ne_bytes(*seconds)).ok()?;
                let is_on = libc::c_int::from_ne_bytes(*on) != 0;
                Set::Linger(is_on.then(|| Duration::from_secs(seconds)))
            }
            (libc::IPPROTO_TCP, libc::TCP_CONGESTION, SocketValue::Bytes(name)) => {
                Set::Congestion(OsString::from_vec(name))
            }
            (libc::SOL_SOCKET, libc::SO_BINDTODEVICE, SocketValue::Bytes(name)) => {
                Set::Device(OsString::from_vec(name))
            }
            (level, name, SocketValue::Number(value)) => {
                Set::Number(number(level, name)?, libc::c_int::try_from(value).ok()?)
            }
            (level, name, SocketValue::Bytes(bytes)) => {
                let value = libc::c_int::from_ne_bytes(bytes.try_into().ok()?);
                Set::Number(number(level, name)?, value)
            }
        };
        Some(Self { set, state, family })
    }
}

/// Sets those of the options that are for this moment.
///
/// # Errors
/// Whatever the system says of the first that it does not take.
pub fn set_options(
    options: &[SocketOption],
    state: SocketState,
    family: Family,
    socket: &impl AsFd,
) -> io::Result<()> {
    let socket = socket.as_fd();
    let meant = |option: &&SocketOption| {
        option.state == state && option.family.is_none_or(|only| only == family)
    };
    for option in options.iter().filter(meant) {
        match &option.set {
            Set::Number(set, value) => set(&socket, value)?,
            Set::Congestion(name) => TcpCongestion.set(&socket, name)?,
            Set::Device(name) => BindToDevice.set(&socket, name)?,
            Set::Linger(time) => SockRef::from(&socket).set_linger(*time)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::TcpListener;

    use super::*;

    fn option(level: libc::c_int, name: libc::c_int, value: SocketValue) -> Option<SocketOption> {
        let numbers = (level.into(), name.into());
        SocketOption::new(numbers, value, SocketState::Bound, None)
    }

    #[test]
    fn what_is_known_is_set_when_it_is_time() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = SocketValue::Number;
        let mut linger = 1i32.to_ne_bytes().to_vec();
        linger.extend(7i32.to_ne_bytes());
        let mut only_v6 = option(libc::SOL_SOCKET, libc::SO_KEEPALIVE, number(1)).unwrap();
        only_v6.family = Some(Family::V6);
        let options = [
            option(libc::IPPROTO_TCP, libc::TCP_KEEPCNT, number(5)).unwrap(),
            option(
                libc::IPPROTO_IP,
                libc::IP_TOS,
                SocketValue::Bytes(8i32.to_ne_bytes().into()),
            )
            .unwrap(),
            option(
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                SocketValue::Bytes(linger),
            )
            .unwrap(),
            only_v6,
        ];
        let read = SockRef::from(&socket);
        set_options(&options, SocketState::Prebind, Family::V4, &socket).unwrap();
        assert_ne!(read.tcp_keepalive_retries().unwrap(), 5);
        set_options(&options, SocketState::Bound, Family::V4, &socket).unwrap();
        assert_eq!(read.tcp_keepalive_retries().unwrap(), 5);
        assert_eq!(read.tos_v4().unwrap(), 8);
        assert_eq!(read.linger().unwrap(), Some(Duration::from_secs(7)));
        assert!(!read.keepalive().unwrap());
    }

    #[test]
    fn what_is_not_known_is_none() {
        let text = || SocketValue::Bytes(b"cubic".to_vec());
        assert!(option(libc::IPPROTO_TCP, libc::TCP_CONGESTION, text()).is_some());
        assert!(option(libc::IPPROTO_TCP, libc::TCP_KEEPCNT, text()).is_none());
        assert!(option(libc::IPPROTO_TCP, 9999, SocketValue::Number(1)).is_none());
        let much = SocketValue::Number(i64::MAX);
        assert!(option(libc::IPPROTO_TCP, libc::TCP_KEEPCNT, much).is_none());
    }
}
