//! Clusters.

mod circuit_breakers;
mod discovery;
mod health_check;
mod load_balancing;
mod outlier;
mod subset;
mod upstream_http;

use std::time::Duration;

use meltemi_ir::{Cluster, Discovery, HappyEyeballs, TransportSocketMatch};
use meltemi_xds::pb::envoy::config::cluster::v3 as cluster_v3;
use meltemi_xds::pb::envoy::config::cluster::v3::cluster::PreconnectPolicy;
use meltemi_xds::pb::envoy::config::cluster::v3::upstream_connection_options::{
    FirstAddressFamilyVersion, HappyEyeballsConfig,
};
use meltemi_xds::pb::envoy::config::cluster::v3::{Filter, UpstreamConnectionOptions};
use meltemi_xds::pb::envoy::tcp::metadataexchange::config::MetadataExchange;
use prost_types::Any;

use crate::address::tcp_keepalive;
use crate::extension::{Extension, Known, unpack};
use crate::fields::fields;
use crate::metadata::{fields_of, metadata};
use crate::path::At;
use crate::scalar::{duration, enumeration, non_empty, positive, within};
use crate::socket::bind;
use crate::tls::{UpstreamSocket, upstream_socket};

pub(crate) use discovery::{DISCOVERY, DNS_RESOLVERS, dns_resolver};
pub(crate) use load_balancing::LOAD_BALANCING;
pub(crate) use upstream_http::{HTTP_PROTOCOL_OPTIONS, UPSTREAM_HTTP_FILTERS};

/// The network filters of upstream connections.
pub(crate) static UPSTREAM_FILTERS: &[Known<UpstreamFilter>] = &[Known {
    name: "istio.metadata_exchange",
    type_name: "envoy.tcp.metadataexchange.config.MetadataExchange",
    convert: |config, at| metadata_exchange(&unpack(config, at)?, at),
}];

/// Checks the configuration of an upstream network filter, all of which are without effect.
pub(crate) type UpstreamFilter = fn(Option<&Any>, &At<'_>) -> Option<()>;

const BUFFER_LIMIT: u32 = 1 << 20;

/// A cluster.
pub(crate) fn cluster(message: &cluster_v3::Cluster, at: &At<'_>) -> Option<Cluster> {
    fields!(at, message, cluster_v3::Cluster {
        honoured {
            transport_socket_matches, name, alt_stat_name, connect_timeout,
            per_connection_buffer_limit_bytes, load_assignment, max_requests_per_connection,
            common_http_protocol_options, http_protocol_options, http2_protocol_options,
            dns_refresh_rate, dns_lookup_family, metadata, upstream_connection_options,
            protocol_selection, outlier_detection, health_checks,
            close_connections_on_host_health_failure, ignore_health_on_host_removal,
            upstream_http_protocol_options,
        }
        partly {
            eds_cluster_config: "from ads, files",
            lb_policy: "all but LOAD_BALANCING_POLICY_CONFIG, which needs load_balancing_policy",
            circuit_breakers: "without limits on pools",
            lb_subset_config: "without lists of metadata to fall back to",
            preconnect_policy: "per_upstream_preconnect_ratio",
            typed_extension_protocol_options: "HttpProtocolOptions",
            typed_dns_resolver_config: "the system's servers",
            upstream_bind_config: "without local_address_selector",
            common_lb_config: "without override_host_status",
            transport_socket: "plaintext, TLS and the PROXY protocol",
            filters: "istio.metadata_exchange, without effect",
            load_balancing_policy: "the policies that lb_policy has, and wrr_locality",
        }
        oneof {
            cluster_discovery_type {
                r#type: Honoured "",
                cluster_type: Partly "envoy.cluster.dns, envoy.clusters.dynamic_forward_proxy",
            },
            lb_config {
                least_request_lb_config: Honoured "",
                round_robin_lb_config: Honoured "",
                original_dst_lb_config: Partly "header and port",
                ring_hash_lb_config: Honoured "",
                maglev_lb_config: Honoured "",
            },
        }
        refused {
            transport_socket_matcher: "use transport_socket_matches",
            dns_resolvers: "the system's servers are asked",
            dns_resolution_config: "the system's servers are asked",
            lrs_server: "load reports",
        }
        unsupported {
            per_connection_buffer_high_watermark_timeout, use_tcp_for_dns_lookups,
            upstream_config, connection_pool_per_downstream_connection, queuing_policies,
        }
        ignored {
            stats_matcher: "statistics are not filtered",
            dns_jitter: "lookups need not be spread in time",
            dns_failure_refresh_rate: "a lookup that failed is repeated at dns_refresh_rate",
            respect_dns_ttl: "names are looked up at dns_refresh_rate",
            wait_for_warm_on_init: "it orders the start only",
            cleanup_interval: "hosts of original destinations go when they are idle",
            lrs_report_endpoint_metrics: "load reports are refused",
            track_timeout_budgets: "it adds statistics only",
            track_cluster_stats: "it adds statistics only",
        }
    });
    let name = non_empty(name, &at.field("name"));
    let connect_timeout = positive(connect_timeout.as_ref(), &at.field("connect_timeout"))
        .unwrap_or(Duration::from_secs(5));
    let found = discovery::discovery(
        &discovery::Fields {
            kind: cluster_discovery_type.as_ref(),
            eds: eds_cluster_config.as_ref(),
            load_assignment: load_assignment.as_ref(),
            dns_refresh_rate: dns_refresh_rate.as_ref(),
            dns_lookup_family: *dns_lookup_family,
            resolver: typed_dns_resolver_config.as_ref(),
            lb_config: lb_config.as_ref(),
            name,
        },
        at,
    );
    let (mut lb_settings, hashing) = common_lb_config
        .as_ref()
        .map(|message| load_balancing::common(message, &at.field("common_lb_config")))
        .unwrap_or_default();
    let lb = load_balancing::policy(
        &load_balancing::Fields {
            policy: *lb_policy,
            config: lb_config.as_ref(),
            extension: load_balancing_policy.as_ref(),
            hashing,
        },
        at,
    );
    let mut upstream = upstream_http::upstream_http(
        &upstream_http::Fields {
            typed: typed_extension_protocol_options,
            common: common_http_protocol_options.as_ref(),
            http1: http_protocol_options.as_ref(),
            http2: http2_protocol_options.as_ref(),
            from_request: upstream_http_protocol_options.as_ref(),
            protocol_selection: *protocol_selection,
            max_requests_per_connection: *max_requests_per_connection,
        },
        at,
    );
    at.field("filters").each(filters, filter);
    let UpstreamSocket { tls, header } =
        upstream_socket(transport_socket.as_ref(), &at.field("transport_socket"));
    let transport_socket_matches = at
        .field("transport_socket_matches")
        .each(transport_socket_matches, socket_match);
    let connection = upstream_connection_options
        .as_ref()
        .map(|message| connection_options(message, &at.field("upstream_connection_options")))
        .unwrap_or_default();
    let bind = upstream_bind_config
        .as_ref()
        .map(|message| bind(message, &at.field("upstream_bind_config")));
    let circuit_breakers = circuit_breakers
        .as_ref()
        .map(|message| circuit_breakers::circuit_breakers(message, &at.field("circuit_breakers")))
        .unwrap_or_default();
    let subsets = lb_subset_config
        .as_ref()
        .and_then(|message| subset::subsets(message, &at.field("lb_subset_config")));
    let outlier_detection = outlier_detection
        .as_ref()
        .map(|message| outlier::outlier_detection(message, &at.field("outlier_detection")));
    let health_checks = at
        .field("health_checks")
        .each(health_checks, health_check::health_check);
    let preconnect_ratio = preconnect_policy
        .as_ref()
        .map(|message| preconnect(message, &at.field("preconnect_policy")));
    let (found, lb) = (found?, lb?);
    if found.verifies_names {
        upstream.verify_names(!typed_extension_protocol_options.is_empty(), at);
    }
    let discovery = found.discovery;
    check_lb(&discovery, &lb.policy, at);
    let is_on_demand = matches!(
        discovery,
        Discovery::OriginalDst { .. } | Discovery::ForwardProxy(_)
    );
    if is_on_demand && subsets.is_some() {
        at.field("lb_subset_config")
            .problem("is not for clusters that choose their hosts");
    }
    if health_checks.len() > 1 {
        at.field("health_checks").refuse("more than one");
    }
    lb_settings.locality_weighted |= lb.locality_weighted;
    lb_settings.fail_traffic_on_panic |= lb.fail_traffic_on_panic;
    Some(Cluster {
        name: name.to_owned(),
        alt_stat_name: Some(alt_stat_name.clone()).filter(|name| !name.is_empty()),
        discovery,
        lb: lb.policy,
        lb_settings,
        subsets: subsets.map(Box::new),
        outlier_detection: outlier_detection.map(Box::new),
        health_checks,
        ignore_health_on_host_removal: *ignore_health_on_host_removal,
        close_connections_on_health_failure: *close_connections_on_host_health_failure,
        connect_timeout,
        tls: tls.map(Box::new),
        proxy_header: header,
        transport_socket_matches,
        http: upstream.http,
        circuit_breakers,
        per_connection_buffer_limit: per_connection_buffer_limit_bytes.unwrap_or(BUFFER_LIMIT),
        idle_timeout: upstream.idle_timeout,
        max_requests_per_connection: upstream.max_requests_per_connection,
        max_connection_duration: upstream.max_connection_duration,
        preconnect_ratio: preconnect_ratio.unwrap_or(1.0),
        tcp_keepalive: connection.tcp_keepalive,
        bind,
        happy_eyeballs: connection.happy_eyeballs,
        metadata: self::metadata(metadata.as_ref(), &at.field("metadata")),
    })
}

/// Original destinations and names are chosen by discovery, and nothing else is.
fn check_lb(discovery: &Discovery, policy: &meltemi_ir::LbPolicy, at: &At<'_>) {
    let provided = matches!(policy, meltemi_ir::LbPolicy::ClusterProvided);
    let problem = match discovery {
        Discovery::OriginalDst { .. } if !provided => {
            "an ORIGINAL_DST cluster needs CLUSTER_PROVIDED"
        }
        Discovery::ForwardProxy(_) if !provided => {
            "a dynamic_forward_proxy cluster needs CLUSTER_PROVIDED"
        }
        Discovery::OriginalDst { .. } | Discovery::ForwardProxy(_) => return,
        _ if provided => "CLUSTER_PROVIDED is for ORIGINAL_DST and dynamic_forward_proxy clusters",
        _ => return,
    };
    at.field("lb_policy").problem(problem);
}

fn socket_match(
    message: &cluster_v3::cluster::TransportSocketMatch,
    at: &At<'_>,
) -> Option<TransportSocketMatch> {
    fields!(at, message, cluster_v3::cluster::TransportSocketMatch {
        honoured { name, r#match }
        partly { transport_socket: "plaintext, TLS and the PROXY protocol" }
    });
    let UpstreamSocket { tls, header } =
        upstream_socket(transport_socket.as_ref(), &at.field("transport_socket"));
    Some(TransportSocketMatch {
        name: non_empty(name, &at.field("name")).to_owned(),
        matches: r#match.as_ref().map(fields_of).unwrap_or_default(),
        tls,
        proxy_header: header,
    })
}

/// How connections are made and kept.
#[derive(Default)]
struct ConnectionOptions {
    tcp_keepalive: Option<meltemi_ir::TcpKeepalive>,
    happy_eyeballs: HappyEyeballs,
}

fn connection_options(message: &UpstreamConnectionOptions, at: &At<'_>) -> ConnectionOptions {
    fields!(at, message, UpstreamConnectionOptions {
        honoured { tcp_keepalive, happy_eyeballs_config }
        unsupported { set_local_interface_name_on_upstream_connections }
    });
    ConnectionOptions {
        tcp_keepalive: tcp_keepalive
            .as_ref()
            .map(|message| self::tcp_keepalive(message, &at.field("tcp_keepalive"))),
        happy_eyeballs: happy_eyeballs_config
            .as_ref()
            .map(|message| happy_eyeballs(message, &at.field("happy_eyeballs_config")))
            .unwrap_or_default(),
    }
}

fn happy_eyeballs(message: &HappyEyeballsConfig, at: &At<'_>) -> HappyEyeballs {
    fields!(at, message, HappyEyeballsConfig {
        honoured { first_address_family_count }
        partly { first_address_family_version: "DEFAULT, V4 and V6" }
    });
    let first = enumeration(
        *first_address_family_version,
        &at.field("first_address_family_version"),
    );
    HappyEyeballs {
        first_v4: match first {
            Some(FirstAddressFamilyVersion::V4) => Some(true),
            Some(FirstAddressFamilyVersion::V6) => Some(false),
            Some(FirstAddressFamilyVersion::Default) | None => None,
            Some(FirstAddressFamilyVersion::Pipe | FirstAddressFamilyVersion::Internal) => {
                at.field("first_address_family_version")
                    .refuse("only V4 and V6 are");
                None
            }
        },
        first_count: within(
            *first_address_family_count,
            1,
            1..=u32::MAX,
            &at.field("first_address_family_count"),
        ),
    }
}

/// How many connections are opened ahead of demand.
fn preconnect(message: &PreconnectPolicy, at: &At<'_>) -> f64 {
    fields!(at, message, PreconnectPolicy {
        honoured { per_upstream_preconnect_ratio }
        partly { predictive_preconnect_ratio: "1, which is none" }
        unsupported { preconnect_enabled_metadata }
    });
    if predictive_preconnect_ratio.is_some_and(|ratio| ratio != 1.0) {
        at.field("predictive_preconnect_ratio").refuse("");
    }
    let ratio = per_upstream_preconnect_ratio.unwrap_or(1.0);
    if !(1.0..=3.0).contains(&ratio) {
        at.field("per_upstream_preconnect_ratio")
            .problem("must be from 1 to 3");
    }
    ratio
}

fn filter(message: &Filter, at: &At<'_>) -> Option<()> {
    fields!(at, message, Filter {
        honoured { name }
        partly { typed_config: "istio.metadata_exchange, without effect" }
        unsupported { config_discovery }
    });
    let config = typed_config.as_ref();
    let name = non_empty(name, &at.field("name"));
    let known = Extension { name, config }.find(UPSTREAM_FILTERS, at)?;
    (known.convert)(config, &at.field("typed_config"))
}

/// Istio's exchange of peer metadata over TCP; peers are known by their certificates here.
pub(crate) fn metadata_exchange(message: &MetadataExchange, at: &At<'_>) -> Option<()> {
    fields!(at, message, MetadataExchange {
        ignored {
            protocol: "TCP peers are known by their certificates",
            enable_discovery: "TCP peers are known by their certificates",
            additional_labels: "TCP peers are known by their certificates",
        }
    });
    Some(())
}

/// An interval of DNS lookups, 5 s unless set.
fn dns_refresh(message: Option<&prost_types::Duration>, at: &At<'_>) -> Duration {
    match duration(message, at) {
        Some(interval) if interval <= Duration::from_millis(1) => {
            at.problem("must be greater than 0.001s");
            interval
        }
        Some(interval) => interval,
        None => Duration::from_secs(5),
    }
}

/// Which addresses of a name count.
pub(crate) fn lookup_family(value: i32, at: &At<'_>) -> meltemi_ir::DnsFamily {
    use cluster_v3::cluster::DnsLookupFamily;
    match enumeration(value, at) {
        Some(DnsLookupFamily::V4Only) => meltemi_ir::DnsFamily::V4Only,
        Some(DnsLookupFamily::V6Only) => meltemi_ir::DnsFamily::V6Only,
        Some(DnsLookupFamily::V4Preferred) => meltemi_ir::DnsFamily::V4Preferred,
        Some(DnsLookupFamily::All) => meltemi_ir::DnsFamily::All,
        Some(DnsLookupFamily::Auto) | None => meltemi_ir::DnsFamily::Auto,
    }
}
