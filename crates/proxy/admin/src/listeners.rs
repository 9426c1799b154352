//! `/listeners`.

use std::net::SocketAddr;

use meltemi_xds::json;
use meltemi_xds::pb::envoy::admin::v3::{ListenerStatus, Listeners};
use meltemi_xds::pb::envoy::config::core::v3::{
    Address, SocketAddress, address::Address as Kind, socket_address::PortSpecifier,
};

use crate::AdminState;
use crate::query::Query;
use crate::reply::Reply;

pub(crate) fn listeners(state: &AdminState, query: &Query<'_>) -> Reply {
    let listeners = state.control.listeners();
    if query.get("format") == Some("json") {
        let listener_statuses = listeners
            .into_iter()
            .map(|listener| {
                let mut addresses = listener.addresses.into_iter().map(socket_address);
                ListenerStatus {
                    name: listener.name,
                    local_address: addresses.next(),
                    additional_local_addresses: addresses.collect(),
                }
            })
            .collect();
        return Reply::json(&json::to_json(&Listeners { listener_statuses }));
    }
    let lines = listeners.iter().flat_map(|listener| {
        let addresses = listener.addresses.iter();
        addresses.map(|address| format!("{}::{address}\n", listener.name))
    });
    Reply::text(lines.collect::<String>())
}

pub(crate) fn socket_address(address: SocketAddr) -> Address {
    let socket = SocketAddress {
        address: address.ip().to_string(),
        port_specifier: Some(PortSpecifier::PortValue(address.port().into())),
        ..SocketAddress::default()
    };
    Address {
        address: Some(Kind::SocketAddress(socket)),
    }
}
