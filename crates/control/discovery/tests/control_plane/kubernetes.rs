//! A cluster as a source, alone and beside a directory.

use std::collections::BTreeMap;

use meltemi_discovery::{Access, ControlPlane};
use meltemi_lifecycle::Drain;
use meltemi_testkit::{ApiServer, free_port};
use meltemi_xds::any;
use meltemi_xds::pb::envoy::config::route::v3::RouteConfiguration;
use meltemi_xds_server::Kind;
use prost_types::Any;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::admission::{identity, sign};
use crate::client::{Delta, plaintext, sidecar};
use crate::harness::{Plane, SERVICES, eventually, options, weights};
use crate::push::weights_of;
use crate::tls::secure;

const CLUSTER: &str = include_str!("cluster.yaml");

/// Everything in a text, as objects.
fn objects(yaml: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(yaml).unwrap()
}

fn serve(yaml: &str) -> ApiServer {
    let server = ApiServer::start();
    for object in objects(yaml) {
        server.apply(object);
    }
    server
}

fn access(server: &ApiServer) -> Access {
    let place = TempDir::new().unwrap();
    let path = place.path().join("config");
    std::fs::write(&path, server.kubeconfig()).unwrap();
    Access::from_kubeconfig(&path, None).unwrap()
}

/// A control plane of this cluster and of files.
async fn plane(server: &ApiServer, files: &[(&str, &str)]) -> Plane {
    let access = access(server);
    Plane::with(files, |it| it.kubernetes = Some(access))
        .await
        .unwrap()
}

/// All that a proxy is sent.
async fn everything(
    plane: &Plane,
    pod: &str,
    account: &str,
) -> BTreeMap<Kind, BTreeMap<String, Any>> {
    let node = sidecar(pod, "shop", account);
    let mut client = Delta::open(plaintext(plane).await, node, None).await;
    for (whole, part) in [
        (Kind::Cluster, Kind::Endpoint),
        (Kind::Listener, Kind::Route),
    ] {
        client.subscribe(whole, &[]).await;
        client.take(whole).await;
        let has = client.has[&whole].values();
        let names: Vec<String> = match whole {
            Kind::Cluster => client.names(whole).into_iter().map(str::to_owned).collect(),
            _ => has.flat_map(route_names).collect(),
        };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        client.subscribe(part, &names).await;
        client.take(part).await;
    }
    client.has
}

/// The names of ports are those of the route tables that a sidecar asks for.
fn route_names(listener: &Any) -> Vec<String> {
    use meltemi_xds::pb::envoy::config::listener::v3::Listener;
    let listener: Listener = any::unpack(listener).unwrap();
    let port = listener.name.rsplit('_').next().unwrap_or_default();
    vec![port.to_owned(), listener.name.clone()]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_objects_are_the_same_configuration() {
    let server = serve(CLUSTER);
    let of_files = Plane::start(&[("cluster.yaml", CLUSTER)]).await;
    let of_cluster = plane(&server, &[]).await;
    for (pod, account) in [
        ("catalog-5f7d-a", "catalog"),
        ("catalog-6a8b-b", "catalog"),
        ("db-0", "db"),
    ] {
        let files = everything(&of_files, pod, account).await;
        let cluster = everything(&of_cluster, pod, account).await;
        for kind in [Kind::Cluster, Kind::Endpoint, Kind::Listener, Kind::Route] {
            assert!(
                files[&kind].len() > 2,
                "{kind:?} of {pod}: {:?}",
                files[&kind].keys()
            );
            assert_eq!(
                names(&files, kind),
                names(&cluster, kind),
                "{kind:?} of {pod}"
            );
            for (name, resource) in &files[&kind] {
                assert_eq!(resource, &cluster[&kind][name], "{kind:?} {name} of {pod}");
            }
        }
    }
    let problems = |plane: &Plane| {
        let state = plane.control.states().borrow().clone();
        let problems = state.problems.iter();
        problems
            .map(|it| format!("{:?} {:?} {}", it.resource, it.path, it.message))
            .collect::<Vec<_>>()
    };
    assert_eq!(problems(&of_files), problems(&of_cluster));
    assert_eq!(problems(&of_cluster).len(), 1);
}

fn names(has: &BTreeMap<Kind, BTreeMap<String, Any>>, kind: Kind) -> Vec<&String> {
    has[&kind].keys().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_goes_before_the_cluster() {
    let server = serve(&(SERVICES.to_owned() + "---\n" + &weights(90)));
    let plane = plane(&server, &[("routing.yaml", &weights(40))]).await;
    let node = sidecar("web", "shop", "web");
    let mut client = Delta::open(plaintext(&plane).await, node, None).await;
    client.subscribe(Kind::Route, &["80"]).await;
    client.take(Kind::Route).await;
    let first = |client: &Delta| {
        let table: RouteConfiguration = client.resource(Kind::Route, "80");
        weights_of(&table)
    };
    assert_eq!(first(&client), [40, 60], "the file's");
    std::fs::remove_file(plane.file("routing.yaml")).unwrap();
    client.take(Kind::Route).await;
    assert_eq!(first(&client), [90, 10], "the cluster's");
    let changed = objects(&weights(70)).remove(0);
    server.apply(changed);
    client.take(Kind::Route).await;
    assert_eq!(first(&client), [70, 30]);
    // What it says is gone once it is gone, and what was before a loss of the server stays.
    server.fail(Some(500));
    server.cut();
    eventually("the loss is said", || async {
        let (_, body) = plane.get("/debug/problems").await;
        body.contains("the answer is 500").then_some(())
    })
    .await;
    assert_eq!(first(&client), [70, 30]);
    let changed = objects(&weights(20)).remove(0);
    server.apply(changed);
    server.fail(None);
    client.take(Kind::Route).await;
    assert_eq!(first(&client), [20, 80]);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_not_ready_before_the_cluster_was_heard() {
    let server = ApiServer::start();
    server.fail(Some(401));
    let place = TempDir::new().unwrap();
    let mut options = options(&place, &[("services.yaml", SERVICES)]);
    options.kubernetes = Some(access(&server));
    options.http.set_port(free_port());
    let address = options.http;
    let (drain, signal) = Drain::new();
    let starting = tokio::spawn(ControlPlane::start(options, signal));
    let ready = || async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let request = b"GET /ready HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    };
    let answer = eventually("it says why", || async {
        ready().await.filter(|it| it.contains("the answer is 401"))
    })
    .await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(
        answer.contains(&format!("http://{}", server.address())),
        "{answer}"
    );
    server.fail(None);
    let _control = starting.await.unwrap().unwrap();
    let answer = ready().await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    drop(drain);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pods_token_is_reviewed() {
    let server = ApiServer::start();
    server.know_token("of-a-pod", "shop", "web");
    let plane = plane(&server, &[("services.yaml", SERVICES)]).await;
    let channel = secure(&plane, None).await;
    let certified = sign(channel.clone(), Some("of-a-pod")).await.unwrap();
    assert_eq!(
        identity(&certified),
        "spiffe://cluster.local/ns/shop/sa/web"
    );
    let refused = sign(channel.clone(), Some("of-nobody"))
        .await
        .err()
        .unwrap();
    assert!(
        refused.message().contains("invalid bearer token"),
        "{refused}"
    );
    server.fail(Some(503));
    let refused = sign(channel, Some("of-a-pod")).await.err().unwrap();
    assert!(
        refused.message().contains("cannot be judged now"),
        "{refused}"
    );
}
