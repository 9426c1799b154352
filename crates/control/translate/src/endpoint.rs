//! Endpoints (EDS).
//!
//! In: a cluster's name. Out: where the workloads of the service (or its subset) serve its port, by
//! locality; no endpoints at all for a name that stands for nothing. Called through
//! [`crate::endpoints`].

mod locality;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use meltemi_model::{EndpointAddress, Labels, Locality, MutualTlsMode};
use meltemi_snapshot::Endpoint as WorkloadEndpoint;
use meltemi_xds::pb::envoy::config::core::v3::{
    self as core, HealthStatus, Metadata, SocketAddress, address::Address,
    socket_address::PortSpecifier,
};
use meltemi_xds::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};

use crate::name::{SERVER_NAME, SubsetKey};
use crate::proto::{address, fields, metadata, pipe, text};
use crate::scope::Scope;

pub(crate) use locality::setting as locality_setting;

/// The endpoints of the cluster named `name`.
pub(crate) fn load_assignment(scope: &Scope<'_>, name: &str) -> ClusterLoadAssignment {
    // TLS that a gateway passes through by the cluster's name is for those who open it.
    let passed_through = name.starts_with(SERVER_NAME);
    let endpoints = SubsetKey::parse(name).and_then(|key| localities(scope, &key, passed_through));
    ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: endpoints.unwrap_or_default(),
        ..Default::default()
    }
}

/// The endpoints of the cluster named `name`, of which a gRPC library takes addresses alone, and each
/// of them once.
pub(crate) fn grpc(scope: &Scope<'_>, name: &str) -> ClusterLoadAssignment {
    let mut assignment = load_assignment(scope, name);
    let mut known = BTreeSet::new();
    for locality in &mut assignment.endpoints {
        locality.lb_endpoints.retain(|it| {
            let Some(HostIdentifier::Endpoint(endpoint)) = &it.host_identifier else {
                return false;
            };
            let address = endpoint.address.as_ref().and_then(|it| it.address.as_ref());
            let Some(Address::SocketAddress(socket)) = address else {
                return false;
            };
            let is_ip = socket.address.parse::<IpAddr>().is_ok();
            is_ip && known.insert((socket.address.clone(), port_of(socket)))
        });
    }
    assignment
        .endpoints
        .retain(|it| !it.lb_endpoints.is_empty());
    assignment
}

fn port_of(socket: &SocketAddress) -> u32 {
    match &socket.port_specifier {
        Some(PortSpecifier::PortValue(port)) => *port,
        Some(PortSpecifier::NamedPort(_)) | None => 0,
    }
}

/// One endpoint that is written into a cluster: an address, or a name for DNS.
pub(crate) fn static_endpoint(host: &str, port: u16) -> LocalityLbEndpoints {
    LocalityLbEndpoints {
        lb_endpoints: vec![LbEndpoint {
            host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
                address: Some(address(host, port)),
                ..Default::default()
            })),
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// One endpoint at a Unix socket.
pub(crate) fn pipe_endpoint(path: &str) -> LocalityLbEndpoints {
    LocalityLbEndpoints {
        lb_endpoints: vec![LbEndpoint {
            host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
                address: Some(pipe(path)),
                ..Default::default()
            })),
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// The endpoints; only those that open the mesh's TLS where that is `passed_through`.
fn localities(
    scope: &Scope<'_>,
    key: &SubsetKey<'_>,
    passed_through: bool,
) -> Option<Vec<LocalityLbEndpoints>> {
    let (service, _) = scope.service_port(key.host, key.port)?;
    let rule = scope.destination_rule(&service);
    let (labels, policy) = match key.subset {
        "" => (
            Labels::default(),
            rule.map(|it| it.traffic_policy.clone()).unwrap_or_default(),
        ),
        subset => {
            let rule = rule?;
            let subset = rule.subset(subset)?;
            let refined = rule.traffic_policy.refined_by(&subset.traffic_policy);
            (subset.labels.clone(), refined)
        }
    };
    let endpoints = scope.endpoints(&service)?;
    let of_port = endpoints.port(key.port).iter();
    let here: Vec<_> = of_port
        .filter(|it| it.workload.is_of_subset(&labels))
        .filter(|it| !passed_through || opens_mutual(scope, it))
        .collect();
    let preference = locality::preference(scope, &service, policy.for_port(key.port));
    let mut groups: BTreeMap<(u32, Locality), Vec<&WorkloadEndpoint>> = BTreeMap::new();
    for endpoint in here {
        let locality = endpoint.workload.locality.clone().unwrap_or_default();
        let priority = locality::priority(scope, &preference, &endpoint.workload, &locality);
        groups
            .entry((priority, locality))
            .or_default()
            .push(endpoint);
    }
    let mut priorities: Vec<u32> = groups.keys().map(|(priority, _)| *priority).collect();
    priorities.dedup();
    let made = groups.into_iter().map(|((priority, locality), endpoints)| {
        let weight = endpoints.iter().map(|it| it.weight).sum();
        let lb_endpoints = endpoints.iter();
        let lb_endpoints = lb_endpoints
            .filter_map(|it| lb_endpoint(scope, it))
            .collect();
        let place = priorities.iter().position(|it| *it == priority);
        LocalityLbEndpoints {
            priority: place.and_then(|it| u32::try_from(it).ok()).unwrap_or(0),
            ..in_locality(locality, weight, lb_endpoints)
        }
    });
    Some(locality::distributed(scope, &preference, made.collect()))
}

fn in_locality(
    locality: Locality,
    weight: u32,
    lb_endpoints: Vec<LbEndpoint>,
) -> LocalityLbEndpoints {
    let Locality {
        region,
        zone,
        subzone,
    } = locality;
    LocalityLbEndpoints {
        locality: Some(core::Locality {
            region,
            zone,
            sub_zone: subzone,
        }),
        load_balancing_weight: Some(weight),
        lb_endpoints,
        ..Default::default()
    }
}

fn lb_endpoint(scope: &Scope<'_>, endpoint: &WorkloadEndpoint) -> Option<LbEndpoint> {
    let address = match &endpoint.address {
        EndpointAddress::Ip(ip) => address(&ip.to_string(), endpoint.port),
        EndpointAddress::Name(name) => address(name.as_str(), endpoint.port),
        EndpointAddress::Unix(path) => pipe(path),
        EndpointAddress::Absent => return None,
    };
    Some(LbEndpoint {
        health_status: HealthStatus::Healthy.into(),
        load_balancing_weight: Some(endpoint.weight),
        metadata: Some(endpoint_metadata(scope, endpoint)),
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(address),
            ..Default::default()
        })),
    })
}

/// What clients are told of an endpoint: whether it takes mutual TLS, and which workload it is.
fn endpoint_metadata(scope: &Scope<'_>, endpoint: &WorkloadEndpoint) -> Metadata {
    let workload = &endpoint.workload;
    let identity = [
        workload.workload_name(),
        workload.meta.namespace.as_str(),
        workload.canonical_name(),
        workload.canonical_revision(),
        &scope.node.cluster_id,
    ]
    .join(";");
    let istio = ("istio", fields([("workload", text(identity))]));
    // One that opens no TLS of the mesh is not sent any.
    let tls = opens_mutual(scope, endpoint).then(|| {
        let mode = fields([("tlsMode", text("istio"))]);
        ("envoy.transport_socket_match", mode)
    });
    metadata([istio].into_iter().chain(tls))
}

/// Whether an endpoint opens the mesh's mutual TLS.
fn opens_mutual(scope: &Scope<'_>, endpoint: &WorkloadEndpoint) -> bool {
    let meta = &endpoint.workload.meta;
    let policy = scope.mtls_of(&meta.namespace, &meta.labels);
    endpoint.mtls && policy.on_port(endpoint.port) != MutualTlsMode::Disable
}
