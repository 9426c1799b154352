//! What a destination rule's traffic policy makes of a cluster: limits, timeouts.
//!
//! In: `connectionPool` and the mesh configuration. Out: fields of the cluster.

use std::time::Duration;

use meltemi_model::{
    ConnectionPool, H2UpgradePolicy, Http2Keepalive, HttpPool, MeshConfig, Protocol, TcpKeepalive,
    TcpPool,
};
use meltemi_xds::pb::envoy::config::cluster::v3::{
    CircuitBreakers, Cluster, UpstreamConnectionOptions, circuit_breakers::Thresholds,
};
use meltemi_xds::pb::envoy::config::core::v3::{
    HttpProtocolOptions as CommonOptions, KeepaliveSettings, TcpKeepalive as Keepalive,
};

use super::http::{HttpOptions, Version};
use crate::proto::duration;

/// Applies the connection pool; without one, the mesh's timeouts and no limits.
pub(super) fn apply_pool(
    cluster: &mut Cluster,
    options: &mut HttpOptions,
    pool: Option<&ConnectionPool>,
    mesh: &MeshConfig,
) {
    let default = ConnectionPool::default();
    let ConnectionPool { tcp, http } = pool.unwrap_or(&default);
    let TcpPool {
        max_connections,
        connect_timeout,
        keepalive,
        max_connection_duration,
        idle_timeout: tcp_idle_timeout,
    } = tcp;
    let HttpPool {
        max_pending_requests,
        max_requests,
        max_requests_per_connection,
        max_retries,
        idle_timeout,
        h2_upgrade_policy: _, // ignored: outbound only, see `upgrades`
        use_client_protocol,
        max_concurrent_streams,
        http2_keepalive,
    } = http;

    cluster.connect_timeout = Some(duration(connect_timeout.unwrap_or(mesh.connect_timeout)));
    cluster.circuit_breakers = Some(CircuitBreakers {
        thresholds: vec![Thresholds {
            max_connections: Some(limit(*max_connections)),
            max_pending_requests: Some(limit(*max_pending_requests)),
            max_requests: Some(limit(*max_requests)),
            max_retries: Some(limit(*max_retries)),
            track_remaining: true,
            ..Default::default()
        }],
        per_host_thresholds: Vec::new(),
    });
    if let Some(keepalive) = keepalive.as_ref().or(mesh.tcp_keepalive.as_ref()) {
        cluster.upstream_connection_options = Some(UpstreamConnectionOptions {
            tcp_keepalive: Some(tcp_keepalive(keepalive)),
            ..Default::default()
        });
    }
    let idle_timeout = idle_timeout.or(*tcp_idle_timeout);
    let per_connection = max_requests_per_connection.filter(|it| *it > 0);
    if idle_timeout.is_some() || per_connection.is_some() || max_connection_duration.is_some() {
        options.common = Some(CommonOptions {
            idle_timeout: idle_timeout.map(duration),
            max_connection_duration: max_connection_duration.map(duration),
            max_requests_per_connection: per_connection,
            ..Default::default()
        });
    }
    options.max_concurrent_streams = max_concurrent_streams.filter(|it| *it > 0);
    options.keepalive = http2_keepalive.map(|it| {
        let Http2Keepalive { interval, timeout } = it;
        KeepaliveSettings {
            interval: Some(duration(interval)),
            timeout: Some(duration(timeout)),
            ..Default::default()
        }
    });
    if *use_client_protocol {
        options.version = Version::Downstream;
    }
}

/// Whether requests to a port become HTTP/2: the rule's word, else the mesh's for ports that are
/// known to speak HTTP.
pub(super) fn upgrades(
    protocol: Protocol,
    pool: Option<&ConnectionPool>,
    mesh: &MeshConfig,
) -> bool {
    match pool.map_or(H2UpgradePolicy::Default, |it| it.http.h2_upgrade_policy) {
        H2UpgradePolicy::Upgrade => true,
        H2UpgradePolicy::DoNotUpgrade => false,
        H2UpgradePolicy::Default => {
            protocol.is_http() && mesh.h2_upgrade_policy == H2UpgradePolicy::Upgrade
        }
    }
}

fn limit(limit: Option<u32>) -> u32 {
    limit.filter(|it| *it > 0).unwrap_or(u32::MAX)
}

fn tcp_keepalive(keepalive: &TcpKeepalive) -> Keepalive {
    let TcpKeepalive {
        probes,
        time,
        interval,
    } = keepalive;
    let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    Keepalive {
        keepalive_probes: *probes,
        keepalive_time: time.map(seconds),
        keepalive_interval: interval.map(seconds),
    }
}
