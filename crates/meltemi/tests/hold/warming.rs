//! Clusters that warm, in a stock Envoy and in `meltemi proxy`: a cluster is not used before its
//! endpoints are known and have been looked at, and one that changes serves as it was until then.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use meltemi_testkit::{Client, Process, Reply, Request, Upstream, envoy_binary, free_port, skip};
use serde_json::{Value, json};

use crate::admin;
use crate::ads::{Ads, Kind, Resources};
use crate::program::Program;

/// How soon what is to come must have come.
const SEEN: Duration = Duration::from_secs(10);

fn loopback(port: u16) -> Value {
    json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } })
}

fn bootstrap(admin: u16, listener: u16, server: u16) -> Value {
    let hcm = "type.googleapis.com/envoy.extensions.filters.network.\
               http_connection_manager.v3.HttpConnectionManager";
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    json!({
        "node": { "id": "warming", "cluster": "warming" },
        "admin": { "address": loopback(admin) },
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "grpc_services": [ { "envoy_grpc": { "cluster_name": "xds" } } ],
            },
            "cds_config": { "ads": {}, "resource_api_version": "V3" },
        },
        "static_resources": {
            "clusters": [ {
                "name": "xds",
                "type": "STATIC",
                "typed_extension_protocol_options": {
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                        "explicit_http_config": { "http2_protocol_options": {} },
                    },
                },
                "load_assignment": assignment("xds", server),
            } ],
            "listeners": [ {
                "name": "main",
                "address": loopback(listener),
                "filter_chains": [ { "filters": [ { "name": "hcm", "typed_config": {
                    "@type": hcm,
                    "stat_prefix": "main",
                    "http_filters": [ {
                        "name": "envoy.filters.http.router",
                        "typed_config": { "@type": router },
                    } ],
                    "route_config": { "validate_clusters": false, "virtual_hosts": [ {
                        "name": "all",
                        "domains": ["*"],
                        "routes": [ {
                            "match": { "prefix": "/" },
                            "route": { "cluster_header": "x-cluster" },
                        } ],
                    } ] },
                } } ] } ],
            } ],
        },
    })
}

fn assignment(name: &str, port: u16) -> Value {
    json!({ "cluster_name": name, "endpoints": [ { "lb_endpoints": [
        { "endpoint": { "address": loopback(port) } },
    ] } ] })
}

/// A cluster whose endpoints come by EDS under another name.
fn discovered(name: &str, endpoints: &str) -> Value {
    json!({
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {
            "service_name": endpoints,
            "eds_config": { "ads": {}, "resource_api_version": "V3" },
        },
    })
}

/// A cluster whose host is looked at by `GET /health`.
fn checked(name: &str, port: u16) -> Value {
    json!({
        "name": name,
        "type": "STATIC",
        "load_assignment": assignment(name, port),
        "health_checks": [ {
            "timeout": "5s", "interval": "0.1s",
            "healthy_threshold": 1, "unhealthy_threshold": 1,
            "http_health_check": { "path": "/health" },
        } ],
    })
}

/// A program under a management server.
struct World {
    ads: Ads,
    admin: SocketAddr,
    resources: Resources,
    client: Client,
    seen: Vec<String>,
}

impl World {
    /// Offers a resource; clusters until they have been looked at.
    async fn offer(&mut self, kind: Kind, value: Value) {
        let (key, body) = kind.resource(value);
        self.resources.insert(key, body);
        match kind {
            Kind::Cluster => self.publish().await,
            _ => self.ads.offer(&self.resources),
        }
    }

    /// Offers what there is, until its clusters have been looked at.
    async fn publish(&self) {
        let before = self.looked_at().await;
        self.ads.offer(&self.resources);
        let begin = tokio::time::Instant::now();
        while self.looked_at().await == before {
            assert!(begin.elapsed() < SEEN, "clusters are looked at in time");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// How many answers about clusters were good.
    async fn looked_at(&self) -> String {
        let path = "/stats?filter=cluster_manager.cds.update_success";
        admin::ask(self.admin, path).await
    }

    async fn ask(&self, cluster: &str) -> String {
        let request = Request::get("/").header("x-cluster", cluster);
        let response = self.client.send(&request).await.unwrap();
        format!("{} {}", response.status, response.text())
    }

    /// Notes the answer to a request.
    async fn note(&mut self, what: &str, cluster: &str) {
        let answer = self.ask(cluster).await;
        self.seen.push(format!("{what}: {answer}"));
    }

    /// Notes that an answer has come, before which there was only the other.
    async fn becomes(&mut self, what: &str, cluster: &str, before: &str, after: &str) {
        let begin = tokio::time::Instant::now();
        let mut answer = self.ask(cluster).await;
        while answer == before && begin.elapsed() < SEEN {
            tokio::time::sleep(Duration::from_millis(10)).await;
            answer = self.ask(cluster).await;
        }
        assert_eq!(answer, after, "{what}");
        self.seen.push(format!("{what}: {answer}"));
    }
}

/// Starts a program and two upstreams, of which the first is behind the cluster `first`.
async fn start(program: Program) -> (World, Process, [Upstream; 2]) {
    let (ads, server) = Ads::start();
    let upstreams = [Upstream::start(), Upstream::start()];
    for (upstream, says) in upstreams.iter().zip(["one", "two"]) {
        upstream.on("/", Reply::status(200).body(says));
    }
    let one = upstreams[0].address().port();
    let (admin, listener) = (free_port(), free_port());
    let document = bootstrap(admin, listener, server.port());
    let first =
        json!({ "name": "first", "type": "STATIC", "load_assignment": assignment("first", one) });
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, admin));
    let process = tokio::task::spawn_blocking(move || {
        program.start(&path, "warming", (&document, &[]), admin)
    });
    let resources = Resources::from([Kind::Cluster.resource(first)]);
    ads.offer(&resources);
    let process = process.await.unwrap();
    let world = World {
        ads,
        admin,
        resources,
        client: Client::new(SocketAddr::from((Ipv4Addr::LOCALHOST, listener))),
        seen: Vec::new(),
    };
    (world, process, upstreams)
}

/// What a program makes of clusters that come by and by.
async fn observe(program: Program) -> Vec<String> {
    let (mut world, _process, upstreams) = start(program).await;
    let [one, two] = upstreams.each_ref().map(|it| it.address().port());
    let slowly = Duration::from_millis(600);
    upstreams[0].on("/health", Reply::status(200).delay(slowly));
    upstreams[1].on("/health", Reply::status(503).delay(slowly));
    world.note("from the start", "first").await;

    world
        .offer(Kind::Cluster, discovered("late", "late-1"))
        .await;
    world.note("without endpoints", "late").await;
    world
        .offer(Kind::Endpoints, assignment("late-1", one))
        .await;
    world
        .becomes("with endpoints", "late", "503 ", "200 one")
        .await;
    world
        .offer(Kind::Cluster, discovered("late", "late-2"))
        .await;
    world
        .note("changed, without its new endpoints", "late")
        .await;
    world
        .offer(Kind::Endpoints, assignment("late-2", two))
        .await;
    world
        .becomes("changed, with them", "late", "200 one", "200 two")
        .await;

    world.offer(Kind::Cluster, checked("checked", one)).await;
    world.note("before the first look", "checked").await;
    world
        .becomes("found healthy", "checked", "503 ", "200 one")
        .await;
    world.offer(Kind::Cluster, checked("checked", two)).await;
    world
        .note("changed, before the first look", "checked")
        .await;
    // a single host that is unhealthy is a panic, in which it is used
    world
        .becomes("changed, found unhealthy", "checked", "200 one", "200 two")
        .await;
    world.offer(Kind::Cluster, discovered("late", "none")).await;
    world.resources.retain(|(_, name), _| name != "first");
    world.publish().await;
    world
        .becomes("taken back", "first", "200 one", "503 ")
        .await;
    world.note("still warming", "late").await;
    let statistics = admin::ask(world.admin, "/stats?filter=cluster_manager").await;
    let kept = [
        "cluster_manager.warming_clusters",
        "cluster_manager.active_clusters",
    ];
    let lines = statistics.lines();
    let lines = lines.filter(|line| kept.iter().any(|it| line.starts_with(it)));
    world.seen.extend(lines.map(str::to_owned));
    world.seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_used_when_it_is_warm() {
    let ours = observe(Program::Meltemi).await;
    let expected = [
        "from the start: 200 one",
        "without endpoints: 503 ",
        "with endpoints: 200 one",
        "changed, without its new endpoints: 200 one",
        "changed, with them: 200 two",
        "before the first look: 503 ",
        "found healthy: 200 one",
        "changed, before the first look: 200 one",
        "changed, found unhealthy: 200 two",
        "taken back: 503 ",
        "still warming: 200 two",
        "cluster_manager.active_clusters: 3",
        "cluster_manager.warming_clusters: 1",
    ];
    assert_eq!(ours, expected);
    match envoy_binary() {
        Some(envoy) => assert_eq!(observe(Program::Envoy(envoy)).await, expected),
        None => skip("no Envoy: set ENVOY_BIN, or have envoy on the path"),
    }
}

/// How long a host of the cluster `slow` starts slowly.
const WINDOW: Duration = Duration::from_secs(3);

/// How many of a hundred requests go to a host that has just come, and to the same host later.
async fn shares(program: Program) -> [usize; 2] {
    let (mut world, _process, upstreams) = start(program).await;
    let [one, two] = upstreams.each_ref().map(|it| it.address().port());
    let mut cluster = discovered("slow", "slow");
    cluster["round_robin_lb_config"] =
        json!({ "slow_start_config": { "slow_start_window": format!("{}s", WINDOW.as_secs()) } });
    world.offer(Kind::Cluster, cluster).await;
    world.offer(Kind::Endpoints, assignment("slow", one)).await;
    world
        .becomes("the first host", "slow", "503 ", "200 one")
        .await;
    tokio::time::sleep(WINDOW).await;
    let mut both = assignment("slow", one);
    let second = assignment("slow", two)["endpoints"][0]["lb_endpoints"][0].take();
    both["endpoints"][0]["lb_endpoints"]
        .as_array_mut()
        .unwrap()
        .push(second);
    world.offer(Kind::Endpoints, both).await;
    let begin = tokio::time::Instant::now();
    while world.ask("slow").await != "200 two" {
        assert!(begin.elapsed() < SEEN, "the second host is used in time");
    }
    let mut shares = [0; 2];
    for share in &mut shares {
        for _ in 0..100 {
            *share += usize::from(world.ask("slow").await == "200 two");
        }
        tokio::time::sleep(WINDOW).await;
    }
    shares
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_host_gets_its_share_by_and_by() {
    let envoy = envoy_binary();
    if envoy.is_none() {
        skip("no Envoy: set ENVOY_BIN, or have envoy on the path");
    }
    let programs = [Some(Program::Meltemi), envoy.map(Program::Envoy)];
    for program in programs.into_iter().flatten() {
        let name = program.name();
        let [early, late] = shares(program).await;
        // a tenth of the other's weight at first, and the same in the end
        assert!((1..=35).contains(&early), "{name}: {early} of 100 at first");
        assert!((45..=55).contains(&late), "{name}: {late} of 100 later");
    }
}
