//! The configuration of a filter that is delivered by name (ECDS).

use std::time::Duration;

use meltemi_testkit::{Output, Request};
use serde_json::Value;

use super::mesh::{Mesh, eventually};

const ASKS: &str = "\
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: { name: asks, namespace: istio-system }
spec:
  workloadSelector: { labels: { istio: ingressgateway } }
  configPatches:
  - applyTo: HTTP_FILTER
    match:
      context: GATEWAY
      listener: { filterChain: { filter: { name: envoy.filters.network.http_connection_manager } } }
    patch:
      operation: INSERT_FIRST
      value:
        name: mesh.fault
        config_discovery:
          config_source: { ads: {}, initial_fetch_timeout: 0s }
          type_urls: [type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault]
";

const ANSWERS: &str = "\
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: { name: answers, namespace: istio-system }
spec:
  workloadSelector: { labels: { istio: ingressgateway } }
  configPatches:
  - applyTo: EXTENSION_CONFIG
    match: { context: GATEWAY }
    patch:
      operation: ADD
      value:
        name: mesh.fault
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
          abort: { http_status: 418, percentage: { numerator: 100 } }
";

#[test]
fn a_filter_takes_the_configuration_that_is_delivered_by_its_name() {
    let mesh = Mesh::start(17);
    let status = || mesh.send(&Request::get("/api/catalog")).status;
    assert_eq!(status(), 200);
    let store = mesh.directory.path().join("store");
    let resources = |gateway: &str| {
        let told = mesh.tool(&["proxy-config", "ecds", gateway, "-o", "json"]);
        let dump: Value = serde_json::from_str(&told.stdout).unwrap();
        dump["ecds_filters"][0]["ecds_filter"].clone()
    };

    // The listener that asks waits; the one before it serves.
    std::fs::write(store.join("asks.yaml"), ASKS).unwrap();
    for _ in 0..50 {
        assert_eq!(status(), 200);
        std::thread::sleep(Duration::from_millis(20));
    }
    std::fs::write(store.join("answers.yaml"), ANSWERS).unwrap();
    eventually("the configuration holds", || {
        (status() == 418).then_some(())
    });
    let table = mesh.tool(&["proxy-config", "ecds", "istio-ingressgateway"]);
    assert_eq!(
        table.stdout,
        "ECDS NAME      TYPE\nmesh.fault     envoy.extensions.filters.http.fault.v3.HTTPFault\n"
    );
    assert_eq!(resources("istio-ingressgateway")["name"], "mesh.fault");
    assert!(mesh.tool(&["proxy-status"]).stdout.contains("SYNCED"));

    // Another configuration: the listener is not told anew.
    mesh.edit("answers.yaml", |text| text.replace("418", "419"));
    eventually("the other configuration holds", || {
        (status() == 419).then_some(())
    });
    let output = mesh.process.lines(Output::Stderr).join("\n");
    assert!(!output.contains("panicked"), "{output}");
    std::fs::remove_file(store.join("asks.yaml")).unwrap();
    eventually("nothing asks", || (status() == 200).then_some(()));
}
