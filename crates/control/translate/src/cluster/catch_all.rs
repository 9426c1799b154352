//! Clusters for what no service claims.
//!
//! In: the mesh configuration. Out: `BlackHoleCluster`, `PassthroughCluster` and
//! `InboundPassthroughCluster` (FEATURES T15, T17).

use std::time::Duration;

use meltemi_model::OutboundTrafficPolicy;
use meltemi_xds::pb::envoy::config::cluster::v3::{
    Cluster,
    cluster::{DiscoveryType, LbPolicy},
};
use meltemi_xds::pb::envoy::config::core::v3::{
    BindConfig, HttpProtocolOptions as CommonOptions, SocketAddress,
};

use super::http::{HttpOptions, Version};
use super::{discovery, policy};
use crate::dynamic_dns;
use crate::filter::cluster_metadata_exchange;
use crate::name::{BLACK_HOLE, DYNAMIC_DNS, INBOUND_PASSTHROUGH, PASSTHROUGH, stat_prefix};
use crate::proto::{duration, socket};
use crate::scope::Scope;

/// Connections that pass through are closed when they have been idle this long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// Nowhere.
pub(super) fn black_hole(scope: &Scope<'_>) -> Cluster {
    Cluster {
        name: BLACK_HOLE.to_owned(),
        alt_stat_name: stat_prefix(BLACK_HOLE),
        cluster_discovery_type: Some(discovery(DiscoveryType::Static)),
        connect_timeout: Some(duration(scope.mesh().connect_timeout)),
        lb_policy: LbPolicy::RoundRobin.into(),
        ..Default::default()
    }
}

/// Where the application wanted.
pub(super) fn passthrough(scope: &Scope<'_>) -> Cluster {
    let mut cluster = original_destination(scope, PASSTHROUGH);
    cluster
        .filters
        .extend(cluster_metadata_exchange(scope.node));
    cluster
}

/// Where DNS says that the host of a request is, if requests go there.
pub(super) fn by_host(scope: &Scope<'_>) -> Option<Cluster> {
    (scope.outbound_policy() == OutboundTrafficPolicy::AllowAnyDynamicDns).then(|| Cluster {
        cluster_discovery_type: Some(dynamic_dns::discovery(scope)),
        ..original_destination(scope, DYNAMIC_DNS)
    })
}

/// The application, at the port that the connection was for.
pub(super) fn inbound_passthrough(scope: &Scope<'_>) -> Cluster {
    Cluster {
        upstream_bind_config: Some(BindConfig {
            source_address: Some(passthrough_source(scope)),
            ..Default::default()
        }),
        ..original_destination(scope, INBOUND_PASSTHROUGH)
    }
}

/// The source address by which the interception knows the proxy's own connections to its workload.
pub(super) fn passthrough_source(scope: &Scope<'_>) -> SocketAddress {
    socket(
        if scope.ip().is_ipv6() {
            "::6"
        } else {
            "127.0.0.6"
        },
        0,
    )
}

fn original_destination(scope: &Scope<'_>, name: &str) -> Cluster {
    let mut cluster = Cluster {
        name: name.to_owned(),
        alt_stat_name: stat_prefix(name),
        cluster_discovery_type: Some(discovery(DiscoveryType::OriginalDst)),
        lb_policy: LbPolicy::ClusterProvided.into(),
        ..Default::default()
    };
    let mut options = HttpOptions {
        version: Version::Downstream,
        preserve_case: scope.proxy_headers().preserve_case,
        ..Default::default()
    };
    policy::apply_pool(&mut cluster, &mut options, None, scope.mesh());
    options.common = Some(CommonOptions {
        idle_timeout: Some(duration(IDLE_TIMEOUT)),
        ..Default::default()
    });
    cluster.typed_extension_protocol_options = options.build();
    cluster
}
