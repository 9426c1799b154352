//! Where connections come from, and the options of sockets.

use meltemi_ir::{BindConfig, SocketOption, SocketState, SocketValue};
use meltemi_xds::pb::envoy::config::core::v3 as core_v3;
use meltemi_xds::pb::envoy::config::core::v3::socket_option::socket_type::{Datagram, Stream};
use meltemi_xds::pb::envoy::config::core::v3::socket_option::{
    SocketIpVersion, SocketState as State, SocketType, Value,
};
use meltemi_xds::pb::envoy::config::core::v3::{ExtraSourceAddress, SocketOptionsOverride};

use crate::address::source;
use crate::fields::fields;
use crate::path::At;
use crate::scalar::enumeration;

/// Where connections to upstreams come from.
pub(crate) fn bind(message: &core_v3::BindConfig, at: &At<'_>) -> BindConfig {
    fields!(at, message, core_v3::BindConfig {
        honoured {
            source_address, freebind, socket_options, extra_source_addresses,
            additional_source_addresses,
        }
        refused {
            local_address_selector: "the first address of the destination's family is taken",
        }
        unsupported { validate_network_namespaces }
    });
    let at_extra = &at.field("extra_source_addresses");
    if !extra_source_addresses.is_empty() && !additional_source_addresses.is_empty() {
        at_extra.problem("excludes additional_source_addresses");
    }
    let first = source_address
        .as_ref()
        .and_then(|message| source(message, &at.field("source_address")));
    if first.is_none()
        && !(extra_source_addresses.is_empty() && additional_source_addresses.is_empty())
    {
        at.field("source_address")
            .problem("is required where there are further addresses");
    }
    let mut sources: Vec<_> = first.map(|address| (address, None)).into_iter().collect();
    sources.extend(at_extra.each(extra_source_addresses, extra));
    sources.extend(
        at.field("additional_source_addresses")
            .each(additional_source_addresses, |message, at| {
                Some((source(message, at)?, None))
            }),
    );
    BindConfig {
        sources,
        freebind: *freebind,
        options: at.field("socket_options").each(socket_options, option),
    }
}

fn extra(
    message: &ExtraSourceAddress,
    at: &At<'_>,
) -> Option<(std::net::SocketAddr, Option<Vec<SocketOption>>)> {
    fields!(at, message, ExtraSourceAddress { honoured { address, socket_options } });
    let at_address = &at.field("address");
    let Some(address) = address else {
        at_address.problem("is required");
        return None;
    };
    let options = socket_options.as_ref().map(|message| {
        let at = &at.field("socket_options");
        fields!(at, message, SocketOptionsOverride { honoured { socket_options } });
        at.field("socket_options").each(socket_options, option)
    });
    Some((source(address, at_address)?, options))
}

/// An option of a socket.
pub(crate) fn option(message: &core_v3::SocketOption, at: &At<'_>) -> Option<SocketOption> {
    fields!(at, message, core_v3::SocketOption {
        honoured { level, name, state, ip_version }
        partly { r#type: "stream" }
        oneof { value {
            int_value: Partly "of options that the proxy knows",
            buf_value: Partly "of options that the proxy knows",
        } }
        ignored { description: "it is for people" }
    });
    if let Some(message) = r#type {
        let at = &at.field("type");
        fields!(at, message, SocketType {
            honoured { stream }
            refused { datagram: "there are no datagrams" }
        });
        if let Some(message) = stream {
            fields!(&at.field("stream"), message, Stream {});
        }
        let _: &Option<Datagram> = datagram;
    }
    let value = match value {
        Some(Value::IntValue(value)) => SocketValue::Number(*value),
        Some(Value::BufValue(bytes)) => SocketValue::Bytes(bytes.clone()),
        None => {
            at.problem("needs an int_value or a buf_value");
            return None;
        }
    };
    Some(SocketOption {
        level: *level,
        name: *name,
        value,
        state: match enumeration(*state, &at.field("state"))? {
            State::StatePrebind => SocketState::Prebind,
            State::StateBound => SocketState::Bound,
            State::StateListening => SocketState::Listening,
        },
        only_v4: match enumeration(*ip_version, &at.field("ip_version"))? {
            SocketIpVersion::Unspecified => None,
            SocketIpVersion::Ipv4 => Some(true),
            SocketIpVersion::Ipv6 => Some(false),
        },
    })
}
