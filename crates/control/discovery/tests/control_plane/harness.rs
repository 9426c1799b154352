//! A control plane over a temporary directory, and questions to it over HTTP.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use meltemi_discovery::{Addresses, ControlPlane, DiscoveryError, Options};
use meltemi_lifecycle::Drain;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Longer than anything here takes on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(10);

pub const SERVICES: &str = "
apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { istio-injection: enabled } }
---
apiVersion: v1
kind: Service
metadata: { name: catalog, namespace: shop }
spec:
  clusterIP: 10.96.0.10
  selector: { app: catalog }
  ports: [{ name: http, port: 80, targetPort: 3000 }]
---
apiVersion: v1
kind: Pod
metadata: { name: catalog-v1, namespace: shop, labels: { app: catalog, version: v1 } }
spec: { serviceAccountName: catalog, containers: [{ name: catalog, image: catalog }] }
status: { podIP: 10.1.0.5 }
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: catalog, namespace: shop }
spec:
  host: catalog
  subsets:
  - { name: v1, labels: { version: v1 } }
  - { name: v2, labels: { version: v2 } }
";

/// A VirtualService with this weight for the first of two subsets.
pub fn weights(v1: u32) -> String {
    let v2 = 100_i64 - i64::from(v1);
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: catalog, namespace: shop }}
spec:
  hosts: [catalog]
  http:
  - route:
    - destination: {{ host: catalog, subset: v1 }}
      weight: {v1}
    - destination: {{ host: catalog, subset: v2 }}
      weight: {v2}
"
    )
}

pub struct Plane {
    pub control: ControlPlane,
    pub addresses: Addresses,
    pub place: TempDir,
    pub drain: Drain,
}

/// Loopback ports that are free, and a directory with the given files.
pub fn options(place: &TempDir, files: &[(&str, &str)]) -> Options {
    let config = place.path().join("config");
    std::fs::create_dir_all(&config).unwrap();
    for (name, text) in files {
        std::fs::write(config.join(name), text).unwrap();
    }
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut options = Options::new(place.path().join("ca"));
    options.config = vec![config];
    options.http = any;
    options.monitoring = any;
    options.plaintext_xds = Some(any);
    options.secure_xds = any;
    options.debounce_quiet = Duration::from_millis(20);
    options
}

impl Plane {
    pub async fn start(files: &[(&str, &str)]) -> Self {
        Self::with(files, |_| {}).await.unwrap()
    }

    pub async fn with(
        files: &[(&str, &str)],
        edit: impl FnOnce(&mut Options),
    ) -> Result<Self, DiscoveryError> {
        let place = TempDir::new().unwrap();
        let mut options = options(&place, files);
        edit(&mut options);
        let (drain, signal) = Drain::new();
        let control = ControlPlane::start(options, signal).await?;
        Ok(Self {
            addresses: control.addresses(),
            control,
            place,
            drain,
        })
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.place.path().join("config").join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.file(name), text).unwrap();
    }

    /// Status and body of a request to the debug port.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n");
        self.ask(&request).await
    }

    /// The same of JSON that is posted to it under a name.
    pub async fn post(&self, path: &str, host: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        self.ask(&request).await
    }

    async fn ask(&self, request: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.addresses.http).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    pub async fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }
}

/// Asks again until there is an answer.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, ask: impl Fn() -> F) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(start.elapsed() < LIMIT, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
