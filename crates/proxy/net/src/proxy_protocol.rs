//! The PROXY protocol's header at the beginning of a connection, versions 1 and 2. Pure; the
//! listener reads, and whoever connects to upstreams writes.
//!
//! In: the bytes so far. Out: whether there is a header, whom it names, and how long it is.

mod write;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::Inspection;

pub use write::{proxy_block, proxy_line};

/// What version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// What version 1 begins with.
const V1_START: &[u8] = b"PROXY ";

/// The longest header of version 1, its line end included.
const V1_MAX: usize = 108;

/// The length of version 2's fixed part.
const V2_FIXED: usize = 16;

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// A header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Its version.
    pub version: ProxyVersion,
    /// Source and destination; none where the header keeps those of the connection.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    /// The type and value of each further entry.
    pub entries: Vec<(u8, Vec<u8>)>,
    /// How many bytes it takes.
    pub length: usize,
}

/// A header that is none after all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedHeader(pub ProxyVersion);

/// Looks for a header at the beginning of `bytes`.
///
/// # Errors
/// When it begins like one and goes on otherwise.
pub fn inspect_proxy(bytes: &[u8]) -> Result<Inspection<ProxyHeader>, MalformedHeader> {
    if bytes.starts_with(SIGNATURE) {
        return version_2(bytes).ok_or(MalformedHeader(ProxyVersion::V2));
    }
    if bytes.starts_with(V1_START) {
        return version_1(bytes).ok_or(MalformedHeader(ProxyVersion::V1));
    }
    let may_become = SIGNATURE.starts_with(bytes) || V1_START.starts_with(bytes);
    Ok(if may_become {
        Inspection::More
    } else {
        Inspection::No
    })
}

fn version_1(bytes: &[u8]) -> Option<Inspection<ProxyHeader>> {
    let seen = &bytes[..bytes.len().min(V1_MAX)];
    let Some(end) = seen.windows(2).position(|pair| pair == b"\r\n") else {
        return (bytes.len() < V1_MAX).then_some(Inspection::More);
    };
    let line = std::str::from_utf8(&bytes[..end]).ok()?;
    let header = |addresses| {
        Inspection::Is(ProxyHeader {
            version: ProxyVersion::V1,
            addresses,
            entries: Vec::new(),
            length: end + 2,
        })
    };
    let mut words = line.split(' ').skip(1);
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(header(None));
    }
    let [source, destination, source_port, destination_port] =
        [words.next()?, words.next()?, words.next()?, words.next()?];
    if words.next().is_some() {
        return None;
    }
    let address = |ip: &str, port: &str| -> Option<SocketAddr> {
        let ip: IpAddr = match family {
            "TCP4" => ip.parse::<Ipv4Addr>().ok()?.into(),
            "TCP6" => ip.parse::<Ipv6Addr>().ok()?.into(),
            _ => return None,
        };
        Some(SocketAddr::new(ip, port.parse().ok()?))
    };
    let source = address(source, source_port)?;
    let destination = address(destination, destination_port)?;
    Some(header(Some((source, destination))))
}

fn version_2(bytes: &[u8]) -> Option<Inspection<ProxyHeader>> {
    let Some(fixed) = bytes.get(..V2_FIXED) else {
        return Some(Inspection::More);
    };
    let rest = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    let (version, command) = (fixed[12] >> 4, fixed[12] & 0xf);
    let (family, transport) = (fixed[13] >> 4, fixed[13] & 0xf);
    // addresses of a local command are there for nobody
    let addressed = match (version, command) {
        (2, 0) => 0,
        // datagrams have the same addresses, and Envoy takes them as well
        (2, 1) => match (family, transport) {
            (1, 1 | 2) => 12,
            (2, 1 | 2) => 36,
            _ => return None,
        },
        _ => return None,
    };
    if rest < addressed {
        return None;
    }
    let Some(body) = bytes.get(V2_FIXED..V2_FIXED + rest) else {
        return Some(Inspection::More);
    };
    let addresses = match addressed {
        12 => Some(pair::<4>(body)),
        36 => Some(pair::<16>(body)),
        _ => None,
    };
    // what follows the addresses of a local command cannot be told from them
    let entries = match addresses {
        None => Vec::new(),
        Some(_) => entries(&body[addressed..])?,
    };
    Some(Inspection::Is(ProxyHeader {
        version: ProxyVersion::V2,
        addresses,
        entries,
        length: V2_FIXED + rest,
    }))
}

/// Source and destination of `N` bytes each, then their ports.
fn pair<const N: usize>(body: &[u8]) -> (SocketAddr, SocketAddr)
where
    IpAddr: From<[u8; N]>,
{
    let ip = |at: usize| {
        let mut octets = [0; N];
        octets.copy_from_slice(&body[at..at + N]);
        IpAddr::from(octets)
    };
    let port = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    (
        SocketAddr::new(ip(0), port(2 * N)),
        SocketAddr::new(ip(N), port(2 * N + 2)),
    )
}

fn entries(mut bytes: &[u8]) -> Option<Vec<(u8, Vec<u8>)>> {
    let mut entries = Vec::new();
    while let [kind, high, low, rest @ ..] = bytes {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        entries.push((*kind, rest.get(..length)?.to_vec()));
        bytes = &rest[length..];
    }
    bytes.is_empty().then_some(entries)
}

#[cfg(test)]
mod tests;
