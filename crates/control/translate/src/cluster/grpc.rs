//! Clusters as gRPC libraries take them (gRFC A27, A29, A32, A37, A42).
//!
//! In: the services that such a client sees. Out: for each port and subset a cluster with those fields
//! alone that the libraries know. Where what is wanted cannot be had there (TLS that is not the mesh's,
//! several names to look up, the destination that an application dialled), there is no cluster, and
//! calls fail with `UNAVAILABLE` rather than go out some other way.

use meltemi_model::{
    BalancerPolicy, ConsistentHash, HashAlgorithm, PolicySettings, Protocol, Service, ServicePort,
};
use meltemi_xds::pb::envoy::config::cluster::v3::{
    CircuitBreakers, Cluster,
    circuit_breakers::Thresholds,
    cluster::{DiscoveryType, EdsClusterConfig, LbConfig, LbPolicy, RingHashLbConfig},
};
use meltemi_xds::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;

use super::{discovery, outbound};
use crate::endpoint::static_endpoint;
use crate::name::SubsetKey;
use crate::proto;
use crate::scope::{Resolution, Scope};
use crate::tls::upstream;

/// The clusters of the services with this host.
pub(super) fn of_host(scope: &Scope<'_>, host: &str) -> Vec<Cluster> {
    let mut clusters = Vec::new();
    for service in &scope.services_of(host) {
        let rule = scope.destination_rule(service);
        let ports = service.ports.iter();
        for port in ports.filter(|it| it.protocol != Protocol::Udp) {
            let whole = rule.map(|it| it.traffic_policy.clone()).unwrap_or_default();
            clusters.extend(cluster(
                scope,
                service,
                port,
                "",
                whole.for_port(port.number),
            ));
            for subset in rule.into_iter().flat_map(|it| &it.subsets) {
                let refined = whole.refined_by(&subset.traffic_policy);
                let settings = refined.for_port(port.number);
                let name = subset.name.as_str();
                clusters.extend(cluster(scope, service, port, name, settings));
            }
        }
    }
    clusters
}

fn cluster(
    scope: &Scope<'_>,
    service: &Service,
    port: &ServicePort,
    subset: &str,
    settings: &PolicySettings,
) -> Option<Cluster> {
    let key = SubsetKey {
        port: port.number,
        subset,
        host: service.hostname.as_str(),
    };
    let name = key.cluster();
    let (kind, load_assignment) = match scope.resolution(service) {
        Resolution::Endpoints => (DiscoveryType::Eds, None),
        Resolution::Dns(target) => {
            let endpoints = vec![static_endpoint(target.as_str(), port.number)];
            (DiscoveryType::LogicalDns, Some(endpoints))
        }
        Resolution::DnsOfEndpoints { .. } => {
            let mut endpoints = outbound::dns_endpoints(scope, &name, port).endpoints;
            // The libraries look one name up.
            let one = matches!(&endpoints[..], [only] if only.lb_endpoints.len() == 1);
            if !one {
                return None;
            }
            endpoints.iter_mut().for_each(|it| it.locality = None);
            (DiscoveryType::LogicalDns, Some(endpoints))
        }
        Resolution::OriginalDestination | Resolution::DynamicDns | Resolution::Alias => {
            return None;
        }
    };
    let (lb_policy, lb_config) = balancer(settings)?;
    let pool = settings.connection_pool.as_ref();
    let limit = pool.and_then(|it| it.http.max_requests);
    Some(Cluster {
        cluster_discovery_type: Some(discovery(kind)),
        eds_cluster_config: load_assignment.is_none().then(|| EdsClusterConfig {
            eds_config: Some(proto::ads()),
            service_name: name.clone(),
        }),
        load_assignment: load_assignment.map(|endpoints| ClusterLoadAssignment {
            cluster_name: name.clone(),
            endpoints,
            ..Default::default()
        }),
        circuit_breakers: limit.map(|it| CircuitBreakers {
            thresholds: vec![Thresholds {
                max_requests: Some(it),
                ..Default::default()
            }],
            per_host_thresholds: Vec::new(),
        }),
        transport_socket: upstream::grpc(scope, service, settings.tls.as_ref()).ok()?,
        lb_policy: lb_policy.into(),
        lb_config,
        name,
        ..Default::default()
    })
}

/// The libraries know two policies: by turns, which stands for all that make no promise, and by hash.
fn balancer(settings: &PolicySettings) -> Option<(LbPolicy, Option<LbConfig>)> {
    let balancer = settings.load_balancer.clone().unwrap_or_default();
    match balancer.policy {
        BalancerPolicy::Unspecified
        | BalancerPolicy::RoundRobin
        | BalancerPolicy::LeastRequest
        | BalancerPolicy::Random => Some((LbPolicy::RoundRobin, None)),
        BalancerPolicy::ConsistentHash(ConsistentHash {
            key: _, // ignored: in the routes
            algorithm,
        }) => {
            let ring = match algorithm {
                HashAlgorithm::RingHash { minimum_size } => RingHashLbConfig {
                    minimum_ring_size: Some(minimum_size.min(LARGEST_RING)),
                    ..Default::default()
                },
                HashAlgorithm::Maglev { table_size: _ } => RingHashLbConfig::default(),
            };
            let config = LbConfig::RingHashLbConfig(ring);
            Some((LbPolicy::RingHash, Some(config)))
        }
        BalancerPolicy::Passthrough => None,
    }
}

/// Larger rings are refused.
const LARGEST_RING: u64 = 8 * 1024 * 1024;
