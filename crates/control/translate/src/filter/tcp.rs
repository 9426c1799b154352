//! Chains that forward bytes.
//!
//! In: where to. Out: the network filters of a chain, `tcp_proxy` last.

use std::time::Duration;

use meltemi_model::Tunnel;
use meltemi_xds::pb::envoy::config::listener::v3::Filter;
use meltemi_xds::pb::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy,
    tcp_proxy::{ClusterSpecifier, TunnelingConfig, WeightedCluster, weighted_cluster},
};
use meltemi_xds::pb::envoy::r#type::v3::{HashPolicy, hash_policy};

use super::access_log::request_log;
use super::http::stats_config;
use super::{Class, metadata_exchange, network_filter};
use crate::name::BLACK_HOLE;
use crate::proto::{duration, url_host};
use crate::scope::Scope;

/// What the chain does with a connection.
pub(crate) struct TcpProxyOptions<'a> {
    /// The cluster that it goes to, which also names its statistics.
    pub cluster: &'a str,
    /// The clusters of which it goes to one by weight, where there are several.
    pub weighted: &'a [(String, u32)],
    /// Closed when nothing moved for this long.
    pub idle_timeout: Option<Duration>,
    /// Closed after this.
    pub max_duration: Option<Duration>,
    /// The endpoint is chosen by the client's address.
    pub hashes_source: bool,
    /// The bytes go through a tunnel.
    pub tunnel: Option<Tunnel>,
}

impl<'a> TcpProxyOptions<'a> {
    /// To a cluster, with no limits.
    pub fn to(cluster: &'a str) -> Self {
        Self {
            cluster,
            weighted: &[],
            idle_timeout: None,
            max_duration: None,
            hashes_source: false,
            tunnel: None,
        }
    }
}

/// The filters of a chain that forwards bytes.
pub(crate) fn tcp_proxy(
    scope: &Scope<'_>,
    class: Class,
    options: &TcpProxyOptions<'_>,
) -> Vec<Filter> {
    let TcpProxyOptions {
        cluster,
        weighted,
        idle_timeout,
        max_duration,
        hashes_source,
        tunnel,
    } = options;
    let by_source = HashPolicy {
        policy_specifier: Some(hash_policy::PolicySpecifier::SourceIp(
            hash_policy::SourceIp {},
        )),
    };
    let proxy = TcpProxy {
        stat_prefix: (*cluster).to_owned(),
        cluster_specifier: Some(match weighted {
            [] => ClusterSpecifier::Cluster((*cluster).to_owned()),
            several => ClusterSpecifier::WeightedClusters(WeightedCluster {
                clusters: several
                    .iter()
                    .map(|(name, weight)| weighted_cluster::ClusterWeight {
                        name: name.clone(),
                        weight: *weight,
                        ..Default::default()
                    })
                    .collect(),
            }),
        }),
        idle_timeout: idle_timeout.map(duration),
        max_downstream_connection_duration: max_duration.map(duration),
        hash_policy: hashes_source.then_some(by_source).into_iter().collect(),
        tunneling_config: tunnel.as_ref().map(|it| TunnelingConfig {
            hostname: format!("{}:{}", url_host(&it.host), it.port),
            use_post: it.post,
            ..Default::default()
        }),
        access_log: request_log(scope, class),
        ..Default::default()
    };
    let exchange = (class == Class::Inbound)
        .then(|| metadata_exchange(scope.node))
        .flatten();
    let stats = scope
        .node
        .filters
        .stats
        .then(|| network_filter("istio.stats", &stats_config(class)));
    // Nobody gets through a chain that leads nowhere.
    let guarded = class != Class::Outbound && *cluster != BLACK_HOLE;
    let guards = guarded.then(|| scope.guards().tcp.iter().cloned());
    exchange
        .into_iter()
        .chain(guards.into_iter().flatten())
        .chain(stats)
        .chain([network_filter("envoy.filters.network.tcp_proxy", &proxy)])
        .collect()
}
