//! What the kernel knows of a TCP connection: how much of what was written its peer never took, and
//! how long a packet takes there and back.
//!
//! In: a TCP socket, perhaps one that was reset. Out: bytes, or a duration. Called by whoever wonders
//! whether a peer that is gone can have seen a message, and for access logs.

use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::socket::GetSockOpt as _;
use nix::sys::socket::sockopt::GetStruct;

/// Where the system's `tcp_info` has the round trip time in microseconds.
const ROUND_TRIP: usize = 68;
/// Where it has what was acknowledged, sent, and sent again.
const ACKNOWLEDGED: usize = 120;
const SENT: usize = 200;
const SENT_AGAIN: usize = 208;
const LENGTH: usize = 216;

/// The first Linux that says so much.
const SINCE: (u32, u32) = (4, 19);

#[derive(Clone, Copy, Debug)]
struct TcpInfo;

nix::getsockopt_impl!(
    TcpInfo,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    [u8; LENGTH],
    GetStruct<[u8; LENGTH]>
);

/// Bytes that were sent and not acknowledged; none where the system does not say.
pub fn outstanding(socket: &impl AsFd) -> Option<u64> {
    let info = info(socket)?;
    let number = |at: usize| {
        let bytes = info.get(at..)?.first_chunk()?;
        Some(u64::from_ne_bytes(*bytes))
    };
    let sent = number(SENT)?.saturating_sub(number(SENT_AGAIN)?);
    // the first that is acknowledged is that there is a connection
    Some((sent + 1).saturating_sub(number(ACKNOWLEDGED)?))
}

/// How long a packet takes to the peer and back, as the system reckons at the moment.
pub fn round_trip(socket: &impl AsFd) -> Option<Duration> {
    let info = info(socket)?;
    let micros = u32::from_ne_bytes(*info.get(ROUND_TRIP..)?.first_chunk()?);
    Some(Duration::from_micros(micros.into()))
}

fn info(socket: &impl AsFd) -> Option<[u8; LENGTH]> {
    static RECENT: OnceLock<bool> = OnceLock::new();
    let recent = || is_recent(rustix::system::uname().release().to_str().unwrap_or(""));
    if !*RECENT.get_or_init(recent) {
        return None;
    }
    TcpInfo.get(socket).ok()
}

fn is_recent(release: &str) -> bool {
    let mut numbers = release.split(['.', '-', '+']).map(str::parse::<u32>);
    let mut next = || numbers.next().and_then(Result::ok).unwrap_or_default();
    (next(), next()) >= SINCE
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// A connection over which a first message has gone, and its other end.
    fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        near.write_all(&[b'x'; 300]).unwrap();
        far.read_exact(&mut [0; 300]).unwrap();
        // its answer acknowledges the message
        far.write_all(b"ok").unwrap();
        near.read_exact(&mut [0; 2]).unwrap();
        (near, far)
    }

    #[test]
    fn old_systems_say_less() {
        let recent = ["4.19.0", "4.20", "5.4.0-42-generic", "6.18-rc1", "10.0"];
        assert!(recent.iter().all(|release| is_recent(release)));
        let old = ["4.18.0-553.el8", "3.10.0", "2.6.32", "", "unknown"];
        assert!(!old.iter().any(|release| is_recent(release)));
    }

    #[test]
    fn what_comes_too_late_is_outstanding() {
        let (mut near, far) = connected();
        assert_eq!(outstanding(&near), Some(0));
        drop(far);
        near.write_all(&[b'y'; 80]).unwrap();
        // whether the next one still goes is a matter of chance
        let sent = 80 + near.write(b"body").unwrap_or_default() as u64;
        assert_eq!(outstanding(&near), Some(sent));
    }

    #[test]
    fn what_was_taken_is_not() {
        let (mut near, mut far) = connected();
        near.write_all(&[b'y'; 80]).unwrap();
        far.read_exact(&mut [0; 80]).unwrap();
        drop(far);
        near.read_to_end(&mut Vec::new()).unwrap();
        near.write_all(b"body").unwrap();
        assert_eq!(outstanding(&near), Some(4));
    }
}
