//! Certificates and roots are replaced two hundred times while requests and a WebSocket go on over
//! mutual TLS, and nothing is dropped: by our proxy, and by a stock Envoy where there is one. Both take
//! their secrets from the agent's socket.
//!
//! And what the system does not trust is refused by a stock Envoy that is to go by the system.
#![allow(clippy::unwrap_used)]

#[path = "hold/streams.rs"]
#[allow(dead_code, reason = "other tests hold other streams")]
mod streams;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use meltemi_agent::SdsServer;
use meltemi_ca::{Authorities, CaDirectory, Purpose, Validity};
use meltemi_ir::{Secret, TlsCertificate, ValidationContext};
use meltemi_lifecycle::Clock;
use meltemi_testkit::{
    Client, Load, Pki, Process, Request, Upstream, envoy_binary, free_port, skip,
};
use meltemi_tls::SecretStore;
use serde_json::{Value, json};
use streams::{Ending, Held, stream_server};

const ROTATIONS: usize = 200;
const STARTUP: Duration = Duration::from_secs(30);
const TYPE: &str = "type.googleapis.com/envoy.extensions";

/// A secret from the agent's socket.
fn secret(name: &str) -> Value {
    json!({ "name": name, "sds_config": {
        "resource_api_version": "V3",
        "api_config_source": {
            "api_type": "GRPC",
            "transport_api_version": "V3",
            "grpc_services": [ { "envoy_grpc": { "cluster_name": "sds-grpc" } } ],
        },
    } })
}

fn cluster(name: &str, address: &Value) -> Value {
    json!({
        "name": name, "type": "STATIC", "connect_timeout": "5s",
        "load_assignment": { "cluster_name": name, "endpoints": [ { "lb_endpoints": [
            { "endpoint": { "address": address } },
        ] } ] },
    })
}

fn at(address: SocketAddr) -> Value {
    let (ip, port) = (address.ip().to_string(), address.port());
    json!({ "socket_address": { "address": ip, "port_value": port } })
}

fn listener(name: &str, port: u16, routes: &Value, tls: Option<Value>) -> Value {
    let mut chain = json!({ "filters": [ {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": format!("{TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": name,
            "upgrade_configs": [ { "upgrade_type": "websocket" } ],
            "route_config": { "virtual_hosts": [ { "name": "all", "domains": ["*"], "routes": routes } ] },
            "http_filters": [ {
                "name": "envoy.filters.http.router",
                "typed_config": { "@type": format!("{TYPE}.filters.http.router.v3.Router") },
            } ],
        },
    } ] });
    if let Some(tls) = tls {
        chain["transport_socket"] = tls;
    }
    let address = at(SocketAddr::from(([127, 0, 0, 1], port)));
    json!({ "name": name, "address": address, "filter_chains": [ chain ] })
}

fn downstream() -> Value {
    json!({ "name": "tls", "typed_config": {
        "@type": format!("{TYPE}.transport_sockets.tls.v3.DownstreamTlsContext"),
        "require_client_certificate": true,
        "common_tls_context": {
            "tls_certificate_sds_secret_configs": [ secret("default") ],
            "validation_context_sds_secret_config": secret("ROOTCA"),
        },
    } })
}

fn upstream(roots: &str, own: bool) -> Value {
    let certificates = if own { vec![secret("default")] } else { vec![] };
    json!({ "name": "tls", "typed_config": {
        "@type": format!("{TYPE}.transport_sockets.tls.v3.UpstreamTlsContext"),
        "sni": "interop.test",
        "common_tls_context": {
            "tls_certificate_sds_secret_configs": certificates,
            "combined_validation_context": {
                "default_validation_context": { "match_typed_subject_alt_names": [
                    { "san_type": "DNS", "matcher": { "exact": "interop.test" } },
                ] },
                "validation_context_sds_secret_config": secret(roots),
            },
        },
    } })
}

/// Where things are.
struct Place {
    admin: SocketAddr,
    entry: SocketAddr,
    secured: SocketAddr,
    socket: PathBuf,
}

impl Place {
    fn new(directory: &Path) -> Self {
        let free = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        Self {
            admin: free(),
            entry: free(),
            secured: free(),
            socket: directory.join("sds.sock"),
        }
    }

    fn bootstrap(&self, clusters: Vec<Value>, listeners: Vec<Value>) -> Value {
        let mut sds = cluster("sds-grpc", &json!({ "pipe": { "path": self.socket } }));
        sds["typed_extension_protocol_options"] = json!({
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": format!("{TYPE}.upstreams.http.v3.HttpProtocolOptions"),
                "explicit_http_config": { "http2_protocol_options": {} },
            },
        });
        let clusters: Vec<_> = clusters.into_iter().chain([sds]).collect();
        json!({
            "node": { "id": "rotations", "cluster": "rotations" },
            "admin": { "address": at(self.admin) },
            "static_resources": { "clusters": clusters, "listeners": listeners },
        })
    }

    /// A listener whose requests go to another one over mutual TLS, some to each connection, and from
    /// there to the servers.
    fn relay(&self, pages: SocketAddr, streams: SocketAddr) -> Value {
        let route = |prefix: &str, cluster: &str| json!({ "match": { "prefix": prefix }, "route": { "cluster": cluster, "timeout": "0s" } });
        let mut secured = cluster("secured", &at(self.secured));
        secured["transport_socket"] = upstream("ROOTCA", true);
        secured["typed_extension_protocol_options"] = json!({
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": format!("{TYPE}.upstreams.http.v3.HttpProtocolOptions"),
                "common_http_protocol_options": { "max_requests_per_connection": 3 },
                "explicit_http_config": { "http_protocol_options": {} },
            },
        });
        let clusters = vec![
            secured,
            cluster("pages", &at(pages)),
            cluster("streams", &at(streams)),
        ];
        let inside = json!([route("/ws", "streams"), route("/", "pages")]);
        let listeners = vec![
            listener(
                "entry",
                self.entry.port(),
                &json!([route("/", "secured")]),
                None,
            ),
            listener("secured", self.secured.port(), &inside, Some(downstream())),
        ];
        self.bootstrap(clusters, listeners)
    }
}

fn proxy(program: Option<&Path>, directory: &Path, bootstrap: &Value) -> Process {
    let path = directory.join("bootstrap.json");
    std::fs::write(&path, bootstrap.to_string()).unwrap();
    let mut command = match program {
        Some(envoy) => {
            let mut command = Command::new(envoy);
            command.args([
                "--disable-hot-restart",
                "-l",
                "warning",
                "--concurrency",
                "1",
            ]);
            command
        }
        None => {
            let mut command = Command::new(env!("CARGO_BIN_EXE_meltemi"));
            command.args(["proxy", "--concurrency", "1"]);
            command
        }
    };
    Process::start(command.arg("-c").arg(path)).unwrap()
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

fn trusting(bundle: String) -> Secret {
    Secret::Validation(ValidationContext {
        trusted_ca_pem: bundle.into_bytes(),
        ..ValidationContext::default()
    })
}

/// A new key with a certificate of the root that signs, and what is trusted.
fn renew(store: &SecretStore, authorities: &Authorities) {
    let standing = authorities.standing();
    let names = ["interop.test".to_owned()];
    let made = standing
        .signer
        .server_certificate(&names, &[], None)
        .unwrap();
    let chain = made.chain.iter().map(|it| pem("CERTIFICATE", it));
    store.set("ROOTCA", trusting(standing.bundle_pem().concat()));
    store.set(
        "default",
        Secret::Certificate(TlsCertificate {
            chain_pem: chain.collect::<String>().into_bytes(),
            key_pem: pem("PRIVATE KEY", &made.key).into_bytes(),
        }),
    );
}

/// A statistic of a proxy.
async fn count(admin: SocketAddr, name: &str) -> u64 {
    let stats = Client::new(admin).get("/stats").await.unwrap().text();
    let line = stats
        .lines()
        .find(|it| it.starts_with(&format!("{name}: ")));
    line.and_then(|it| it.rsplit(' ').next()?.parse().ok())
        .unwrap_or_default()
}

async fn rotate(program: Option<&Path>) {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let purpose = Purpose {
        trust_domain: "cluster.local".parse().unwrap(),
        validity: Validity::default(),
        clock: Clock::system(),
    };
    let own = CaDirectory::new(directory.join("ca"));
    let authorities = Authorities::open(own, None, purpose).unwrap();
    let store = SecretStore::new();
    renew(&store, &authorities);
    let place = Place::new(directory);
    let server = SdsServer::new(Arc::clone(&store));
    let serving = tokio::spawn(server.clone().serve(place.socket.clone()));
    let pages = Upstream::start();
    let ending = Ending::new();
    let streams = stream_server(&ending).await;
    let bootstrap = place.relay(pages.address(), streams);
    let mut process = proxy(program, directory, &bootstrap);
    process
        .wait_for_http(STARTUP, place.admin, "/ready")
        .unwrap();

    let socket = Held::web_socket(place.entry, "/ws", &ending).await;
    let load = Load::classified(
        place.entry,
        Request::get("/page"),
        4,
        |answer| match answer.status {
            200 => String::new(),
            status => format!("{status}: {}", answer.text()),
        },
    );
    for number in 0..ROTATIONS {
        // The way from one root to the next, ten times. A handshake that began with a certificate of
        // the old one ends before that is forgotten, as the control plane's settling allows.
        match number % 20 {
            5 => authorities.begin().unwrap(),
            10 | 15 => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                authorities.advance(&[], true).unwrap();
            }
            _ => {}
        }
        renew(&store, &authorities);
        let settled = tokio::time::timeout(STARTUP, server.settled()).await;
        settled.unwrap_or_else(|_| panic!("rotation {number} is not taken: {}", process.output()));
        // Some requests after each, and with them a handshake at least.
        let until = (number as u64 + 1) * 4;
        while load.report().statuses.values().sum::<u64>() < until {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        socket.assert_open(&format!("by rotation {number}"));
    }
    let report = load.stop();
    assert_eq!(report.errors, [""; 0], "{}", process.output());
    assert_eq!(
        report.classes.keys().collect::<Vec<_>>(),
        [""],
        "{report:?}"
    );
    ending.end();
    assert!(socket.finish().await > 0, "the WebSocket carried something");
    let count = async |name: &str| count(place.admin, name).await;
    let connections = count("cluster.secured.upstream_cx_total").await;
    assert!(connections > 200, "{connections} connections are too few");
    assert_eq!(count("cluster.secured.ssl.fail_verify_error").await, 0);
    assert_eq!(count("cluster.secured.ssl.connection_error").await, 0);
    serving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_rotations_drop_nothing() {
    rotate(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_rotations_of_a_stock_envoy_drop_nothing() {
    match envoy_binary() {
        Some(envoy) => rotate(Some(&envoy)).await,
        None => skip("no Envoy: set $ENVOY_BIN"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_envoy_that_goes_by_the_system_refuses_what_that_does_not_trust() {
    let Some(envoy) = envoy_binary() else {
        return skip("no Envoy: set $ENVOY_BIN");
    };
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let pki = Pki::new().with("server", ["interop.test"]);
    pki.write(directory).unwrap();
    let server = Upstream::start_tls(pki.server("server", &["http/1.1"]));
    let store = SecretStore::new();
    let roots = std::fs::read_to_string(directory.join("ca.pem")).unwrap();
    store.set("ROOTCA", trusting(roots));
    let place = Place::new(directory);
    let serving = tokio::spawn(SdsServer::new(Arc::clone(&store)).serve(place.socket.clone()));
    let through = |name: &str, roots: &str| {
        let mut cluster = cluster(name, &at(server.address()));
        cluster["transport_socket"] = upstream(roots, false);
        cluster
    };
    let clusters = vec![
        through("by-root", "ROOTCA"),
        through("by-system", "file-root:system"),
    ];
    let route = |cluster: &str| json!({ "match": { "prefix": format!("/{cluster}") }, "route": { "cluster": cluster } });
    let routes = json!([route("by-root"), route("by-system")]);
    let listeners = vec![listener("entry", place.entry.port(), &routes, None)];
    let bootstrap = place.bootstrap(clusters, listeners);
    let mut process = proxy(Some(&envoy), directory, &bootstrap);
    process
        .wait_for_http(STARTUP, place.admin, "/ready")
        .unwrap();
    let ask = async |path: &str| Client::new(place.entry).get(path).await.unwrap();
    // Secrets may come a moment after the proxy is ready.
    let mut answer = ask("/by-root").await;
    for _ in 0..100 {
        if answer.status == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        answer = ask("/by-root").await;
    }
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(server.count("/by-root"), 1);
    // Refused, and not for lack of the secret.
    for _ in 0..100 {
        let answer = ask("/by-system").await;
        assert_eq!(answer.status, 503, "{}", answer.text());
        if count(place.admin, "cluster.by-system.ssl.fail_verify_error").await > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let refused = count(place.admin, "cluster.by-system.ssl.fail_verify_error").await;
    assert!(refused > 0, "{}", process.output());
    assert_eq!(server.count("/by-system"), 0);
    serving.abort();
}
