//! Clusters of services.
//!
//! In: the services that a proxy sees and the destination rules for them. Out: for each port
//! `outbound|PORT||HOST`, and one for each subset (FEATURES T11, T16, T17).

use meltemi_model::{DestinationRule, Protocol, Service, ServicePort, TrafficPolicy};
use meltemi_xds::pb::envoy::config::cluster::v3::{
    Cluster,
    cluster::{CommonLbConfig, DiscoveryType, DnsLookupFamily, EdsClusterConfig},
};
use meltemi_xds::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;

use super::http::{HttpOptions, Version};
use super::{discovery, metadata, policy};
use crate::ProxyRole;
use crate::endpoint::static_endpoint;
use crate::filter::cluster_metadata_exchange;
use crate::name::{SubsetKey, stat_prefix};
use crate::proto;
use crate::scope::{Resolution, Scope};
use crate::tls::upstream::{self, Peer};

/// How often DNS is asked where the answer does not say.
const DNS_REFRESH: std::time::Duration = std::time::Duration::from_secs(60);

/// One cluster to be made.
struct Plan<'a> {
    service: &'a Service,
    port: &'a ServicePort,
    subset: &'a str,
    resolution: &'a Resolution,
    rule: Option<&'a DestinationRule>,
    policy: TrafficPolicy,
}

/// The clusters of every service that the proxy sees.
pub(super) fn build(scope: &Scope<'_>) -> Vec<Cluster> {
    let mut clusters = Vec::new();
    for service in scope.services() {
        let resolution = scope.resolution(service);
        if resolution == Resolution::Alias {
            continue;
        }
        let rule = scope.destination_rule(service).map(AsRef::as_ref);
        for port in service
            .ports
            .iter()
            .filter(|it| it.protocol != Protocol::Udp)
        {
            let whole = rule.map(|it| &it.traffic_policy);
            let plan = |subset, policy: Option<TrafficPolicy>| Plan {
                service,
                port,
                subset,
                resolution: &resolution,
                rule,
                policy: policy.unwrap_or_default().for_port(port.number),
            };
            clusters.push(cluster(scope, &plan("", whole.cloned())));
            for subset in rule.into_iter().flat_map(|it| &it.subsets) {
                let refined = whole.map(|it| it.refined_by(&subset.traffic_policy));
                clusters.push(cluster(scope, &plan(subset.name.as_str(), refined)));
            }
        }
    }
    clusters
}

fn cluster(scope: &Scope<'_>, plan: &Plan<'_>) -> Cluster {
    let Plan {
        service,
        port,
        subset,
        resolution,
        rule,
        policy,
    } = plan;
    let key = SubsetKey {
        port: port.number,
        subset,
        host: service.hostname.as_str(),
    };
    let mut istio = metadata::services([*service]);
    metadata::add_original_port(&mut istio, port.number);
    if let Some(rule) = rule {
        metadata::add_rule(&mut istio, &rule.meta);
    }
    if !subset.is_empty() {
        metadata::add_subset(&mut istio, subset);
    }
    if matches!(resolution, Resolution::Dns(_)) {
        let external = prost_types::Value {
            kind: Some(prost_types::value::Kind::BoolValue(true)),
        };
        istio.fields.insert("external".to_owned(), external);
    }
    let mut cluster = Cluster {
        name: key.cluster(),
        alt_stat_name: stat_prefix(&key.cluster()),
        common_lb_config: Some(CommonLbConfig::default()),
        ..Default::default()
    };
    apply_resolution(scope, &mut cluster, resolution, port);

    let sidecar = scope.node.role == ProxyRole::Sidecar;
    let mut options = HttpOptions::of(port.protocol, sidecar);
    let pool = policy.connection_pool.as_ref();
    policy::apply_pool(&mut cluster, &mut options, pool, scope.mesh());
    if policy::upgrades(port.protocol, pool, scope.mesh()) {
        options.version = Version::Http2;
    }
    policy::apply_load_balancer(&mut cluster, policy.load_balancer);

    let peer = Peer {
        service,
        port: port.number,
        server_name: key.server_name(),
        resolution,
        http2: options.is_http2(),
    };
    let tls = upstream::transport(scope, &peer, policy.tls.as_ref());
    if tls.foreign {
        metadata::add_foreign_tls(&mut istio);
    }
    cluster.transport_socket = tls.socket;
    cluster.transport_socket_matches = tls.matches;
    options.upstream = tls.from_request;
    cluster.typed_extension_protocol_options = options.build();
    cluster
        .filters
        .extend(cluster_metadata_exchange(scope.node));
    cluster.metadata = Some(proto::metadata([("istio", istio)]));
    cluster
}

#[allow(deprecated)] // the DNS settings' successor is unknown to the Envoy of current meshes
fn apply_resolution(
    scope: &Scope<'_>,
    cluster: &mut Cluster,
    resolution: &Resolution,
    port: &ServicePort,
) {
    let kind = match resolution {
        Resolution::Endpoints | Resolution::Alias => {
            cluster.eds_cluster_config = Some(EdsClusterConfig {
                eds_config: Some(proto::ads()),
                service_name: cluster.name.clone(),
            });
            DiscoveryType::Eds
        }
        Resolution::OriginalDestination => DiscoveryType::OriginalDst,
        Resolution::Dns(name) => {
            let family = if scope.ip().is_ipv6() {
                DnsLookupFamily::V6Only
            } else {
                DnsLookupFamily::V4Only
            };
            cluster.dns_lookup_family = family.into();
            cluster.dns_refresh_rate = Some(proto::duration(DNS_REFRESH));
            cluster.respect_dns_ttl = true;
            cluster.load_assignment = Some(ClusterLoadAssignment {
                cluster_name: cluster.name.clone(),
                endpoints: vec![static_endpoint(name.as_str(), port.number)],
                ..Default::default()
            });
            DiscoveryType::StrictDns
        }
    };
    cluster.cluster_discovery_type = Some(discovery(kind));
}
