#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use meltemi_testkit::{Client, Http2Client, RawClient, Reply, Request, Response, Upstream};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::App;
use crate::Config;

/// A workload on a free port, until it is told to stop.
struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

async fn start(variables: &[(&str, &str)]) -> Running {
    let value = |name: &str| {
        variables
            .iter()
            .find(|(variable, _)| *variable == name)
            .map(|(_, value)| value)
    };
    let config = Config::from_lookup(|name| value(name).map(|value| (*value).to_owned())).unwrap();
    let app = App::bind(config, &[(Ipv4Addr::LOCALHOST, 0).into()])
        .await
        .unwrap();
    let address = app.addresses()[0];
    let (stop, stopped) = oneshot::channel();
    let served = tokio::spawn(app.serve(async {
        stopped.await.ok();
    }));
    Running {
        address,
        stop,
        served,
    }
}

impl Running {
    async fn get(&self, target: &str) -> Response {
        Client::new(self.address).get(target).await.unwrap()
    }

    async fn send(&self, request: &Request) -> Response {
        Client::new(self.address).send(request).await.unwrap()
    }

    fn uri(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

#[tokio::test]
async fn the_service_reports_itself() {
    let app = start(&[
        ("NAME", "catalog"),
        ("MESSAGE", r#"[{"id": 1}]"#),
        ("VERSION", "v2"),
    ])
    .await;
    let response = app.get("/items?id=1").await;
    assert_eq!(
        (response.status, response.header("content-type")),
        (200, Some("application/json"))
    );
    let report = response.json();
    for (field, value) in [
        ("name", json!("catalog")),
        ("version", json!("v2")),
        ("uri", json!("/items?id=1")),
        ("type", json!("HTTP")),
        ("ip_addresses", json!(["127.0.0.1"])),
        ("body", json!([{"id": 1}])),
        ("code", json!(200)),
        ("upstream_calls", Value::Null),
        ("headers", Value::Null),
    ] {
        assert_eq!(report[field], value, "{field}");
    }
    assert_eq!(
        app.get("/?headers").await.json()["headers"]["host"],
        app.address.to_string()
    );
}

#[tokio::test]
async fn hops_are_nested_and_headers_follow() {
    let last = Upstream::start();
    last.fallback(Reply::ok().body(r#"{"items": []}"#));
    let middle = start(&[
        ("NAME", "middle"),
        ("UPSTREAM_URIS", &format!("http://{}/items", last.address())),
    ])
    .await;
    let route = format!("/api/catalog={}", middle.uri("/v1"));
    let first = start(&[
        ("NAME", "first"),
        ("UPSTREAM_ROUTES", &route),
        ("FORWARD_HEADERS", "x-dark-launch"),
        ("HTTP_CLIENT_APPEND_REQUEST", "false"),
    ])
    .await;
    let request = Request::get("/api/catalog/7?q=1")
        .header("x-dark-launch", "v2")
        .header("X-Request-Id", "abc")
        .header("x-b3-traceid", "1")
        .header("x-private", "mine")
        .header("x-forwarded-for", "10.0.0.1");
    let report = first.send(&request).await.json();
    let hop = &report["upstream_calls"][middle.uri("/v1")];
    assert_eq!(
        (&hop["name"], &hop["code"]),
        (&json!("middle"), &json!(200))
    );
    assert_eq!(
        (&hop["uri"], &hop["error"]),
        (&json!(middle.uri("/v1")), &Value::Null)
    );
    let hop = &hop["upstream_calls"][format!("http://{}/items", last.address())];
    assert_eq!(
        (&hop["body"], &hop["code"]),
        (&json!({"items": []}), &json!(200))
    );

    let [received] = &last.received()[..] else {
        panic!("one call was due")
    };
    assert_eq!(received.target, "/items/v1/7?q=1");
    let forwarded = |name| received.header(name);
    assert_eq!(
        (forwarded("x-dark-launch"), forwarded("x-request-id")),
        (Some("v2"), Some("abc"))
    );
    assert_eq!(
        (forwarded("x-b3-traceid"), forwarded("x-private")),
        (Some("1"), None)
    );
    assert_eq!(
        (forwarded("x-forwarded-for"), forwarded("host")),
        (None, Some(&*last.address().to_string()))
    );
}

#[tokio::test]
async fn failing_upstreams_make_a_500_that_tells_them_apart() {
    let upstream = Upstream::start();
    upstream.on(
        "/bad",
        Reply::status(503)
            .body("no healthy upstream")
            .header("x-flag", "UH"),
    );
    let gone = Upstream::start().address();
    let uris = format!(
        "http://{0}/bad,http://{gone}/,http://{0}/good",
        upstream.address()
    );
    let app = start(&[("UPSTREAM_URIS", &uris), ("UPSTREAM_WORKERS", "3")]).await;
    let response = app.get("/").await;
    assert_eq!(response.status, 500);
    let report = response.json();
    let call = |path: &str| report["upstream_calls"][format!("http://{path}")].clone();
    let bad = call(&format!("{}/bad", upstream.address()));
    assert_eq!(
        (&bad["code"], &bad["body"]),
        (&json!(503), &json!("no healthy upstream"))
    );
    assert_eq!(bad["headers"]["x-flag"], "UH");
    assert!(bad["error"].as_str().unwrap().contains("503"));
    assert_eq!(call(&format!("{gone}/"))["code"], -1);
    assert_eq!(call(&format!("{}/good", upstream.address()))["code"], 200);
    assert_eq!(report["code"], 500);
}

#[tokio::test]
async fn upstreams_are_called_through_the_proxy_on_kept_connections() {
    let proxy = Upstream::start();
    let app = start(&[
        ("UPSTREAM_URIS", "http://catalog.istioinaction/items"),
        ("UPSTREAM_REQUEST_BODY", "ping"),
        ("http_proxy", &format!("http://{}", proxy.address())),
        ("no_proxy", "localhost"),
    ])
    .await;
    for _ in 0..3 {
        assert_eq!(app.get("/").await.status, 200);
    }
    let received = proxy.received();
    assert_eq!((received.len(), proxy.connections()), (3, 1));
    assert_eq!(received[0].target, "http://catalog.istioinaction/items");
    assert_eq!(
        (received[0].host(), received[0].method.as_str()),
        (Some("catalog.istioinaction"), "POST")
    );
    assert_eq!(received[0].body, "ping");
}

#[tokio::test]
async fn a_kept_connection_that_died_is_replaced() {
    let upstream = Upstream::start();
    let address = upstream.address();
    let app = start(&[("UPSTREAM_URIS", &format!("http://{address}/"))]).await;
    assert_eq!(app.get("/").await.status, 200);
    drop(upstream);
    let upstream = Upstream::start_on(address);
    assert_eq!(app.get("/").await.status, 200);
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn faults_and_slow_upstreams_show() {
    let app = start(&[("ERROR_RATE", "1"), ("ERROR_CODE", "429")]).await;
    let response = app.get("/").await;
    assert_eq!(
        (response.status, &response.json()["code"]),
        (429, &json!(429))
    );
    assert_eq!(app.get("/healthz").await.status, 200);

    let upstream = Upstream::start();
    upstream.fallback(Reply::silence());
    let uri = format!("http://{}/", upstream.address());
    let app = start(&[
        ("UPSTREAM_URIS", &uri),
        ("HTTP_CLIENT_REQUEST_TIMEOUT", "20ms"),
    ])
    .await;
    let report = app.get("/").await.json();
    assert!(
        report["upstream_calls"][uri]["error"]
            .as_str()
            .unwrap()
            .contains("within 20ms")
    );

    let app = start(&[("TIMING_50_PERCENTILE", "30ms")]).await;
    let before = tokio::time::Instant::now();
    app.get("/").await;
    assert!(before.elapsed() >= Duration::from_millis(30));
}

#[tokio::test]
async fn fixed_paths_answer_on_both_protocols() {
    let app = start(&[("NAME", "x"), ("HEALTH_CHECK_RESPONSE_CODE", "418")]).await;
    let http2 = Http2Client::connect(app.address).await.unwrap();
    let cases = [
        ("/healthz", 200, "ok\n"),
        ("/health", 418, "health\n"),
        ("/ready", 200, "ready\n"),
        ("/status/404", 404, "404"),
        ("/status/99", 400, ""),
        ("/status/x", 400, ""),
        ("/delay/1", 200, "200"),
        ("/stream/3/1", 200, "chunk 1\nchunk 2\nchunk 3\n"),
        ("/stream/0/0", 200, ""),
        ("/stream/3", 400, ""),
        ("/trailers", 200, "a trailer follows\n"),
        ("/headers", 200, "\"x-a\": \"1, 2\""),
        ("/ws", 426, ""),
    ];
    for (path, status, body) in cases {
        let request = Request::get(path)
            .header("x-a", "1, 2")
            .header("te", "trailers");
        for response in [
            app.send(&request).await,
            http2.send(&request).await.unwrap(),
        ] {
            assert_eq!(response.status, status, "{path} {}", response.version);
            assert!(
                response.text().contains(body),
                "{path} {}: {}",
                response.version,
                response.text()
            );
            let trailer = response.trailers.get("x-trailer");
            assert_eq!(
                trailer.is_some(),
                path == "/trailers",
                "{path} {}",
                response.version
            );
        }
    }
    let request = Request::post("/echo?a=b", "hello").host("shop");
    for response in [
        app.send(&request).await,
        http2.send(&request).await.unwrap(),
    ] {
        let echo = response.json();
        assert_eq!(
            (&echo["body"], &echo["method"]),
            (&json!("hello"), &json!("POST"))
        );
        assert_eq!(
            (&echo["uri"], &echo["host"]),
            (&json!("/echo?a=b"), &json!("shop"))
        );
    }
    assert_eq!(
        app.send(&Request::post("/echo/raw", "hello")).await.text(),
        "hello"
    );
}

#[tokio::test]
async fn flaky_paths_fail_per_key() {
    let app = start(&[]).await;
    for (target, statuses) in [
        ("/flaky/2?key=a", [503, 503, 200]),
        ("/flaky/1?key=b", [503, 200, 200]),
    ] {
        for status in statuses {
            assert_eq!(app.get(target).await.status, status, "{target}");
        }
    }
}

#[tokio::test]
async fn readiness_comes_after_its_delay() {
    let app = start(&[
        ("READY_CHECK_RESPONSE_DELAY", "1h"),
        ("READY_CHECK_ROOT_PATH_WAIT_TILL_READY", "true"),
    ])
    .await;
    assert_eq!(app.get("/ready").await.status, 503);
    assert_eq!(app.get("/").await.status, 503);
    assert_eq!(app.get("/status/204").await.status, 204);
}

#[tokio::test]
async fn websockets_echo_bytes() {
    let app = start(&[]).await;
    let mut client = RawClient::connect(app.address).await.unwrap();
    let handshake = Request::get("/ws")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let response = client.exchange(&handshake).await.unwrap();
    assert_eq!(
        (response.status, response.header("upgrade")),
        (101, Some("websocket"))
    );
    // the accept value of RFC 6455, section 1.3
    assert_eq!(
        response.header("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    client.send_bytes(b"\x81\x02hi").await.unwrap();
    assert_eq!(&client.read_some().await.unwrap()[..], b"\x81\x02hi");
}

#[tokio::test]
async fn shutdown_finishes_open_requests_and_closes_idle_connections() {
    let app = start(&[]).await;
    let mut idle = RawClient::connect(app.address).await.unwrap();
    assert_eq!(
        idle.exchange(&Request::get("/healthz"))
            .await
            .unwrap()
            .status,
        200
    );
    let mut busy = RawClient::connect(app.address).await.unwrap();
    busy.send(&Request::get("/stream/3/50")).await.unwrap();
    assert_eq!(busy.read_head().await.unwrap().status, 200);
    app.stop.send(()).unwrap();
    let mut rest = Vec::new();
    loop {
        let bytes = busy.read_some().await.unwrap();
        if bytes.is_empty() {
            break;
        }
        rest.extend_from_slice(&bytes);
    }
    assert!(String::from_utf8(rest).unwrap().contains("chunk 3\n"));
    app.served.await.unwrap();
    assert!(idle.read_some().await.unwrap().is_empty());
    assert!(Client::new(app.address).get("/").await.is_err());
}
