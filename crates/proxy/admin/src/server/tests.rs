#![allow(clippy::unwrap_used)]
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use axum::http::{Method, StatusCode};
use meltemi_ir as ir;
use meltemi_lifecycle::{Clock, Drain, RandomSource, WorkerId};
use meltemi_telemetry::StatsRegistry;
use meltemi_tls::SecretStore;
use meltemi_upstream::{ClusterManager, UpstreamContext};
use meltemi_xds::pb::envoy::config::bootstrap::v3::Bootstrap;
use meltemi_xds::pb::envoy::config::core::v3::Node;
use meltemi_xds::pb::envoy::config::listener::v3::Listener;
use meltemi_xds::{any, json};
use serde_json::{Value, json as value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::command::answer;
use crate::reply::Reply;
use crate::{
    BoundListener, ConfigKind, ConfigStore, DrainRequest, LogControl, LogLevel, ServerControl,
    ServerInfo, ServerPhase, ServerStatus, UnreadyListener,
};

/// Remembers what it was asked to do.
#[derive(Default)]
struct Server(Mutex<Vec<String>>);

impl ServerControl for Server {
    fn listeners(&self) -> Vec<BoundListener> {
        let addresses = ["0.0.0.0:8080", "[::]:8080"];
        vec![BoundListener {
            name: "web".to_owned(),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        }]
    }

    fn unready_listeners(&self) -> Vec<UnreadyListener> {
        let names = |text: &str| text.split(' ').map(str::to_owned).collect();
        vec![UnreadyListener {
            name: "slow".to_owned(),
            routes: names("late"),
            secrets: names("one two"),
        }]
    }

    fn drain_listeners(&self, request: DrainRequest) {
        self.0.lock().unwrap().push(format!("{request:?}"));
    }

    fn quit(&self) {
        self.0.lock().unwrap().push("quit".to_owned());
    }

    fn reopen_logs(&self) -> io::Result<()> {
        Ok(())
    }

    fn connections(&self) -> u64 {
        3
    }
}

struct Fixture {
    state: Arc<AdminState>,
    server: Arc<Server>,
    filters: Arc<Mutex<Vec<String>>>,
}

/// The wall clock stands at 2026-01-02T03:04:05.678Z.
fn fixture() -> Fixture {
    let start = SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_323_045_678);
    let clock = Clock::starting_at(start);
    let stats = StatsRegistry::new(1);
    let secrets = SecretStore::new();
    let clusters = ClusterManager::new(UpstreamContext {
        stats: stats.clone(),
        secrets: secrets.clone(),
        workers: 1,
        random: Arc::new(RandomSource::seeded(1)),
        clock,
        bind: None,
    });
    clusters.apply(static_cluster(), false).unwrap();
    let server = Arc::new(Server::default());
    let filters = Arc::new(Mutex::new(Vec::new()));
    let applied = filters.clone();
    let logs = LogControl::new(LogLevel::Info, move |targets| {
        applied.lock().unwrap().push(targets.to_string());
    });
    let status = Arc::new(ServerStatus::default());
    status.set_phase(ServerPhase::Live);
    let config = Arc::new(ConfigStore::new(clock));
    config.set_bootstrap(prost::Message::encode_to_vec(&bootstrap()));
    let state = Arc::new(AdminState {
        stats,
        clusters,
        config,
        secrets,
        control: server.clone(),
        logs: Arc::new(logs),
        status,
        info: ServerInfo {
            version: "abc/0.1.0/Clean/RELEASE/rustls".to_owned(),
            node: Node {
                id: "sidecar~10.0.0.1~a.ns~ns.svc.cluster.local".to_owned(),
                ..Node::default()
            },
            concurrency: 2,
            config_path: "envoy.yaml".to_owned(),
            drain_seconds: 45,
            hot_restart: None,
            started: Some(clock.now()),
        },
        clock,
    });
    Fixture {
        state,
        server,
        filters,
    }
}

fn static_cluster() -> ir::Cluster {
    let address: SocketAddr = "127.0.0.1:19903".parse().unwrap();
    let endpoint = ir::Endpoint {
        hostname: "hn".to_owned(),
        ..ir::Endpoint::new(ir::Address::Socket(address))
    };
    let locality = ir::LocalityEndpoints {
        locality: ir::Locality {
            region: "r".to_owned(),
            zone: "z".to_owned(),
            sub_zone: String::new(),
        },
        endpoints: vec![endpoint],
        ..ir::LocalityEndpoints::default()
    };
    let discovery = ir::Discovery::Static(ir::LoadAssignment {
        cluster_name: "web".to_owned(),
        localities: vec![locality],
        ..ir::LoadAssignment::default()
    });
    ir::Cluster {
        alt_stat_name: Some("web_stats".to_owned()),
        ..ir::Cluster::new("web", discovery)
    }
}

fn bootstrap() -> Bootstrap {
    let manager =
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    json::from_json(value!({
        "node": {"id": "n"},
        "static_resources": {
            "listeners": [{
                "name": "fixed",
                "filter_chains": [{"filters": [{"name": "http", "typed_config": {
                    "@type": format!("type.googleapis.com/{manager}"),
                    "stat_prefix": "in",
                    "route_config": {"name": "inline"},
                }}]}],
            }],
            "clusters": [{"name": "web", "connect_timeout": "5s"}],
            "secrets": [{"name": "cert", "tls_certificate": {
                "certificate_chain": {"inline_string": "chain"},
                "private_key": {"inline_string": "private"},
            }}],
        },
    }))
    .unwrap()
}

fn ask(fixture: &Fixture, method: Method, target: &str) -> Reply {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    answer(&fixture.state, &method, path, query)
}

fn get(fixture: &Fixture, target: &str) -> String {
    let reply = ask(fixture, Method::GET, target);
    assert_eq!(reply.status, StatusCode::OK, "{target}: {}", reply.body);
    reply.body
}

fn get_json(fixture: &Fixture, target: &str) -> Value {
    serde_json::from_str(&get(fixture, target)).unwrap()
}

#[tokio::test]
async fn what_changes_something_needs_a_post() {
    let fixture = fixture();
    for path in [
        "/quitquitquit",
        "/logging",
        "/healthcheck/fail",
        "/drain_listeners",
    ] {
        let reply = ask(&fixture, Method::GET, path);
        assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(reply.body, "Method GET not allowed, POST required.");
    }
    for target in ["/quitquitquit", "/drain_listeners?inboundonly&graceful"] {
        assert_eq!(ask(&fixture, Method::POST, target).body, "OK\n");
    }
    let asked = fixture.server.0.lock().unwrap().join(" ");
    let drain = "DrainRequest { inbound_only: true, graceful: true, skip_exit: false }";
    assert_eq!(asked, format!("quit {drain}"));
}

#[tokio::test]
async fn an_unknown_path_lists_the_commands() {
    let fixture = fixture();
    let reply = ask(&fixture, Method::GET, "/nope");
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    assert!(
        reply
            .body
            .starts_with("invalid path. admin commands are:\n  /: ")
    );
    let help = get(&fixture, "/help");
    assert!(help.starts_with("admin commands are:\n  /: "));
    assert!(help.contains("\n  /logging (POST): "));
    assert!(get(&fixture, "/").contains("<a href=\"/config_dump\">"));
}

#[tokio::test]
async fn readiness_follows_the_server() {
    let fixture = fixture();
    assert_eq!(get(&fixture, "/ready"), "LIVE\n");
    ask(&fixture, Method::POST, "/healthcheck/fail");
    let reply = ask(&fixture, Method::GET, "/ready");
    assert_eq!(
        (reply.status, reply.body.as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "DRAINING\n")
    );
    ask(&fixture, Method::POST, "/healthcheck/ok");
    fixture.state.status.set_phase(ServerPhase::Initializing);
    assert_eq!(ask(&fixture, Method::GET, "/ready").body, "INITIALIZING\n");
}

#[tokio::test]
async fn clusters_as_text_and_json() {
    let fixture = fixture();
    let text = get(&fixture, "/clusters?filter=^web$");
    assert!(text.starts_with(
        "web::observability_name::web_stats\n\
         web::default_priority::max_connections::1024\n"
    ));
    assert!(text.contains("web::added_via_api::false\nweb::127.0.0.1:19903::cx_active::0\n"));
    assert!(text.contains(
        "web::127.0.0.1:19903::hostname::hn\n\
         web::127.0.0.1:19903::health_flags::healthy\n\
         web::127.0.0.1:19903::weight::1\n\
         web::127.0.0.1:19903::region::r\n\
         web::127.0.0.1:19903::zone::z\n\
         web::127.0.0.1:19903::sub_zone::\n\
         web::127.0.0.1:19903::canary::false\n\
         web::127.0.0.1:19903::priority::0\n\
         web::127.0.0.1:19903::success_rate::-1\n"
    ));
    assert_eq!(get(&fixture, "/clusters?filter=other"), "");
    let status = &get_json(&fixture, "/clusters?format=json")["cluster_statuses"][0];
    assert_eq!(status["name"], "web");
    assert_eq!(status["observability_name"], "web_stats");
    assert_eq!(
        status["circuit_breakers"]["thresholds"][1]["priority"],
        "HIGH"
    );
    let host = &status["host_statuses"][0];
    assert_eq!(host["address"]["socket_address"]["port_value"], 19903);
    assert_eq!(host["health_status"]["eds_health_status"], "HEALTHY");
    assert_eq!(host["locality"], value!({"region": "r", "zone": "z"}));
}

#[tokio::test]
async fn listeners_as_text_and_json() {
    let fixture = fixture();
    assert_eq!(
        get(&fixture, "/listeners"),
        "web::0.0.0.0:8080\nweb::[::]:8080\n"
    );
    assert_eq!(
        get(&fixture, "/listeners?format=json"),
        r#"{
 "listener_statuses": [
  {
   "name": "web",
   "local_address": {
    "socket_address": {
     "address": "0.0.0.0",
     "port_value": 8080
    }
   },
   "additional_local_addresses": [
    {
     "socket_address": {
      "address": "::",
      "port_value": 8080
     }
    }
   ]
  }
 ]
}
"#
    );
}

#[tokio::test(start_paused = true)]
async fn config_dump_has_every_kind_and_no_private_key() {
    let fixture = fixture();
    let config = &fixture.state.config;
    let listener = |name: &str| {
        any::pack(&Listener {
            name: name.to_owned(),
            ..Listener::default()
        })
    };
    config.set_version(ConfigKind::Listener, "7");
    config.accept(ConfigKind::Listener, "in", "7", listener("in"));
    config.reject(
        ConfigKind::Listener,
        "in",
        "8",
        Some(listener("in")),
        "address: none",
    );
    config.reject(ConfigKind::Listener, "new", "8", None, "address: none");
    let dump = get_json(&fixture, "/config_dump");
    let kinds: Vec<_> = dump["configs"].as_array().unwrap().iter().collect();
    let kind = |at: usize| {
        kinds[at]["@type"]
            .as_str()
            .unwrap()
            .rsplit_once('.')
            .unwrap()
            .1
            .to_owned()
    };
    let names: Vec<_> = (0..kinds.len()).map(kind).collect();
    assert_eq!(
        names,
        [
            "BootstrapConfigDump",
            "ClustersConfigDump",
            "ListenersConfigDump",
            "ScopedRoutesConfigDump",
            "RoutesConfigDump",
            "SecretsConfigDump"
        ]
    );
    assert_eq!(kinds[0]["last_updated"], "2026-01-02T03:04:05.678Z");
    assert_eq!(kinds[1]["static_clusters"][0]["cluster"]["name"], "web");
    let listeners = kinds[2];
    assert_eq!(listeners["version_info"], "7");
    assert_eq!(
        listeners["static_listeners"][0]["listener"]["name"],
        "fixed"
    );
    let failed = &listeners["dynamic_listeners"][0];
    assert_eq!(failed["active_state"]["version_info"], "7");
    assert_eq!(failed["active_state"]["listener"]["name"], "in");
    assert_eq!(failed["error_state"]["version_info"], "8");
    assert_eq!(failed["error_state"]["details"], "address: none");
    assert_eq!(listeners["dynamic_listeners"][1]["name"], "new");
    assert!(
        listeners["dynamic_listeners"][1]
            .get("active_state")
            .is_none()
    );
    assert_eq!(
        kinds[4]["static_route_configs"][0]["route_config"]["name"],
        "inline"
    );
    let secret = &kinds[5]["static_secrets"][0]["secret"]["tls_certificate"];
    assert_eq!(secret["private_key"]["inline_string"], "[redacted]");
    assert_eq!(secret["certificate_chain"]["inline_string"], "chain");
    assert!(!dump.to_string().contains("\"private\""));

    config.accept(ConfigKind::Listener, "new", "9", listener("new"));
    config.remove(ConfigKind::Listener, "in");
    let dump = get_json(
        &fixture,
        "/config_dump?resource=dynamic_listeners&mask=name",
    );
    assert_eq!(
        dump,
        value!({"configs": [{
            "@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump.DynamicListener",
            "name": "new",
        }]})
    );
}

#[tokio::test]
async fn config_dump_can_be_narrowed() {
    let fixture = fixture();
    let dump = get_json(&fixture, "/config_dump?include_eds");
    let endpoints = &dump["configs"][2]["static_endpoint_configs"][0]["endpoint_config"];
    assert_eq!(endpoints["cluster_name"], "web");
    let endpoint = &endpoints["endpoints"][0]["lb_endpoints"][0];
    assert_eq!(endpoint["health_status"], "HEALTHY");
    assert_eq!(endpoint["endpoint"]["hostname"], "hn");
    let none = get_json(
        &fixture,
        "/config_dump?resource=static_clusters&name_regex=^x$",
    );
    assert_eq!(none, value!({"configs": []}));
    let masked = get_json(&fixture, "/config_dump?mask=bootstrap.node");
    assert_eq!(
        masked["configs"][0]["bootstrap"],
        value!({"node": {"id": "n"}})
    );
    let cases = [
        (
            "/config_dump?resource=bogus",
            404,
            "bogus not found in config dump",
        ),
        (
            "/config_dump?resource=bootstrap",
            400,
            "bootstrap is not a repeated field. Use ?mask= to get only this field",
        ),
        (
            "/config_dump?mask=static_listeners.listener",
            400,
            "mask: static_listeners is a list; name it with resource instead\n",
        ),
    ];
    for (target, status, body) in cases {
        let reply = ask(&fixture, Method::GET, target);
        assert_eq!((reply.status.as_u16(), reply.body.as_str()), (status, body));
    }
    assert_eq!(
        ask(&fixture, Method::GET, "/config_dump?name_regex=(").status,
        400
    );
}

#[tokio::test]
async fn stats_in_each_format() {
    let fixture = fixture();
    let cluster = fixture.state.stats.cluster("web");
    cluster.shard(WorkerId(0)).upstream_rq_total.inc();
    let text = get(&fixture, "/stats?usedonly&filter=upstream_rq");
    assert_eq!(text, "cluster.web.upstream_rq_total: 1\n");
    let json = get(&fixture, "/stats?format=json&usedonly&filter=upstream_rq");
    assert_eq!(
        json,
        r#"{"stats":[{"name":"cluster.web.upstream_rq_total","value":1}]}"#
    );
    let prometheus = "# TYPE envoy_cluster_upstream_rq_total counter\nenvoy_cluster_upstream_rq_total{envoy_cluster_name=\"web\"} 1\n";
    for target in ["/stats?format=prometheus", "/stats/prometheus?x"] {
        assert_eq!(
            get(&fixture, &format!("{target}&usedonly&filter=upstream_rq")),
            prometheus
        );
    }
    let server = get(
        &fixture,
        "/stats?filter=^server.(state|live|concurrency|total_connections|days)&type=Gauges",
    );
    assert_eq!(
        server,
        "server.concurrency: 2\nserver.days_until_first_cert_expiring: 4294967295\nserver.live: 1\nserver.state: 0\nserver.total_connections: 3\n"
    );
    for target in [
        "/stats?format=xml",
        "/stats?filter=(",
        "/stats?type=x",
        "/stats?histogram_buckets=nonsense",
    ] {
        assert_eq!(
            ask(&fixture, Method::GET, target).status,
            StatusCode::BAD_REQUEST
        );
    }
    let page = get(&fixture, "/stats?format=html&filter=^server.live$");
    assert!(page.contains("<pre>\nserver.live: 1\n</pre>"), "{page}");
    assert_eq!(get(&fixture, "/init_dump?mask=other"), "{}\n");
    let waiting = "shared target RdsRouteConfigSubscription RDS init late";
    assert!(get(&fixture, "/init_dump").contains(waiting));
    assert_eq!(get(&fixture, "/hot_restart_version"), "disabled");
    assert_eq!(ask(&fixture, Method::POST, "/reset_counters").body, "OK\n");
    assert_eq!(get(&fixture, "/stats?usedonly&filter=upstream_rq"), "");
}

#[tokio::test]
async fn logging_shows_and_changes_levels() {
    let fixture = fixture();
    let shown = ask(&fixture, Method::POST, "/logging").body;
    assert!(shown.starts_with("active loggers:\n  admin: info\n"));
    let changed = ask(
        &fixture,
        Method::POST,
        "/logging?paths=http:debug,upstream:trace",
    )
    .body;
    assert!(changed.contains("\n  http: debug\n") && changed.contains("\n  upstream: trace\n"));
    let all = ask(&fixture, Method::POST, "/logging?level=warning").body;
    assert!(!all.contains("debug") && all.contains("\n  http: warning\n"));
    ask(&fixture, Method::POST, "/logging?http=off");
    let applied = fixture.filters.lock().unwrap().clone();
    assert_eq!(applied.len(), 3);
    assert!(applied[0].contains("meltemi_http=debug") && applied[2].contains("meltemi_http=off"));
    for target in [
        "level=loud",
        "nobody=info",
        "paths=http",
        "paths=http:debug,nobody:info",
        "level=info&http=off",
    ] {
        let reply = ask(&fixture, Method::POST, &format!("/logging?{target}"));
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
        assert!(reply.body.starts_with("error: ") && reply.body.contains("\nusage: /logging?"));
    }
    assert_eq!(fixture.filters.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn certificates_say_when_they_end() {
    let fixture = fixture();
    assert_eq!(get(&fixture, "/certs"), "{\n \"certificates\": []\n}\n");
    let mut parameters = rcgen::CertificateParams::default();
    parameters.not_before = rcgen::date_time_ymd(2026, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2026, 1, 12);
    let name = "spiffe://cluster.local/ns/a/sa/b".try_into().unwrap();
    parameters.subject_alt_names = vec![rcgen::SanType::URI(name)];
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    fixture.state.secrets.set(
        "default",
        ir::Secret::Certificate(ir::TlsCertificate {
            chain_pem: certificate.pem().into_bytes(),
            key_pem: key.serialize_pem().into_bytes(),
        }),
    );
    let tls = ir::DownstreamTls {
        certificates: vec![ir::SecretRef::Sds {
            name: "default".to_owned(),
            source: ir::CertificateSource::Discovered(ir::ConfigSource::default()),
        }],
        ..ir::DownstreamTls::default()
    };
    let secrets = fixture.state.secrets.clone();
    let _used = meltemi_tls::ServerContext::new(&tls, secrets).unwrap();
    let certificates = get_json(&fixture, "/certs");
    let leaf = &certificates["certificates"][0]["cert_chain"][0];
    assert_eq!(leaf["path"], "<inline: default>");
    assert_eq!(
        leaf["subject_alt_names"][0]["uri"],
        "spiffe://cluster.local/ns/a/sa/b"
    );
    assert_eq!(leaf["days_until_expiration"], "9");
    assert_eq!(leaf["expiration_time"], "2026-01-12T00:00:00Z");
    let days = get(&fixture, "/stats?filter=days_until_first_cert_expiring");
    assert_eq!(days, "server.days_until_first_cert_expiring: 9\n");
}

#[tokio::test(start_paused = true)]
async fn server_info_and_memory() {
    let fixture = fixture();
    tokio::time::advance(Duration::from_secs(12)).await;
    let info = get_json(&fixture, "/server_info");
    assert_eq!(info["state"], "LIVE");
    assert_eq!(info["uptime_current_epoch"], "12s");
    assert_eq!(info["command_line_options"]["drain_time"], "45s");
    assert_eq!(
        info["node"]["id"],
        "sidecar~10.0.0.1~a.ns~ns.svc.cluster.local"
    );
    let memory = get_json(&fixture, "/memory");
    let resident: u64 = memory["total_physical_bytes"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(resident > 0);
}

#[tokio::test]
async fn over_a_socket() {
    let fixture = fixture();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (drain, signal) = Drain::new();
    let served = tokio::spawn(serve(listener, fixture.state.clone(), signal));
    let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = b"GET /ready HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    client.write_all(request).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\r\ncontent-type: text/plain; charset=UTF-8\r\n"));
    assert!(answer.ends_with("\r\n\r\nLIVE\n"), "{answer}");
    drain.start();
    served.await.unwrap().unwrap();
}
