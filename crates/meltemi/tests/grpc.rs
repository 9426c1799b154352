//! A gRPC library without a proxy (`xds:///`), served by `meltemi discovery`: routes, endpoints that
//! change, headers, times, and servers that the control plane tells who may call them.
//!
//! The library is Python's `grpcio`, in the interpreter that `$GRPC_PYTHON` names.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use meltemi_testkit::{Kind, Pki, Process, grpc_python, skip};
use serde_json::{Value, json};
use tokio::time::Instant;

const STARTUP: Duration = Duration::from_secs(20);
/// How long a change may take to arrive.
const FOLLOWS: Duration = Duration::from_secs(10);

const MESH: &str = include_str!("grpc/mesh.yaml");

/// A process of the library.
struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// How often each answer came.
type Seen = BTreeMap<String, u64>;

impl Peer {
    fn start(python: &Path, bootstrap: Option<&Path>, arguments: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/grpc/peer.py");
        let mut command = Command::new(python);
        command.arg(script).args(arguments);
        command.env("GRPC_XDS_EXPERIMENTAL_RBAC", "true");
        command.env_remove("http_proxy").env_remove("https_proxy");
        if let Some(bootstrap) = bootstrap {
            command.env("GRPC_XDS_BOOTSTRAP", bootstrap);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut peer = Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        };
        assert_eq!(peer.line(), "ready");
        peer
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn call(&mut self, wanted: &Value) -> (Seen, String) {
        writeln!(self.input, "{wanted}").unwrap();
        let answer: Value = serde_json::from_str(&self.line()).unwrap();
        let seen = serde_json::from_value(answer["seen"].clone()).unwrap();
        (seen, answer["detail"].as_str().unwrap().to_owned())
    }

    /// Calls until the answers are as wanted.
    fn until(&mut self, wanted: &Value, what: &str, is_it: impl Fn(&Seen) -> bool) -> Seen {
        let by = Instant::now() + FOLLOWS;
        loop {
            let (seen, detail) = self.call(wanted);
            if is_it(&seen) {
                return seen;
            }
            assert!(Instant::now() < by, "{what}: {seen:?} {detail}");
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // ignored: it may have gone by itself
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A control plane over `grpc/mesh.yaml`.
struct World {
    directory: tempfile::TempDir,
    discovery: Process,
    network: u8,
}

impl World {
    fn start(network: u8) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("mesh")).unwrap();
        let mesh = MESH.replace("127.0.", &format!("127.{network}."));
        std::fs::write(directory.path().join("mesh/mesh.yaml"), mesh).unwrap();
        let place = |port: u16| format!("127.{network}.0.1:{port}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_meltemi"));
        command.arg("discovery").arg("--config-dir");
        command.arg(directory.path().join("mesh"));
        command.arg("--ca-dir").arg(directory.path().join("ca"));
        command.args(["--http-addr", &place(8080)]);
        command.args(["--monitoring-addr", &place(15014)]);
        command.args(["--grpc-addr", &place(15010)]);
        command.args(["--secure-grpc-addr", &place(15012)]);
        let mut discovery = Process::start(&mut command).unwrap();
        let http = place(8080).parse().unwrap();
        discovery.wait_for_http(STARTUP, http, "/ready").unwrap();
        Self {
            directory,
            discovery,
            network,
        }
    }

    fn place(&self, rest: &str) -> String {
        format!("127.{}.{rest}", self.network)
    }

    /// Changes the mesh.
    fn change(&self, from: &str, to: &str) {
        let file = self.directory.path().join("mesh/mesh.yaml");
        let before = std::fs::read_to_string(&file).unwrap();
        let after = before.replace(from, to);
        assert_ne!(before, after, "the mesh has what the test changes");
        let draft = self.directory.path().join("draft");
        std::fs::write(&draft, after).unwrap();
        std::fs::rename(&draft, file).unwrap();
    }

    /// What a library is told (`GRPC_XDS_BOOTSTRAP`): where the control plane is, and who it is.
    fn bootstrap(&self, account: &str, ip: &str) -> std::path::PathBuf {
        let certificate = |suffix: &str| {
            let name = format!("pki/{account}{suffix}");
            self.directory.path().join(name)
        };
        let bootstrap = json!({
            "xds_servers": [ {
                "server_uri": self.place("0.1:15010"),
                "channel_creds": [ { "type": "insecure" } ],
                "server_features": ["xds_v3"],
            } ],
            "node": {
                "id": format!("sidecar~{ip}~{account}-1.shop~shop.svc.cluster.local"),
                "metadata": {
                    "GENERATOR": "grpc",
                    "NAMESPACE": "shop",
                    "SERVICE_ACCOUNT": account,
                    "LABELS": { "app": account },
                },
            },
            "certificate_providers": { "default": {
                "plugin_name": "file_watcher",
                "config": {
                    "certificate_file": certificate(".pem"),
                    "private_key_file": certificate("-key.pem"),
                    "ca_certificate_file": self.directory.path().join("pki/ca.pem"),
                    "refresh_interval": "600s",
                },
            } },
            "server_listener_resource_name_template": "xds.istio.io/grpc/lds/inbound/%s",
        });
        let path = self.directory.path().join(format!("{account}.json"));
        std::fs::write(&path, bootstrap.to_string()).unwrap();
        path
    }
}

#[test]
fn calls_go_where_the_routes_say() {
    let Some(python) = grpc_python() else {
        skip("$GRPC_PYTHON names no Python with grpcio");
        return;
    };
    let world = World::start(83);
    let addresses = [("v1", "1.1"), ("v2", "1.2"), ("spare", "1.3")];
    let servers =
        addresses.map(|(name, ip)| format!("{name}={}", world.place(&format!("{ip}:5000"))));
    let mut arguments = vec!["serve"];
    arguments.extend(servers.iter().map(String::as_str));
    let _servers = Peer::start(&python, None, &arguments);
    let bootstrap = world.bootstrap("web", &world.place("1.9"));
    // The short name is the one that the client's resolver would complete.
    let client = |target: &str| Peer::start(&python, Some(&bootstrap), &["call", target]);
    let mut catalog = client("xds:///catalog:80");

    let seen = catalog.call(&json!({ "count": 400 })).0;
    let v1 = seen.get("v1").copied().unwrap_or(0);
    assert!(
        (300..=340).contains(&v1) || (270..=360).contains(&v1),
        "{seen:?}"
    );
    assert_eq!(seen.get("v2").copied().unwrap_or(0) + v1, 400, "{seen:?}");

    let only = |name: &'static str| move |seen: &Seen| seen.len() == 1 && seen.contains_key(name);
    let tester = json!({ "count": 20, "metadata": { "x-user": "tester" } });
    catalog.until(&tester, "a header chooses", only("v2"));
    let method = json!({ "count": 20, "method": "/shop.Catalog/Put" });
    catalog.until(&method, "a path chooses", only("v1"));
    let failing = json!({ "count": 5, "metadata": { "x-fault": "yes" } });
    catalog.until(&failing, "a fault is injected", only("PERMISSION_DENIED"));
    let slow = json!({ "count": 1, "metadata": { "x-slow": "yes" }, "seconds": 30 });
    let begun = Instant::now();
    catalog.until(&slow, "the route's time is over", only("DEADLINE_EXCEEDED"));
    assert!(begun.elapsed() < Duration::from_secs(10));

    // An endpoint moves, and a route is shaped anew.
    world.change("podIP: 127.83.1.2", "podIP: 127.83.1.3");
    catalog.until(&tester, "the endpoint has moved", only("spare"));
    world.change("weight: 80", "weight: 0");
    world.change("weight: 20", "weight: 100");
    let some = json!({ "count": 40 });
    catalog.until(&some, "the weights are others", only("spare"));

    assert_eq!(world.discovery.output().matches("refused").count(), 0);
}

#[test]
fn servers_are_told_who_may_call_them() {
    let Some(python) = grpc_python() else {
        skip("$GRPC_PYTHON names no Python with grpcio");
        return;
    };
    let world = World::start(84);
    let pki = ["web", "thief", "ledger"]
        .iter()
        .fold(Pki::new(), |pki, name| {
            let id = format!("spiffe://cluster.local/ns/shop/sa/{name}");
            pki.with_special(Kind::Usual, name, [id.as_str()])
        });
    let directory = world.directory.path().join("pki");
    std::fs::create_dir(&directory).unwrap();
    pki.write(&directory).unwrap();
    let place = world.place("1.5:5000");
    let server = world.bootstrap("ledger", &world.place("1.5"));
    let _server = Peer::start(
        &python,
        Some(&server),
        &["serve-xds", &format!("ledger={place}")],
    );
    let caller = |account: &str| {
        let bootstrap = world.bootstrap(account, &world.place("1.9"));
        Peer::start(
            &python,
            Some(&bootstrap),
            &["call", "xds:///ledger.shop:80", "secure"],
        )
    };
    let only = |name: &'static str| move |seen: &Seen| seen.len() == 1 && seen.contains_key(name);
    let some = json!({ "count": 3, "method": "/shop.Ledger/Read" });
    let mut web = caller("web");
    web.until(&some, "who may", only("ledger"));
    let write = json!({ "count": 3, "method": "/shop.Ledger/Write" });
    web.until(&write, "what may not be done", only("PERMISSION_DENIED"));
    caller("thief").until(&some, "who may not", only("PERMISSION_DENIED"));
    // Nobody is let in without a certificate.
    let plain = world.bootstrap("web", &world.place("1.9"));
    let target = format!("ipv4:{place}");
    let mut plain = Peer::start(&python, Some(&plain), &["call", &target]);
    plain.until(&some, "plain text", only("UNAVAILABLE"));
}
