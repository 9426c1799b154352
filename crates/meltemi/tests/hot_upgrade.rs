//! A new process takes the place of a running one under load, several times: no request fails, and
//! the old process ends.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use meltemi_testkit::{Client, Load, Process, Reply, Request, Signal, Upstream, free_port};

const STARTUP: Duration = Duration::from_secs(30);

struct Row {
    directory: tempfile::TempDir,
    admin: u16,
    listener: u16,
}

impl Row {
    fn new(upstream: &Upstream) -> Self {
        let row = Self {
            directory: tempfile::tempdir().unwrap(),
            admin: free_port(),
            listener: free_port(),
        };
        row.write("bootstrap.yaml", upstream.address().port());
        row
    }

    fn write(&self, name: &str, upstream: u16) {
        let Self {
            admin, listener, ..
        } = self;
        let text = format!(
            r#"
admin: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {admin} }} }} }}
static_resources:
  listeners:
  - name: http
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: {listener} }} }}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          http_filters: [{{ name: envoy.filters.http.router, typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }} }}]
          route_config: {{ virtual_hosts: [{{ name: all, domains: ["*"], routes: [{{ match: {{ prefix: / }}, route: {{ cluster: upstream }} }}] }}] }}
  clusters:
  - name: upstream
    type: STATIC
    load_assignment: {{ cluster_name: upstream, endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {upstream} }} }} }} }}] }}] }}
"#
        );
        std::fs::write(self.directory.path().join(name), text).unwrap();
    }

    fn start(&self, epoch: usize, concurrency: usize, bootstrap: &Path) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meltemi"));
        command
            .args(["proxy", "-c"])
            .arg(bootstrap)
            .args(["--concurrency", &concurrency.to_string()])
            .args(["--restart-epoch", &epoch.to_string()])
            .args(["--base-id", &std::process::id().to_string()])
            .args(["--socket-path", &format!("@meltemi_test_{}", self.listener)])
            .args(["--drain-strategy", "immediate", "--drain-time-s", "10"])
            .args(["--parent-shutdown-time-s", "20"]);
        Process::start(&mut command).unwrap()
    }

    fn bootstrap(&self) -> std::path::PathBuf {
        self.directory.path().join("bootstrap.yaml")
    }

    fn ready(&self, process: &mut Process) {
        // The process before answers at this address until this one has it.
        process
            .wait_for_text(STARTUP, "administration endpoint")
            .unwrap();
        let admin = ([127, 0, 0, 1], self.admin).into();
        process.wait_for_http(STARTUP, admin, "/ready").unwrap();
    }
}

#[test]
fn no_request_fails_over_several_upgrades() {
    let upstream = Upstream::start();
    upstream.on("/", Reply::status(200).body("hello"));
    let row = Row::new(&upstream);
    let mut process = row.start(0, 2, &row.bootstrap());
    row.ready(&mut process);
    let address = ([127, 0, 0, 1], row.listener).into();
    let load = Load::start(address, Request::get("/").host("interop.test"), 6);
    // As many workers, more, fewer.
    for (epoch, concurrency) in [(1, 2), (2, 3), (3, 1)] {
        std::thread::sleep(Duration::from_millis(300));
        let mut next = row.start(epoch, concurrency, &row.bootstrap());
        row.ready(&mut next);
        let status = process.wait_exit(STARTUP).unwrap();
        assert!(status.success(), "{}", process.output());
        process = next;
    }
    std::thread::sleep(Duration::from_millis(300));
    let report = load.stop();
    assert_eq!(report.errors, Vec::<String>::new());
    assert_eq!(report.statuses.keys().collect::<Vec<_>>(), [&200]);
    process.stop(Signal::SIGTERM, STARTUP).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_cannot_serve_leaves_the_one_before_in_place() {
    let upstream = Upstream::start();
    upstream.on("/", Reply::status(200).body("hello"));
    let row = Row::new(&upstream);
    let mut process = row.start(0, 1, &row.bootstrap());
    row.ready(&mut process);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let text = std::fs::read_to_string(row.bootstrap()).unwrap();
    // A listener more, whose address somebody has.
    let more = format!(
        "  listeners:\n  - {{ name: taken, address: {{ socket_address: {{ address: 127.0.0.1, port_value: {} }} }}, filter_chains: [{{ filters: [{{ name: echo, typed_config: {{ \"@type\": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo }} }}] }}] }}\n",
        taken.local_addr().unwrap().port()
    );
    let bad = row.directory.path().join("bad.yaml");
    std::fs::write(&bad, text.replace("  listeners:\n", &more)).unwrap();
    let mut next = row.start(1, 1, &bad);
    let status = next.wait_exit(STARTUP).unwrap();
    assert!(!status.success());
    let admin = ([127, 0, 0, 1], row.admin).into();
    process.wait_for_http(STARTUP, admin, "/ready").unwrap();
    let address: std::net::SocketAddr = ([127, 0, 0, 1], row.listener).into();
    let request = Request::get("/").host("interop.test");
    let response = Client::new(address).send(&request).await.unwrap();
    assert_eq!(response.status, 200);
}
