//! Which labels of a client decide what it is sent.
//!
//! In: the resources that select clients, as they come and go. Out: the keys of their selectors; clients
//! that agree on these labels (and on what they serve) can share what was made for one of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_model::{
    DestinationRule, EnvoyFilter, Kind, Labels, LocalityPreference, LocalitySetting, ResourceId,
    Telemetry, VirtualService,
};
use rpds::RedBlackTreeMapSync;

use crate::Snapshot;
use crate::envoy_filter::GATEWAY_NAME;

/// The label keys for which some selector of clients asks, and how often.
#[derive(Debug, Default)]
pub(crate) struct SelectingKeys {
    counts: RedBlackTreeMapSync<String, usize>,
    keys: Arc<BTreeSet<String>>,
}

impl SelectingKeys {
    /// Some resources are others than they were. The keys: the same set as before if they are the same.
    pub fn update<'a>(
        &mut self,
        before: &Snapshot,
        after: &Snapshot,
        changed: impl Iterator<Item = &'a ResourceId> + Clone,
    ) -> Arc<BTreeSet<String>> {
        for key in changed.clone().flat_map(|it| keys_of(before, it)) {
            let count = self.counts.get(&key).map_or(0, |it| it.saturating_sub(1));
            if count == 0 {
                self.counts.remove_mut(&key);
            } else {
                self.counts.insert_mut(key, count);
            }
        }
        for key in changed.flat_map(|it| keys_of(after, it)) {
            let count = self.counts.get(&key).map_or(1, |it| it + 1);
            self.counts.insert_mut(key, count);
        }
        if !self.counts.keys().eq(self.keys.iter()) {
            self.keys = Arc::new(self.counts.keys().cloned().collect());
        }
        self.keys.clone()
    }
}

/// The keys for which a resource asks, each as often as it does.
fn keys_of(snapshot: &Snapshot, id: &ResourceId) -> Vec<String> {
    let (namespace, name) = (&id.namespace, &id.name);
    match id.kind {
        Kind::Gateway => {
            let gateway = snapshot.gateways.named.get(namespace, name);
            of_labels(gateway.map(|it| &it.selector))
        }
        Kind::VirtualService => {
            let service = snapshot.virtual_services.get(namespace, name);
            of_labels(service.into_iter().flat_map(|it| source_labels(it)))
        }
        Kind::DestinationRule => {
            let rule = snapshot.destination_rules.named.get(namespace, name);
            rule.map_or_else(Vec::new, |it| of_rule(it))
        }
        Kind::Sidecar => {
            let sidecar = snapshot.sidecars.named.get(namespace, name);
            of_labels(sidecar.and_then(|it| it.workload_selector.as_ref()))
        }
        Kind::PeerAuthentication => {
            let policy = snapshot.peer_authentications.named.get(namespace, name);
            of_labels(policy.and_then(|it| it.selector.as_ref()))
        }
        Kind::EnvoyFilter => {
            let filter = snapshot.envoy_filters.named.get(namespace, name);
            filter.map_or_else(Vec::new, |it| of_filter(it))
        }
        Kind::Telemetry => {
            let telemetry = snapshot.telemetries.named.get(namespace, name);
            telemetry.map_or_else(Vec::new, |it| of_telemetry(it))
        }
        Kind::RequestAuthentication => {
            let policy = snapshot.request_authentications.named.get(namespace, name);
            let keys = policy.into_iter().flat_map(|it| it.target.label_keys());
            keys.map(str::to_owned).collect()
        }
        Kind::AuthorizationPolicy => {
            let policy = snapshot.authorization_policies.named.get(namespace, name);
            let keys = policy.into_iter().flat_map(|it| it.target.label_keys());
            keys.map(str::to_owned).collect()
        }
        Kind::MeshConfig => preferred(&snapshot.mesh.locality),
        Kind::Namespace
        | Kind::Node
        | Kind::Service
        | Kind::ServiceAccount
        | Kind::ConfigMap
        | Kind::Secret
        | Kind::Deployment
        | Kind::Pod
        | Kind::EndpointSlice
        | Kind::ServiceEntry
        | Kind::WorkloadEntry
        | Kind::WorkloadGroup
        | Kind::ProxyConfig => Vec::new(),
    }
}

fn of_labels<'a>(labels: impl IntoIterator<Item = &'a Labels>) -> Vec<String> {
    let keys = labels.into_iter().flat_map(Labels::iter);
    keys.map(|(key, _)| key.to_owned()).collect()
}

fn source_labels(service: &VirtualService) -> impl Iterator<Item = &Labels> {
    let http = service.http.iter().flat_map(|it| &it.matches);
    let tls = service.tls.iter().flat_map(|it| &it.matches);
    let tcp = service.tcp.iter().flat_map(|it| &it.matches);
    http.map(|it| &it.source_labels)
        .chain(tls.map(|(_, it)| &it.source_labels))
        .chain(tcp.map(|it| &it.source_labels))
}

fn of_rule(rule: &DestinationRule) -> Vec<String> {
    let mut keys = of_labels(&rule.workload_selector);
    let of_subsets = rule.subsets.iter().map(|it| &it.traffic_policy);
    for policy in std::iter::once(&rule.traffic_policy).chain(of_subsets) {
        let ports = policy.ports.iter().map(|it| &it.settings);
        let settings = std::iter::once(&policy.settings).chain(ports);
        let settings = settings.filter_map(|it| it.load_balancer.as_ref()?.locality.as_ref());
        keys.extend(settings.flat_map(preferred));
    }
    keys
}

fn of_filter(filter: &EnvoyFilter) -> Vec<String> {
    let mut keys = of_labels(&filter.workload_selector);
    keys.extend((!filter.gateways.is_empty()).then(|| GATEWAY_NAME.to_owned()));
    keys
}

fn of_telemetry(telemetry: &Telemetry) -> Vec<String> {
    let mut keys = of_labels(&telemetry.selector);
    keys.extend((!telemetry.gateways.is_empty()).then(|| GATEWAY_NAME.to_owned()));
    keys
}

/// The labels by which endpoints are preferred that have them in common with the client.
fn preferred(setting: &LocalitySetting) -> Vec<String> {
    match &setting.preference {
        LocalityPreference::Priority(labels) => labels.iter().map(|it| it.key.clone()).collect(),
        LocalityPreference::Nearest
        | LocalityPreference::Distribute(_)
        | LocalityPreference::Failover(_) => Vec::new(),
    }
}
