//! Endpoints (EDS).
//!
//! In: a cluster's name. Out: where the workloads of the service (or its subset) serve its port, by
//! locality; no endpoints at all for a name that stands for nothing. Called through
//! [`crate::endpoints`].

use std::collections::BTreeMap;

use meltemi_model::{Labels, Locality};
use meltemi_snapshot::Endpoint as WorkloadEndpoint;
use meltemi_xds::pb::envoy::config::core::v3::{self as core, HealthStatus, Metadata};
use meltemi_xds::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};

use crate::name::SubsetKey;
use crate::proto::{address, fields, metadata, text};
use crate::scope::Scope;

/// The endpoints of the cluster named `name`.
pub(crate) fn load_assignment(scope: &Scope<'_>, name: &str) -> ClusterLoadAssignment {
    let endpoints = SubsetKey::parse(name).and_then(|key| localities(scope, &key));
    ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: endpoints.unwrap_or_default(),
        ..Default::default()
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

fn localities(scope: &Scope<'_>, key: &SubsetKey<'_>) -> Option<Vec<LocalityLbEndpoints>> {
    let service = scope.service(key.host)?;
    let labels = match key.subset {
        "" => Labels::default(),
        subset => scope
            .destination_rule(service)?
            .subset(subset)?
            .labels
            .clone(),
    };
    let endpoints = scope.snapshot.endpoints(service)?;
    let mut by_locality: BTreeMap<Locality, Vec<LbEndpoint>> = BTreeMap::new();
    for endpoint in endpoints.port(key.port) {
        let workload = &endpoint.workload;
        if labels.selects(&workload.meta.labels) {
            by_locality
                .entry(workload.locality.clone().unwrap_or_default())
                .or_default()
                .push(lb_endpoint(scope, endpoint));
        }
    }
    Some(by_locality.into_iter().map(locality).collect())
}

fn locality((locality, endpoints): (Locality, Vec<LbEndpoint>)) -> LocalityLbEndpoints {
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
        load_balancing_weight: u32::try_from(endpoints.len()).ok(),
        lb_endpoints: endpoints,
        ..Default::default()
    }
}

fn lb_endpoint(scope: &Scope<'_>, endpoint: &WorkloadEndpoint) -> LbEndpoint {
    let ip = endpoint.address.to_string();
    LbEndpoint {
        health_status: HealthStatus::Healthy.into(),
        load_balancing_weight: Some(1),
        metadata: Some(endpoint_metadata(scope, endpoint)),
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(address(&ip, endpoint.port)),
            ..Default::default()
        })),
    }
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
    let tls = endpoint.mtls.then(|| {
        let mode = fields([("tlsMode", text("istio"))]);
        ("envoy.transport_socket_match", mode)
    });
    metadata([istio].into_iter().chain(tls))
}
