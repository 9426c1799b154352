//! Whether a patch is for a listener, a filter chain or a filter.
//!
//! In: the `match` of a patch and what may be patched. Out: yes or no. What is not written matches
//! everything.

use meltemi_model::{ApplyTo, ConfigPatch, ListenerMatch, ObjectMatch};
use meltemi_xds::pb::envoy::config::core::v3::{address::Address, socket_address::PortSpecifier};
use meltemi_xds::pb::envoy::config::listener::v3::{FilterChain, Listener};

use crate::name::{VIRTUAL_INBOUND, VIRTUAL_OUTBOUND};

/// What a patch says of listeners; nothing if it does not match by them.
pub(super) fn wanted(patch: &ConfigPatch) -> Option<&ListenerMatch> {
    match &patch.object {
        ObjectMatch::Listener(wanted) => Some(wanted),
        ObjectMatch::Any | ObjectMatch::RouteConfiguration(_) | ObjectMatch::Cluster(_) => None,
    }
}

/// The name of the network filter that a patch is about.
pub(super) fn filter_name(patch: &ConfigPatch) -> Option<&str> {
    wanted(patch)?.chain.filter.as_deref()
}

/// The name of the HTTP filter that a patch is about.
pub(super) fn sub_filter_name(patch: &ConfigPatch) -> Option<&str> {
    wanted(patch)?.chain.sub_filter.as_deref()
}

/// The name of the listener filter that a patch is about.
pub(super) fn listener_filter_name(patch: &ConfigPatch) -> Option<&str> {
    wanted(patch)?.listener_filter.as_deref()
}

/// Whether a patch is for this listener.
pub(super) fn matches_listener(patch: &ConfigPatch, listener: &Listener) -> bool {
    let Some(wanted) = wanted(patch) else {
        return true;
    };
    let name = wanted.name.as_ref();
    if name.is_some_and(|it| *it != listener.name) {
        return false;
    }
    // Where one listener stands for every port, the port is that of a chain.
    if patch.apply_to != ApplyTo::Listener && is_virtual(listener) {
        return true;
    }
    wanted
        .port
        .is_none_or(|it| port(listener) == Some(u32::from(it)))
}

/// Whether a patch for this listener is for this chain of it.
pub(super) fn matches_chain(patch: &ConfigPatch, listener: &Listener, chain: &FilterChain) -> bool {
    let Some(ListenerMatch {
        port,
        name: _,            // ignored: of the listener
        listener_filter: _, // ignored: of the listener
        chain: wanted,
    }) = wanted(patch)
    else {
        return true;
    };
    let matched = chain.filter_chain_match.as_ref();
    let destination = matched.and_then(|it| it.destination_port);
    let is_port = |wanted: Option<u16>| wanted.is_none_or(|it| destination == Some(it.into()));
    if is_virtual(listener) && !is_port(*port) {
        return false;
    }
    let meltemi_model::FilterChainMatch {
        name,
        sni,
        transport_protocol,
        application_protocols,
        destination_port,
        filter: _,     // ignored: of what is in the chain
        sub_filter: _, // ignored: of what is in the chain
    } = wanted;
    let is_named = name.as_ref().is_none_or(|it| *it == chain.name);
    let has_name = |wanted: &String| matched.is_some_and(|it| it.server_names.contains(wanted));
    let has_transport =
        |wanted: &String| matched.is_some_and(|it| it.transport_protocol == *wanted);
    let has_protocol =
        |wanted: &String| matched.is_some_and(|it| it.application_protocols.contains(wanted));
    is_named
        && sni.as_ref().is_none_or(has_name)
        && transport_protocol.as_ref().is_none_or(has_transport)
        && application_protocols.iter().all(has_protocol)
        && is_port(*destination_port)
}

fn is_virtual(listener: &Listener) -> bool {
    listener.name == VIRTUAL_INBOUND || listener.name == VIRTUAL_OUTBOUND
}

fn port(listener: &Listener) -> Option<u32> {
    match listener.address.as_ref()?.address.as_ref()? {
        Address::SocketAddress(socket) => match socket.port_specifier.as_ref()? {
            PortSpecifier::PortValue(port) => Some(*port),
            PortSpecifier::NamedPort(_) => None,
        },
        Address::Pipe(_) | Address::EnvoyInternalAddress(_) => None,
    }
}
