#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::{Client, ClientError, Http2Client, RawClient};
use crate::{Reply, Request, Upstream};

#[tokio::test]
async fn raw_bytes_go_out_and_ordered_headers_come_back() {
    let upstream = Upstream::start();
    upstream.on(
        "/",
        Reply::raw("HTTP/1.1 418 Short\r\nB: 1\r\na: 2\r\nB: 3\r\ncontent-length: 2\r\n\r\nhi"),
    );
    let mut client = RawClient::connect(upstream.address()).await.unwrap();
    client
        .send_bytes(b"GET / HTTP/1.1\r\nHOST: here\r\n\r\n")
        .await
        .unwrap();
    let response = client.read_response("GET").await.unwrap();
    assert_eq!((response.status, response.text().as_str()), (418, "hi"));
    assert_eq!(response.headers.names(), ["b", "a", "b", "content-length"]);
    assert_eq!(
        upstream.received()[0].headers.iter().collect::<Vec<_>>(),
        [("HOST", "here")]
    );
    assert!(client.read_some().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_connection_is_used_again_and_upgraded() {
    let upstream = Upstream::start();
    upstream.on("/ws", Reply::upgrade("websocket"));
    let mut client = RawClient::connect(upstream.address()).await.unwrap();
    assert_eq!(
        client
            .exchange(&Request::post("/", "x"))
            .await
            .unwrap()
            .status,
        200
    );
    assert_eq!(
        client
            .exchange(&Request::new("HEAD", "/"))
            .await
            .unwrap()
            .status,
        200
    );
    let response = client.exchange(&Request::get("/ws")).await.unwrap();
    assert_eq!(
        (response.status, response.header("upgrade")),
        (101, Some("websocket"))
    );
    for message in ["one", "two"] {
        client.send_bytes(message.as_bytes()).await.unwrap();
        assert_eq!(client.read_some().await.unwrap(), message);
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn interim_responses_are_noted() {
    let upstream = Upstream::start();
    let request = Request::post("/", "x").header("expect", "100-continue");
    let response = Client::new(upstream.address())
        .send(&request)
        .await
        .unwrap();
    assert_eq!((response.status, response.informational), (200, vec![100]));
}

#[tokio::test]
async fn no_response_is_an_error_that_says_why() {
    let upstream = Upstream::start();
    upstream
        .on("/silent", Reply::silence())
        .on("/broken", Reply::break_before_head());
    let client = Client::new(upstream.address()).timeout(Duration::from_millis(50));
    assert!(matches!(
        client.get("/silent").await,
        Err(ClientError::TimedOut { .. })
    ));
    let client = client.timeout(Duration::from_secs(20));
    assert!(matches!(
        client.get("/broken").await,
        Err(ClientError::Closed { .. })
    ));
}

#[tokio::test]
async fn http2_multiplexes_on_one_connection() {
    let upstream = Upstream::start();
    upstream.on(
        "/slow",
        Reply::ok()
            .delay(Duration::from_millis(20))
            .trailer("t", "1")
            .body("slow"),
    );
    let client = Http2Client::connect(upstream.address()).await.unwrap();
    let request = Request::get("/quick?q=1").host("catalog.local");
    let slow = client.get("/slow");
    let (slow, quick) = tokio::join!(slow, client.send(&request));
    assert_eq!(quick.unwrap().version, "HTTP/2");
    let slow = slow.unwrap();
    assert_eq!(
        (slow.text().as_str(), slow.trailers.get("t")),
        ("slow", Some("1"))
    );
    assert_eq!(upstream.connections(), 1);
    let received = upstream.received();
    let quick = received
        .iter()
        .find(|request| request.path() == "/quick")
        .unwrap();
    assert_eq!(
        (quick.host(), quick.target.as_str()),
        (Some("catalog.local"), "/quick?q=1")
    );
    assert!(!client.is_closed());
}
