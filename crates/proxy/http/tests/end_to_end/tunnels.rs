//! WebSockets and CONNECT: both sides agree, then bytes flow.

use std::time::Duration;

use meltemi_ir as ir;
use meltemi_testkit::{RawClient, Reply, Request, Upstream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::fixture::{Proxy, everything, hcm, on_worker, to};

fn websocket() -> Request {
    Request::get("/ws")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
}

#[test]
fn a_websocket_passes_and_outlives_configuration() {
    on_worker(async || {
        let upstream = Upstream::start();
        upstream.on("/ws", Reply::upgrade("websocket").header("x-up", "1"));
        let mut config = hcm(everything());
        config.upgrades = vec!["websocket".to_owned()];
        let proxy = Proxy::start(config).await;
        proxy.cluster("up", &[upstream.address()]);
        let mut client = RawClient::connect(proxy.address).await.unwrap();
        let response = client.exchange(&websocket()).await.unwrap();
        assert_eq!(response.status, 101);
        assert_eq!(response.header("upgrade"), Some("websocket"));
        assert!(response.headers.has_token("connection", "upgrade"));
        assert_eq!(response.header("x-up"), Some("1"));
        for round in 0..50 {
            let text = format!("round {round}");
            client.send_bytes(text.as_bytes()).await.unwrap();
            let mut echoed = Vec::new();
            while echoed.len() < text.len() {
                echoed.extend_from_slice(&client.read_some().await.unwrap());
            }
            assert_eq!(echoed, text.as_bytes());
            proxy.swap(hcm(Vec::new()));
        }
        client.finish_sending().await.unwrap();
        drop(client);
        let line = proxy.last_line(1).await;
        assert!(
            line.starts_with("GET /ws 101 - via_upstream rx=390 tx=390"),
            "{line}"
        );
    });
}

#[test]
fn bytes_sent_with_the_request_are_not_lost() {
    on_worker(async || {
        let upstream = Upstream::start();
        upstream.on("/ws", Reply::upgrade("websocket"));
        let routes = vec![to("/", "up", |target| {
            target.upgrades = vec![("websocket".to_owned(), true)];
        })];
        let proxy = Proxy::routing(&upstream, routes).await;
        let mut client = RawClient::connect(proxy.address).await.unwrap();
        client
            .send_bytes(
                b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n\
                  Upgrade: websocket\r\n\r\nearly",
            )
            .await
            .unwrap();
        assert_eq!(client.read_response("GET").await.unwrap().status, 101);
        assert_eq!(client.read_some().await.unwrap(), "early");
    });
}

#[test]
fn what_is_not_allowed_is_refused() {
    on_worker(async || {
        let upstream = Upstream::start();
        let connect = ir::Route {
            matcher: ir::RouteMatch {
                path: ir::PathMatch::Connect,
                ..everything().remove(0).matcher
            },
            ..everything().remove(0)
        };
        let proxy = Proxy::routing(&upstream, vec![connect, everything().remove(0)]).await;
        let response = proxy.client().send(&websocket()).await.unwrap();
        assert_eq!(response.status, 403);
        let line = proxy.last_line(1).await;
        assert!(line.starts_with("GET /ws 403 - upgrade_failed"), "{line}");
        let mut client = RawClient::connect(proxy.address).await.unwrap();
        client
            .send_bytes(b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(client.read_response("CONNECT").await.unwrap().status, 403);
        assert_eq!(upstream.received(), []);
        // An upgrade to h2c is not asked for on our behalf: the request is served without.
        let h2c = Request::get("/x")
            .header("connection", "Upgrade, HTTP2-Settings")
            .header("upgrade", "h2c")
            .header("http2-settings", "AAMAAABk");
        assert_eq!(proxy.client().send(&h2c).await.unwrap().status, 200);
        let received = upstream.take_received().remove(0);
        assert_eq!(received.header("upgrade"), None);
        assert_eq!(received.header("http2-settings"), None);
    });
}

#[test]
fn an_upstream_may_decline() {
    on_worker(async || {
        let upstream = Upstream::start();
        upstream.on("/ws", Reply::status(401).body("who are you"));
        let mut config = hcm(everything());
        config.upgrades = vec!["websocket".to_owned()];
        let proxy = Proxy::start(config).await;
        proxy.cluster("up", &[upstream.address()]);
        let response = proxy.client().send(&websocket()).await.unwrap();
        assert_eq!(
            (response.status, response.text()),
            (401, "who are you".to_owned())
        );
    });
}

#[test]
fn an_idle_tunnel_ends() {
    on_worker(async || {
        let upstream = Upstream::start();
        upstream.on("/ws", Reply::upgrade("websocket"));
        let mut config = hcm(everything());
        config.upgrades = vec!["websocket".to_owned()];
        config.stream_idle_timeout = Some(Duration::from_millis(40));
        let proxy = Proxy::start(config).await;
        proxy.cluster("up", &[upstream.address()]);
        let mut client = RawClient::connect(proxy.address).await.unwrap();
        assert_eq!(client.exchange(&websocket()).await.unwrap().status, 101);
        assert!(client.read_some().await.unwrap().is_empty());
        let line = proxy.last_line(1).await;
        assert!(
            line.starts_with("GET /ws 101 SI stream_idle_timeout"),
            "{line}"
        );
    });
}

#[test]
fn connect_is_passed_on_where_it_is_allowed() {
    on_worker(async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut head).await.unwrap();
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            let (mut from, mut to) = stream.split();
            tokio::io::copy(&mut from, &mut to).await.unwrap();
            String::from_utf8(head).unwrap()
        });
        let mut connect = to("/", "up", |target| {
            target.upgrades = vec![("connect".to_owned(), true)];
        });
        connect.matcher.path = ir::PathMatch::Connect;
        let proxy = Proxy::start(hcm(vec![connect])).await;
        proxy.cluster("up", &[address]);
        let mut client = RawClient::connect(proxy.address).await.unwrap();
        client
            .send_bytes(b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(client.read_head().await.unwrap().status, 200);
        client.send_bytes(b"through").await.unwrap();
        assert_eq!(client.read_some().await.unwrap(), "through");
        drop(client);
        let head = asked.await.unwrap();
        assert!(
            head.starts_with("CONNECT a.example:443 HTTP/1.1\r\n"),
            "{head}"
        );
    });
}
