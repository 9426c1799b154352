//! From a file to a proxy.

use meltemi_model::{Config, Kind as ModelKind, ResourceId, ServiceAddresses};
use meltemi_xds::any;
use meltemi_xds::pb::envoy::config::cluster::v3::Cluster;
use meltemi_xds::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use meltemi_xds::pb::envoy::config::route::v3::route::Action;
use meltemi_xds::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use meltemi_xds::pb::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
use meltemi_xds_server::Kind;
use std::sync::Arc;

use crate::client::{Delta, Sotw, plaintext, sidecar};
use crate::harness::{Plane, SERVICES, eventually, weights};

const CATALOG: &str = "outbound|80||catalog.shop.svc.cluster.local";
const CATALOG_V1: &str = "outbound|80|v1|catalog.shop.svc.cluster.local";

pub fn weights_of(table: &RouteConfiguration) -> Vec<u32> {
    let is_catalog = |host: &&VirtualHost| host.name.starts_with("catalog.");
    let host = table.virtual_hosts.iter().find(is_catalog).unwrap();
    match &host.routes[0].action {
        Some(Action::Route(route)) => match &route.cluster_specifier {
            Some(ClusterSpecifier::WeightedClusters(clusters)) => clusters
                .clusters
                .iter()
                .filter_map(|it| it.weight)
                .collect(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delta_client_has_everything_and_a_saved_file_reaches_it() {
    let plane = Plane::start(&[("services.yaml", SERVICES), ("routing.yaml", &weights(90))]).await;
    let node = sidecar("web", "shop", "web");
    let mut client = Delta::open(plaintext(&plane).await, node, None).await;
    client.subscribe(Kind::Cluster, &[]).await;
    client.take(Kind::Cluster).await;
    client
        .subscribe(Kind::Endpoint, &[CATALOG, CATALOG_V1])
        .await;
    client.take(Kind::Endpoint).await;
    client.subscribe(Kind::Listener, &[]).await;
    client.take(Kind::Listener).await;
    client.subscribe(Kind::Route, &["80"]).await;
    client.take(Kind::Route).await;

    let cluster: Cluster = client.resource(Kind::Cluster, CATALOG_V1);
    assert_eq!(cluster.name, CATALOG_V1);
    let endpoints: ClusterLoadAssignment = client.resource(Kind::Endpoint, CATALOG);
    assert_eq!(endpoints.endpoints[0].lb_endpoints.len(), 1);
    assert!(client.names(Kind::Listener).contains(&"0.0.0.0_80"));
    let table: RouteConfiguration = client.resource(Kind::Route, "80");
    assert_eq!(weights_of(&table), [90, 10]);

    plane.write("routing.yaml", &weights(40));
    let pushed = client.take(Kind::Route).await;
    assert_eq!(pushed.resources.len(), 1, "the one table that changed");
    let table: RouteConfiguration = client.resource(Kind::Route, "80");
    assert_eq!(weights_of(&table), [40, 60]);

    // A subset that is gone takes its cluster along, after the routes have left it.
    std::fs::remove_file(plane.file("routing.yaml")).unwrap();
    let end = SERVICES.find("  - { name: v2").unwrap();
    plane.write("services.yaml", &SERVICES[..end]);
    while client
        .names(Kind::Cluster)
        .iter()
        .any(|name| name.contains("|v2|"))
    {
        client.take(Kind::Cluster).await;
    }
    let row = eventually("the client is in step", || async {
        let rows = plane.json("/debug/syncz").await;
        let states = rows[0]["states"].as_object()?.clone();
        let synced = |kind: &str| states[kind] == "SYNCED";
        ["cds", "eds", "lds", "rds"]
            .into_iter()
            .all(synced)
            .then(|| rows[0].clone())
    })
    .await;
    assert_eq!(row["proxy"], "web.shop");
    assert_eq!(row["proxy_type"], "sidecar");
    assert_eq!(row["cluster_id"], "Kubernetes");
    assert_eq!(row["istio_version"], "1.30.0");
    assert_eq!(row["states"]["sds"], "NOT SENT");
    assert_eq!(row["cluster_sent"], row["cluster_acked"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_of_the_world_client_is_served_too() {
    let plane = Plane::start(&[("services.yaml", SERVICES), ("routing.yaml", &weights(90))]).await;
    let node = sidecar("web", "shop", "web");
    let mut client = Sotw::open(plaintext(&plane).await, node).await;
    let clusters = client.fetch(Kind::Cluster, &[]).await;
    let names: Vec<_> = clusters
        .resources
        .iter()
        .map(|it| any::unpack::<Cluster>(it).unwrap().name)
        .collect();
    assert!(names.contains(&CATALOG.to_owned()), "{names:?}");
    let endpoints = client.fetch(Kind::Endpoint, &[CATALOG]).await;
    assert_eq!(endpoints.resources.len(), 1);
    let listeners = client.fetch(Kind::Listener, &[]).await;
    assert!(!listeners.resources.is_empty());
    let routes = client.fetch(Kind::Route, &["80"]).await;
    let table: RouteConfiguration = any::unpack(&routes.resources[0]).unwrap();
    assert_eq!(weights_of(&table), [90, 10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_is_reported_and_the_last_good_stays() {
    let plane = Plane::start(&[("services.yaml", SERVICES), ("routing.yaml", &weights(90))]).await;
    let node = sidecar("web", "shop", "web");
    let mut client = Delta::open(plaintext(&plane).await, node, None).await;
    client.subscribe(Kind::Route, &["80"]).await;
    client.take(Kind::Route).await;
    assert_eq!(plane.json("/debug/problems").await, serde_json::json!([]));
    let problem = || async { plane.json("/debug/problems").await.get(0).cloned() };

    plane.write("routing.yaml", &weights(150));
    let found = eventually("the weight is reported", problem).await;
    assert_eq!(found["line"], 11, "{found}");
    assert_eq!(found["resource"], "VirtualService shop/catalog");
    assert!(
        found["path"].as_str().unwrap().starts_with("spec.http[0]"),
        "{found}"
    );
    assert!(found["file"].as_str().unwrap().ends_with("routing.yaml"));

    plane.write("routing.yaml", "kind: [");
    let syntax = || async { problem().await.filter(|it| it["kind"] == "syntax") };
    eventually("the syntax is reported", syntax).await;
    let (_, figures) = plane.get("/metrics").await;
    assert!(
        figures.contains(
            "galley_validation_failed{resource=\"VirtualService\",reason=\"invalid_resource\"}"
        ),
        "{figures}"
    );
    let dump = plane.get("/debug/config_dump?proxyID=web.shop").await.1;
    assert!(dump.contains("\"weight\": 90"), "the last good table");

    plane.write("routing.yaml", &weights(70));
    client.take(Kind::Route).await;
    let table: RouteConfiguration = client.resource(Kind::Route, "80");
    assert_eq!(weights_of(&table), [70, 30]);
    let none = || async { problem().await.is_none().then_some(()) };
    eventually("nothing is wrong any more", none).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_shows() {
    let plane = Plane::start(&[("services.yaml", SERVICES)]).await;
    let node = sidecar("web", "shop", "web");
    let mut client = Delta::open(plaintext(&plane).await, node, None).await;
    client.subscribe(Kind::Cluster, &[]).await;
    let (_, message) = client.next().await.unwrap();
    client.answer(&message, Some("no such load balancer")).await;
    let row = eventually("the refusal shows", || async {
        let rows = plane.json("/debug/syncz").await;
        (rows[0]["states"]["cds"] == "ERROR").then(|| rows[0].clone())
    })
    .await;
    assert_eq!(row["errors"]["cds"], "no such load balancer");
    let (_, figures) = plane.get("/metrics").await;
    assert!(
        figures.contains("\npilot_total_xds_rejects 1\n"),
        "{figures}"
    );
    assert!(figures.contains("\npilot_xds 1\n"), "{figures}");
    drop(client);
    eventually("the client is gone", || async {
        let gone = plane.json("/debug/syncz").await == serde_json::json!([]);
        gone.then_some(())
    })
    .await;
}

/// Gives every service without an address the same one.
struct Addresses;

impl meltemi_discovery::Overlay for Addresses {
    fn adjust(&self, mut config: Config) -> Config {
        if let Config::Service(service) = &mut config
            && service.addresses == ServiceAddresses::Unassigned
        {
            service.addresses = ServiceAddresses::Assigned(vec!["127.9.9.9".parse().unwrap()]);
        }
        config
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_adds_to_what_is_written() {
    let text = SERVICES.replace("  clusterIP: 10.96.0.10\n", "");
    let files = [("services.yaml", text.as_str())];
    let plane = Plane::with(&files, |options| {
        options.overlay = Some(Arc::new(Addresses))
    });
    let plane = plane.await.unwrap();
    let services = plane.json("/debug/registryz").await;
    assert_eq!(services[0]["addresses"], serde_json::json!(["127.9.9.9"]));

    let state = plane.control.states().borrow().clone();
    let id = |kind, name: &str| ResourceId {
        kind,
        namespace: "shop".into(),
        name: name.into(),
    };
    let Config::Pod(pod) = state.configs[&id(ModelKind::Pod, "catalog-v1")].as_ref() else {
        panic!("a pod");
    };
    let mut second = pod.clone();
    second.meta.name = "catalog-v2".into();
    second.addresses = vec!["10.1.0.6".parse().unwrap()];
    let endpoints = async |expected: usize| {
        eventually("the endpoints are as expected", || async {
            let services = plane.json("/debug/registryz").await;
            let endpoints = services[0]["ports"][0]["endpoints"].as_array()?.len();
            (endpoints == expected).then_some(())
        })
        .await;
    };
    endpoints(1).await;
    plane.control.resources().apply(Config::Pod(second));
    endpoints(2).await;
    plane
        .control
        .resources()
        .delete(id(ModelKind::Pod, "catalog-v2"));
    endpoints(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_drain_ends_everything() {
    let plane = Plane::start(&[("services.yaml", SERVICES)]).await;
    let node = sidecar("web", "shop", "web");
    let mut client = Delta::open(plaintext(&plane).await, node, None).await;
    client.subscribe(Kind::Cluster, &[]).await;
    client.take(Kind::Cluster).await;
    let Plane {
        control,
        drain,
        place: _place,
        ..
    } = plane;
    drain.start();
    let ended = client.next().await.unwrap_err();
    assert_eq!(ended.code(), tonic::Code::Unavailable, "{ended}");
    drop(client);
    control.finished().await.unwrap();
    drain.finished().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_come_and_go_with_the_selectors_and_their_labels() {
    let mesh = |selectors: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: istio, namespace: istio-system }}\n\
             data:\n  mesh: |\n    discoverySelectors: {selectors}\n"
        )
    };
    let plane = Plane::start(&[("services.yaml", SERVICES)]).await;
    let mut client = Delta::open(
        plaintext(&plane).await,
        sidecar("web", "other", "web"),
        None,
    )
    .await;
    client.subscribe(Kind::Cluster, &[]).await;
    client.take(Kind::Cluster).await;
    assert!(client.names(Kind::Cluster).contains(&CATALOG));

    plane.write("mesh.yaml", &mesh("[{ matchLabels: { mesh: ours } }]"));
    while client.names(Kind::Cluster).contains(&CATALOG) {
        client.take(Kind::Cluster).await;
    }
    let labelled = SERVICES.replace("istio-injection: enabled", "mesh: ours");
    plane.write("services.yaml", &labelled);
    while !client.names(Kind::Cluster).contains(&CATALOG) {
        client.take(Kind::Cluster).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_for_another_revision_does_not_count() {
    let entry = |revision: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
             metadata: {{ name: far, namespace: shop, labels: {{ istio.io/rev: {revision} }} }}\n\
             spec: {{ hosts: [far.test], ports: [{{ number: 80, name: http, protocol: HTTP }}], resolution: DNS }}\n"
        )
    };
    let mesh = |name: &str, domain: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: {name}, namespace: istio-system }}\n\
             data:\n  mesh: |\n    ingressClass: {domain}\n"
        )
    };
    const FAR: &str = "outbound|80||far.test";
    let plane = Plane::with(
        &[
            ("services.yaml", SERVICES),
            ("entry.yaml", &entry("stable")),
            ("mesh.yaml", &mesh("istio", "theirs")),
            ("own-mesh.yaml", &mesh("istio-canary", "ours")),
        ],
        |options| options.revision = Some("canary".to_owned()),
    )
    .await
    .unwrap();
    let node = sidecar("web", "shop", "web");
    let mut client = Delta::open(plaintext(&plane).await, node, None).await;
    client.subscribe(Kind::Cluster, &[]).await;
    client.take(Kind::Cluster).await;
    assert!(!client.names(Kind::Cluster).contains(&FAR));
    let mesh = plane.control.states().borrow().clone();
    assert_eq!(mesh.snapshot.mesh().ingress.class, "ours");

    plane.write("entry.yaml", &entry("canary"));
    while !client.names(Kind::Cluster).contains(&FAR) {
        client.take(Kind::Cluster).await;
    }
    plane.write("entry.yaml", &entry("stable"));
    while client.names(Kind::Cluster).contains(&FAR) {
        client.take(Kind::Cluster).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_is_where_its_node_is() {
    let pods = "apiVersion: v1\nkind: Pod\nmetadata: { name: catalog-v3, namespace: shop, labels: { app: catalog } }\n\
        spec: { nodeName: first, containers: [{ name: catalog, ports: [{ containerPort: 3000 }] }] }\n\
        status: { podIP: 10.1.0.77 }\n";
    let node = |zone: &str| {
        format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{ name: first, labels: {{ topology.kubernetes.io/region: eu, topology.kubernetes.io/zone: {zone}, topology.istio.io/subzone: rack }} }}\n"
        )
    };
    let zones = |assignment: &ClusterLoadAssignment| {
        let groups = assignment.endpoints.iter();
        let zones = groups.filter_map(|it| Some(it.locality.as_ref()?.zone.clone()));
        zones.filter(|it| !it.is_empty()).collect::<Vec<_>>()
    };
    let plane = Plane::start(&[("services.yaml", SERVICES), ("pods.yaml", pods)]).await;
    let mut client =
        Delta::open(plaintext(&plane).await, sidecar("web", "shop", "web"), None).await;
    client.subscribe(Kind::Endpoint, &[CATALOG]).await;
    client.take(Kind::Endpoint).await;
    for (text, expected) in [
        (node("eu-1"), vec!["eu-1"]),
        (node("eu-2"), vec!["eu-2"]),
        (String::new(), vec![]),
    ] {
        plane.write("nodes.yaml", &text);
        loop {
            let sent = client.take(Kind::Endpoint).await;
            let assignment = sent.resources[0].resource.as_ref().unwrap();
            if zones(&assignment.to_msg().unwrap()) == expected {
                break;
            }
        }
    }
}
