//! The TCP proxy filter.

use std::collections::BTreeMap;
use std::time::Duration;

use meltemi_ir::{IstioStats, ProxyEntryMerge, TcpCluster, TcpProxy};
use meltemi_xds::pb::envoy::extensions::filters::network::tcp_proxy::v3 as tcp_v3;
use meltemi_xds::pb::envoy::extensions::filters::network::tcp_proxy::v3::ProxyProtocolTlvMergePolicy as Merge;
use meltemi_xds::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::weighted_cluster::ClusterWeight;
use meltemi_xds::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::{
    ClusterSpecifier, TcpAccessLogOptions, WeightedCluster,
};
use meltemi_xds::pb::envoy::r#type::v3::HashPolicy;
use meltemi_xds::pb::envoy::r#type::v3::hash_policy::{PolicySpecifier, SourceIp};

use crate::access_log::access_log;
use crate::fields::fields;
use crate::path::At;
use crate::proxy_protocol::entry;
use crate::route_action::criteria;
use crate::scalar::{enumeration, limit, non_empty, within};

/// The least time between two lines of one connection.
const LEAST_LOG_INTERVAL: Duration = Duration::from_millis(1);

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
            proxy_protocol_tlvs, proxy_protocol_tlv_merge_policy,
        }
        partly {
            metadata_match: "of envoy.lb, which is what there are subsets by",
            hash_policy: "source_ip",
            upstream_connect_mode: "IMMEDIATE",
        }
        oneof { cluster_specifier {
            cluster: Honoured "",
            weighted_clusters: Honoured "",
        } }
        refused {
            downstream_idle_timeout: "use idle_timeout",
            upstream_idle_timeout: "use idle_timeout",
        }
        unsupported {
            on_demand, backoff_options, tunneling_config,
            max_downstream_connection_duration_jitter_percentage, max_early_data_bytes,
        }
        ignored {
            check_drain_close: "a connection lives until its listener has drained",
        }
    });
    let wanted = criteria(metadata_match.as_ref(), at);
    if *upstream_connect_mode != 0 {
        at.field("upstream_connect_mode")
            .refuse("only IMMEDIATE is");
    }
    let mut clusters = match cluster_specifier {
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
        for (key, value) in &wanted {
            let own = cluster.metadata_match.entry(key.clone());
            own.or_insert_with(|| value.clone());
        }
    }
    let hour = Duration::from_secs(3600);
    let mut log_on_connected = *flush_access_log_on_connected;
    let mut every = log_interval(
        access_log_flush_interval.as_ref(),
        &at.field("access_log_flush_interval"),
    );
    if let Some(message) = access_log_options {
        let at = &at.field("access_log_options");
        if log_on_connected || every.is_some() {
            at.problem("excludes access_log_flush_interval and flush_access_log_on_connected");
        }
        (log_on_connected, every) = log_options(message, at);
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
        log_on_connected,
        log_interval: every,
        hash_source_ip: at
            .field("hash_policy")
            .each(hash_policy, source_ip)
            .into_iter()
            .any(|is_source| is_source),
        proxy_entries: at
            .field("proxy_protocol_tlvs")
            .each(proxy_protocol_tlvs, entry),
        proxy_entry_merge: match enumeration(
            *proxy_protocol_tlv_merge_policy,
            &at.field("proxy_protocol_tlv_merge_policy"),
        ) {
            Some(Merge::OverwriteByTypeIfExistsOrAdd) => ProxyEntryMerge::Overwrite,
            Some(Merge::AppendIfExistsOrAdd) => ProxyEntryMerge::Append,
            Some(Merge::AddIfAbsent) | None => ProxyEntryMerge::AddIfAbsent,
        },
        istio_stats,
    })
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

fn log_options(message: &TcpAccessLogOptions, at: &At<'_>) -> (bool, Option<Duration>) {
    fields!(at, message, TcpAccessLogOptions {
        honoured { access_log_flush_interval, flush_access_log_on_connected }
        unsupported { flush_access_log_on_start }
    });
    let interval = log_interval(
        access_log_flush_interval.as_ref(),
        &at.field("access_log_flush_interval"),
    );
    (*flush_access_log_on_connected, interval)
}

fn log_interval(value: Option<&prost_types::Duration>, at: &At<'_>) -> Option<Duration> {
    let interval = limit(value, None, at)?;
    if interval < LEAST_LOG_INTERVAL {
        at.problem("must be at least 1ms");
    }
    Some(interval)
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
