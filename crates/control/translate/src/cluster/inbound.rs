//! Clusters of the proxy's own workload.
//!
//! In: the services that select the workload. Out: `inbound|PORT||` for each of its ports, which
//! leads to the application.

use meltemi_snapshot::ServiceTarget;
use meltemi_xds::pb::envoy::config::cluster::v3::{
    Cluster,
    cluster::{CommonLbConfig, DiscoveryType, LbPolicy},
};
use meltemi_xds::pb::envoy::config::core::v3::BindConfig;
use meltemi_xds::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;

use super::catch_all::passthrough_source;
use super::http::HttpOptions;
use super::{discovery, metadata, policy};
use crate::endpoint::static_endpoint;
use crate::name::{inbound_cluster, loopback, stat_prefix};
use crate::proto;
use crate::scope::Scope;

/// The clusters of every port that the workload serves.
pub(super) fn build(scope: &Scope<'_>) -> Vec<Cluster> {
    let all = scope.inbound_all();
    scope
        .inbound()
        .iter()
        .map(|target| {
            let mut hosts: Vec<_> = all
                .iter()
                .filter(|it| it.target == target.target)
                .map(|it| it.service.as_ref())
                .collect();
            hosts.dedup_by_key(|it| &it.hostname);
            let mut istio = metadata::services(hosts);
            let mut cluster = cluster(scope, target);
            // Limits hold at the server too, so that it takes what its clients may send.
            let rule = scope.destination_rule(&target.service);
            if let Some(rule) = rule {
                metadata::add_rule(&mut istio, &rule.meta);
            }
            let pool = rule.map(|it| it.traffic_policy.for_port(target.port.number));
            let pool = pool.and_then(|it| it.connection_pool);
            let mut options = HttpOptions::of(target.port.protocol, true);
            policy::apply_pool(&mut cluster, &mut options, pool.as_ref(), scope.mesh());
            cluster.typed_extension_protocol_options = options.build();
            cluster.metadata = Some(proto::metadata([("istio", istio)]));
            cluster
        })
        .collect()
}

/// The cluster as such: to the application's own address where it has one, else to where the
/// connection went, from an address that the interception leaves alone.
fn cluster(scope: &Scope<'_>, target: &ServiceTarget) -> Cluster {
    let name = inbound_cluster(target.target);
    let own = scope.node.app_address.map(|it| it.to_string());
    let own = own.or_else(|| {
        let binds = scope.node.binds();
        binds.then(|| loopback(Some(scope.ip())).to_owned())
    });
    let (kind, balancer) = match own {
        Some(_) => (DiscoveryType::Static, LbPolicy::RoundRobin),
        None => (DiscoveryType::OriginalDst, LbPolicy::ClusterProvided),
    };
    Cluster {
        cluster_discovery_type: Some(discovery(kind)),
        alt_stat_name: stat_prefix(&name),
        lb_policy: balancer.into(),
        common_lb_config: Some(CommonLbConfig::default()),
        upstream_bind_config: own.is_none().then(|| BindConfig {
            source_address: Some(passthrough_source(scope)),
            ..Default::default()
        }),
        load_assignment: own.map(|ip| ClusterLoadAssignment {
            cluster_name: name.clone(),
            endpoints: vec![static_endpoint(&ip, target.target)],
            ..Default::default()
        }),
        name,
        ..Default::default()
    }
}
