//! Our own proxy takes what it gets: its conversion judges every case. What it is known to refuse
//! stands here by name, so that the list only shrinks.
#![allow(clippy::unwrap_used)]

#[path = "support/case.rs"]
mod support;

use std::collections::BTreeSet;

use meltemi_config::{Resource, supported_extensions};
use meltemi_translate::{EncodedResource, Resources, translate};
use serde_json::json;
use support::Case;

/// Type and name of resources that the proxy refuses.
const REFUSED: [&str; 2] = [
    // What TLS takes from each request, and the system's roots (S6).
    "Cluster outbound|443|blind|simple.shop.svc.cluster.local",
    "Cluster outbound|443||simple.shop.svc.cluster.local",
];

/// The same, of features that the proxy is given at this time: it may refuse or take them.
const UNDER_WAY: [&str; 7] = [
    "Cluster outbound|80||catalog.shop.svc.cluster.local",
    "Cluster outbound|80|v2|catalog.shop.svc.cluster.local",
    "Cluster outbound|9000||catalog.shop.svc.cluster.local",
    "Cluster outbound|9000|v2|catalog.shop.svc.cluster.local",
    "Listener 0.0.0.0_443",
    "Listener 0.0.0.0_80",
    "RouteConfiguration 80",
];

#[test]
fn the_proxy_accepts_everything() {
    let extensions: Vec<_> = supported_extensions()
        .iter()
        .map(|it| json!({"name": it.name, "category": it.category, "type_urls": [it.type_url()]}))
        .collect();
    let mut refused = BTreeSet::new();
    let mut reasons = Vec::new();
    for case in Case::all() {
        let snapshot = case.snapshot();
        for (name, proxy) in &case.proxies {
            let resources = translate(&snapshot, &proxy.node_with(&extensions));
            for resource in all(&resources) {
                let kind = resource.any.type_url.rsplit('.').next().unwrap();
                if let Err(error) = Resource::from_any(&resource.any) {
                    let error = error.to_string();
                    let key = format!("{kind} {}", resource.name);
                    // The cases name files that are not there.
                    let under_way = matches!(case.name.as_str(), "policy" | "gateway-bytes")
                        && UNDER_WAY.contains(&key.as_str());
                    // So are the filters that guard workloads.
                    let under_way = under_way || case.name == "guards";
                    if !REFUSED.contains(&key.as_str())
                        && !under_way
                        && !error.contains("/etc/certs")
                    {
                        reasons.push(format!("{}/{name} {key}: {error}", case.name));
                    }
                    refused.insert(key);
                }
            }
        }
    }
    assert!(reasons.is_empty(), "{}", reasons.join("\n"));
    for known in REFUSED {
        assert!(refused.contains(known), "{known} is accepted now");
    }
}

fn all(resources: &Resources) -> impl Iterator<Item = &EncodedResource> {
    let Resources {
        clusters,
        endpoints,
        listeners,
        routes,
        secrets,
    } = resources;
    [clusters, endpoints, listeners, routes, secrets]
        .into_iter()
        .flat_map(|map| map.values())
}
