//! A configuration change never cuts a connection.
//!
//! `meltemi proxy` with two workers is driven through fifty changes of routes, clusters, endpoints
//! and listeners by a scripted management server, while a WebSocket, two downloads and a TCP stream
//! go on through it and requests keep coming. Nothing is cut or reordered, and after each change new
//! requests and connections see it. A listener that is refused changes nothing.
#![allow(clippy::unwrap_used)]

#[path = "interop/admin.rs"]
mod admin;
#[path = "hold/ads.rs"]
mod ads;
#[path = "differential/program.rs"]
mod program;
#[path = "hold/streams.rs"]
mod streams;
#[path = "hold/warming.rs"]
mod warming;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use ads::{Ads, Kind, Resources};
use meltemi_testkit::{
    Client, Http2Client, Load, Process, RawClient, Reply, Request, Response, Upstream, free_port,
};
use serde_json::{Value, json};
use streams::{Ending, Held, echo_name, echo_server, stream_server};

const CHANGES: usize = 50;

/// The proxy's start.
const STARTUP: Duration = Duration::from_secs(20);

/// How soon after its acknowledgement a change is seen.
const SEEN: Duration = Duration::from_secs(1);

const TYPE: &str = "type.googleapis.com/envoy.extensions";

/// What the proxy is told: one field for each thing that changes.
#[derive(Clone)]
struct Wanted {
    http: SocketAddr,
    tcp: SocketAddr,
    /// The port of the server of the held HTTP streams; none takes its endpoints away.
    streams: Option<u16>,
    /// The cluster of the held streams is known.
    streams_cluster: bool,
    /// The port that pages come from, and the name of the cluster that they come from.
    pages: u16,
    pages_cluster: String,
    /// The port that new TCP connections go to, and the name of its cluster.
    echo: u16,
    echo_cluster: String,
    /// Marks the routes.
    mark: usize,
    /// The name of the route table.
    routes: String,
    /// Marks the HTTP listener.
    server: String,
    access_log: bool,
    other_chain: bool,
    connect_timeout: u32,
    idle_timeout: u32,
}

/// Two upstreams of each kind, told apart by what they say.
struct Upstreams {
    pages: [Upstream; 2],
    echo: [SocketAddr; 2],
}

impl Wanted {
    /// Changes one thing; what, depends on the number of the change.
    fn change(&mut self, number: usize, upstreams: &Upstreams) -> &'static str {
        let turn = number / 10 % 2;
        match number % 10 {
            0 => {
                self.mark = number;
                "the routes"
            }
            1 => {
                self.pages = upstreams.pages[1 - turn].address().port();
                "the endpoints"
            }
            2 => {
                self.pages_cluster = format!("pages-{number}");
                self.pages = upstreams.pages[turn].address().port();
                "to a new cluster, the old one gone"
            }
            3 => {
                self.server = format!("server-{number}");
                "the server name of the listener"
            }
            4 => {
                self.routes = format!("routes-{number}");
                self.mark = number;
                "the name of the route table"
            }
            5 => {
                self.access_log = !self.access_log;
                "the access logs"
            }
            6 => {
                self.other_chain = !self.other_chain;
                "the filter chains"
            }
            7 => {
                self.connect_timeout += 1;
                self.idle_timeout += 10;
                "the settings of all clusters and of the TCP listener"
            }
            8 => {
                self.echo_cluster = format!("echo-{number}");
                self.echo = upstreams.echo[1 - turn].port();
                "where TCP connections go, the old cluster gone"
            }
            _ if turn == 0 => {
                self.streams = None;
                "the endpoints of the held streams, gone"
            }
            _ => {
                self.streams_cluster = false;
                "the cluster of the held streams, gone"
            }
        }
    }

    fn resources(&self) -> Resources {
        let mut all = vec![
            Kind::Listener.resource(self.http_listener()),
            Kind::Listener.resource(self.tcp_listener()),
            Kind::Routes.resource(self.route_table()),
        ];
        let mut clusters = vec![
            (self.pages_cluster.as_str(), Some(self.pages)),
            (self.echo_cluster.as_str(), Some(self.echo)),
        ];
        if self.streams_cluster {
            clusters.push(("streams", self.streams));
        }
        for (name, port) in clusters {
            all.push(Kind::Cluster.resource(json!({
                "name": name,
                "type": "EDS",
                "connect_timeout": format!("{}s", self.connect_timeout),
                "eds_cluster_config": { "eds_config": { "ads": {}, "resource_api_version": "V3" } },
            })));
            let endpoints: Vec<_> = port
                .into_iter()
                .map(|port| json!({ "endpoint": { "address": loopback(port) } }))
                .collect();
            all.push(Kind::Endpoints.resource(json!({
                "cluster_name": name,
                "endpoints": [ { "lb_endpoints": endpoints } ],
            })));
        }
        all.into_iter().collect()
    }

    fn route_table(&self) -> Value {
        json!({
            "name": self.routes,
            "virtual_hosts": [ {
                "name": "all",
                "domains": ["*"],
                "response_headers_to_add": [
                    { "header": { "key": "x-mark", "value": self.mark.to_string() } },
                ],
                "routes": [
                    { "match": { "prefix": "/stream" }, "route": { "cluster": "streams", "timeout": "0s" } },
                    { "match": { "prefix": "/" }, "route": { "cluster": self.pages_cluster } },
                ],
            } ],
        })
    }

    fn http_listener(&self) -> Value {
        let manager = json!({
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": format!("{TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
                "stat_prefix": "pages",
                "server_name": self.server,
                "upgrade_configs": [ { "upgrade_type": "websocket" } ],
                "rds": {
                    "route_config_name": self.routes,
                    "config_source": { "ads": {}, "resource_api_version": "V3" },
                },
                "access_log": self.log(),
                "http_filters": [ {
                    "name": "envoy.filters.http.router",
                    "typed_config": { "@type": format!("{TYPE}.filters.http.router.v3.Router") },
                } ],
            },
        });
        let mut chains = vec![json!({ "filters": [manager] })];
        if self.other_chain {
            chains.insert(0, json!({
                "filter_chain_match": {
                    "source_prefix_ranges": [ { "address_prefix": "203.0.113.0", "prefix_len": 24 } ],
                },
                "filters": [ tcp_proxy(&self.echo_cluster, 60, &[]) ],
            }));
        }
        json!({
            "name": "http",
            "address": loopback(self.http.port()),
            "filter_chains": chains,
        })
    }

    fn tcp_listener(&self) -> Value {
        json!({
            "name": "tcp",
            "address": loopback(self.tcp.port()),
            "filter_chains": [
                { "filters": [ tcp_proxy(&self.echo_cluster, self.idle_timeout, &self.log()) ] },
            ],
        })
    }

    fn log(&self) -> Vec<Value> {
        let log = json!({
            "name": "envoy.access_loggers.stderr",
            "typed_config": { "@type": format!("{TYPE}.access_loggers.stream.v3.StderrAccessLog") },
        });
        self.access_log.then_some(log).into_iter().collect()
    }
}

fn tcp_proxy(cluster: &str, idle_timeout: u32, access_log: &[Value]) -> Value {
    json!({
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": {
            "@type": format!("{TYPE}.filters.network.tcp_proxy.v3.TcpProxy"),
            "stat_prefix": cluster,
            "cluster": cluster,
            "idle_timeout": format!("{idle_timeout}s"),
            "access_log": access_log,
        },
    })
}

fn loopback(port: u16) -> Value {
    json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } })
}

fn bootstrap(admin: SocketAddr, ads: SocketAddr) -> Value {
    let source = json!({ "ads": {}, "resource_api_version": "V3" });
    json!({
        "node": { "id": "held", "cluster": "test" },
        "admin": { "address": loopback(admin.port()) },
        "dynamic_resources": {
            "lds_config": source,
            "cds_config": source,
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "grpc_services": [ { "envoy_grpc": { "cluster_name": "xds" } } ],
            },
        },
        "static_resources": { "clusters": [ {
            "name": "xds",
            "type": "STATIC",
            "connect_timeout": "1s",
            "http2_protocol_options": {},
            "load_assignment": { "cluster_name": "xds", "endpoints": [ { "lb_endpoints": [
                { "endpoint": { "address": loopback(ads.port()) } },
            ] } ] },
        } ] },
    })
}

/// A proxy with its management server, after its first configuration.
struct Proxy {
    process: Process,
    admin: SocketAddr,
    ads: Ads,
    wanted: Wanted,
    upstreams: Upstreams,
    _directory: tempfile::TempDir,
}

impl Proxy {
    async fn start(ending: &Ending) -> Self {
        let pages = [Upstream::start(), Upstream::start()];
        pages[0].on("/page", Reply::ok().body("first"));
        pages[1].on("/page", Reply::ok().body("second"));
        let echo = [echo_server("first").await, echo_server("second").await];
        let upstreams = Upstreams { pages, echo };
        let port = || SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let (admin, http, tcp) = (port(), port(), port());
        let wanted = Wanted {
            http,
            tcp,
            streams: Some(stream_server(ending).await.port()),
            streams_cluster: true,
            pages: upstreams.pages[0].address().port(),
            pages_cluster: "pages".to_owned(),
            echo: upstreams.echo[0].port(),
            echo_cluster: "echo".to_owned(),
            mark: 0,
            routes: "routes".to_owned(),
            server: "server".to_owned(),
            access_log: false,
            other_chain: false,
            connect_timeout: 2,
            idle_timeout: 600,
        };
        let (ads, address) = Ads::start();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("bootstrap.json");
        std::fs::write(&file, bootstrap(admin, address).to_string()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_meltemi"));
        command
            .arg("proxy")
            .arg("-c")
            .arg(&file)
            .args(["--concurrency", "2", "-l", "info"]);
        let process = Process::start(&mut command).unwrap();
        let mut proxy = Self {
            process,
            admin,
            ads,
            wanted,
            upstreams,
            _directory: directory,
        };
        proxy.publish("the first configuration").await;
        let Self { process, admin, .. } = &mut proxy;
        let admin = *admin;
        tokio::task::block_in_place(|| process.wait_for_http(STARTUP, admin, "/ready")).unwrap();
        proxy
    }

    /// Publishes what is wanted and sees that all of it is accepted.
    async fn publish(&self, what: &str) {
        let verdicts = self.ads.publish(&self.wanted.resources()).await;
        for verdict in verdicts {
            assert!(verdict.error.is_none(), "{what}: {verdict:?}");
        }
    }

    /// Waits until what is wanted is seen by new connections, then by those that are open.
    async fn see(&self, when: &str, open: &mut Clients) {
        let by = tokio::time::Instant::now() + SEEN;
        loop {
            let page = Client::new(self.wanted.http).get("/page").await;
            let name = echo_name(self.wanted.tcp).await;
            let problem = match (page, name) {
                (Ok(page), Ok(name)) => self.unlike(&page).or_else(|| {
                    let expected = self.echo();
                    (name != expected).then(|| format!("TCP reaches {name}, not {expected}"))
                }),
                (page, name) => Some(format!("{page:?}, {name:?}")),
            };
            let Some(problem) = problem else {
                break;
            };
            let late = tokio::time::Instant::now() > by;
            assert!(!late, "{when}: {problem}\n{}", self.process.output());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // both workers have it by now, or are about to: each kept connection is one worker's
        let by = tokio::time::Instant::now() + SEEN;
        while let Some(problem) = self.unlike_any(&open.pages(when).await) {
            assert!(
                tokio::time::Instant::now() < by,
                "{when}: open connection: {problem}"
            );
        }
    }

    fn unlike_any(&self, pages: &[Response]) -> Option<String> {
        pages.iter().find_map(|page| self.unlike(page))
    }

    /// How a page differs from what is wanted.
    fn unlike(&self, page: &Response) -> Option<String> {
        let Wanted {
            mark,
            server,
            pages,
            ..
        } = &self.wanted;
        let first = *pages == self.upstreams.pages[0].address().port();
        let seen = (
            page.status,
            page.text(),
            page.header("x-mark"),
            page.header("server"),
        );
        let mark = mark.to_string();
        let body = if first { "first" } else { "second" };
        let expected = (
            200,
            body.to_owned(),
            Some(mark.as_str()),
            Some(server.as_str()),
        );
        (seen != expected).then(|| format!("{seen:?}, not {expected:?}"))
    }

    fn echo(&self) -> &'static str {
        let first = self.wanted.echo == self.upstreams.echo[0].port();
        if first { "first" } else { "second" }
    }
}

/// Connections that stay open from one change to the next.
struct Clients {
    http1: Vec<RawClient>,
    http2: Http2Client,
}

impl Clients {
    async fn connect(address: SocketAddr) -> Self {
        let mut http1 = Vec::new();
        for _ in 0..4 {
            http1.push(RawClient::connect(address).await.unwrap());
        }
        let http2 = Http2Client::connect(address).await.unwrap();
        Self { http1, http2 }
    }

    async fn pages(&mut self, when: &str) -> Vec<Response> {
        let request = Request::get("/page");
        let mut pages = Vec::new();
        for client in &mut self.http1 {
            let page = client.exchange(&request).await;
            let page = page.unwrap_or_else(|error| panic!("{when}: open connection: {error}"));
            assert_eq!(page.header("connection"), None, "{when}");
            pages.push(page);
        }
        let page = self.http2.send(&request).await;
        pages.push(page.unwrap_or_else(|error| panic!("{when}: open HTTP/2 connection: {error}")));
        assert!(
            !self.http2.is_closed(),
            "{when}: the HTTP/2 connection is told to go away"
        );
        pages
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_changes_cut_nothing() {
    let ending = Ending::new();
    let mut proxy = Proxy::start(&ending).await;
    let Wanted { http, tcp, .. } = proxy.wanted;
    let held = [
        Held::web_socket(http, "/stream/socket", &ending).await,
        Held::download(http, "/stream/download").await,
        Held::download_http2(http, "/stream/download").await,
        Held::tcp(tcp, &ending).await,
    ];
    let mut clients = Clients::connect(http).await;
    let load = Load::start(http, Request::get("/page"), 2);
    let mut kinds = BTreeSet::new();
    for number in 1..=CHANGES {
        let Proxy {
            wanted, upstreams, ..
        } = &mut proxy;
        // what a change took away of the held streams comes back with the next
        let streams = wanted.streams;
        wanted.streams_cluster = true;
        let what = wanted.change(number, upstreams);
        kinds.insert(what);
        let when = format!("by change {number}: {what}");
        proxy.publish(&when).await;
        proxy.see(&when, &mut clients).await;
        held.iter().for_each(|it| it.assert_open(&when));
        proxy.wanted.streams = proxy.wanted.streams.or(streams);
    }
    assert_eq!(kinds.len(), 11, "{kinds:?}");
    let report = load.stop();
    assert!(report.all_ok(), "{report:?}");
    ending.end();
    for held in held {
        let lines = held.finish().await;
        assert!(lines > CHANGES, "{lines} lines went through");
    }
    let stats = Client::new(proxy.admin).get("/stats").await.unwrap().text();
    let modified = stats
        .lines()
        .find_map(|line| line.strip_prefix("listener_manager.listener_modified: "));
    let modified: usize = modified.expect(&stats).trim().parse().unwrap();
    assert!(
        modified >= CHANGES / 2,
        "the listeners were modified {modified} times only"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_listener_changes_nothing() {
    let ending = Ending::new();
    let mut proxy = Proxy::start(&ending).await;
    let mut clients = Clients::connect(proxy.wanted.http).await;
    let held = Held::web_socket(proxy.wanted.http, "/stream/socket", &ending).await;
    let mut bad = proxy.wanted.http_listener();
    let manager = &mut bad["filter_chains"][0]["filters"][0]["typed_config"];
    manager["server_name"] = json!("refused");
    manager["proxy_status_config"] = json!({});
    let mut resources = proxy.wanted.resources();
    let (key, bad) = Kind::Listener.resource(bad);
    resources.insert(key, bad);
    // a good listener beside the bad one is taken
    let other = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let mut beside = proxy.wanted.clone();
    beside.tcp = other;
    let mut listener = beside.tcp_listener();
    listener["name"] = json!("beside");
    let (key, beside) = Kind::Listener.resource(listener);
    resources.insert(key, beside);
    let verdicts = proxy.ads.publish(&resources).await;
    let errors: Vec<_> = verdicts
        .iter()
        .filter_map(|it| it.error.as_deref())
        .collect();
    let [error] = errors.as_slice() else {
        panic!("one refusal, not {verdicts:?}");
    };
    let path = "filter_chains[0].filters[0].typed_config.proxy_status_config";
    assert!(error.contains("http") && error.contains(path), "{error}");
    proxy.see("after a refusal", &mut clients).await;
    assert_eq!(
        echo_name(other).await.unwrap(),
        "first",
        "the listener beside the refused one"
    );
    held.assert_open("by a refused listener");
    let stats = Client::new(proxy.admin).get("/stats").await.unwrap().text();
    assert!(
        stats.contains("listener_manager.lds.update_rejected: 1"),
        "{stats}"
    );
    // and the next good one is taken
    proxy.wanted.server = "recovered".to_owned();
    proxy.publish("after a refusal").await;
    proxy.see("after a refusal", &mut clients).await;
    held.assert_open("after a refusal");
    ending.end();
    assert!(held.finish().await > 0);
}
