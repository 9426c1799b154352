//! Patches to clusters.
//!
//! In: a cluster and the context that it is in. Out: the cluster patched, or that it goes.

use meltemi_merge::{Lists, merge};
use meltemi_model::{
    ApplyTo, ClusterMatch, ConfigPatch, ObjectMatch, PatchContext, PatchOperation,
};
use meltemi_xds::pb::envoy::config::cluster::v3::Cluster;
use meltemi_xds::pb::envoy::config::core::v3::TransportSocket;
use prost::Message;

use super::listener::{lists, merge_socket};
use super::{Patches, message};
use crate::name::{self, SubsetKey};
use crate::scope::Scope;

/// Patches a cluster; `false` if it goes.
pub(super) fn patch(
    patches: &Patches<'_>,
    scope: &Scope<'_>,
    context: PatchContext,
    cluster: &mut Cluster,
) -> bool {
    for patch in patches.to(ApplyTo::Cluster, context) {
        let removes = patch.operation == PatchOperation::Remove;
        let lists = lists(patch);
        if (!removes && lists.is_none()) || !matches_cluster(patch, scope, cluster) {
            continue;
        }
        let Some(lists) = lists else { return false };
        let Some(mut value) = message::of::<Cluster>(patch) else {
            continue;
        };
        if let Some(socket) = value.transport_socket.take() {
            merge_cluster_socket(cluster, socket, lists);
        }
        merge(cluster, &value.encode_to_vec(), lists);
    }
    true
}

/// A cluster that chooses among sockets has none of its own: the patch is for the one of its name
/// among them.
fn merge_cluster_socket(cluster: &mut Cluster, socket: TransportSocket, lists: Lists) {
    if cluster.transport_socket_matches.is_empty() {
        merge_socket(&mut cluster.transport_socket, socket, lists);
        return;
    }
    let mut sockets = cluster
        .transport_socket_matches
        .iter_mut()
        .map(|it| &mut it.transport_socket);
    let same = |it: &TransportSocket| it.name == socket.name;
    if let Some(own) = sockets.find(|it| it.as_ref().is_some_and(same)) {
        merge_socket(own, socket, lists);
    }
}

fn matches_cluster(patch: &ConfigPatch, scope: &Scope<'_>, cluster: &Cluster) -> bool {
    let ObjectMatch::Cluster(wanted) = &patch.object else {
        return true;
    };
    let ClusterMatch {
        port,
        service,
        subset,
        name,
    } = wanted;
    if let Some(name) = name {
        return *name == cluster.name;
    }
    if let Some(number) = name::inbound_port(&cluster.name) {
        return subset.is_none()
            && port.is_none_or(|it| it == number)
            && service.as_ref().is_none_or(|it| serves(scope, number, it));
    }
    let key = SubsetKey::parse(&cluster.name);
    let (own_port, own_subset, own_host) =
        key.map_or((None, "", ""), |it| (Some(it.port), it.subset, it.host));
    port.is_none_or(|it| own_port == Some(it))
        && subset.as_ref().is_none_or(|it| it == own_subset)
        && service.as_ref().is_none_or(|it| it == own_host)
}

/// Whether the service of this host has its endpoints at this port of the workload.
fn serves(scope: &Scope<'_>, port: u16, host: &str) -> bool {
    let mut targets = scope.targets().into_iter();
    targets.any(|it| it.target == port && it.service.hostname.as_str() == host)
}
