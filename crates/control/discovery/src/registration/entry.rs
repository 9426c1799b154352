//! The WorkloadEntry of a workload that registers itself.
//!
//! In: a [`Claim`] and its WorkloadGroup. Out: the entry, as Istio makes it. Called by `ledger`.

use std::time::SystemTime;

use meltemi_model::{
    EndpointAddress, EntryEndpoint, HEALTH_CHECKS, Metadata, ResourceId, Timestamp, WorkloadEntry,
    WorkloadGroup,
};

use super::claim::Claim;

/// The annotation that names the WorkloadGroup.
pub(super) const GROUP: &str = "istio.io/autoRegistrationGroup";
/// The annotation that names the control plane that the workload was last connected to.
const CONTROLLER: &str = "istio.io/workloadController";
/// The annotation that says since when it is connected.
const CONNECTED: &str = "istio.io/connectedAt";
/// The annotation that says since when it is not.
const DISCONNECTED: &str = "istio.io/disconnectedAt";

/// The entry that a group has made for a workload. What the workload says of itself goes before what
/// `metadata` of the group says, and that before what its `template` says.
pub(super) fn made(id: &ResourceId, claim: &Claim, group: &WorkloadGroup) -> WorkloadEntry {
    let labels = group.labels.with(&claim.labels);
    let mut meta = Metadata::named(&id.name, id.namespace.as_str());
    meta.labels = labels.clone();
    let name = (GROUP.to_owned(), group.meta.name.to_string());
    meta.annotations.extend([name]);
    meta.annotations.extend(group.annotations.clone());
    if claim.is_probed {
        let checked = (HEALTH_CHECKS.to_owned(), "true".to_owned());
        meta.annotations.extend([checked]);
    }
    WorkloadEntry {
        meta,
        endpoint: EntryEndpoint {
            address: EndpointAddress::Ip(claim.address),
            ports: group.ports.clone(),
            labels,
            network: claim.network.clone().or_else(|| group.network.clone()),
            locality: claim.locality.clone().or_else(|| group.locality.clone()),
            weight: group.weight.filter(|it| *it > 0).unwrap_or(1),
            service_account: group.service_account.clone(),
        },
        healthy: None,
    }
}

/// Writes down that the workload is connected to this control plane.
pub(super) fn connected(entry: &mut WorkloadEntry, controller: &str, at: SystemTime) {
    let annotations = &mut entry.meta.annotations;
    annotations.remove(DISCONNECTED);
    annotations.insert(CONTROLLER.to_owned(), controller.to_owned());
    annotations.insert(CONNECTED.to_owned(), time(at));
}

/// Writes down that it is not any more.
pub(super) fn disconnected(entry: &mut WorkloadEntry, at: SystemTime) {
    let annotations = &mut entry.meta.annotations;
    annotations.remove(CONNECTED);
    annotations.insert(DISCONNECTED.to_owned(), time(at));
}

fn time(at: SystemTime) -> String {
    let since = at.duration_since(SystemTime::UNIX_EPOCH);
    let seconds = since.unwrap_or_default().as_secs();
    Timestamp(i64::try_from(seconds).unwrap_or(i64::MAX)).to_string()
}
