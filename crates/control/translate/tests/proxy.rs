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
const REFUSED: &[&str] = &[];

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
        let envoys = case.proxies.iter().filter(|(_, it)| it.is_envoy());
        for (name, proxy) in envoys {
            let resources = translate(&snapshot, &proxy.node_with(&extensions));
            for resource in all(&resources) {
                let kind = resource.any.type_url.rsplit('.').next().unwrap();
                if let Err(error) = Resource::from_any(&resource.any) {
                    let error = error.to_string();
                    let key = format!("{kind} {}", resource.name);
                    // The cases name files that are not there.
                    if !REFUSED.contains(&key.as_str()) && !error.contains("/etc/certs") {
                        reasons.push(format!("{}/{name} {key}: {error}", case.name));
                    }
                    refused.insert(key);
                }
            }
        }
    }
    assert!(reasons.is_empty(), "{}", reasons.join("\n"));
    for &known in REFUSED {
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
        // What they hold is judged where a listener takes it.
        extensions: _,
    } = resources;
    [clusters, endpoints, listeners, routes, secrets]
        .into_iter()
        .flat_map(|map| map.values())
}
