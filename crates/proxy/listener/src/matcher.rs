//! Which filter chain takes a connection, in Envoy's precedence.
//!
//! Envoy decides criterion by criterion, in a fixed order, and never turns back: at each
//! step the chains with the most specific match go on, and if none of them fits the next
//! step the listener's default chain takes the connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use meltemi_ir::{FilterChainMatch, Prefix, SourceType};

/// What is known of a connection when its chain is chosen.
#[derive(Clone, Debug)]
pub struct ConnectionView<'a> {
    /// The destination, after any restoring of the original one.
    pub destination: SocketAddr,
    /// The peer as the socket shows it.
    pub direct_source: SocketAddr,
    /// The peer, after any restoring (PROXY protocol).
    pub source: SocketAddr,
    /// The TLS server name, lower case; empty when there is none.
    pub server_name: &'a str,
    /// `tls` or `raw_buffer`.
    pub transport_protocol: &'a str,
    /// The ALPN protocols offered, or what the HTTP inspector found.
    pub application_protocols: &'a [String],
}

/// Picks the chain for a connection among `chains`, by index; none means the default chain.
pub fn choose_chain<'a>(
    chains: impl Iterator<Item = &'a FilterChainMatch>,
    connection: &ConnectionView<'_>,
) -> Option<usize> {
    let mut left: Vec<(usize, &FilterChainMatch)> = chains.enumerate().collect();
    for criterion in CRITERIA {
        let best = left
            .iter()
            .filter_map(|(_, chain)| criterion(chain, connection))
            .max()?;
        left.retain(|(_, chain)| criterion(chain, connection) == Some(best));
    }
    left.first().map(|(index, _)| *index)
}

/// How specifically a chain matches by one criterion: 0 asks nothing, none does not match.
type Criterion = fn(&FilterChainMatch, &ConnectionView<'_>) -> Option<u32>;

const CRITERIA: [Criterion; 9] = [
    destination_port,
    destination_address,
    server_name,
    transport_protocol,
    application_protocol,
    direct_source,
    source_type,
    source_address,
    source_port,
];

fn destination_port(chain: &FilterChainMatch, connection: &ConnectionView<'_>) -> Option<u32> {
    match chain.destination_port {
        None => Some(0),
        Some(port) => (port == connection.destination.port()).then_some(1),
    }
}

fn destination_address(chain: &FilterChainMatch, connection: &ConnectionView<'_>) -> Option<u32> {
    longest_prefix(&chain.prefix_ranges, connection.destination.ip())
}

fn server_name(chain: &FilterChainMatch, connection: &ConnectionView<'_>) -> Option<u32> {
    if chain.server_names.is_empty() {
        return Some(0);
    }
    let name = connection.server_name;
    let specificity = |pattern: &String| match pattern.strip_prefix('*') {
        None => (pattern == name).then_some(u32::MAX),
        Some(suffix) => {
            let fits = name.len() > suffix.len() && name.ends_with(suffix);
            fits.then_some(u32::try_from(suffix.len()).unwrap_or(u32::MAX - 1))
        }
    };
    chain.server_names.iter().filter_map(specificity).max()
}

fn transport_protocol(chain: &FilterChainMatch, connection: &ConnectionView<'_>) -> Option<u32> {
    match chain.transport_protocol.as_str() {
        "" => Some(0),
        wanted => (wanted == connection.transport_protocol).then_some(1),
    }
}

fn application_protocol(chain: &FilterChainMatch, connection: &ConnectionView<'_>) -> Option<u32> {
    if chain.application_protocols.is_empty() {
        return Some(0);
    }
    // The client's order decides between chains.
    let offered = connection.application_protocols;
    let place = offered
        .iter()
        .position(|offer| chain.application_protocols.contains(offer))?;
    u32::try_from(offered.len() - place).ok()
}

fn direct_source(chain: &FilterChainMatch, connection: &ConnectionView<'_>) -> Option<u32> {
    longest_prefix(
        &chain.direct_source_prefix_ranges,
        connection.direct_source.ip(),
    )
}

fn source_type(chain: &FilterChainMatch, connection: &ConnectionView<'_>) -> Option<u32> {
    let source = connection.source.ip();
    // the loopback address itself, as Envoy has it, not its whole range
    let loopback =
        source == IpAddr::V4(Ipv4Addr::LOCALHOST) || source == IpAddr::V6(Ipv6Addr::LOCALHOST);
    let local = loopback || source == connection.destination.ip();
    match chain.source_type {
        SourceType::Any => Some(0),
        SourceType::SameIpOrLoopback => local.then_some(1),
        SourceType::External => (!local).then_some(1),
    }
}

fn source_address(chain: &FilterChainMatch, connection: &ConnectionView<'_>) -> Option<u32> {
    longest_prefix(&chain.source_prefix_ranges, connection.source.ip())
}

fn source_port(chain: &FilterChainMatch, connection: &ConnectionView<'_>) -> Option<u32> {
    if chain.source_ports.is_empty() {
        return Some(0);
    }
    chain
        .source_ports
        .contains(&connection.source.port())
        .then_some(1)
}

fn longest_prefix(ranges: &[Prefix], ip: IpAddr) -> Option<u32> {
    if ranges.is_empty() {
        return Some(0);
    }
    ranges
        .iter()
        .filter(|range| range.contains(ip))
        .map(|range| u32::from(range.length) + 1)
        .max()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn prefix(text: &str) -> Prefix {
        let (address, length) = text.split_once('/').unwrap();
        Prefix {
            address: address.parse().unwrap(),
            length: length.parse().unwrap(),
        }
    }

    fn view<'a>(destination: &str, server_name: &'a str, alpn: &'a [String]) -> ConnectionView<'a> {
        let source = "10.9.9.9:4000".parse().unwrap();
        ConnectionView {
            destination: destination.parse().unwrap(),
            direct_source: source,
            source,
            server_name,
            transport_protocol: if server_name.is_empty() {
                "raw_buffer"
            } else {
                "tls"
            },
            application_protocols: alpn,
        }
    }

    fn names(names: &[&str]) -> FilterChainMatch {
        let server_names = names.iter().map(|name| (*name).to_owned()).collect();
        FilterChainMatch {
            server_names,
            ..FilterChainMatch::default()
        }
    }

    #[test]
    fn the_longest_server_name_wins() {
        let chains = [
            names(&[]),
            names(&["*.example.com"]),
            names(&["*.com", "a.example.com"]),
            names(&["*.b.example.com"]),
        ];
        for (name, expected) in [
            ("a.example.com", Some(2)),
            ("c.example.com", Some(1)),
            ("x.b.example.com", Some(3)),
            ("example.com", Some(2)),
            ("other.org", Some(0)),
            ("", Some(0)),
        ] {
            assert_eq!(
                choose_chain(chains.iter(), &view("10.0.0.1:443", name, &[])),
                expected,
                "{name}"
            );
        }
        assert_eq!(
            choose_chain(chains[1..].iter(), &view("10.0.0.1:443", "other.org", &[])),
            None
        );
    }

    #[test]
    fn a_step_taken_is_not_taken_back() {
        // The chain for the port asks for a name that is not there: the chain without a
        // port is not tried any more.
        let for_port = FilterChainMatch {
            destination_port: Some(443),
            ..names(&["a.com"])
        };
        let chains = [for_port, FilterChainMatch::default()];
        assert_eq!(
            choose_chain(chains.iter(), &view("10.0.0.1:443", "b.com", &[])),
            None
        );
        assert_eq!(
            choose_chain(chains.iter(), &view("10.0.0.1:80", "b.com", &[])),
            Some(1)
        );
    }

    #[test]
    fn addresses_go_by_the_longest_prefix() {
        let range = |text: &str| FilterChainMatch {
            prefix_ranges: vec![prefix(text)],
            ..FilterChainMatch::default()
        };
        let chains = [
            range("10.0.0.0/8"),
            range("10.1.0.0/16"),
            range("10.1.2.3/32"),
            FilterChainMatch::default(),
        ];
        for (destination, expected) in [
            ("10.1.2.3:80", Some(2)),
            ("10.1.2.4:80", Some(1)),
            ("10.2.2.3:80", Some(0)),
            ("11.0.0.1:80", Some(3)),
            ("[::1]:80", Some(3)),
        ] {
            assert_eq!(
                choose_chain(chains.iter(), &view(destination, "", &[])),
                expected,
                "{destination}"
            );
        }
    }

    #[test]
    fn protocols_follow_the_clients_order() {
        let alpn = |names: &[&str]| FilterChainMatch {
            application_protocols: names.iter().map(|name| (*name).to_owned()).collect(),
            ..FilterChainMatch::default()
        };
        let chains = [alpn(&["http/1.1"]), alpn(&["h2", "istio"]), alpn(&[])];
        let offer = |names: &[&str]| -> Vec<String> {
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        for (offered, expected) in [
            (offer(&["http/1.1", "h2"]), Some(0)),
            (offer(&["h2", "http/1.1"]), Some(1)),
            (offer(&["spdy"]), Some(2)),
            (offer(&[]), Some(2)),
        ] {
            assert_eq!(
                choose_chain(chains.iter(), &view("10.0.0.1:443", "a", &offered)),
                expected
            );
        }
    }

    #[test]
    fn transport_and_source_decide_late() {
        let tls = FilterChainMatch {
            transport_protocol: "tls".to_owned(),
            ..FilterChainMatch::default()
        };
        let local = FilterChainMatch {
            source_type: SourceType::SameIpOrLoopback,
            ..FilterChainMatch::default()
        };
        let external = FilterChainMatch {
            source_type: SourceType::External,
            ..FilterChainMatch::default()
        };
        let port = FilterChainMatch {
            source_ports: vec![4000],
            ..external.clone()
        };
        let chains = [tls, local, external, port];
        assert_eq!(
            choose_chain(chains.iter(), &view("10.0.0.1:80", "a.com", &[])),
            Some(0)
        );
        assert_eq!(
            choose_chain(chains.iter(), &view("10.0.0.1:80", "", &[])),
            Some(3)
        );
        assert_eq!(
            choose_chain(chains.iter(), &view("10.9.9.9:80", "", &[])),
            Some(1)
        );
    }
}
