//! Connections outlive configuration, and end when they are asked to.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use meltemi_ir as ir;
use meltemi_testkit::{RawClient, Reply, Request, Upstream};

use crate::fixture::{Proxy, everything, hcm, on_worker, route, table, to};

fn answer(text: &str) -> Vec<ir::Route> {
    vec![
        to("/up", "up", |_| {}),
        route(
            "/",
            ir::RouteAction::Direct(ir::DirectResponse {
                status: StatusCode::OK,
                body: text.as_bytes().into(),
            }),
        ),
    ]
}

#[test]
fn a_new_configuration_serves_the_next_request_of_an_old_connection() {
    on_worker(async || {
        let upstream = Upstream::start();
        upstream.on(
            "/up",
            Reply::ok().pieces(["a", "b", "c"], Duration::from_millis(20)),
        );
        let proxy = Proxy::routing(&upstream, answer("first")).await;
        let mut client = RawClient::connect(proxy.address).await.unwrap();
        let mut download = RawClient::connect(proxy.address).await.unwrap();
        let get = Request::get("/");
        assert_eq!(client.exchange(&get).await.unwrap().text(), "first");
        download.send(&Request::get("/up")).await.unwrap();
        for round in 0..50 {
            let text = format!("round {round}");
            proxy.swap(hcm(answer(&text)));
            assert_eq!(client.exchange(&get).await.unwrap().text(), text);
        }
        assert_eq!(download.read_response("GET").await.unwrap().text(), "abc");
    });
}

#[test]
fn discovered_routes_are_served_as_they_come() {
    on_worker(async || {
        let mut config = hcm(Vec::new());
        config.routes = ir::RouteSource::Rds {
            name: "table".to_owned(),
            source: ir::ConfigSource::default(),
        };
        let proxy = Proxy::start(config).await;
        let mut client = RawClient::connect(proxy.address).await.unwrap();
        let get = Request::get("/");
        assert_eq!(client.exchange(&get).await.unwrap().status, 404);
        for text in ["one", "two"] {
            proxy.routes().apply(&table(answer(text))).unwrap();
            assert_eq!(client.exchange(&get).await.unwrap().text(), text);
        }
        // a table that is served stays, one that nobody serves goes
        proxy.routes().remove("table");
        assert_eq!(client.exchange(&get).await.unwrap().text(), "two");
        let other = ir::RouteConfiguration {
            name: "other".to_owned(),
            ..table(answer("other")).as_ref().clone()
        };
        proxy.routes().apply(&Arc::new(other)).unwrap();
        assert_eq!(proxy.routes().configs().len(), 2);
        proxy.routes().remove("other");
        assert_eq!(proxy.routes().configs().len(), 1);
    });
}

#[test]
fn a_drain_closes_idle_connections_and_tells_busy_ones() {
    on_worker(async || {
        let upstream = Upstream::start();
        upstream.fallback(Reply::ok().delay(Duration::from_millis(30)));
        let proxy = Proxy::routing(&upstream, everything()).await;
        let mut idle = RawClient::connect(proxy.address).await.unwrap();
        idle.exchange(&Request::get("/")).await.unwrap();
        let mut busy = RawClient::connect(proxy.address).await.unwrap();
        busy.send(&Request::get("/")).await.unwrap();
        assert!(upstream.wait_received(2, Duration::from_secs(5)).await);
        proxy.drain();
        let response = busy.read_response("GET").await.unwrap();
        assert_eq!(response.status, 200);
        assert_eq!(response.header("connection"), Some("close"));
        assert!(busy.read_some().await.unwrap().is_empty());
        assert!(idle.read_some().await.unwrap().is_empty());
    });
}

#[test]
fn limits_on_connections_are_kept() {
    on_worker(async || {
        let mut config = hcm(answer("x"));
        config.idle_timeout = Some(Duration::from_millis(40));
        let proxy = Proxy::start(config).await;
        let mut client = RawClient::connect(proxy.address).await.unwrap();
        client.exchange(&Request::get("/")).await.unwrap();
        assert!(client.read_some().await.unwrap().is_empty());

        let mut config = hcm(answer("x"));
        config.request_headers_timeout = Some(Duration::from_millis(40));
        proxy.swap(config);
        let mut client = RawClient::connect(proxy.address).await.unwrap();
        client.send_bytes(b"GET / HTTP/1.1\r\nHo").await.unwrap();
        assert_eq!(client.read_response("GET").await.unwrap().status, 408);

        let upstream = Upstream::start();
        upstream.fallback(Reply::ok().delay(Duration::from_millis(5)));
        let mut config = hcm(everything());
        config.max_requests_per_connection = 2;
        proxy.swap(config);
        proxy.cluster("up", &[upstream.address()]);
        let mut client = RawClient::connect(proxy.address).await.unwrap();
        let first = client.exchange(&Request::get("/")).await.unwrap();
        assert_eq!(first.header("connection"), None);
        let second = client.exchange(&Request::get("/")).await.unwrap();
        assert_eq!(second.header("connection"), Some("close"));
    });
}

#[test]
fn the_edge_tells_who_the_client_is() {
    on_worker(async || {
        let upstream = Upstream::start();
        let mut config = hcm(everything());
        config.use_remote_address = true;
        config.xff_num_trusted_hops = 1;
        let proxy = Proxy::start(config).await;
        proxy.cluster("up", &[upstream.address()]);
        let request = Request::get("/")
            .header("x-forwarded-for", "1.2.3.4, 9.9.9.9")
            .header("x-request-id", "mine");
        proxy.client().send(&request).await.unwrap();
        let received = upstream.take_received().remove(0);
        assert_eq!(
            received.header("x-forwarded-for"),
            Some("1.2.3.4, 9.9.9.9,192.0.2.7")
        );
        assert_eq!(received.header("x-envoy-external-address"), Some("9.9.9.9"));
        assert_ne!(received.header("x-request-id"), Some("mine"));
        let line = proxy.last_line(1).await;
        assert!(line.ends_with("peer=9.9.9.9"), "{line}");
    });
}
