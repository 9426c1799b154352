//! `meltemi proxy` takes secrets from a discovery service of its own and from files: it is ready
//! when they are there, follows a change at the next handshake, and keeps what is good.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meltemi_agent::SdsServer;
use meltemi_ir::{Secret, TlsCertificate};
use meltemi_testkit::{Client, Http2Client, Pki, Process, Request, Speaking, Upstream, free_port};
use meltemi_tls::{CertificateInfo, SecretStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

const PATIENCE: Duration = Duration::from_secs(30);

fn bootstrap(admin: u16, listener: u16, source: &str, socket: &Path) -> String {
    let socket = socket.display();
    format!(
        r#"
admin: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {admin} }} }} }}
static_resources:
  clusters:
  - name: sds-grpc
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{ http2_protocol_options: {{}} }}
    load_assignment: {{ cluster_name: sds-grpc, endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ pipe: {{ path: "{socket}" }} }} }} }}] }}] }}
  listeners:
  - name: secured
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: {listener} }} }}
    filter_chains:
    - transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificate_sds_secret_configs: [{{ name: server, sds_config: {source} }}]
      filters: [{{ name: echo, typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo }} }}]
"#
    )
}

fn start(directory: &Path, text: &str) -> Process {
    let path = directory.join("bootstrap.yaml");
    std::fs::write(&path, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_meltemi"));
    command
        .args(["proxy", "--concurrency", "1", "-c"])
        .arg(path);
    Process::start(&mut command).unwrap()
}

fn certificate(directory: &Path, name: &str, key: &str) -> Secret {
    let read = |file: String| std::fs::read(directory.join(file)).unwrap();
    Secret::Certificate(TlsCertificate {
        chain_pem: read(format!("{name}.pem")),
        key_pem: read(format!("{key}-key.pem")),
    })
}

/// The subject of the certificate that is shown.
async fn shown(pki: &Pki, address: SocketAddr) -> Option<String> {
    let config = pki.client_speaking(Speaking {
        trusting: true,
        ..Speaking::default()
    });
    let stream = TcpStream::connect(address).await.ok()?;
    let name = ServerName::try_from("interop.test").unwrap();
    let stream = TlsConnector::from(config)
        .connect(name, stream)
        .await
        .ok()?;
    let leaf = stream.get_ref().1.peer_certificates()?.first()?;
    Some(CertificateInfo::read(leaf)?.subject)
}

async fn wait_until_shown(pki: &Pki, address: SocketAddr, subject: &str) {
    let until = Instant::now() + PATIENCE;
    while shown(pki, address).await.as_deref() != Some(subject) {
        assert!(Instant::now() < until, "{subject} is not shown");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn pki(directory: &Path) -> Pki {
    let pki = Pki::new()
        .with("first", ["interop.test"])
        .with("second", ["interop.test"]);
    pki.write(directory).unwrap();
    pki
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_service_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let pki = pki(directory);
    let socket = directory.join("sds.sock");
    let store = SecretStore::new();
    let serving = tokio::spawn(SdsServer::new(Arc::clone(&store)).serve(socket.clone()));
    let (admin, listener) = (free_port(), free_port());
    let source = "{ resource_api_version: V3, api_config_source: { api_type: GRPC, transport_api_version: V3, grpc_services: [{ envoy_grpc: { cluster_name: sds-grpc } }] } }";
    let mut process = start(directory, &bootstrap(admin, listener, source, &socket));
    let address = SocketAddr::from(([127, 0, 0, 1], listener));
    let admin = SocketAddr::from(([127, 0, 0, 1], admin));
    process
        .wait_for_text(PATIENCE, "connected to the service of SDS")
        .unwrap();
    let ready = Client::new(admin).send(&Request::get("/ready")).await;
    assert_eq!(
        ready.unwrap().status,
        503,
        "ready before it can shake hands"
    );
    store.set("server", certificate(directory, "first", "first"));
    process.wait_for_http(PATIENCE, admin, "/ready").unwrap();
    wait_until_shown(&pki, address, "CN=first").await;
    store.set("server", certificate(directory, "second", "first"));
    process
        .wait_for_text(PATIENCE, "refused: tls_certificate: private_key")
        .unwrap();
    assert_eq!(shown(&pki, address).await.as_deref(), Some("CN=first"));
    store.set("server", certificate(directory, "second", "second"));
    wait_until_shown(&pki, address, "CN=second").await;
    serving.abort();
}

/// Whatever the log's level, what clients prove themselves with is not in it.
#[tokio::test(flavor = "multi_thread")]
async fn the_finest_log_tells_no_token() {
    const SECRET: &str = "s3cr3t-of-a-client";
    let directory = tempfile::tempdir().unwrap();
    let upstream = Upstream::start();
    let (admin, listener) = (free_port(), free_port());
    let server = upstream.address().port();
    let text = format!(
        r#"
admin: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {admin} }} }} }}
static_resources:
  clusters:
  - name: server
    type: STATIC
    load_assignment: {{ cluster_name: server, endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {server} }} }} }} }}] }}] }}
  listeners:
  - name: open
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: {listener} }} }}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: open
          http_filters:
          - name: jwt
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
              providers: {{ all: {{ from_headers: [{{ name: x-token }}], local_jwks: {{ inline_string: '{{"keys":[{{"kty":"oct","k":"c2VjcmV0"}}]}}' }} }} }}
              rules: [{{ match: {{ prefix: /guarded }}, requires: {{ provider_name: all }} }}]
          - {{ name: envoy.filters.http.router, typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }} }}
          route_config: {{ virtual_hosts: [{{ name: all, domains: ["*"], routes: [{{ match: {{ prefix: / }}, route: {{ cluster: server }} }}] }}] }}
"#
    );
    let path = directory.path().join("bootstrap.yaml");
    std::fs::write(&path, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_meltemi"));
    command.args(["proxy", "--concurrency", "1", "-l", "trace", "-c"]);
    let mut process = Process::start(command.arg(path)).unwrap();
    let admin = SocketAddr::from(([127, 0, 0, 1], admin));
    process.wait_for_http(PATIENCE, admin, "/ready").unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], listener));
    for (path, status) in [("/", 200), ("/guarded", 401)] {
        let request = Request::get(&format!("{path}?key={SECRET}"))
            .header("authorization", &format!("Bearer {SECRET}"))
            .header("x-token", &format!("a.{SECRET}.c"))
            .header("cookie", &format!("session={SECRET}"));
        let http1 = Client::new(address).send(&request).await.unwrap();
        let http2 = Http2Client::connect(address).await.unwrap();
        let http2 = http2.send(&request).await.unwrap();
        assert_eq!((http1.status, http2.status), (status, status));
    }
    let output = process.output();
    assert!(output.contains("TRACE"), "nothing is traced: {output}");
    let told: Vec<_> = output.lines().filter(|it| it.contains(SECRET)).collect();
    assert!(told.is_empty(), "{told:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn from_files() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let pki = pki(directory);
    let copy = |from: &str, to: &str| {
        let staged = directory.join("staged");
        std::fs::copy(directory.join(from), &staged).unwrap();
        std::fs::rename(staged, directory.join(to)).unwrap();
    };
    copy("first.pem", "server.pem");
    copy("first-key.pem", "server-key.pem");
    let secrets = directory.join("secrets.yaml");
    let here = directory.display();
    let text = format!(
        r#"{{ resources: [{{ "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret, name: server, tls_certificate: {{ certificate_chain: {{ filename: "{here}/server.pem" }}, private_key: {{ filename: "{here}/server-key.pem" }} }} }}] }}"#
    );
    std::fs::write(&secrets, text).unwrap();
    let (admin, listener) = (free_port(), free_port());
    let source = format!(
        "{{ resource_api_version: V3, path_config_source: {{ path: \"{}\" }} }}",
        secrets.display()
    );
    let socket = directory.join("none.sock");
    let mut process = start(directory, &bootstrap(admin, listener, &source, &socket));
    let address = SocketAddr::from(([127, 0, 0, 1], listener));
    let admin = SocketAddr::from(([127, 0, 0, 1], admin));
    process.wait_for_http(PATIENCE, admin, "/ready").unwrap();
    wait_until_shown(&pki, address, "CN=first").await;
    // A certificate whose key has not come yet takes the place of nothing.
    copy("second.pem", "server.pem");
    process.wait_for_text(PATIENCE, "stays as it is").unwrap();
    assert_eq!(shown(&pki, address).await.as_deref(), Some("CN=first"));
    copy("second-key.pem", "server-key.pem");
    wait_until_shown(&pki, address, "CN=second").await;
}
