//! Listener and filter chain: the first two choices of a call.

use std::net::IpAddr;

use meltemi_xds::pb::envoy::config::core::v3::{
    Address, CidrRange, address, socket_address::PortSpecifier,
};
use meltemi_xds::pb::envoy::config::listener::v3::{
    FilterChain, FilterChainMatch, Listener, ListenerFilterChainMatchPredicate,
    listener_filter_chain_match_predicate::Rule,
};

use super::{Call, CallError, CallMode, CallTls};

/// The name of the filter that reads server names and ALPN.
pub(super) const TLS_INSPECTOR: &str = "envoy.filters.listener.tls_inspector";
/// The name of the filter that tells HTTP from anything else.
pub(super) const HTTP_INSPECTOR: &str = "envoy.filters.listener.http_inspector";

/// An address where nothing in particular is.
const NOWHERE: &str = "1.3.3.7";

/// The listener that a call meets.
pub(super) fn listener<'a>(listeners: &'a [Listener], call: &Call) -> Option<&'a Listener> {
    let named = |name: &str| listeners.iter().find(|it| it.name == name);
    if call.mode == CallMode::Inbound {
        return named("virtualInbound");
    }
    let address = call.address.as_deref().unwrap_or(NOWHERE);
    let at = |ip: &str| {
        listeners.iter().find(|it| {
            let here = it.address.as_ref().and_then(socket);
            here.is_some_and(|(host, port)| host == ip && port == u32::from(call.port))
        })
    };
    at(address)
        .or_else(|| at("0.0.0.0"))
        .or_else(|| named("virtualOutbound"))
}

/// Host and port of an address, if it is one of a socket.
pub(super) fn socket(address: &Address) -> Option<(&str, u32)> {
    match address.address.as_ref()? {
        address::Address::SocketAddress(socket) => match socket.port_specifier.as_ref()? {
            PortSpecifier::PortValue(port) => Some((&socket.address, *port)),
            PortSpecifier::NamedPort(_) => None,
        },
        _ => None,
    }
}

/// Whether the listener filter of this name looks at connections to `port`.
pub(super) fn inspects(listener: &Listener, name: &str, port: u16) -> bool {
    listener.listener_filters.iter().any(|it| {
        it.name == name
            && !it
                .filter_disabled
                .as_ref()
                .is_some_and(|it| holds(it, port))
    })
}

fn holds(predicate: &ListenerFilterChainMatchPredicate, port: u16) -> bool {
    match &predicate.rule {
        None => true,
        Some(Rule::NotMatch(inner)) => !holds(inner, port),
        Some(Rule::OrMatch(set)) => set.rules.iter().any(|it| holds(it, port)),
        Some(Rule::AndMatch(set)) => set.rules.iter().all(|it| holds(it, port)),
        Some(Rule::AnyMatch(any)) => *any,
        Some(Rule::DestinationPortRange(range)) => {
            (range.start..range.end).contains(&i32::from(port))
        }
    }
}

/// The chain that a call meets: a sieve by port, address, server name, transport and ALPN. What a step
/// does not tell apart it leaves; a chain that leaves a field unset is chosen only where none matches.
pub(super) fn choose<'a>(
    listener: &'a Listener,
    call: &Call,
    sees_tls: bool,
) -> Result<&'a FilterChain, CallError> {
    let address: Option<IpAddr> = call.address.as_deref().unwrap_or(NOWHERE).parse().ok();
    let mut chains: Vec<&FilterChain> = listener.filter_chains.iter().collect();
    sieve(&mut chains, |it| {
        it.destination_port
            .map(|port| usize::from(port == u32::from(call.port)))
    });
    sieve(&mut chains, |it| {
        rank(&it.prefix_ranges, |range| in_range(range, address))
    });
    sieve(&mut chains, |it| {
        rank(&it.server_names, |name| covers(name, &call.sni))
    });
    let transport = if sees_tls && call.tls != CallTls::Plaintext {
        "tls"
    } else {
        "raw_buffer"
    };
    sieve(&mut chains, |it| {
        let set = !it.transport_protocol.is_empty();
        set.then(|| usize::from(it.transport_protocol == transport))
    });
    sieve(&mut chains, |it| {
        rank(&it.application_protocols, |name| {
            usize::from(*name == call.alpn)
        })
    });
    match chains.as_slice() {
        [] => listener
            .default_filter_chain
            .as_ref()
            .ok_or(CallError::NoFilterChain),
        [only] => Ok(only),
        _ => Err(CallError::MultipleFilterChain),
    }
}

/// Keeps the chains of the highest rank, or those without one if no other has any.
fn sieve(chains: &mut Vec<&FilterChain>, rank: impl Fn(&FilterChainMatch) -> Option<usize>) {
    let none = FilterChainMatch::default();
    let ranks: Vec<_> = chains
        .iter()
        .map(|it| rank(it.filter_chain_match.as_ref().unwrap_or(&none)))
        .collect();
    let best = ranks.iter().flatten().copied().max().unwrap_or(0);
    if ranks.iter().all(Option::is_none) {
        return;
    }
    let mut ranks = ranks.into_iter();
    chains.retain(|_| match ranks.next().flatten() {
        Some(rank) => best > 0 && rank == best,
        None => best == 0,
    });
}

fn rank<T>(entries: &[T], rank: impl Fn(&T) -> usize) -> Option<usize> {
    entries.iter().map(rank).max()
}

/// The length of the prefix if it holds the address.
fn in_range(range: &CidrRange, address: Option<IpAddr>) -> usize {
    let bits = range.prefix_len.unwrap_or(0);
    let same = match (range.address_prefix.parse(), address) {
        (Ok(IpAddr::V4(prefix)), Some(IpAddr::V4(ip))) => {
            let differing = u32::from(prefix) ^ u32::from(ip);
            differing.checked_shr(32 - bits.min(32)).unwrap_or(0) == 0
        }
        (Ok(IpAddr::V6(prefix)), Some(IpAddr::V6(ip))) => {
            let differing = u128::from(prefix) ^ u128::from(ip);
            differing.checked_shr(128 - bits.min(128)).unwrap_or(0) == 0
        }
        _ => false,
    };
    if same { bits as usize } else { 0 }
}

/// How well a server name stands for what the client said.
fn covers(name: &str, sni: &str) -> usize {
    if name == sni {
        return usize::MAX;
    }
    match name.strip_prefix('*') {
        Some("") => 1,
        Some(suffix) => {
            let said = sni.strip_prefix('*').unwrap_or(sni);
            usize::from(said.ends_with(suffix)) * name.len()
        }
        None => 0,
    }
}
