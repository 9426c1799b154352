//! Chains that forward bytes.
//!
//! In: where to. Out: the network filters of a chain, `tcp_proxy` last.

use std::time::Duration;

use meltemi_xds::pb::envoy::config::listener::v3::Filter;
use meltemi_xds::pb::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy, tcp_proxy::ClusterSpecifier,
};

use super::access_log::request_log;
use super::http::stats_config;
use super::{Class, metadata_exchange, network_filter};
use crate::proto::duration;
use crate::scope::Scope;

/// What the chain does with a connection.
pub(crate) struct TcpProxyOptions<'a> {
    /// The cluster that it goes to, which also names its statistics.
    pub cluster: &'a str,
    /// Closed when nothing moved for this long.
    pub idle_timeout: Option<Duration>,
    /// Closed after this.
    pub max_duration: Option<Duration>,
}

impl<'a> TcpProxyOptions<'a> {
    /// To a cluster, with no limits.
    pub fn to(cluster: &'a str) -> Self {
        Self {
            cluster,
            idle_timeout: None,
            max_duration: None,
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
        idle_timeout,
        max_duration,
    } = options;
    let proxy = TcpProxy {
        stat_prefix: (*cluster).to_owned(),
        cluster_specifier: Some(ClusterSpecifier::Cluster((*cluster).to_owned())),
        idle_timeout: idle_timeout.map(duration),
        max_downstream_connection_duration: max_duration.map(duration),
        access_log: request_log(scope.mesh()),
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
    exchange
        .into_iter()
        .chain(stats)
        .chain([network_filter("envoy.filters.network.tcp_proxy", &proxy)])
        .collect()
}
