//! Clusters of the proxy's own workload.
//!
//! In: the ports of the workload. Out: `inbound|PORT||` for each, which leads to the application.

use meltemi_model::DefaultEndpoint;
use meltemi_xds::pb::envoy::config::cluster::v3::{
    Cluster,
    cluster::{CommonLbConfig, DiscoveryType, LbPolicy},
};
use meltemi_xds::pb::envoy::config::core::v3::BindConfig;
use meltemi_xds::pb::envoy::config::endpoint::v3::{ClusterLoadAssignment, LocalityLbEndpoints};

use super::catch_all::passthrough_source;
use super::http::HttpOptions;
use super::{discovery, metadata, policy, stat_name};
use crate::endpoint::{pipe_endpoint, static_endpoint};
use crate::name::{inbound_cluster, loopback};
use crate::proto;
use crate::scope::{InboundPort, Scope};

/// The clusters of every port that the workload serves.
pub(super) fn build(scope: &Scope<'_>) -> Vec<Cluster> {
    let default_pool = scope.sidecar().and_then(|it| it.inbound_pool.as_ref());
    scope
        .inbound()
        .iter()
        .map(|port| {
            let mut cluster = cluster(scope, port);
            let hosts: Vec<_> = port.services.iter().map(|it| it.0.as_ref()).collect();
            let mut istio = (!hosts.is_empty()).then(|| metadata::services(hosts));
            // Limits hold at the server too, so that it takes what its clients may send.
            let oldest = port.services.first();
            let rule = oldest.and_then(|(service, _)| scope.destination_rule(service));
            if let (Some(rule), Some(istio)) = (rule, istio.as_mut()) {
                metadata::add_rule(istio, &rule.meta);
            }
            let of_rule = rule.map(|it| it.traffic_policy.for_port(port.service_port()));
            let pool = port
                .ingress
                .and_then(|it| it.pool.as_ref())
                .or(default_pool)
                .or_else(|| of_rule.and_then(|it| it.connection_pool.as_ref()));
            let mut options = HttpOptions::of(port.protocol, true, scope);
            policy::apply_pool(&mut cluster, &mut options, pool, scope.mesh());
            cluster.typed_extension_protocol_options = options.build();
            cluster.metadata = istio.map(|it| proto::metadata([("istio", it)]));
            cluster
        })
        .collect()
}

/// The cluster as such: to where a Sidecar says that the application is, or to its own address where
/// it has one, else to where the connection went, from an address that the interception leaves alone.
fn cluster(scope: &Scope<'_>, port: &InboundPort<'_>) -> Cluster {
    let name = inbound_cluster(port.number);
    let own = application(scope, port);
    let (kind, balancer) = match own {
        Some(_) => (DiscoveryType::Static, LbPolicy::RoundRobin),
        None => (DiscoveryType::OriginalDst, LbPolicy::ClusterProvided),
    };
    Cluster {
        cluster_discovery_type: Some(discovery(kind)),
        alt_stat_name: stat_name::of(
            scope.mesh().inbound_stat_name.as_deref(),
            &name,
            port.services.first().map(|(service, _)| service.as_ref()),
            port.service_port(),
            "",
        ),
        lb_policy: balancer.into(),
        common_lb_config: Some(CommonLbConfig::default()),
        upstream_bind_config: own.is_none().then(|| BindConfig {
            source_address: Some(passthrough_source(scope)),
            ..Default::default()
        }),
        load_assignment: own.map(|endpoint| ClusterLoadAssignment {
            cluster_name: name.clone(),
            endpoints: vec![endpoint],
            ..Default::default()
        }),
        name,
        ..Default::default()
    }
}

/// Where the application is, if that is not where the connection went.
fn application(scope: &Scope<'_>, port: &InboundPort<'_>) -> Option<LocalityLbEndpoints> {
    let app_address = scope.node.app_address.map(|it| it.to_string());
    let written = port.ingress.and_then(|it| it.default_endpoint.as_ref());
    match written {
        Some(DefaultEndpoint::Loopback(ip, number)) => {
            let ip = app_address.unwrap_or_else(|| ip.to_string());
            return Some(static_endpoint(&ip, *number));
        }
        Some(DefaultEndpoint::Instance(number)) => {
            let ip = app_address.unwrap_or_else(|| scope.ip().to_string());
            return Some(static_endpoint(&ip, *number));
        }
        Some(DefaultEndpoint::Unix(path)) => return Some(pipe_endpoint(path)),
        None => {}
    }
    let own = app_address.or_else(|| {
        let local = scope.binds() || scope.mesh().inbound_to_localhost;
        local.then(|| loopback(Some(scope.ip())).to_owned())
    })?;
    Some(static_endpoint(&own, port.number))
}
