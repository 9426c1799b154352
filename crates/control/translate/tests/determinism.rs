//! The same input gives the same bytes, whatever the order it came in; proxies of one group get the
//! same as each other.
#![allow(clippy::unwrap_used)]

#[path = "support/case.rs"]
mod support;

use meltemi_snapshot::Snapshot;
use meltemi_translate::{endpoints, group_key, routes, secrets, translate};
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
    // A label that a rule selects by, and one that a service selects by.
    for labels in [json!({"app": "batch"}), json!({"app": "catalog"})] {
        let other = proxy("other", "10.2.0.3", labels);
        assert_ne!(group_key(&snapshot, &first), group_key(&snapshot, &other));
    }
    // Where listeners have the proxy's own address, every proxy is its own group.
    let binding = |ip: &str| {
        node(&json!({
            "id": format!("sidecar~{ip}~web.shop~shop.svc.cluster.local"),
            "metadata": {"INTERCEPTION_MODE": "NONE"},
        }))
    };
    let [one, two] = ["127.0.0.2", "127.0.0.3"].map(binding);
    assert_ne!(group_key(&snapshot, &one), group_key(&snapshot, &two));
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
