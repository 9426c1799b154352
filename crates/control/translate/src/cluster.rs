//! Clusters (CDS).
//!
//! In: what a proxy sees. Out: a cluster for every port and subset of every service, one for every
//! port that its workload serves, and the ones that catch the rest. Called through
//! [`crate::clusters`].

mod balancer;
mod catch_all;
mod http;
mod inbound;
mod metadata;
mod outbound;
mod outlier;
mod policy;

use meltemi_xds::pb::envoy::config::cluster::v3::{
    Cluster,
    cluster::{ClusterDiscoveryType, DiscoveryType},
};

use crate::scope::Scope;
use crate::{ProxyRole, gateway};

/// Every cluster of a proxy.
pub(crate) fn build(scope: &Scope<'_>) -> Vec<Cluster> {
    let mut clusters = outbound::build(scope);
    if scope.node.role == ProxyRole::Router && gateway::passes_clusters_through(scope) {
        clusters.extend(outbound::passed_through(&clusters));
    }
    clusters.push(catch_all::black_hole(scope));
    if scope.node.role == ProxyRole::Sidecar {
        clusters.push(catch_all::passthrough(scope));
        clusters.extend(catch_all::by_host(scope));
        clusters.extend(inbound::build(scope));
        clusters.push(catch_all::inbound_passthrough(scope));
    }
    clusters
}

/// Whether the cluster's endpoints come over EDS.
pub(crate) fn needs_endpoints(cluster: &Cluster) -> bool {
    cluster.cluster_discovery_type == Some(discovery(DiscoveryType::Eds))
}

fn discovery(kind: DiscoveryType) -> ClusterDiscoveryType {
    ClusterDiscoveryType::Type(kind.into())
}
