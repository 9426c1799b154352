//! The PROXY protocol's header as it is written, in both versions.
//!
//! In: whom it names. Out: its bytes. Called where connections to upstreams are made.

use std::net::{IpAddr, SocketAddr};

use super::SIGNATURE;

/// A header of version 1.
pub fn proxy_line(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    format!(
        "PROXY {family} {} {} {} {}\r\n",
        source.ip(),
        destination.ip(),
        source.port(),
        destination.port()
    )
    .into_bytes()
}

/// A header of version 2; without addresses one that says that the connection is the proxy's own,
/// which has no entries. None where the entries are longer than a header may be.
pub fn proxy_block(
    addresses: Option<(SocketAddr, SocketAddr)>,
    entries: &[(u8, &[u8])],
) -> Option<Vec<u8>> {
    let mut bytes = SIGNATURE.to_vec();
    let Some((source, destination)) = addresses else {
        bytes.extend([0x20, 0, 0, 0]);
        return Some(bytes);
    };
    let (family, octets) = match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => (
            0x11,
            [source.octets().as_slice(), &destination.octets()].concat(),
        ),
        (source, destination) => {
            let mapped = |ip: IpAddr| match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                IpAddr::V6(ip) => ip.octets(),
            };
            let both = [mapped(source).as_slice(), &mapped(destination)].concat();
            (0x21, both)
        }
    };
    let mut rest = octets;
    rest.extend(source.port().to_be_bytes());
    rest.extend(destination.port().to_be_bytes());
    for (kind, value) in entries {
        rest.push(*kind);
        rest.extend(u16::try_from(value.len()).ok()?.to_be_bytes());
        rest.extend_from_slice(value);
    }
    let length = u16::try_from(rest.len()).ok()?;
    bytes.extend([0x21, family]);
    bytes.extend(length.to_be_bytes());
    bytes.extend(rest);
    Some(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Inspection, ProxyHeader, inspect_proxy};

    fn read(bytes: &[u8]) -> ProxyHeader {
        match inspect_proxy(bytes) {
            Ok(Inspection::Is(header)) => header,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let pairs = [
            ("1.2.3.4:5", "6.7.8.9:10"),
            ("[2001:db8::1]:5", "[::2]:65535"),
        ];
        for (source, destination) in pairs {
            let pair = (source.parse().unwrap(), destination.parse().unwrap());
            let line = read(&proxy_line(pair.0, pair.1));
            assert_eq!(line.addresses, Some(pair));
            let block = read(&proxy_block(Some(pair), &[(5, b"abc"), (0xea, b"")]).unwrap());
            assert_eq!(block.addresses, Some(pair));
            assert_eq!(block.entries, [(5, b"abc".to_vec()), (0xea, Vec::new())]);
        }
    }

    #[test]
    fn families_that_differ_become_one() {
        let pair = ("1.2.3.4:5".parse().unwrap(), "[::2]:6".parse().unwrap());
        let block = read(&proxy_block(Some(pair), &[]).unwrap());
        let mapped = "[::ffff:1.2.3.4]:5".parse().unwrap();
        assert_eq!(block.addresses, Some((mapped, pair.1)));
    }

    #[test]
    fn a_connection_of_its_own_names_nobody() {
        let block = proxy_block(None, &[(1, b"x")]).unwrap();
        assert_eq!(block.len(), 16);
        assert_eq!(read(&block).addresses, None);
    }

    #[test]
    fn too_much_is_not_written() {
        let pair = ("1.2.3.4:5".parse().unwrap(), "6.7.8.9:10".parse().unwrap());
        let value = vec![0; 40_000];
        assert!(proxy_block(Some(pair), &[(1, &value)]).is_some());
        assert!(proxy_block(Some(pair), &[(1, &value), (2, &value)]).is_none());
    }
}
