//! Clusters (CDS).
//!
//! In: what a proxy sees. Out: a cluster for every port and subset of every service, one for every
//! port that its workload serves, and the ones that catch the rest. Called through
//! [`crate::Translator`].

mod balancer;
mod catch_all;
mod grpc;
mod http;
mod inbound;
mod metadata;
mod outbound;
mod outlier;
mod policy;
mod stat_name;

use meltemi_xds::pb::envoy::config::cluster::v3::{
    Cluster,
    cluster::{ClusterDiscoveryType, DiscoveryType},
};

use crate::scope::Scope;
use crate::{ProxyRole, gateway};

/// The clusters of the services with this host.
pub(crate) fn of_host(scope: &Scope<'_>, host: &str) -> Vec<Cluster> {
    outbound::of_host(scope, host)
}

/// The same as a gRPC library takes them.
pub(crate) fn grpc(scope: &Scope<'_>, host: &str) -> Vec<Cluster> {
    grpc::of_host(scope, host)
}

/// Whether the proxy has the cluster of this name, of the services with this host. Envoy refuses what
/// names a gRPC service without its cluster, where other references may lead to nothing.
pub(crate) fn is_there(scope: &Scope<'_>, host: &str, name: &str) -> bool {
    of_host(scope, host).iter().any(|it| it.name == name)
}

/// The clusters to everything that is no service.
pub(crate) fn of_no_host(scope: &Scope<'_>) -> Vec<Cluster> {
    let mut clusters = vec![catch_all::black_hole(scope)];
    match scope.node.role {
        ProxyRole::Sidecar => {
            clusters.push(catch_all::passthrough(scope));
            clusters.extend(catch_all::by_host(scope));
        }
        ProxyRole::Router if gateway::passes_clusters_through(scope) => {
            let hosts = scope.hosts();
            let of_hosts = hosts.iter().flat_map(|it| of_host(scope, it.as_str()));
            clusters.extend(outbound::passed_through(&of_hosts.collect::<Vec<_>>()));
        }
        ProxyRole::Router => {}
    }
    clusters
}

/// The clusters to the proxy's own workload.
pub(crate) fn inbound(scope: &Scope<'_>) -> Vec<Cluster> {
    if scope.node.role == ProxyRole::Router {
        return Vec::new();
    }
    let mut clusters = inbound::build(scope);
    clusters.push(catch_all::inbound_passthrough(scope));
    clusters
}

/// Whether the cluster's endpoints come over EDS.
pub(crate) fn needs_endpoints(cluster: &Cluster) -> bool {
    cluster.cluster_discovery_type == Some(discovery(DiscoveryType::Eds))
}

fn discovery(kind: DiscoveryType) -> ClusterDiscoveryType {
    ClusterDiscoveryType::Type(kind.into())
}
