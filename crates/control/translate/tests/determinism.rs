//! The same input gives the same bytes, whatever the order it came in; proxies of one group get the
//! same as each other.
#![allow(clippy::unwrap_used)]

#[path = "support/case.rs"]
mod support;

use meltemi_snapshot::Snapshot;
use meltemi_translate::{Part, Translator, endpoints, group_key, routes, secrets, translate};
use serde_json::json;
use support::{Case, node};

#[test]
fn the_order_of_resources_makes_no_difference() {
    for case in Case::all() {
        let forth = case.snapshot();
        let back = Snapshot::of(case.configs.iter().rev().cloned());
        for (name, proxy) in &case.proxies {
            let node = proxy.node();
            let resources = translate(&forth, &node);
            assert_eq!(resources, translate(&back, &node), "{}/{name}", case.name);
            assert_eq!(group_key(&forth, &node), group_key(&back, &node));
        }
    }
}

#[test]
fn proxies_of_one_group_get_the_same() {
    let case = Case::all()
        .into_iter()
        .find(|it| it.name == "destination-rule")
        .unwrap();
    let snapshot = case.snapshot();
    let proxy = |name: &str, ip: &str, labels: serde_json::Value| {
        node(&json!({
            "id": format!("sidecar~{ip}~{name}.shop~shop.svc.cluster.local"),
            "metadata": {"LABELS": labels},
        }))
    };
    let first = proxy("web-1", "10.2.0.1", json!({"app": "web"}));
    let second = proxy(
        "web-2",
        "10.2.0.2",
        json!({"app": "web", "pod-template-hash": "x"}),
    );
    assert_eq!(group_key(&snapshot, &first), group_key(&snapshot, &second));
    assert_eq!(translate(&snapshot, &first), translate(&snapshot, &second));
    // A label that a rule selects by.
    let other = proxy("other", "10.2.0.3", json!({"app": "batch"}));
    assert_ne!(group_key(&snapshot, &first), group_key(&snapshot, &other));
}

#[test]
fn names_that_stand_for_nothing_get_an_answer_where_one_is_waited_for() {
    let case = &Case::all()[0];
    let snapshot = case.snapshot();
    let node = case.proxies.values().next().unwrap().node();
    let names = ["outbound|80||nowhere", "nonsense", "9999"];
    assert_eq!(endpoints(&snapshot, &node, names).len(), 3);
    assert_eq!(routes(&snapshot, &node, names).len(), 3);
    assert!(secrets(&snapshot, &node, ["kubernetes://nothing"]).is_empty());
}

/// What is shared must not depend on what the group's node lacks: for every proxy of every case, the
/// shared parts that are made for the group are those that are made for the proxy.
#[test]
fn shared_parts_are_the_same_for_the_group_as_for_each_proxy() {
    for case in Case::all() {
        let snapshot = case.snapshot();
        for (name, proxy) in &case.proxies {
            let node = proxy.node();
            let key = group_key(&snapshot, &node);
            let own = Translator::new(&snapshot, &node);
            let group = Translator::new(&snapshot, key.node());
            let mut parts: Vec<_> = own.hosts().0.into_iter().map(Part::ClustersOf).collect();
            let resources = translate(&snapshot, &node);
            let names = resources.endpoints.keys().cloned();
            parts.extend(names.map(Part::Endpoints));
            parts.extend(resources.routes.keys().cloned().map(Part::Routes));
            parts.extend([Part::Clusters, Part::Listeners]);
            parts.extend(resources.listeners.keys().cloned().map(Part::Listener));
            for part in parts.iter().filter(|it| it.is_shared(key.node())) {
                let of_group = group.make(part).resources.into_iter();
                let of_group = of_group
                    .filter(|it| it.of_workload.is_none_or(|ip| !node.ips.contains(&ip)))
                    .collect::<Vec<_>>();
                let label = format!("{}/{name} {part:?}", case.name);
                assert_eq!(own.make(part).resources, of_group, "{label}");
            }
        }
    }
}
