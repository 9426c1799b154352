//! The cool store in a cluster: its objects come from an API server, and so does the word on its pods' tokens.
//!
//! The server is the testkit's. Sidecars and gateway are ours, and prove who they are with what a pod is given.

use std::path::Path;

use meltemi_testkit::{ApiServer, Request, Response};
use serde_json::{Value, json};

use crate::catalog_version;
use crate::world::{CATALOGS, GATEWAY, Pod, WEBAPP, World, manifest};

/// The example, as a cluster has it once its controllers have done their work.
fn server(network: u8) -> ApiServer {
    let server = ApiServer::start();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/coolstore");
    let mut address = 0;
    for name in [
        "00-namespace.yaml",
        "apps.yaml",
        "gateway.yaml",
        "routing.yaml",
    ] {
        let text = std::fs::read_to_string(example.join(name)).unwrap();
        let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        for mut object in objects {
            match object["kind"].as_str() {
                // Nobody here watches these.
                Some("Deployment" | "ServiceAccount") | None => continue,
                Some("Service") => {
                    address += 1;
                    object["spec"]["clusterIP"] = format!("10.96.0.{address}").into();
                }
                Some(_) => {}
            }
            server.apply(object);
        }
    }
    for pod in [WEBAPP, CATALOGS[0], CATALOGS[1], GATEWAY] {
        let mut object = manifest(network, pod);
        let containers = object["spec"]["containers"].as_array_mut().unwrap();
        containers.push(json!({ "name": "istio-proxy", "image": "proxy" }));
        server.apply(object);
        server.know_token(token(pod), pod.namespace, pod.service_account);
    }
    server
}

fn token(pod: Pod) -> &'static str {
    match pod.name {
        "webapp" => "token-of-webapp",
        "istio-ingressgateway" => "token-of-gateway",
        _ => "token-of-catalog",
    }
}

fn routes(v1: u32) -> Value {
    let to = |subset: &str, weight: u32| json!({ "destination": { "host": "catalog", "subset": subset }, "weight": weight });
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": { "name": "catalog", "namespace": "istioinaction" },
        "spec": {
            "hosts": ["catalog"], "gateways": ["mesh"],
            "http": [{ "route": [to("version-v1", v1), to("version-v2", 100 - v1)] }],
        },
    })
}

pub async fn serve(network: u8) {
    let server = server(network);
    let mut world = World::of_cluster(network, &server.kubeconfig());
    for pod in CATALOGS {
        let version = pod.labels[1].1;
        world.application(pod, &[("NAME", "catalog"), ("VERSION", version)]);
    }
    let upstream = "/api/catalog=http://catalog.istioinaction/items";
    world.application(WEBAPP, &[("NAME", "webapp"), ("UPSTREAM_ROUTES", upstream)]);
    for pod in [CATALOGS[0], CATALOGS[1], WEBAPP, GATEWAY] {
        world.give(pod, token(pod));
        world.sidecar(pod);
    }
    let gateway = world.address(GATEWAY, 8080);
    let catalog = Request::get("/api/catalog");
    let of = |wanted: &'static str| {
        move |response: &Response| {
            response.status == 200 && catalog_version(response).as_deref() == Some(wanted)
        }
    };
    world
        .until(gateway, &catalog, "through three proxies", of("v1"))
        .await;
    server.apply(routes(0));
    world
        .until(gateway, &catalog, "the new route", of("v2"))
        .await;
    // The API server goes: everybody serves on. It comes back, and what changed meanwhile is followed.
    server.fail(Some(500));
    server.cut();
    world
        .until(gateway, &catalog, "without the API server", of("v2"))
        .await;
    server.apply(routes(100));
    server.fail(None);
    world
        .until(gateway, &catalog, "the route of its return", of("v1"))
        .await;
    // A pod that is leaving takes nothing more, and then there is none left.
    let mut leaving = manifest(network, CATALOGS[0]);
    leaving["metadata"]["deletionTimestamp"] = "2024-05-01T10:00:00Z".into();
    server.apply(leaving);
    let none = |response: &Response| response.status != 200;
    world
        .until(gateway, &catalog, "without its only endpoint", none)
        .await;
}
