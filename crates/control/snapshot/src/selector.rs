//! Which labels of a client decide what it is sent.
//!
//! In: the resources that select clients. Out: the keys of their selectors; clients that agree on these
//! labels (and on what they serve) can share what was made for one of them.

use std::collections::BTreeSet;

use meltemi_model::{Labels, LocalityPreference, LocalitySetting};

use crate::Snapshot;

/// The label keys that some selector of clients asks for.
pub(crate) fn selecting_keys(snapshot: &Snapshot) -> BTreeSet<String> {
    let gateways = snapshot.gateways.iter().map(|it| &it.selector);
    let virtual_services = || snapshot.virtual_services.iter();
    let routes = virtual_services()
        .flat_map(|it| &it.http)
        .flat_map(|route| &route.matches)
        .map(|it| &it.source_labels);
    let of_tls = virtual_services()
        .flat_map(|it| &it.tls)
        .flat_map(|route| &route.matches)
        .map(|(_, it)| &it.source_labels);
    let of_tcp = virtual_services()
        .flat_map(|it| &it.tcp)
        .flat_map(|route| &route.matches)
        .map(|it| &it.source_labels);
    let rules = snapshot.destination_rules.iter();
    let rules = rules.filter_map(|it| it.workload_selector.as_ref());
    let sidecars = snapshot.sidecars.iter();
    let sidecars = sidecars.filter_map(|it| it.workload_selector.as_ref());
    let policies = snapshot.peer_authentications.iter();
    let policies = policies.filter_map(|it| it.selector.as_ref());
    let tokens = snapshot.request_authentications.iter();
    let rights = snapshot.authorization_policies.iter();
    let targets = rights
        .map(|it| &it.target)
        .chain(tokens.map(|it| &it.target));
    gateways
        .chain(routes)
        .chain(of_tls)
        .chain(of_tcp)
        .chain(rules)
        .chain(sidecars)
        .chain(policies)
        .flat_map(Labels::iter)
        .map(|(key, _)| key.to_owned())
        .chain(priorities(snapshot))
        .chain(snapshot.envoy_filters.selecting_keys().map(str::to_owned))
        .chain(snapshot.telemetries.selecting_keys().map(str::to_owned))
        .chain(targets.flat_map(|it| it.label_keys()).map(str::to_owned))
        .collect()
}

/// The labels by which endpoints are preferred that have them in common with the client.
fn priorities(snapshot: &Snapshot) -> Vec<String> {
    let rules = snapshot.destination_rules.iter();
    let of_rules = rules.flat_map(|rule| {
        let policies = std::iter::once(&rule.traffic_policy)
            .chain(rule.subsets.iter().map(|it| &it.traffic_policy));
        policies.flat_map(|policy| {
            let ports = policy.ports.iter().map(|it| &it.settings);
            let settings = std::iter::once(&policy.settings).chain(ports);
            settings.filter_map(|it| it.load_balancer.as_ref()?.locality.as_ref())
        })
    });
    let labels = |setting: &LocalitySetting| match &setting.preference {
        LocalityPreference::Priority(labels) => labels.iter().map(|it| it.key.clone()).collect(),
        LocalityPreference::Nearest
        | LocalityPreference::Distribute(_)
        | LocalityPreference::Failover(_) => Vec::new(),
    };
    of_rules
        .chain([&snapshot.mesh.locality])
        .flat_map(labels)
        .collect()
}
