//! HTTP/2 in front of and behind the proxy.

use meltemi_ir as ir;
use meltemi_testkit::{Http2Client, Reply, Request, Upstream};

use crate::fixture::{Proxy, cluster, everything, on_worker};

#[test]
fn streams_bodies_and_trailers_pass_in_every_combination() {
    on_worker(async || {
        let upstream = Upstream::start();
        upstream.on("/echo", Reply::echo()).on(
            "/grpc",
            Reply::ok()
                .header("content-type", "application/grpc")
                .body("message")
                .trailer("grpc-status", "0"),
        );
        for protocol in [
            ir::UpstreamProtocol::Http1,
            ir::UpstreamProtocol::Http2,
            ir::UpstreamProtocol::Downstream,
        ] {
            let proxy = Proxy::routing(&upstream, everything()).await;
            let mut config = cluster("up", &[upstream.address()]);
            config.http.protocol = protocol;
            proxy.clusters.apply(config, true).unwrap();
            let client = Http2Client::connect(proxy.address).await.unwrap();
            let body = vec![b'x'; 1 << 20];
            let request = Request::post("/echo", body.clone()).host("web.example");
            let response = client.send(&request).await.unwrap();
            assert_eq!((response.status, response.body.len()), (200, body.len()));
            assert_eq!(response.header("server"), Some("envoy"));
            assert!(response.header("date").is_some());
            let received = upstream.take_received().remove(0);
            assert_eq!(received.host(), Some("web.example"));
            let expected = match protocol {
                ir::UpstreamProtocol::Http1 => "HTTP/1.1",
                _ => "HTTP/2",
            };
            assert_eq!(received.version, expected);
            let response = client.get("/grpc").await.unwrap();
            assert_eq!(response.text(), "message");
            if protocol != ir::UpstreamProtocol::Http1 {
                assert_eq!(response.trailers.get("grpc-status"), Some("0"));
            }
            let plain = proxy.client().get("/grpc").await.unwrap();
            assert_eq!(plain.text(), "message");
            let _ = upstream.take_received();
        }
    });
}

#[test]
fn a_request_without_route_leaves_the_connection_alone() {
    on_worker(async || {
        let upstream = Upstream::start();
        let proxy = Proxy::routing(&upstream, vec![crate::fixture::to("/a", "up", |_| {})]).await;
        let client = Http2Client::connect(proxy.address).await.unwrap();
        for (target, status) in [("/none", 404), ("/a", 200), ("/none", 404), ("/a", 200)] {
            assert_eq!(client.get(target).await.unwrap().status, status);
        }
    });
}

#[test]
fn a_drain_ends_the_connection_after_its_streams() {
    on_worker(async || {
        let upstream = Upstream::start();
        let proxy = Proxy::routing(&upstream, everything()).await;
        let client = Http2Client::connect(proxy.address).await.unwrap();
        assert_eq!(client.get("/").await.unwrap().status, 200);
        proxy.drain();
        while !client.is_closed() {
            tokio::task::yield_now().await;
        }
    });
}
