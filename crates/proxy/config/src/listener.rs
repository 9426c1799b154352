//! Listeners.

use std::sync::Arc;
use std::time::Duration;

use meltemi_ir::{
    FilterChain, FilterChainMatch, Listener, ListenerFilter, PortMatch, ProxyProtocol,
    TrafficDirection,
};
use meltemi_xds::pb::envoy::config::core::v3::TrafficDirection as Direction;
use meltemi_xds::pb::envoy::config::listener::v3 as listener_v3;
use meltemi_xds::pb::envoy::config::listener::v3::listener_filter::ConfigType;
use meltemi_xds::pb::envoy::config::listener::v3::listener_filter_chain_match_predicate::{
    MatchSet, Rule,
};
use meltemi_xds::pb::envoy::config::listener::v3::{
    AdditionalAddress, ListenerFilterChainMatchPredicate,
};
use meltemi_xds::pb::envoy::extensions::filters::listener::http_inspector::v3::HttpInspector;
use meltemi_xds::pb::envoy::extensions::filters::listener::original_dst::v3::OriginalDst;
use meltemi_xds::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use meltemi_xds::pb::envoy::r#type::v3::Int32Range;
use prost_types::Any;

use crate::access_log::access_log;
use crate::address::{socket, tcp_keepalive};
use crate::discovery;
use crate::extension::{Extension, Known, empty_message, unpack};
use crate::fields::fields;
use crate::filter_chain::{check_distinct, filter_chain};
use crate::matcher::bounds32;
use crate::metadata::metadata;
use crate::path::At;
use crate::proxy_protocol::proxy_protocol;
use crate::scalar::{enumeration, limit, non_empty};
use crate::socket::option;

/// The listener filters.
pub(crate) static LISTENER_FILTERS: &[Known<Convert>] = &[
    Known {
        name: "envoy.filters.listener.original_dst",
        type_name: "envoy.extensions.filters.listener.original_dst.v3.OriginalDst",
        convert: |config, at| {
            original_dst(config, at).map(|()| Looks::Plainly(ListenerFilter::OriginalDst))
        },
    },
    Known {
        name: "envoy.filters.listener.proxy_protocol",
        type_name: "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol",
        convert: |config, at| {
            let settings = proxy_protocol(&unpack(config, at)?, at);
            Some(Looks::ForProxyProtocol(settings))
        },
    },
    Known {
        name: "envoy.filters.listener.tls_inspector",
        type_name: "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
        convert: |config, at| tls_inspector(&unpack(config, at)?, at),
    },
    Known {
        name: "envoy.filters.listener.http_inspector",
        type_name: "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector",
        convert: |config, at| {
            http_inspector(config, at).map(|()| Looks::Plainly(ListenerFilter::HttpInspector))
        },
    },
];

/// Converts the configuration of a listener filter.
pub(crate) type Convert = fn(Option<&Any>, &At<'_>) -> Option<Looks>;

/// A listener filter with its settings.
pub(crate) enum Looks {
    /// One without settings.
    Plainly(ListenerFilter),
    /// The PROXY protocol's.
    ForProxyProtocol(ProxyProtocol),
}

empty_message!(original_dst, OriginalDst);
empty_message!(http_inspector, HttpInspector);

const BUFFER_LIMIT: u32 = 1 << 20;
const BACKLOG: u32 = 128;

/// A listener.
pub(crate) fn listener(message: &listener_v3::Listener, at: &At<'_>) -> Option<Listener> {
    fields!(at, message, listener_v3::Listener {
        honoured {
            name, address, socket_options, stat_prefix, filter_chains, use_original_dst,
            default_filter_chain, per_connection_buffer_limit_bytes, metadata, deprecated_v1,
            listener_filters, listener_filters_timeout, continue_on_listener_filters_timeout,
            transparent, traffic_direction, access_log, tcp_backlog_size, bind_to_port, freebind,
            tcp_keepalive,
        }
        partly { additional_addresses: "without socket options" }
        oneof { listener_specifier { internal_listener: Refused "" } }
        refused {
            filter_chain_matcher: "use filter_chain_match",
        }
        unsupported {
            fcds_config, per_connection_buffer_high_watermark_timeout,
            udp_listener_config, api_listener, enable_mptcp,
        }
        ignored {
            stats_matcher: "statistics are not filtered",
            drain_type: "a listener drains when it is removed",
            tcp_fast_open_queue_length: "it only spares a round trip",
            connection_balance_config: "the kernel shares connections among the workers",
            reuse_port: "each worker has a socket of its own",
            enable_reuse_port: "each worker has a socket of its own",
            max_connections_to_accept_per_socket_event: "it only changes the order of work",
            ignore_global_conn_limit: "there is no overload manager",
            bypass_overload_manager: "there is no overload manager",
        }
    });
    if listener_specifier.is_some() {
        at.field("internal_listener").refuse("");
    }
    let keepalive = tcp_keepalive.as_ref();
    let keepalive =
        keepalive.map(|message| self::tcp_keepalive(message, &at.field("tcp_keepalive")));
    let address = socket(address.as_ref(), &at.field("address"));
    let filter_chains = chains(
        filter_chains,
        default_filter_chain.is_some(),
        &at.field("filter_chains"),
    );
    let looking = self::listener_filters(
        listener_filters,
        &filter_chains,
        &at.field("listener_filters"),
    );
    let bind_to_port = bind_to_port
        .or_else(|| old_bind_to_port(deprecated_v1.as_ref()?, &at.field("deprecated_v1")))
        .unwrap_or(true);
    let default_filter_chain = default_filter_chain
        .as_ref()
        .and_then(|message| filter_chain(message, &at.field("default_filter_chain")));
    let name = match address {
        Some(address) if name.is_empty() => address.to_string(),
        _ => name.clone(),
    };
    Some(Listener {
        name,
        additional_addresses: at
            .field("additional_addresses")
            .each(additional_addresses, additional),
        bind_to_port,
        use_original_dst: use_original_dst.unwrap_or(false),
        transparent: transparent.unwrap_or(false),
        listener_filters: looking.filters,
        disabled_filters: looking.disabled,
        proxy_protocol: looking.proxy_protocol,
        listener_filters_timeout: limit(
            listener_filters_timeout.as_ref(),
            Some(Duration::from_secs(15)),
            &at.field("listener_filters_timeout"),
        ),
        continue_on_listener_filters_timeout: *continue_on_listener_filters_timeout,
        filter_chains: filter_chains.into_iter().map(Arc::new).collect(),
        default_filter_chain: default_filter_chain.map(Arc::new),
        per_connection_buffer_limit: per_connection_buffer_limit_bytes.unwrap_or(BUFFER_LIMIT),
        direction: match enumeration(*traffic_direction, &at.field("traffic_direction")) {
            Some(Direction::Inbound) => TrafficDirection::Inbound,
            Some(Direction::Outbound) => TrafficDirection::Outbound,
            Some(Direction::Unspecified) | None => TrafficDirection::Unspecified,
        },
        access_log: at.field("access_log").each(access_log, self::access_log),
        metadata: self::metadata(metadata.as_ref(), &at.field("metadata")),
        tcp_backlog: tcp_backlog_size.unwrap_or(BACKLOG),
        tcp_keepalive: keepalive,
        freebind: freebind.unwrap_or(false),
        socket_options: at.field("socket_options").each(socket_options, option),
        stat_prefix: Some(stat_prefix.clone()).filter(|prefix| !prefix.is_empty()),
        address: address?,
    })
}

fn chains(
    messages: &[listener_v3::FilterChain],
    has_default: bool,
    at: &At<'_>,
) -> Vec<FilterChain> {
    if messages.is_empty() && !has_default {
        at.problem("must not be empty where there is no default_filter_chain");
    }
    let chains: Vec<(usize, FilterChain)> = messages
        .iter()
        .enumerate()
        .filter_map(|(index, message)| Some((index, filter_chain(message, &at.index(index))?)))
        .collect();
    let matches: Vec<_> = chains
        .iter()
        .map(|(index, chain)| (*index, &chain.matcher))
        .collect();
    check_distinct(&matches, at);
    chains.into_iter().map(|(_, chain)| chain).collect()
}

/// The listener filters, and where they do nothing.
#[derive(Default)]
struct Filters {
    filters: Vec<ListenerFilter>,
    disabled: Vec<(ListenerFilter, PortMatch)>,
    proxy_protocol: Option<Arc<ProxyProtocol>>,
}

fn listener_filters(
    messages: &[listener_v3::ListenerFilter],
    chains: &[FilterChain],
    at: &At<'_>,
) -> Filters {
    let mut found = Filters::default();
    for (index, message) in messages.iter().enumerate() {
        let at = &at.index(index);
        let Some((looks, disabled)) = listener_filter(message, at) else {
            continue;
        };
        let filter = match looks {
            Looks::Plainly(filter) => filter,
            Looks::ForProxyProtocol(settings) => {
                let inspects = |filter: &ListenerFilter| {
                    matches!(
                        filter,
                        ListenerFilter::TlsInspector | ListenerFilter::HttpInspector
                    )
                };
                if found.filters.iter().any(inspects) {
                    at.problem("must come before filters that look at what follows its header");
                }
                found.proxy_protocol = Some(Arc::new(settings));
                ListenerFilter::ProxyProtocol
            }
        };
        if found.filters.contains(&filter) {
            at.problem("is there twice");
        }
        found.disabled.extend(disabled.map(|ports| (filter, ports)));
        found.filters.push(filter);
    }
    let needed = chains
        .iter()
        .any(|chain| needs_tls_inspector(&chain.matcher));
    if needed && !found.filters.contains(&ListenerFilter::TlsInspector) {
        // As Envoy does.
        found.filters.push(ListenerFilter::TlsInspector);
    }
    found
}

/// Whether a match asks what only a ClientHello tells.
fn needs_tls_inspector(matcher: &FilterChainMatch) -> bool {
    matcher.transport_protocol == "tls"
        || (matcher.transport_protocol.is_empty()
            && !(matcher.server_names.is_empty() && matcher.application_protocols.is_empty()))
}

fn old_bind_to_port(message: &listener_v3::listener::DeprecatedV1, at: &At<'_>) -> Option<bool> {
    fields!(at, message, listener_v3::listener::DeprecatedV1 { honoured { bind_to_port } });
    *bind_to_port
}

fn additional(message: &AdditionalAddress, at: &At<'_>) -> Option<std::net::SocketAddr> {
    fields!(at, message, AdditionalAddress {
        honoured { address }
        unsupported { socket_options, tcp_keepalive }
    });
    socket(address.as_ref(), &at.field("address"))
}

fn listener_filter(
    message: &listener_v3::ListenerFilter,
    at: &At<'_>,
) -> Option<(Looks, Option<PortMatch>)> {
    fields!(at, message, listener_v3::ListenerFilter {
        honoured { name, filter_disabled }
        oneof { config_type {
            typed_config: Partly "the extensions listed below",
            config_discovery: Honoured "",
        } }
    });
    let config = match config_type {
        Some(ConfigType::TypedConfig(config)) => Some(config),
        // Whoever converts puts what has come in its place before.
        Some(ConfigType::ConfigDiscovery(source)) => {
            let at = at.field("config_discovery");
            discovery::source(source, &at)?;
            at.problem("its configuration has not come");
            return None;
        }
        None => None,
    };
    let disabled = filter_disabled
        .as_ref()
        .map(|message| predicate(message, &at.field("filter_disabled")));
    let name = non_empty(name, &at.field("name"));
    let known = Extension { name, config }.find(LISTENER_FILTERS, at)?;
    let filter = (known.convert)(config, &at.field("typed_config"))?;
    Some((filter, disabled))
}

fn tls_inspector(message: &TlsInspector, at: &At<'_>) -> Option<Looks> {
    fields!(at, message, TlsInspector {
        partly {
            enable_ja3_fingerprinting: "false",
            enable_ja4_fingerprinting: "false",
        }
        unsupported { close_connection_on_client_hello_parsing_errors }
        ignored {
            initial_read_buffer_size: "it only changes how much is read at a time",
            max_client_hello_size: "16 KiB is the most",
        }
    });
    for (set, field) in [
        (enable_ja3_fingerprinting, "enable_ja3_fingerprinting"),
        (enable_ja4_fingerprinting, "enable_ja4_fingerprinting"),
    ] {
        if *set == Some(true) {
            at.field(field).refuse("");
        }
    }
    Some(Looks::Plainly(ListenerFilter::TlsInspector))
}

/// The ports on which a listener filter does nothing.
fn predicate(message: &ListenerFilterChainMatchPredicate, at: &At<'_>) -> PortMatch {
    fields!(at, message, ListenerFilterChainMatchPredicate {
        oneof { rule {
            or_match: Honoured "",
            and_match: Honoured "",
            not_match: Honoured "",
            any_match: Honoured "",
            destination_port_range: Honoured "",
        } }
    });
    match rule {
        Some(Rule::OrMatch(message)) => PortMatch::Or(rules(message, &at.field("or_match"))),
        Some(Rule::AndMatch(message)) => PortMatch::And(rules(message, &at.field("and_match"))),
        Some(Rule::NotMatch(message)) => {
            PortMatch::Not(Box::new(predicate(message, &at.field("not_match"))))
        }
        Some(Rule::AnyMatch(_)) => PortMatch::Any,
        Some(Rule::DestinationPortRange(message)) => {
            range(message, &at.field("destination_port_range"))
        }
        None => {
            at.problem("needs a rule");
            PortMatch::Any
        }
    }
}

fn rules(message: &MatchSet, at: &At<'_>) -> Vec<PortMatch> {
    fields!(at, message, MatchSet { honoured { rules } });
    let at = &at.field("rules");
    if rules.len() < 2 {
        at.problem("must have at least two elements");
    }
    at.each(rules, |message, at| Some(predicate(message, at)))
}

fn range(message: &Int32Range, at: &At<'_>) -> PortMatch {
    let (start, end) = bounds32(message, at);
    match (u32::try_from(start), u32::try_from(end)) {
        (Ok(start), Ok(end)) if start < end => PortMatch::Range { start, end },
        _ => {
            at.problem("must have a start that is not negative and less than its end");
            PortMatch::Any
        }
    }
}
