//! The TCP proxy filter.

use std::collections::BTreeMap;
use std::time::Duration;

use http::uri::PathAndQuery;
use meltemi_ir::{
    ConnectBackoff, IstioStats, ProxyEntryMerge, SubsetKeys, TcpCluster, TcpProxy, Tunneling,
};
use meltemi_xds::pb::envoy::config::core::v3::BackoffStrategy;
use meltemi_xds::pb::envoy::extensions::filters::network::tcp_proxy::v3 as tcp_v3;
use meltemi_xds::pb::envoy::extensions::filters::network::tcp_proxy::v3::{
    ProxyProtocolTlvMergePolicy as Merge, UpstreamConnectMode,
};
use meltemi_xds::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::weighted_cluster::ClusterWeight;
use meltemi_xds::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::{
    ClusterSpecifier, TcpAccessLogOptions, TunnelingConfig, WeightedCluster,
};
use meltemi_xds::pb::envoy::r#type::v3::HashPolicy;
use meltemi_xds::pb::envoy::r#type::v3::hash_policy::{PolicySpecifier, SourceIp};

use crate::access_log::{access_log, log_interval};
use crate::call::back_off;
use crate::fields::fields;
use crate::header::{Changes, Side};
use crate::path::At;
use crate::proxy_protocol::entry;
use crate::route_action::criteria;
use crate::scalar::{enumeration, limit, non_empty, percent, within};

/// The filter, with the metrics filter that stands before it.
pub(crate) fn tcp_proxy(
    message: &tcp_v3::TcpProxy,
    istio_stats: Option<IstioStats>,
    at: &At<'_>,
) -> Option<TcpProxy> {
    fields!(at, message, tcp_v3::TcpProxy {
        honoured {
            stat_prefix, idle_timeout, access_log, max_connect_attempts,
            max_downstream_connection_duration, access_log_flush_interval,
            flush_access_log_on_connected, access_log_options,
            proxy_protocol_tlvs, proxy_protocol_tlv_merge_policy, backoff_options,
            max_downstream_connection_duration_jitter_percentage, upstream_connect_mode,
        }
        partly {
            metadata_match: "of envoy.lb, which is what there are subsets by",
            hash_policy: "source_ip",
            max_early_data_bytes: "at most 4096 bytes are read ahead of a connection",
            tunneling_config: "without trailers and request identifiers",
        }
        oneof { cluster_specifier { cluster: Honoured "", weighted_clusters: Honoured "" } }
        refused {
            downstream_idle_timeout: "use idle_timeout",
            upstream_idle_timeout: "use idle_timeout",
        }
        unsupported { on_demand }
        ignored {
            check_drain_close: "a connection lives until its listener has drained",
        }
    });
    let wanted = criteria(metadata_match.as_ref(), at);
    let mode = enumeration(*upstream_connect_mode, &at.field("upstream_connect_mode"));
    if !matches!(mode, None | Some(UpstreamConnectMode::Immediate))
        && max_early_data_bytes.is_none()
    {
        at.field("max_early_data_bytes")
            .problem("is required where upstream_connect_mode is not IMMEDIATE");
    }
    let clusters = clusters(cluster_specifier.as_ref(), &wanted, at)?;
    let hour = Duration::from_secs(3600);
    let jitter = max_downstream_connection_duration_jitter_percentage.as_ref();
    let jitter = jitter.and_then(|message| {
        let name = "max_downstream_connection_duration_jitter_percentage";
        percent(message, &at.field(name))
    });
    let (mut log_on_start, mut log_on_connected) = (false, *flush_access_log_on_connected);
    let mut every = log_interval(
        access_log_flush_interval.as_ref(),
        &at.field("access_log_flush_interval"),
    );
    if let Some(message) = access_log_options {
        let at = &at.field("access_log_options");
        if log_on_connected || every.is_some() {
            at.problem("excludes access_log_flush_interval and flush_access_log_on_connected");
        }
        (log_on_start, log_on_connected, every) = log_options(message, at);
    }
    Some(TcpProxy {
        stat_prefix: non_empty(stat_prefix, &at.field("stat_prefix")).to_owned(),
        clusters,
        idle_timeout: limit(idle_timeout.as_ref(), Some(hour), &at.field("idle_timeout")),
        max_downstream_connection_duration: limit(
            max_downstream_connection_duration.as_ref(),
            None,
            &at.field("max_downstream_connection_duration"),
        ),
        max_connect_attempts: within(
            *max_connect_attempts,
            1,
            1..=u32::MAX,
            &at.field("max_connect_attempts"),
        ),
        access_log: at.field("access_log").each(access_log, self::access_log),
        log_on_start,
        log_on_connected,
        log_interval: every,
        tunneling: tunneling_config
            .as_ref()
            .map(|message| tunneling(message, &at.field("tunneling_config"))),
        connect_backoff: backoff_options
            .as_ref()
            .and_then(|message| connect_backoff(message, &at.field("backoff_options"))),
        duration_jitter: jitter.unwrap_or_default(),
        awaits_data: mode == Some(UpstreamConnectMode::OnDownstreamData),
        hash_source_ip: at
            .field("hash_policy")
            .each(hash_policy, source_ip)
            .into_iter()
            .any(|is_source| is_source),
        proxy_entries: at
            .field("proxy_protocol_tlvs")
            .each(proxy_protocol_tlvs, entry),
        proxy_entry_merge: merge(
            *proxy_protocol_tlv_merge_policy,
            &at.field("proxy_protocol_tlv_merge_policy"),
        ),
        istio_stats,
    })
}

/// The clusters, with what their hosts must be.
fn clusters(
    specifier: Option<&ClusterSpecifier>,
    wanted: &SubsetKeys,
    at: &At<'_>,
) -> Option<Vec<TcpCluster>> {
    let mut clusters = match specifier {
        Some(ClusterSpecifier::Cluster(name)) => vec![TcpCluster {
            name: non_empty(name, &at.field("cluster")).into(),
            weight: 1,
            metadata_match: BTreeMap::new(),
        }],
        Some(ClusterSpecifier::WeightedClusters(message)) => {
            weighted(message, &at.field("weighted_clusters"))
        }
        None => {
            at.problem("needs a cluster or weighted_clusters");
            return None;
        }
    };
    for cluster in &mut clusters {
        for (key, value) in wanted {
            let own = cluster.metadata_match.entry(key.clone());
            own.or_insert_with(|| value.clone());
        }
    }
    Some(clusters)
}

fn merge(policy: i32, at: &At<'_>) -> ProxyEntryMerge {
    match enumeration(policy, at) {
        Some(Merge::OverwriteByTypeIfExistsOrAdd) => ProxyEntryMerge::Overwrite,
        Some(Merge::AppendIfExistsOrAdd) => ProxyEntryMerge::Append,
        Some(Merge::AddIfAbsent) | None => ProxyEntryMerge::AddIfAbsent,
    }
}

/// What a connection's hash is made of: its client's address.
fn source_ip(message: &HashPolicy, at: &At<'_>) -> Option<bool> {
    fields!(at, message, HashPolicy {
        oneof { policy_specifier { source_ip: Honoured "", filter_state: Refused "" } }
    });
    match policy_specifier {
        Some(PolicySpecifier::SourceIp(message)) => {
            fields!(&at.field("source_ip"), message, SourceIp {});
            Some(true)
        }
        Some(PolicySpecifier::FilterState(_)) => {
            at.field("filter_state").refuse("");
            None
        }
        None => {
            at.problem("needs a policy_specifier");
            None
        }
    }
}

/// How connections are carried over HTTP.
fn tunneling(message: &TunnelingConfig, at: &At<'_>) -> Tunneling {
    fields!(at, message, TunnelingConfig {
        honoured { hostname, use_post, post_path, headers_to_add, propagate_response_headers }
        unsupported {
            propagate_response_trailers, request_id_extension, request_id_header,
            request_id_metadata_key, formatters,
        }
    });
    let at_path = &at.field("post_path");
    if !use_post && !post_path.is_empty() {
        at_path.problem("is for use_post alone");
    }
    let path = match post_path.as_str() {
        "" => "/",
        path => path,
    };
    let path = PathAndQuery::try_from(path)
        .inspect_err(|error| at_path.problem(error))
        .unwrap_or_else(|_| PathAndQuery::from_static("/"));
    let additions = Changes {
        of: Side::Request,
        add: headers_to_add,
        remove: &[],
    };
    Tunneling {
        hostname: non_empty(hostname, &at.field("hostname")).to_owned(),
        post: use_post.then_some(path),
        headers_to_add: additions.additions(&at.field("headers_to_add")),
        propagate_response_headers: *propagate_response_headers,
    }
}

fn connect_backoff(message: &BackoffStrategy, at: &At<'_>) -> Option<ConnectBackoff> {
    let (base, max) = back_off(message, at);
    let base = base?;
    let max = max.unwrap_or(base * 10);
    Some(ConnectBackoff { base, max })
}

fn log_options(message: &TcpAccessLogOptions, at: &At<'_>) -> (bool, bool, Option<Duration>) {
    fields!(at, message, TcpAccessLogOptions {
        honoured {
            access_log_flush_interval, flush_access_log_on_connected, flush_access_log_on_start,
        }
    });
    let interval = log_interval(
        access_log_flush_interval.as_ref(),
        &at.field("access_log_flush_interval"),
    );
    let on_start = *flush_access_log_on_start;
    (on_start, *flush_access_log_on_connected, interval)
}

fn weighted(message: &WeightedCluster, at: &At<'_>) -> Vec<TcpCluster> {
    fields!(at, message, WeightedCluster { honoured { clusters } });
    let at = &at.field("clusters");
    if clusters.is_empty() {
        at.problem("must not be empty");
    }
    let sum: u64 = clusters
        .iter()
        .map(|cluster| u64::from(cluster.weight))
        .sum();
    if sum > u64::from(u32::MAX) {
        at.problem(format_args!(
            "the weights make {sum} together, which is too much"
        ));
    }
    at.each(clusters, weight)
}

fn weight(message: &ClusterWeight, at: &At<'_>) -> Option<TcpCluster> {
    fields!(at, message, ClusterWeight {
        honoured { name, weight }
        partly { metadata_match: "of envoy.lb, which is what there are subsets by" }
    });
    if *weight == 0 {
        at.field("weight").problem("must be at least 1");
    }
    Some(TcpCluster {
        name: non_empty(name, &at.field("name")).into(),
        weight: *weight,
        metadata_match: criteria(metadata_match.as_ref(), at),
    })
}
