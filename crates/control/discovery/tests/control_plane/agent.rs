//! What agents ask for: names (NDS), and patches to the bootstrap.

use meltemi_xds::any;
use meltemi_xds::pb::envoy::config::bootstrap::v3::Bootstrap;
use meltemi_xds::pb::istio::networking::nds::v1::NameTable;
use meltemi_xds_server::Kind;
use serde_json::Value;

use crate::client::{Delta, Sotw, plaintext, sidecar};
use crate::harness::{Plane, SERVICES};

const HOST: &str = "catalog.shop.svc.cluster.local";

fn service(name: &str, ip: &str) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{ name: {name}, namespace: shop }}
spec: {{ clusterIP: {ip}, ports: [{{ name: http, port: 80 }}] }}
"
    )
}

fn patch(prefix: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{ name: start, namespace: shop }}
spec:
  configPatches:
  - applyTo: BOOTSTRAP
    patch: {{ operation: MERGE, value: {{ header_prefix: {prefix} }} }}
"
    )
}

fn ips(table: &NameTable, host: &str) -> Vec<String> {
    table
        .table
        .get(host)
        .map(|it| it.ips.clone())
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_pushed_when_they_change_and_only_then() {
    let plane = Plane::start(&[("services.yaml", SERVICES)]).await;
    let mut agent = Delta::open(plaintext(&plane).await, sidecar("web", "shop", "web"), None).await;
    agent.subscribe(Kind::NameTable, &[]).await;
    agent.take(Kind::NameTable).await;
    let table: NameTable = agent.resource(Kind::NameTable, "default");
    assert_eq!(ips(&table, HOST), ["10.96.0.10"]);
    assert_eq!(table.table[HOST].shortname, "catalog");
    assert_eq!(table.table[HOST].namespace, "shop");
    assert_eq!(table.table[HOST].registry, "Kubernetes");

    let mut old = Sotw::open(plaintext(&plane).await, sidecar("old", "shop", "web")).await;
    let answer = old.fetch(Kind::NameTable, &[]).await;
    assert_eq!(any::unpack(&answer.resources[0]), Ok(table));

    // A patch is none of its business; the next answer is of the service that comes after it.
    plane.write("patch.yaml", &patch("x-a"));
    plane.write("more.yaml", &service("cart", "10.96.0.11"));
    agent.take(Kind::NameTable).await;
    let table: NameTable = agent.resource(Kind::NameTable, "default");
    assert_eq!(ips(&table, "cart.shop.svc.cluster.local"), ["10.96.0.11"]);
    // Neither of these streams is a proxy's.
    assert_eq!(plane.json("/debug/syncz").await, Value::Array(Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_told_what_patches_say_of_the_bootstrap() {
    let files = [("services.yaml", SERVICES), ("patch.yaml", &patch("x-a"))];
    let plane = Plane::start(&files).await;
    let node = sidecar("web", "shop", "web");
    let mut agent = Sotw::open(plaintext(&plane).await, node.clone()).await;
    let answer = agent.fetch(Kind::Bootstrap, &[]).await;
    let patch: Bootstrap = any::unpack(&answer.resources[0]).unwrap();
    assert_eq!(patch.header_prefix, "x-a");

    let mut agent = Delta::open(plaintext(&plane).await, node, None).await;
    agent.subscribe(Kind::Bootstrap, &[]).await;
    agent.take(Kind::Bootstrap).await;
    let same: Bootstrap = agent.resource(Kind::Bootstrap, "default");
    assert_eq!(same, patch);

    // Whom no patch is for is told so.
    let elsewhere = sidecar("web", "bank", "web");
    let mut agent = Sotw::open(plaintext(&plane).await, elsewhere).await;
    let answer = agent.fetch(Kind::Bootstrap, &[]).await;
    assert_eq!(any::unpack(&answer.resources[0]), Ok(Bootstrap::default()));
}
