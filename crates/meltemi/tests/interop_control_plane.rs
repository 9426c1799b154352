//! A stock Envoy under our control plane: it refuses nothing, and routes the cool store's requests
//! as our own proxy does.
//!
//! Envoy stands in the place of the ingress gateway and of webapp's sidecar, in the state-of-the-world
//! form and in the delta form; catalog keeps sidecars of ours, to which Envoy speaks mutual TLS with
//! certificates from our agent. Interception by redirection is judged by what Envoy accepts.
#![allow(clippy::unwrap_used)]

#[path = "interop/admin.rs"]
mod admin;
#[path = "interop/cluster.rs"]
mod cluster;
#[path = "interop/echo.rs"]
mod echo;
#[path = "interop/generated.rs"]
mod generated;
#[path = "interop/registration.rs"]
mod registration;
#[path = "interop/security.rs"]
mod security;
#[path = "interop/services.rs"]
mod services;
#[path = "interop/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use meltemi_testkit::{Client, Request, Response, envoy_binary, free_port, shared_data, skip};
use serde_json::{Value, json};
use world::{CATALOGS, Envoy, Form, GATEWAY, Interception, Pod, WEBAPP, World};

/// How long a proxy may take to have everything.
const SYNCED: Duration = Duration::from_secs(5);

#[tokio::test]
async fn envoy_routes_the_cool_store_by_state_of_the_world() {
    route_the_cool_store(90, Form::Sotw).await;
}

#[tokio::test]
async fn envoy_routes_the_cool_store_by_delta() {
    route_the_cool_store(91, Form::Delta).await;
}

/// With redirection all sidecars have the same two ports; here they are free ones of this machine.
#[tokio::test]
async fn envoy_accepts_a_redirecting_sidecar() {
    let Some(binary) = envoy_binary() else {
        return no_envoy();
    };
    let ports = [free_port(), free_port()];
    let mesh = json!({ "proxyListenPort": ports[0], "proxyInboundListenPort": ports[1] });
    let world = World::start(92, &mesh);
    for form in [Form::Sotw, Form::Delta] {
        let envoy = world.envoy(&binary, WEBAPP, form, Interception::Redirect);
        nothing_refused(&world, &envoy, WEBAPP, form).await;
        let listeners = admin::ask(envoy.admin, "/listeners").await;
        for name in ["virtualOutbound", "virtualInbound", "0.0.0.0_80"] {
            assert!(listeners.contains(name), "{form:?}: {listeners}");
        }
    }
}

/// The book's chapter on security, with Envoy in the places of the gateway and of webapp's sidecar.
#[tokio::test]
async fn envoy_lets_in_whom_the_book_lets_in() {
    let Some(binary) = envoy_binary() else {
        return no_envoy();
    };
    let Some((world, chapter)) = guarded_shop(93) else {
        return;
    };
    let sidecar = world.envoy(&binary, WEBAPP, Form::Delta, Interception::None);
    let gateway = world.envoy(&binary, GATEWAY, Form::Delta, Interception::None);
    security::all(&world, &chapter).await;
    for envoy in [&sidecar, &gateway] {
        let rejected = envoy.stats("update_rejected").await;
        let refused: Vec<_> = rejected.iter().filter(|(_, value)| *value > 0).collect();
        assert!(refused.is_empty(), "{refused:?}");
    }
}

#[tokio::test]
async fn our_proxy_lets_in_whom_the_book_lets_in() {
    let Some((mut world, chapter)) = guarded_shop(94) else {
        return;
    };
    world.sidecar(WEBAPP);
    world.sidecar(GATEWAY);
    security::all(&world, &chapter).await;
}

#[tokio::test]
async fn envoy_and_our_proxy_answer_the_same_for_300_services() {
    let Some(binary) = envoy_binary() else {
        return no_envoy();
    };
    generated::compare(95, &binary).await;
}

#[tokio::test]
async fn the_cool_store_in_a_cluster() {
    cluster::serve(97).await;
}

#[tokio::test]
async fn a_machine_registers_itself_and_serves_while_it_is_healthy() {
    registration::come_and_go(98).await;
}

/// A gateway of ours, a stock Envoy and a sidecar of ours, each with another sort of key, speak mutual
/// TLS with each other.
#[tokio::test]
async fn workloads_have_the_keys_that_istios_variables_choose() {
    let Some(binary) = envoy_binary() else {
        return no_envoy();
    };
    let mut world = World::start(96, &json!({}));
    let catalog = CATALOGS[0];
    world.tell(GATEWAY, &[("WORKLOAD_RSA_KEY_SIZE", "4096")]);
    world.tell(WEBAPP, &[("WORKLOAD_RSA_KEY_SIZE", "2048")]);
    world.tell(
        catalog,
        &[("ECC_SIGNATURE_ALGORITHM", "ECDSA"), ("ECC_CURVE", "P384")],
    );
    world.apply(
        "strict.yaml",
        "apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: istio-system }
spec: { mtls: { mode: STRICT } }
",
    );
    world.application(
        WEBAPP,
        &[
            ("NAME", "webapp"),
            (
                "UPSTREAM_ROUTES",
                "/api/catalog=http://catalog.istioinaction/items",
            ),
        ],
    );
    world.application(catalog, &[("NAME", "catalog")]);
    world.sidecar(catalog);
    let envoy = world.envoy(&binary, WEBAPP, Form::Delta, Interception::None);
    world.sidecar(GATEWAY);
    let (gateway, request) = (
        world.address(GATEWAY, 8080),
        Request::get("/api/catalog").host("webapp.istioinaction.io"),
    );
    let answer = world
        .until(gateway, &request, "through all of them", |it| {
            it.status == 200
        })
        .await;
    assert!(answer.text().contains("catalog"), "{}", answer.text());
    for (admin, expected) in [
        (world.address(GATEWAY, 15000), "RSA 4096"),
        (envoy.admin, "RSA 2048"),
        (world.address(catalog, 15000), "P-384"),
    ] {
        assert_eq!(workload_key(admin).await, expected);
    }
}

/// Of which sort the key of a proxy's certificate is.
async fn workload_key(admin: std::net::SocketAddr) -> &'static str {
    use base64::Engine as _;
    let standard = base64::engine::general_purpose::STANDARD;
    let dump = admin::ask(admin, "/config_dump?resource=dynamic_active_secrets").await;
    let dump: Value = serde_json::from_str(&dump).unwrap();
    let secrets = dump["configs"].as_array().unwrap().iter();
    let own = secrets
        .map(|it| &it["secret"])
        .find(|it| it["name"] == "default");
    let chain = &own.unwrap()["tls_certificate"]["certificate_chain"]["inline_bytes"];
    let pem = String::from_utf8(standard.decode(chain.as_str().unwrap()).unwrap()).unwrap();
    let lines = pem.lines().skip(1).take_while(|it| !it.starts_with('-'));
    let der = standard.decode(lines.collect::<String>()).unwrap();
    let has = |part: &[u8]| der.windows(part.len()).any(|it| it == part);
    // The beginning of the modulus, or the curve's name, as they stand in the public key.
    for (part, sort) in [
        (&[0x02, 0x82, 0x02, 0x01, 0x00][..], "RSA 4096"),
        (&[0x02, 0x82, 0x01, 0x01, 0x00], "RSA 2048"),
        (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22], "P-384"),
    ] {
        if has(part) {
            return sort;
        }
    }
    "P-256"
}

/// A shop with a front, without its proxies, and the book's policies for it.
fn guarded_shop(network: u8) -> Option<(World, security::Chapter)> {
    let Some(chapter) = shared_data().map(|it| it.join("book/ch9")) else {
        skip("no shared/data/book");
        return None;
    };
    let mut world = World::start(network, &security::mesh_config());
    world.application(WEBAPP, &[("NAME", "webapp")]);
    Some((world, security::Chapter(chapter)))
}

async fn route_the_cool_store(network: u8, form: Form) {
    let Some(binary) = envoy_binary() else {
        return no_envoy();
    };
    let mut world = World::start(network, &json!({}));
    for pod in CATALOGS {
        let version = pod.labels[1].1;
        world.application(pod, &[("NAME", "catalog"), ("VERSION", version)]);
        world.sidecar(pod);
    }
    let routes = "/api/catalog=http://catalog.istioinaction/items,\
                  /api/flaky=http://catalog.istioinaction/flaky";
    world.application(
        WEBAPP,
        &[
            ("NAME", "webapp"),
            ("UPSTREAM_ROUTES", routes),
            ("FORWARD_HEADERS", "x-dark-launch"),
            ("HTTP_CLIENT_APPEND_REQUEST", "false"),
        ],
    );
    let sidecar = world.envoy(&binary, WEBAPP, form, Interception::None);
    let gateway = world.envoy(&binary, GATEWAY, form, Interception::None);
    nothing_refused(&world, &sidecar, WEBAPP, form).await;
    nothing_refused(&world, &gateway, GATEWAY, form).await;
    requests_are_routed(&world).await;
    peers_are_known(&world, &sidecar, &gateway).await;
    changes_are_followed(&world, &sidecar).await;
    nothing_refused(&world, &sidecar, WEBAPP, form).await;
    nothing_refused(&world, &gateway, GATEWAY, form).await;
}

/// From the gateway through webapp to the catalog, and retries on the way.
async fn requests_are_routed(world: &World) {
    let gateway = world.address(GATEWAY, 8080);
    let catalog = Request::get("/api/catalog").host("shop.example");
    let ok = |response: &Response| response.status == 200;
    let response = world
        .until(gateway, &catalog, "through three proxies", ok)
        .await;
    assert_eq!(response.json()["name"], "webapp");
    assert_eq!(
        catalog_version(&response),
        Some("v1".to_owned()),
        "{}",
        response.text()
    );
    // the default policy tries twice more
    let flaky = Client::new(gateway)
        .get("/api/flaky/2?key=a")
        .await
        .unwrap();
    assert_eq!(flaky.status, 200, "{}", flaky.text());
    let too_flaky = Client::new(gateway)
        .get("/api/flaky/3?key=b")
        .await
        .unwrap();
    assert_ne!(too_flaky.status, 200, "{}", too_flaky.text());
    let counts = versions(world, &[]).await;
    assert_eq!(counts, BTreeMap::from([("v1".to_owned(), VERSIONS)]));
}

/// Every hop is mutual TLS, and says so on both sides.
async fn peers_are_known(world: &World, sidecar: &Envoy, gateway: &Envoy) {
    let calls = gateway.stats("cluster.outbound|80||webapp").await;
    let completed = |(name, value): &(String, u64)| name.ends_with("upstream_rq_200") && *value > 0;
    assert!(
        calls.iter().any(completed),
        "the gateway calls webapp's cluster: {calls:?}"
    );
    let handshakes = |envoy| async move { Envoy::stat(envoy, ".ssl.handshake").await };
    assert!(
        handshakes(gateway).await > 0,
        "the gateway speaks TLS to webapp"
    );
    let inbound = format!("{}_8080.ssl.handshake", world.address(WEBAPP, 0).ip());
    assert!(
        sidecar.stat(&format!("listener.{inbound}")).await > 0,
        "webapp's sidecar takes TLS"
    );
    for failure in [
        ".ssl.connection_error",
        ".ssl.fail_verify_error",
        ".ssl.fail_verify_san",
    ] {
        for envoy in [sidecar, gateway] {
            let stats = envoy.stats(failure).await;
            assert!(stats.iter().all(|(_, value)| *value == 0), "{stats:?}");
        }
    }
    let admin = world.address(CATALOGS[0], 15000);
    let metrics = admin::ask(admin, "/stats/prometheus").await;
    let requests: Vec<_> = metrics
        .lines()
        .filter(|line| line.starts_with("istio_requests_total{"))
        .filter(|line| line.contains("reporter=\"destination\""))
        .collect();
    assert!(!requests.is_empty(), "{metrics}");
    for line in requests {
        for label in [
            "connection_security_policy=\"mutual_tls\"",
            "source_principal=\"spiffe://cluster.local/ns/istioinaction/sa/webapp\"",
            "destination_principal=\"spiffe://cluster.local/ns/istioinaction/sa/catalog\"",
        ] {
            assert!(line.contains(label), "{line}");
        }
    }
}

/// A dark launch, a canary and a missing subset, each by saving the file.
async fn changes_are_followed(world: &World, sidecar: &Envoy) {
    let gateway = world.address(GATEWAY, 8080);
    let plain = Request::get("/api/catalog");
    let dark = Request::get("/api/catalog").header("x-dark-launch", "v2");
    let by_header = "  http:
  - match:
    - headers:
        x-dark-launch:
          exact: v2
    route:
    - destination:
        host: catalog
        subset: version-v2
  - route:
    - destination:
        host: catalog
        subset: version-v1
";
    world.route(|text| in_the_catalogs_routes(text, by_header));
    let is = |version: &'static str| {
        move |it: &Response| it.status == 200 && catalog_version(it).as_deref() == Some(version)
    };
    world.until(gateway, &dark, "a dark launch", is("v2")).await;
    assert_eq!(
        versions(world, &[]).await.keys().collect::<Vec<_>>(),
        ["v1"]
    );
    let told = versions(world, &[("x-dark-launch", "v2")]).await;
    assert_eq!(told.keys().collect::<Vec<_>>(), ["v2"]);

    let by_weight = "  http:
  - route:
    - destination:
        host: catalog
        subset: version-v1
      weight: 50
    - destination:
        host: catalog
        subset: version-v2
      weight: 50
";
    world.route(|text| in_the_catalogs_routes(text, by_weight));
    world.until(gateway, &plain, "a canary", is("v2")).await;
    let counts = versions(world, &[]).await;
    // fewer than a fifth has a chance of one in ten million
    assert!(
        counts.values().all(|count| *count >= VERSIONS / 5),
        "{counts:?}"
    );
    assert_eq!(counts.len(), 2, "{counts:?}");

    world.route(|text| text.replace("  - name: version-v2\n    labels:\n      version: v2\n", ""));
    let by = tokio::time::Instant::now() + SYNCED;
    loop {
        let response = Client::new(gateway).send(&plain).await.unwrap();
        let clusterless = sidecar.stats("http.outbound_").await;
        let mut clusterless = clusterless
            .iter()
            .filter(|(name, _)| name.ends_with(".no_cluster"));
        // what `NC` is in an access log
        if clusterless.any(|(_, count)| *count > 0) && upstream_code(&response) == Some(503) {
            break;
        }
        let late = tokio::time::Instant::now() > by;
        assert!(!late, "a missing subset: {}", response.text());
    }
}

/// Envoy took all that it was sent, and the control plane knows.
async fn nothing_refused(world: &World, envoy: &Envoy, pod: Pod, form: Form) {
    let by = tokio::time::Instant::now() + SYNCED;
    loop {
        let rows = world.syncz(pod).await;
        let kinds = ["cds", "eds", "lds", "rds"];
        let synced = |row: &Value| kinds.iter().all(|kind| row["states"][kind] == "SYNCED");
        if matches!(rows.as_slice(), [row] if synced(row)) {
            break;
        }
        if tokio::time::Instant::now() > by {
            let output = envoy.process.output();
            panic!("{}, {form:?}: {rows:#?}\n{output}", pod.name);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let rejected = envoy.stats("update_rejected").await;
    for part in [
        "listener_manager.lds.",
        "cluster_manager.cds.",
        ".rds.",
        "cluster.outbound|80||",
    ] {
        let here = |(name, _): &&(String, u64)| name.contains(part);
        assert!(
            rejected.iter().any(|it| here(&it)),
            "{part} in {rejected:?}"
        );
    }
    let refused: Vec<_> = rejected.iter().filter(|(_, value)| *value > 0).collect();
    assert!(refused.is_empty(), "{}, {form:?}: {refused:?}", pod.name);
    let failed = envoy.stat("listener_create_failure").await;
    let warming = envoy.stat("total_listeners_warming").await;
    let clusters = envoy.stat("cluster_manager.warming_clusters").await;
    let counts = (failed, warming, clusters);
    assert_eq!(
        counts,
        (0, 0, 0),
        "{}: {}",
        pod.name,
        envoy.process.output()
    );
}

const VERSIONS: usize = 60;

/// Which versions of the catalog answer, and how often.
async fn versions(world: &World, headers: &[(&str, &str)]) -> BTreeMap<String, usize> {
    let client = Client::new(world.address(GATEWAY, 8080));
    let request = headers
        .iter()
        .fold(Request::get("/api/catalog"), |request, (name, value)| {
            request.header(name, value)
        });
    let mut counts = BTreeMap::new();
    for _ in 0..VERSIONS {
        let response = client.send(&request).await.unwrap();
        assert_eq!(response.status, 200, "{}", response.text());
        let version = catalog_version(&response).expect("the catalog says its version");
        *counts.entry(version).or_default() += 1;
    }
    counts
}

fn catalog(response: &Response) -> Option<Value> {
    let body: Value = serde_json::from_slice(&response.body).ok()?;
    let calls = body["upstream_calls"].as_object()?;
    calls.values().next().cloned()
}

fn catalog_version(response: &Response) -> Option<String> {
    Some(catalog(response)?["version"].as_str()?.to_owned())
}

fn upstream_code(response: &Response) -> Option<u64> {
    catalog(response)?["code"].as_u64()
}

/// The file with other routes in the catalog's virtual service, which is its last resource.
fn in_the_catalogs_routes(text: &str, routes: &str) -> String {
    let start = text.rfind("  http:\n").expect("the catalog has routes");
    format!("{}{routes}", &text[..start])
}

fn no_envoy() {
    skip("no Envoy: set ENVOY_BIN, or have envoy on the path");
}
