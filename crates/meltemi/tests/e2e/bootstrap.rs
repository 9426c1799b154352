//! Patches to what proxies start with.

use meltemi_testkit::Request;
use serde_json::Value;

use super::mesh::Mesh;

/// The gateway's patch is one that no proxy takes, which must not keep it from starting.
const PATCHES: &str = "\
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: { name: start, namespace: istioinaction }
spec:
  workloadSelector: { labels: { app: webapp } }
  configPatches:
  - applyTo: BOOTSTRAP
    match: { context: SIDECAR_OUTBOUND }
    patch:
      operation: MERGE
      value:
        layered_runtime: { layers: [ { name: more, static_layer: { a: 1 } } ] }
        stats_config: { stats_tags: [ { tag_name: team, fixed_value: sails } ] }
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: { name: refused, namespace: istio-system }
spec:
  configPatches:
  - applyTo: BOOTSTRAP
    match: { context: GATEWAY }
    patch: { operation: MERGE, value: { flags_path: /of/gateways } }
";

#[test]
fn a_proxy_starts_with_what_patches_say_of_its_bootstrap() {
    let mesh = Mesh::start_with(18, &[("patches.yaml", PATCHES)]);
    let response = mesh.send(&Request::get("/api/catalog"));
    assert_eq!(response.status, 200, "{}", response.text());
    let layers = |workload: &str| {
        let told = mesh.tool(&["proxy-config", "bootstrap", workload, "-o", "json"]);
        let dump: Value = serde_json::from_str(&told.stdout).unwrap();
        let layers = dump["bootstrap"]["layered_runtime"]["layers"].clone();
        let layers = layers.as_array().unwrap().clone();
        let names = layers
            .iter()
            .map(|it| it["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(layers("webapp"), ["admin", "more"]);
    assert_eq!(layers("catalog-v1"), ["admin"]);
    assert_eq!(layers("istio-ingressgateway"), ["admin"]);
    assert!(mesh.metrics("webapp").contains("team=\"sails\""));
    assert!(!mesh.metrics("catalog-v1").contains("team="));
}
