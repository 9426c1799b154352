#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::{Reply, Upstream};
use crate::{Client, ClientError, Http2Client, Request, Response};

/// Sends a request over HTTP/1.1 and over HTTP/2.
async fn both(upstream: &Upstream, request: &Request) -> [Result<Response, ClientError>; 2] {
    let http2 = Http2Client::connect(upstream.address()).await.unwrap();
    [
        Client::new(upstream.address()).send(request).await,
        http2.send(request).await,
    ]
}

#[tokio::test]
async fn the_closest_path_wins_and_the_fallback_is_200() {
    let upstream = Upstream::start();
    upstream
        .on("/a/*", Reply::status(201))
        .on("/a/b/*", Reply::status(202))
        .on("/a/b/c", Reply::status(203));
    for (path, status) in [
        ("/", 200),
        ("/a/x", 201),
        ("/a/b/x", 202),
        ("/a/b/c?q", 203),
    ] {
        for response in both(&upstream, &Request::get(path)).await {
            assert_eq!(response.unwrap().status, status, "{path}");
        }
    }
    upstream.fallback(Reply::status(404));
    assert_eq!(
        Client::new(upstream.address())
            .get("/")
            .await
            .unwrap()
            .status,
        404
    );
    assert_eq!(upstream.count("/a/b/c"), 2);
}

#[tokio::test]
async fn replies_run_out_to_the_last() {
    let upstream = Upstream::start();
    upstream.fail_times("/x", 2, 503);
    let client = Client::new(upstream.address());
    for status in [503, 503, 200, 200] {
        assert_eq!(client.get("/x").await.unwrap().status, status);
    }
}

#[tokio::test]
async fn bodies_echo_stream_and_carry_trailers() {
    let upstream = Upstream::start();
    upstream.on("/echo", Reply::echo());
    upstream.on(
        "/stream",
        Reply::ok()
            .pieces(["a", "b", "c"], Duration::from_millis(1))
            .trailer("t", "1"),
    );
    let request = Request::post("/echo", "hello").header("content-type", "text/plain");
    for response in both(&upstream, &request).await {
        let response = response.unwrap();
        assert_eq!(
            (response.text().as_str(), response.header("content-type")),
            ("hello", Some("text/plain"))
        );
    }
    for response in both(&upstream, &Request::get("/stream")).await {
        let response = response.unwrap();
        assert_eq!(
            (response.text().as_str(), response.trailers.get("t")),
            ("abc", Some("1"))
        );
    }
    assert_eq!(upstream.received()[0].body, "hello");
}

#[tokio::test]
async fn breaks_reach_the_client_as_errors() {
    let upstream = Upstream::start();
    upstream
        .on("/head", Reply::break_before_head())
        .on("/body", Reply::ok().body("half").break_in_body());
    upstream.on(
        "/chunk",
        Reply::ok().pieces(["half"], Duration::ZERO).break_in_body(),
    );
    for path in ["/head", "/body", "/chunk"] {
        for response in both(&upstream, &Request::get(path)).await {
            assert!(response.is_err(), "{path}: {response:?}");
        }
    }
}

#[tokio::test]
async fn requests_are_recorded_as_they_came() {
    let upstream = Upstream::start();
    let client = Client::new(upstream.address());
    client
        .send(
            &Request::get("http://shop.local/items?id=1")
                .host("shop.local")
                .header("X-A", "1"),
        )
        .await
        .unwrap();
    assert!(upstream.wait_received(1, Duration::from_secs(20)).await);
    let [received] = &upstream.take_received()[..] else {
        panic!("one request was sent")
    };
    assert_eq!(
        (received.path(), received.host()),
        ("/items", Some("shop.local"))
    );
    assert_eq!(
        (received.header("x-a"), received.connection),
        (Some("1"), 0)
    );
    assert!(upstream.received().is_empty());
    assert!(!upstream.wait_received(2, Duration::from_millis(1)).await);
}

#[tokio::test]
async fn dropping_it_frees_the_port_and_ends_connections() {
    let upstream = Upstream::start();
    let address = upstream.address();
    let mut client = crate::RawClient::connect(address).await.unwrap();
    client.exchange(&Request::get("/")).await.unwrap();
    assert_eq!(upstream.open_connections(), 1);
    drop(upstream);
    assert!(client.exchange(&Request::get("/")).await.is_err());
    assert!(Client::new(address).get("/").await.is_err());
    let again = Upstream::start_on(address);
    assert_eq!(
        Client::new(again.address()).get("/").await.unwrap().status,
        200
    );
}
