//! Filter chains: which connections they take, and the network filters that end them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use meltemi_ir::{
    ConnectionFilter, FilterChain, FilterChainMatch, IstioStats, NetworkGate, Prefix, SourceType,
};
use meltemi_xds::pb::envoy::config::listener::v3 as listener_v3;
use meltemi_xds::pb::envoy::config::listener::v3::filter::ConfigType;
use meltemi_xds::pb::envoy::config::listener::v3::filter_chain_match::ConnectionSourceType;
use prost_types::Any;

use crate::address::prefix;
use crate::cluster::metadata_exchange;
use crate::discovery;
use crate::extension::{Extension, Known, unpack};
use crate::fields::fields;
use crate::hcm;
use crate::http_filter::ext_authz::connection_authz;
use crate::istio_stats::istio_stats;
use crate::metadata::metadata;
use crate::network_filter::{
    connection_limit, connection_rate_limit, direct_response, echo, mongo_proxy, sni_cluster,
    zookeeper_proxy,
};
use crate::path::At;
use crate::rbac::network_rbac;
use crate::redis_proxy::redis_proxy;
use crate::scalar::{enumeration, limit, non_empty, port};
use crate::tcp_proxy::tcp_proxy;
use crate::tls::{self, DOWNSTREAM};

/// The network filters.
pub(crate) static NETWORK_FILTERS: &[Known<Convert>] = &[
    Known {
        name: "envoy.filters.network.http_connection_manager",
        type_name: "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        convert: |config, before, at| {
            if before.istio_stats.is_some() {
                at.refuse("istio.stats before it; make it an HTTP filter");
            }
            let manager = hcm::filter(config, at)?;
            Some(Step::End(ConnectionFilter::Http(Arc::new(manager))))
        },
    },
    Known {
        name: "envoy.filters.network.tcp_proxy",
        type_name: "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        convert: |config, before, at| {
            let proxy = tcp_proxy(&unpack(config, at)?, before.istio_stats, at)?;
            Some(Step::End(ConnectionFilter::Tcp(Arc::new(proxy))))
        },
    },
    Known {
        name: "envoy.filters.network.redis_proxy",
        type_name: "envoy.extensions.filters.network.redis_proxy.v3.RedisProxy",
        convert: |config, before, at| {
            if before.istio_stats.is_some() {
                at.refuse("istio.stats before it");
            }
            let proxy = redis_proxy(&unpack(config, at)?, at)?;
            Some(Step::End(ConnectionFilter::Redis(Arc::new(proxy))))
        },
    },
    Known {
        name: "istio.metadata_exchange",
        type_name: "envoy.tcp.metadataexchange.config.MetadataExchange",
        convert: |config, before, at| {
            metadata_exchange(&unpack(config, at)?, at).map(|()| Step::Next(before))
        },
    },
    Known {
        name: "istio.stats",
        type_name: "stats.PluginConfig",
        convert: |config, before, at| {
            let istio_stats = Some(istio_stats(&unpack(config, at)?, at)?);
            Some(Step::Next(Before {
                istio_stats,
                ..before
            }))
        },
    },
    Known {
        name: "envoy.filters.network.connection_limit",
        type_name: "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit",
        convert: |config, before, at| {
            let limit = connection_limit(&unpack(config, at)?, at);
            Some(before.and(NetworkGate::ConnectionLimit(limit)))
        },
    },
    Known {
        name: "envoy.filters.network.local_ratelimit",
        type_name: "envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit",
        convert: |config, before, at| {
            let limit = connection_rate_limit(&unpack(config, at)?, at);
            Some(before.and(NetworkGate::LocalRateLimit(limit)))
        },
    },
    Known {
        name: "envoy.filters.network.rbac",
        type_name: "envoy.extensions.filters.network.rbac.v3.RBAC",
        convert: |config, before, at| {
            let policies = network_rbac(&unpack(config, at)?, at)?;
            Some(before.and(NetworkGate::Rbac(Arc::new(policies))))
        },
    },
    Known {
        name: "envoy.filters.network.ext_authz",
        type_name: "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz",
        convert: |config, before, at| {
            let asked = connection_authz(&unpack(config, at)?, at)?;
            Some(before.and(NetworkGate::ExtAuthz(Arc::new(asked))))
        },
    },
    Known {
        name: "envoy.filters.network.mongo_proxy",
        type_name: "envoy.extensions.filters.network.mongo_proxy.v3.MongoProxy",
        convert: |config, before, at| {
            mongo_proxy(&unpack(config, at)?, at);
            Some(Step::Next(before))
        },
    },
    Known {
        name: "envoy.filters.network.zookeeper_proxy",
        type_name: "envoy.extensions.filters.network.zookeeper_proxy.v3.ZooKeeperProxy",
        convert: |config, before, at| {
            zookeeper_proxy(&unpack(config, at)?, at);
            Some(Step::Next(before))
        },
    },
    Known {
        name: "envoy.filters.network.sni_cluster",
        type_name: "envoy.extensions.filters.network.sni_cluster.v3.SniCluster",
        convert: |config, before, at| {
            sni_cluster(config, at).map(|()| before.and(NetworkGate::SniCluster))
        },
    },
    Known {
        name: "envoy.filters.network.direct_response",
        type_name: "envoy.extensions.filters.network.direct_response.v3.Config",
        convert: |config, _, at| direct_response(&unpack(config, at)?, at).map(Step::End),
    },
    Known {
        name: "envoy.filters.network.echo",
        type_name: "envoy.extensions.filters.network.echo.v3.Echo",
        convert: |config, _, at| echo(config, at).map(|()| Step::End(ConnectionFilter::Echo)),
    },
];

/// Converts the configuration of a filter, given those before it.
pub(crate) type Convert = fn(Option<&Any>, Before, &At<'_>) -> Option<Step>;

/// The filters of a chain so far.
#[derive(Default)]
pub(crate) struct Before {
    istio_stats: Option<IstioStats>,
    gates: Vec<NetworkGate>,
}

/// What comes of one network filter.
pub(crate) enum Step {
    /// More must follow; these are the filters so far.
    Next(Before),
    /// It ends the chain.
    End(ConnectionFilter),
}

impl Before {
    fn and(mut self, gate: NetworkGate) -> Step {
        self.gates.push(gate);
        Step::Next(self)
    }
}

/// A filter chain.
pub(crate) fn filter_chain(message: &listener_v3::FilterChain, at: &At<'_>) -> Option<FilterChain> {
    fields!(at, message, listener_v3::FilterChain {
        honoured {
            filter_chain_match, filters, metadata, transport_socket_connect_timeout, name,
        }
        partly {
            use_proxy_proto: "false",
            transport_socket: "plaintext and TLS",
        }
    });
    if *use_proxy_proto == Some(true) {
        at.field("use_proxy_proto").refuse("the PROXY protocol");
    }
    let matcher = filter_chain_match
        .as_ref()
        .map(|message| chain_match(message, &at.field("filter_chain_match")))
        .unwrap_or_default();
    let tls = tls::socket(
        transport_socket.as_ref(),
        DOWNSTREAM,
        &at.field("transport_socket"),
    );
    let (gates, filter) = network_filters(filters, &at.field("filters"))?;
    Some(FilterChain {
        name: name.clone(),
        matcher,
        tls,
        gates,
        filter,
        transport_socket_connect_timeout: limit(
            transport_socket_connect_timeout.as_ref(),
            None,
            &at.field("transport_socket_connect_timeout"),
        ),
        metadata: self::metadata(metadata.as_ref(), &at.field("metadata")),
    })
}

fn network_filters(
    messages: &[listener_v3::Filter],
    at: &At<'_>,
) -> Option<(Vec<NetworkGate>, ConnectionFilter)> {
    let mut before = Before::default();
    for (index, message) in messages.iter().enumerate() {
        let at = &at.index(index);
        let gates = before.gates.clone();
        match network_filter(message, std::mem::take(&mut before), at)? {
            Step::Next(next) => before = next,
            Step::End(filter) => {
                if index + 1 < messages.len() {
                    at.problem("must be the last filter of its chain");
                }
                return Some((gates, filter));
            }
        }
    }
    at.problem("must end in a filter that serves the connection, such as the TCP proxy");
    None
}

fn network_filter(message: &listener_v3::Filter, before: Before, at: &At<'_>) -> Option<Step> {
    fields!(at, message, listener_v3::Filter {
        honoured { name }
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
    let name = non_empty(name, &at.field("name"));
    let known = Extension { name, config }.find(NETWORK_FILTERS, at)?;
    (known.convert)(config, before, &at.field("typed_config"))
}

fn chain_match(message: &listener_v3::FilterChainMatch, at: &At<'_>) -> FilterChainMatch {
    fields!(at, message, listener_v3::FilterChainMatch {
        honoured {
            destination_port, prefix_ranges, direct_source_prefix_ranges, source_type,
            source_prefix_ranges, source_ports, server_names, transport_protocol,
            application_protocols,
        }
        refused {
            address_suffix: "Envoy does not look at it either",
            suffix_len: "Envoy does not look at it either",
        }
    });
    let some_port = |value: u32, at: &At<'_>| match port(value, at) {
        Some(0) => {
            at.problem("must be at least 1");
            None
        }
        port => port,
    };
    FilterChainMatch {
        destination_port: destination_port
            .and_then(|value| some_port(value, &at.field("destination_port"))),
        prefix_ranges: at.field("prefix_ranges").each(prefix_ranges, prefix),
        server_names: at.field("server_names").each(server_names, |name, at| {
            let labels = name.strip_prefix("*.").unwrap_or(name);
            if labels.contains('*') {
                at.problem(format_args!(
                    "{name:?} has a wildcard elsewhere than as its first label"
                ));
            }
            Some(name.to_ascii_lowercase())
        }),
        transport_protocol: transport_protocol.clone(),
        application_protocols: application_protocols.clone(),
        source_type: match enumeration(*source_type, &at.field("source_type")) {
            Some(ConnectionSourceType::SameIpOrLoopback) => SourceType::SameIpOrLoopback,
            Some(ConnectionSourceType::External) => SourceType::External,
            Some(ConnectionSourceType::Any) | None => SourceType::Any,
        },
        direct_source_prefix_ranges: at
            .field("direct_source_prefix_ranges")
            .each(direct_source_prefix_ranges, prefix),
        source_prefix_ranges: at
            .field("source_prefix_ranges")
            .each(source_prefix_ranges, prefix),
        source_ports: at
            .field("source_ports")
            .each(source_ports, |value, at| some_port(*value, at)),
    }
}

/// One way of matching: a single value, or none, of each criterion.
type Way = (
    Option<u16>,
    Option<(IpAddr, u8)>,
    Option<String>,
    String,
    Option<String>,
    Option<(IpAddr, u8)>,
    SourceType,
    Option<(IpAddr, u8)>,
    Option<u16>,
);

/// A chain with more ways of matching than this is only compared as a whole.
const MOST_WAYS: usize = 10_000;

/// Reports chains that would take the same connections, of which one could never be chosen.
pub(crate) fn check_distinct(chains: &[(usize, &FilterChainMatch)], at: &At<'_>) {
    let mut taken: HashMap<Way, usize> = HashMap::new();
    for (index, matcher) in chains {
        for way in ways(matcher) {
            let other = *taken.entry(way).or_insert(*index);
            if other != *index {
                at.index(*index)
                    .field("filter_chain_match")
                    .problem(format_args!(
                        "takes the same connections as filter_chains[{other}]"
                    ));
                break;
            }
        }
    }
}

fn ways(matcher: &FilterChainMatch) -> Vec<Way> {
    fn or_none<T: Clone>(list: &[T]) -> Vec<Option<T>> {
        if list.is_empty() {
            vec![None]
        } else {
            list.iter().cloned().map(Some).collect()
        }
    }
    let prefixes = |list: &[Prefix]| {
        let pairs: Vec<_> = list.iter().map(|p| (p.address, p.length)).collect();
        or_none(&pairs)
    };
    let destinations = prefixes(&matcher.prefix_ranges);
    let direct = prefixes(&matcher.direct_source_prefix_ranges);
    let sources = prefixes(&matcher.source_prefix_ranges);
    let names = or_none(&matcher.server_names);
    let protocols = or_none(&matcher.application_protocols);
    let ports = or_none(&matcher.source_ports);
    let count = [
        destinations.len(),
        direct.len(),
        sources.len(),
        names.len(),
        protocols.len(),
        ports.len(),
    ]
    .iter()
    .try_fold(1usize, |product, factor| product.checked_mul(*factor));
    if count.is_none_or(|count| count > MOST_WAYS) {
        return Vec::new();
    }
    let mut ways = Vec::new();
    for destination in &destinations {
        for name in &names {
            for protocol in &protocols {
                for direct in &direct {
                    for source in &sources {
                        for port in &ports {
                            ways.push((
                                matcher.destination_port,
                                *destination,
                                name.clone(),
                                matcher.transport_protocol.clone(),
                                protocol.clone(),
                                *direct,
                                matcher.source_type,
                                *source,
                                *port,
                            ));
                        }
                    }
                }
            }
        }
    }
    ways
}
