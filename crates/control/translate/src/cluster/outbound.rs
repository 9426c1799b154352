//! Clusters of services.
//!
//! In: the services that a proxy sees and the destination rules for them. Out: for each port
//! `outbound|PORT||HOST`, and one for each subset (FEATURES T11, T12, T16, T17).

use meltemi_model::{DestinationRule, Protocol, Service, ServicePort, TargetPort, TrafficPolicy};
use meltemi_xds::pb::envoy::config::cluster::v3::{
    Cluster,
    cluster::{CommonLbConfig, DiscoveryType, EdsClusterConfig},
};
use meltemi_xds::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;

use super::http::{HttpOptions, Version};
use super::{balancer, discovery, metadata, outlier, policy, stat_name};
use crate::endpoint::{load_assignment, static_endpoint};
use crate::filter::cluster_metadata_exchange;
use crate::name::{SubsetKey, stat_prefix};
use crate::proto;
use crate::scope::{Resolution, Scope};
use crate::tls::upstream::{self, Peer};
use crate::{ProxyRole, dynamic_dns};

/// One cluster to be made.
struct Plan<'a> {
    service: &'a Service,
    port: &'a ServicePort,
    subset: &'a str,
    resolution: &'a Resolution,
    rule: Option<&'a DestinationRule>,
    policy: TrafficPolicy,
}

/// The clusters of the services with this host that the proxy sees.
pub(super) fn of_host(scope: &Scope<'_>, host: &str) -> Vec<Cluster> {
    let mut clusters = Vec::new();
    for service in &scope.services_of(host) {
        let resolution = scope.resolution(service);
        let unknown = resolution == Resolution::DynamicDns && scope.node.lacks.dynamic_dns;
        if resolution == Resolution::Alias || unknown {
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
                policy: policy.unwrap_or_default(),
            };
            clusters.extend(cluster(scope, &plan("", whole.cloned())));
            for subset in rule.into_iter().flat_map(|it| &it.subsets) {
                let refined = whole.map(|it| it.refined_by(&subset.traffic_policy));
                clusters.extend(cluster(scope, &plan(subset.name.as_str(), refined)));
            }
        }
    }
    clusters
}

/// Clusters of TLS that a gateway sends on as it is, named by the server names of those.
pub(super) fn passed_through(clusters: &[Cluster]) -> Vec<Cluster> {
    clusters
        .iter()
        .filter_map(|it| {
            let name = SubsetKey::parse(&it.name)?.server_name();
            let mut eds = it.eds_cluster_config.clone()?;
            eds.service_name.clone_from(&name);
            Some(Cluster {
                alt_stat_name: stat_prefix(&name),
                name,
                eds_cluster_config: Some(eds),
                transport_socket: None,
                transport_socket_matches: Vec::new(),
                typed_extension_protocol_options: Default::default(),
                filters: Vec::new(),
                ..it.clone()
            })
        })
        .collect()
}

fn cluster(scope: &Scope<'_>, plan: &Plan<'_>) -> Option<Cluster> {
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
    let settings = policy.for_port(port.number);
    if matches!(resolution, Resolution::Dns(_)) || service.is_external() {
        let external = prost_types::Value {
            kind: Some(prost_types::value::Kind::BoolValue(true)),
        };
        istio.fields.insert("external".to_owned(), external);
    }
    let mut cluster = Cluster {
        name: key.cluster(),
        alt_stat_name: stat_name::of(
            scope.mesh().outbound_stat_name.as_deref(),
            &key.cluster(),
            Some(service),
            port.number,
            subset,
        ),
        common_lb_config: Some(CommonLbConfig::default()),
        ..Default::default()
    };
    apply_resolution(scope, &mut cluster, resolution, port);
    if resolution_needs_endpoints(&cluster, resolution) {
        return None;
    }

    let sidecar = scope.node.role == ProxyRole::Sidecar;
    let mut options = HttpOptions::of(port.protocol, sidecar, scope);
    let pool = settings.connection_pool.as_ref();
    policy::apply_pool(&mut cluster, &mut options, pool, scope.mesh());
    if policy::upgrades(port.protocol, pool, scope.mesh()) {
        options.version = Version::Http2;
    }
    balancer::apply(scope, &mut cluster, service, settings);
    outlier::apply(&mut cluster, settings.outlier_detection.as_ref());
    outlier::apply_budget(&mut cluster, policy.retry_budget.as_ref());

    let peer = Peer {
        service,
        port: port.number,
        server_name: key.server_name(),
        resolution,
        http2: options.is_http2(),
    };
    let tls = upstream::transport(scope, &peer, settings.tls.as_ref());
    if tls.foreign {
        metadata::add_foreign_tls(&mut istio);
    }
    if service.is_external() && scope.proxy_headers().metadata_in_mesh {
        metadata::add_external(&mut istio);
    }
    cluster.transport_socket = tls.socket;
    cluster.transport_socket_matches = tls.matches;
    if let Some(version) = policy.proxy_protocol {
        upstream::announce_client(&mut cluster, version);
    }
    options.upstream = tls.from_request;
    cluster.typed_extension_protocol_options = options.build();
    cluster
        .filters
        .extend(cluster_metadata_exchange(scope.node));
    cluster.metadata = Some(proto::metadata([("istio", istio)]));
    Some(cluster)
}

/// Whether the cluster asks DNS for names and has none.
fn resolution_needs_endpoints(cluster: &Cluster, resolution: &Resolution) -> bool {
    let none =
        |it: &ClusterLoadAssignment| it.endpoints.iter().all(|it| it.lb_endpoints.is_empty());
    matches!(resolution, Resolution::DnsOfEndpoints { .. })
        && cluster.load_assignment.as_ref().is_none_or(none)
}

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
            apply_dns(scope, cluster);
            cluster.load_assignment = Some(ClusterLoadAssignment {
                cluster_name: cluster.name.clone(),
                endpoints: vec![static_endpoint(name.as_str(), port.number)],
                ..Default::default()
            });
            DiscoveryType::StrictDns
        }
        Resolution::DnsOfEndpoints { first_only } => {
            apply_dns(scope, cluster);
            cluster.load_assignment = Some(dns_endpoints(scope, &cluster.name, port));
            match first_only {
                true => DiscoveryType::LogicalDns,
                false => DiscoveryType::StrictDns,
            }
        }
        Resolution::DynamicDns => {
            cluster.cluster_discovery_type = Some(dynamic_dns::discovery(scope));
            return;
        }
    };
    cluster.cluster_discovery_type = Some(discovery(kind));
}

/// The names to look up: those of the endpoints, else the host itself.
pub(super) fn dns_endpoints(
    scope: &Scope<'_>,
    name: &str,
    port: &ServicePort,
) -> ClusterLoadAssignment {
    let mut written = load_assignment(scope, name);
    let host = SubsetKey::parse(name).map_or("", |it| it.host);
    let service = scope.service_port(host, port.number).map(|(it, _)| it);
    let has_none = service.as_ref().is_some_and(|it| {
        let entry = it.entry.as_ref();
        it.selector.is_none() && entry.is_none_or(|it| it.endpoints.is_empty())
    });
    if has_none && !host.starts_with('*') {
        let target = match port.target {
            TargetPort::Number(number) => number,
            TargetPort::Name(_) => port.number,
        };
        written.endpoints = vec![static_endpoint(host, target)];
    }
    written
}

#[allow(deprecated)] // the DNS settings' successor is unknown to the Envoy of current meshes
fn apply_dns(scope: &Scope<'_>, cluster: &mut Cluster) {
    cluster.dns_lookup_family = dynamic_dns::lookup_family(scope).into();
    cluster.dns_refresh_rate = Some(proto::duration(scope.mesh().dns_refresh_rate));
    cluster.respect_dns_ttl = true;
}
