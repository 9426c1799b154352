//! Addresses, address ranges and the socket settings beside them.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use meltemi_ir::{Address, Prefix, TcpKeepalive};
use meltemi_xds::pb::envoy::config::core::v3 as core_v3;
use meltemi_xds::pb::envoy::config::core::v3::address::Address as AddressKind;
use meltemi_xds::pb::envoy::config::core::v3::socket_address::{PortSpecifier, Protocol};
use meltemi_xds::pb::envoy::config::core::v3::{CidrRange, Pipe, SocketAddress};

use crate::fields::fields;
use crate::path::At;
use crate::scalar::{enumeration, non_empty, port};

/// Any address; a host name comes back as a name.
pub(crate) fn address(message: Option<&core_v3::Address>, at: &At<'_>) -> Option<Address> {
    let Some(message) = message else {
        at.problem("is required");
        return None;
    };
    fields!(at, message, core_v3::Address {
        oneof { address {
            socket_address: Honoured "",
            pipe: Honoured "",
            envoy_internal_address: Refused "there are no internal listeners",
        } }
    });
    match address {
        Some(AddressKind::SocketAddress(message)) => {
            let (host, port) = socket_address(message, &at.field("socket_address"))?;
            Some(match host.parse::<IpAddr>() {
                Ok(ip) => Address::Socket(SocketAddr::new(ip, port)),
                Err(_) => Address::Name {
                    host: host.to_owned(),
                    port,
                },
            })
        }
        Some(AddressKind::Pipe(message)) => Some(Address::Pipe(pipe(message, &at.field("pipe")))),
        Some(AddressKind::EnvoyInternalAddress(_)) => {
            at.field("envoy_internal_address")
                .refuse("there are no internal listeners");
            None
        }
        None => {
            at.problem("needs an address");
            None
        }
    }
}

/// An IP address and a port, as listeners need.
pub(crate) fn socket(message: Option<&core_v3::Address>, at: &At<'_>) -> Option<SocketAddr> {
    match address(message, at)? {
        Address::Socket(address) => Some(address),
        Address::Name { host, .. } => {
            at.field("socket_address")
                .field("address")
                .problem(format_args!("{host:?} is not an IP address"));
            None
        }
        Address::Pipe(_) => {
            at.field("pipe").refuse("listening on a Unix socket");
            None
        }
    }
}

/// The local address that connections are made from.
pub(crate) fn source(message: &SocketAddress, at: &At<'_>) -> Option<SocketAddr> {
    let (host, port) = socket_address(message, at)?;
    match host.parse() {
        Ok(ip) => Some(SocketAddr::new(ip, port)),
        Err(_) => {
            at.field("address")
                .problem(format_args!("{host:?} is not an IP address"));
            None
        }
    }
}

fn socket_address<'a>(message: &'a SocketAddress, at: &At<'_>) -> Option<(&'a str, u16)> {
    fields!(at, message, SocketAddress {
        honoured { address }
        partly { protocol: "TCP" }
        oneof { port_specifier {
            port_value: Honoured "",
            named_port: Refused "write the number",
        } }
        refused {
            resolver_name: "there are no custom resolvers",
        }
        unsupported { network_namespace_filepath }
        ignored { ipv4_compat: "an IPv6 wildcard socket takes IPv4 connections too" }
    });
    non_empty(address, &at.field("address"));
    if enumeration(*protocol, &at.field("protocol")) == Some(Protocol::Udp) {
        at.field("protocol").refuse("UDP");
    }
    match port_specifier {
        Some(PortSpecifier::PortValue(value)) => {
            Some((address, port(*value, &at.field("port_value"))?))
        }
        Some(PortSpecifier::NamedPort(_)) => {
            at.field("named_port").refuse("write the number");
            None
        }
        None => {
            at.problem("needs a port_value");
            None
        }
    }
}

fn pipe(message: &Pipe, at: &At<'_>) -> PathBuf {
    fields!(at, message, Pipe {
        honoured { path }
        ignored { mode: "it is the mode of a socket that is listened on, and none is" }
    });
    PathBuf::from(non_empty(path, &at.field("path")))
}

/// A range of addresses; host bits are cleared.
pub(crate) fn prefix(message: &CidrRange, at: &At<'_>) -> Option<Prefix> {
    fields!(at, message, CidrRange { honoured { address_prefix, prefix_len } });
    let at_address = &at.field("address_prefix");
    let Ok(address) = address_prefix.parse::<IpAddr>() else {
        at_address.problem(format_args!("{address_prefix:?} is not an IP address"));
        return None;
    };
    let most = if address.is_ipv4() { 32 } else { 128 };
    let length = prefix_len.unwrap_or(0);
    if length > most {
        at.field("prefix_len")
            .problem(format_args!("{length} is more than {most}"));
        return None;
    }
    let address = match address {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            IpAddr::V4((ip.to_bits() & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            IpAddr::V6((ip.to_bits() & mask).into())
        }
    };
    let length = u8::try_from(length).expect("at most 128");
    Some(Prefix { address, length })
}

/// TCP keepalive settings.
pub(crate) fn tcp_keepalive(message: &core_v3::TcpKeepalive, at: &At<'_>) -> TcpKeepalive {
    fields!(at, message, core_v3::TcpKeepalive {
        honoured { keepalive_probes, keepalive_time, keepalive_interval }
    });
    let seconds = |value: &Option<u32>| value.map(|value| Duration::from_secs(u64::from(value)));
    TcpKeepalive {
        probes: *keepalive_probes,
        time: seconds(keepalive_time),
        interval: seconds(keepalive_interval),
    }
}
