//! Filters: what happens to a connection or a request between listener and cluster.
//!
//! In: the proxy, the mesh configuration, where the filter stands. Out: network filters, HTTP filters,
//! listener filters, access logs. Istio's own filters are there only for proxies that say they have
//! them.

mod access_log;
mod http;
mod inspector;
mod tcp;

use meltemi_xds::pb::envoy::config::cluster::v3::Filter as ClusterFilter;
use meltemi_xds::pb::envoy::config::listener::v3::{Filter, filter::ConfigType};
use meltemi_xds::pb::envoy::tcp::metadataexchange::config::MetadataExchange;
use prost::{Message, Name};

pub(crate) use access_log::listener_log;
pub(crate) use http::{HttpFilters, Routes, connection_manager, http_filter};
pub(crate) use inspector::{
    http_inspector, original_destination, original_source, proxy_protocol, tls_inspector,
};
pub(crate) use tcp::{TcpProxyOptions, tcp_proxy};

use crate::ProxyNode;
use crate::proto::pack;

/// The name of the filter that exchanges who is at each end.
const METADATA_EXCHANGE: &str = "istio.metadata_exchange";

/// Which way a filter's traffic goes, and who handles it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// To a sidecar's workload.
    Inbound,
    /// From a sidecar's workload.
    Outbound,
    /// Through a gateway.
    Gateway,
}

/// A network filter.
pub(crate) fn network_filter<M: Message + Name>(name: &str, config: &M) -> Filter {
    Filter {
        name: name.to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack(config))),
    }
}

/// The filter by which a server learns who its client is, for chains of inbound listeners.
pub(crate) fn metadata_exchange(node: &ProxyNode) -> Option<Filter> {
    node.filters
        .metadata_exchange
        .then(|| network_filter(METADATA_EXCHANGE, &exchange()))
}

/// The filter by which a client tells a server who it is, for outbound clusters.
pub(crate) fn cluster_metadata_exchange(node: &ProxyNode) -> Option<ClusterFilter> {
    node.filters.metadata_exchange.then(|| ClusterFilter {
        name: METADATA_EXCHANGE.to_owned(),
        typed_config: Some(pack(&exchange())),
        ..Default::default()
    })
}

fn exchange() -> MetadataExchange {
    MetadataExchange {
        protocol: "istio-peer-exchange".to_owned(),
        enable_discovery: true,
        ..Default::default()
    }
}
