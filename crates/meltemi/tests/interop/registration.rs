//! A machine that registers itself, from its agent's start to its end.

use std::time::Duration;

use meltemi_testkit::{Client, Reply, Request, Response, Signal, Upstream};
use serde_json::{Value, json};

use crate::admin::STARTUP;
use crate::world::{Pod, World};

/// Who calls.
const CLIENT: Pod = Pod {
    name: "client",
    namespace: "shop",
    service_account: "client",
    labels: &[("app", "client")],
    number: 1,
    port: Some(8080),
};

/// The machine, of which no resource tells.
const MACHINE: Pod = Pod {
    name: "machine",
    namespace: "shop",
    service_account: "ratings",
    labels: &[("version", "v1")],
    number: 2,
    port: Some(9080),
};

const PROBE: &str = r#"{"readinessProbe": {
    "httpGet": {"path": "/healthy", "port": 9080}, "periodSeconds": 1, "failureThreshold": 1}}"#;

fn documents() -> Vec<Value> {
    let istio = "networking.istio.io/v1";
    vec![
        json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "shop", "labels": {"istio-injection": "enabled"}},
        }),
        json!({
            "apiVersion": istio, "kind": "ServiceEntry",
            "metadata": {"name": "ratings", "namespace": "shop"},
            "spec": {
                "hosts": ["ratings.example"], "location": "MESH_INTERNAL", "resolution": "STATIC",
                "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
                "workloadSelector": {"labels": {"app": "ratings"}},
            },
        }),
        json!({
            "apiVersion": istio, "kind": "WorkloadGroup",
            "metadata": {"name": "ratings", "namespace": "shop"},
            "spec": {
                "metadata": {"labels": {"app": "ratings"}},
                "template": {"serviceAccount": "ratings", "ports": {"http": 9080}},
            },
        }),
    ]
}

/// Waits until these are the WorkloadEntries that there are.
async fn until_entries(world: &World, wanted: &[&str]) {
    let late = tokio::time::Instant::now() + STARTUP;
    loop {
        let rows = world.debug("/debug/configz").await;
        let rows = rows.as_array().unwrap().iter();
        let entries = rows.filter(|it| it["kind"] == "WorkloadEntry");
        let names: Vec<_> = entries
            .filter_map(|it| it["metadata"]["name"].as_str())
            .collect();
        if names == wanted {
            return;
        }
        let now = tokio::time::Instant::now();
        assert!(now < late, "{wanted:?} are wanted: {names:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub async fn come_and_go(network: u8) {
    let mut world = World::over(network, &json!({}), &[CLIENT], &documents());
    let application = Upstream::start_on(world.place(MACHINE.number, 9080));
    application.on("/rating", Reply::ok().body("five stars"));
    application.on("/healthy", Reply::status(503));
    world.tell(
        MACHINE,
        &[
            ("ISTIO_META_AUTO_REGISTER_GROUP", "ratings"),
            ("PROXY_CONFIG", PROBE),
        ],
    );
    world.sidecar(CLIENT);
    let mut machine = world.begin_sidecar(MACHINE);
    let (proxy, rating) = (
        world.address(CLIENT, 15080),
        Request::get("/rating").host("ratings.example"),
    );
    let nobody = |it: &Response| it.status == 503;
    world
        .until(proxy, &rating, "not known to be healthy", nobody)
        .await;
    let name = format!("ratings-127.{network}.1.2");
    until_entries(&world, &[&name]).await;
    world
        .until(proxy, &rating, "nor when it has registered", nobody)
        .await;

    application.on("/healthy", Reply::ok());
    let five_stars = |it: &Response| it.status == 200;
    let answer = world
        .until(proxy, &rating, "it is healthy", five_stars)
        .await;
    assert_eq!(answer.text(), "five stars");
    application.on("/healthy", Reply::status(500));
    world
        .until(proxy, &rating, "it is not healthy any more", nobody)
        .await;
    application.on("/healthy", Reply::ok());
    world
        .until(proxy, &rating, "it is healthy again", five_stars)
        .await;

    machine.stop(Signal::SIGTERM, STARTUP).unwrap();
    world.until(proxy, &rating, "it is gone", nobody).await;
    until_entries(&world, &[]).await;
    // The application itself is there all the time.
    let direct = Client::new(world.place(MACHINE.number, 9080));
    assert_eq!(direct.send(&rating).await.unwrap().status, 200);
}
