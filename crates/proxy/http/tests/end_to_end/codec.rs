//! HTTP/1 to the byte: framing that is refused, forms of request targets, what is forwarded.

use std::time::Duration;

use meltemi_ir as ir;
use meltemi_testkit::{RawClient, Reply, Request, Upstream};

use crate::fixture::{Proxy, everything, hcm, on_worker, to};

async fn status_of(proxy: &Proxy, bytes: &str) -> u16 {
    let mut client = RawClient::connect(proxy.address).await.unwrap();
    client.send_bytes(bytes.as_bytes()).await.unwrap();
    client.read_response("POST").await.unwrap().status
}

#[test]
fn doubtful_messages_are_refused() {
    on_worker(async || {
        let upstream = Upstream::start();
        let proxy = Proxy::routing(&upstream, everything()).await;
        const CHUNKS: &str = "3\r\nabc\r\n0\r\n\r\n";
        for (head, body, status) in [
            (
                "Transfer-Encoding: chunked\r\nContent-Length: 3",
                CHUNKS,
                400,
            ),
            (
                "Content-Length: 3\r\nTransfer-Encoding: chunked",
                CHUNKS,
                400,
            ),
            ("Content-Length: 3\r\nContent-Length: 3", "abc", 400),
            ("Content-Length: 3\r\nContent-Length: 4", "abcd", 400),
            ("Content-Length: 3, 3", "abc", 400),
            ("Content-Length: +3", "abc", 400),
            ("Content-Length: -1", "", 400),
            ("Transfer-Encoding: gzip, chunked", CHUNKS, 501),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                CHUNKS,
                501,
            ),
            ("Transfer-Encoding: identity", "abc", 501),
            ("Host: b", "", 400),
            ("Bad Name: x", "", 400),
            ("X-Folded: a\r\n b", "", 400),
            ("X-Null: a\0b", "", 400),
        ] {
            let message = format!("POST / HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n{body}");
            assert_eq!(status_of(&proxy, &message).await, status, "{head:?}");
        }
        for (message, status) in [
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
            ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("FOO / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 404),
            ("GET / HTTP/1.0\r\nHost: a\r\n\r\n", 426),
            ("GARBAGE\r\n\r\n", 400),
        ] {
            assert_eq!(status_of(&proxy, message).await, status, "{message:?}");
        }
        assert_eq!(upstream.received(), []);
    });
}

#[test]
fn a_second_request_in_the_same_segment_is_no_way_round() {
    on_worker(async || {
        let upstream = Upstream::start();
        upstream.fallback(Reply::echo());
        let proxy = Proxy::routing(&upstream, everything()).await;
        let mut client = RawClient::connect(proxy.address).await.unwrap();
        let smuggled = "GET /one HTTP/1.1\r\nHost: a\r\n\r\n\
            POST /two HTTP/1.1\r\nHost: a\r\nContent-Length: 44\r\nTransfer-Encoding: chunked\r\n\r\n\
            0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
        client.send_bytes(smuggled.as_bytes()).await.unwrap();
        while !client.read_some().await.unwrap_or_default().is_empty() {}
        let paths: Vec<_> = upstream
            .received()
            .iter()
            .map(|request| request.path().to_owned())
            .collect();
        assert!(!paths.contains(&"/hidden".to_owned()), "{paths:?}");
    });
}

#[test]
fn absolute_form_names_the_authority_and_goes_on_as_a_path() {
    on_worker(async || {
        let upstream = Upstream::start();
        let proxy = Proxy::routing(&upstream, everything()).await;
        let mut client = RawClient::connect(proxy.address).await.unwrap();
        let request = "GET http://abs.example:80/a/x?q=1 HTTP/1.1\r\nHost: other\r\n\r\n";
        client.send_bytes(request.as_bytes()).await.unwrap();
        assert_eq!(client.read_response("GET").await.unwrap().status, 200);
        let received = upstream.take_received();
        assert_eq!(received[0].target, "/a/x?q=1");
        assert_eq!(received[0].host(), Some("abs.example:80"));
        assert_eq!(received[0].headers.all("host").count(), 1);
    });
}

#[test]
fn what_is_added_and_what_is_taken_away() {
    on_worker(async || {
        let upstream = Upstream::start();
        let proxy = Proxy::routing(&upstream, everything()).await;
        let request = Request::get("/x")
            .host("web")
            .header("connection", "keep-alive, x-mine")
            .header("x-mine", "1")
            .header("keep-alive", "timeout=5")
            .header("proxy-connection", "keep-alive")
            .header("te", "gzip, trailers")
            .header("expect", "nothing")
            .header("x-envoy-retry-on", "5xx")
            .header("x-envoy-internal", "true")
            .header("x-forwarded-client-cert", "By=evil")
            .header("x-kept", "1");
        let response = proxy.client().send(&request).await.unwrap();
        assert!(response.header("x-envoy-upstream-service-time").is_some());
        let received = upstream.take_received().remove(0);
        for gone in [
            "connection",
            "x-mine",
            "keep-alive",
            "proxy-connection",
            "x-envoy-retry-on",
            "x-envoy-internal",
            "x-forwarded-client-cert",
            "x-forwarded-for",
        ] {
            assert_eq!(received.header(gone), None, "{gone}");
        }
        for (name, value) in [
            ("te", "trailers"),
            ("expect", "nothing"),
            ("x-kept", "1"),
            ("x-forwarded-proto", "http"),
            ("x-envoy-attempt-count", "1"),
            ("x-envoy-expected-rq-timeout-ms", "15000"),
            ("host", "web"),
        ] {
            assert_eq!(received.header(name), Some(value), "{name}");
        }
        let id = received.header("x-request-id").unwrap();
        assert_eq!((id.len(), id.as_bytes()[14]), (36, b'4'), "{id}");
    });
}

#[test]
fn bodies_stream_both_ways_on_a_kept_connection() {
    on_worker(async || {
        let upstream = Upstream::start();
        upstream.on("/echo", Reply::echo()).on(
            "/pieces",
            Reply::ok().pieces(["one ", "two ", "three"], Duration::from_millis(2)),
        );
        let proxy = Proxy::routing(&upstream, everything()).await;
        let mut client = RawClient::connect(proxy.address).await.unwrap();
        let large = vec![b'x'; 3 << 20];
        for _ in 0..3 {
            let echoed = client
                .exchange(&Request::post("/echo", large.clone()))
                .await
                .unwrap();
            assert_eq!(echoed.body.len(), large.len());
            let pieces = client.exchange(&Request::get("/pieces")).await.unwrap();
            assert_eq!(pieces.text(), "one two three");
            client
                .send_bytes(
                    b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                      3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
                )
                .await
                .unwrap();
            let chunked = client.read_response("POST").await.unwrap();
            assert_eq!(chunked.text(), "abcde");
        }
        assert_eq!(upstream.connections(), 1);
    });
}

#[test]
fn a_hundred_continue_comes_when_the_body_is_wanted() {
    on_worker(async || {
        let upstream = Upstream::start();
        upstream.fallback(Reply::echo());
        let proxy = Proxy::routing(&upstream, everything()).await;
        let mut client = RawClient::connect(proxy.address).await.unwrap();
        let head =
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
        client.send_bytes(head.as_bytes()).await.unwrap();
        assert_eq!(
            client.read_some().await.unwrap(),
            "HTTP/1.1 100 Continue\r\n\r\n"
        );
        client.send_bytes(b"abc").await.unwrap();
        assert_eq!(client.read_response("POST").await.unwrap().text(), "abc");
        assert_eq!(upstream.received()[0].header("expect"), None);
    });
}

#[test]
fn http_1_0_is_served_where_it_is_enabled() {
    on_worker(async || {
        let upstream = Upstream::start();
        let mut config = hcm(everything());
        config.http1.accept_http_10 = true;
        config.http1.default_host_for_http_10 = "default.example".to_owned();
        let proxy = Proxy::start(config).await;
        proxy.cluster("up", &[upstream.address()]);
        assert_eq!(status_of(&proxy, "GET / HTTP/1.0\r\n\r\n").await, 200);
        let received = upstream.take_received();
        assert_eq!(received[0].version, "HTTP/1.1");
        assert_eq!(received[0].host(), Some("default.example"));
    });
}

#[test]
fn a_path_is_rewritten_and_the_old_one_told() {
    on_worker(async || {
        let upstream = Upstream::start();
        let routes = vec![to("/api/", "up", |target| {
            target.path_rewrite = ir::PathRewrite::Prefix("/".to_owned());
            target.host_rewrite = ir::HostRewrite::Endpoint;
            target.append_x_forwarded_host = true;
        })];
        let proxy = Proxy::routing(&upstream, routes).await;
        let request = Request::get("/api/x?q=1").host("web");
        proxy.client().send(&request).await.unwrap();
        let received = upstream.take_received().remove(0);
        assert_eq!(received.target, "/x?q=1");
        for (name, value) in [
            ("host", "host.example"),
            ("x-envoy-original-path", "/api/x?q=1"),
            ("x-envoy-original-host", "web"),
            ("x-forwarded-host", "web"),
        ] {
            assert_eq!(received.header(name), Some(value), "{name}");
        }
    });
}
