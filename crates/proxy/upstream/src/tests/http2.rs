use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use meltemi_ir::{Http2Keepalive, UpstreamProtocol};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::fixture::{Fixture, chunks, get, listen, on_worker, text, to, until};
use crate::{HttpVersion, ResetReason, UpstreamBody, upgrade};

/// Answers with the connection's number and what came in; `/hold` never, `/go-away` after
/// saying that no more streams are taken.
async fn server(streams: u32) -> (SocketAddr, Rc<Cell<usize>>) {
    let (listener, address) = listen().await;
    let connections = Rc::new(Cell::new(0));
    let count = Rc::clone(&connections);
    tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            count.set(count.get() + 1);
            let number = count.get();
            tokio::task::spawn_local(async move {
                let mut builder = h2::server::Builder::new();
                builder
                    .max_concurrent_streams(streams)
                    .enable_connect_protocol();
                let mut connection = builder.handshake::<_, Bytes>(stream).await.unwrap();
                while let Some(Ok((request, reply))) = connection.accept().await {
                    if request.uri().path() == "/go-away" {
                        connection.graceful_shutdown();
                    }
                    tokio::task::spawn_local(answer(request, reply, number));
                }
            });
        }
    });
    (address, connections)
}

async fn answer(
    request: Request<h2::RecvStream>,
    mut reply: h2::server::SendResponse<Bytes>,
    number: usize,
) {
    let (head, mut body) = request.into_parts();
    if head.uri.path() == "/hold" {
        let _ = futures_util::future::poll_fn(|cx| reply.poll_reset(cx)).await;
        return;
    }
    if head.uri.path() == "/refuse" {
        reply.send_reset(h2::Reason::REFUSED_STREAM);
        return;
    }
    let mut stream = reply.send_response(Response::new(()), false).unwrap();
    if head.method == Method::CONNECT {
        while let Some(data) = body.data().await {
            stream.send_data(data.unwrap(), false).unwrap();
        }
        stream.send_data(Bytes::new(), true).unwrap();
        return;
    }
    let mut said = format!("{number} {} ", head.uri);
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        said.push_str(std::str::from_utf8(&data).unwrap());
    }
    stream.send_data(Bytes::from(said), false).unwrap();
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let _ = stream.send_trailers(trailers);
}

fn over_http2(address: SocketAddr) -> meltemi_ir::Cluster {
    let mut settings = to(&[address]);
    settings.http.protocol = UpstreamProtocol::Http2;
    settings
}

#[test]
fn requests_share_a_connection() {
    on_worker(|| async {
        let (address, connections) = server(100).await;
        let fixture = Fixture::with(over_http2(address));
        let first = fixture.lease().await.unwrap();
        let second = fixture.lease().await.unwrap();
        assert_eq!(first.version(), HttpVersion::Http2);
        let responses = tokio::join!(first.send(get("/a")), second.send(get("/b?c")));
        assert_eq!(
            text(responses.0.unwrap().into_body()).await,
            "1 http://web/a "
        );
        assert_eq!(
            text(responses.1.unwrap().into_body()).await,
            "1 http://web/b?c "
        );
        assert_eq!(connections.get(), 1);
        let cluster = fixture.cluster();
        assert_eq!(cluster.stats().upstream_cx_http2_total.get(), 1);
        assert_eq!(cluster.stats().upstream_rq_active.get(), 0);
        assert!(fixture.lease().await.unwrap().is_reused());
    });
}

#[test]
fn bodies_go_up_in_any_form() {
    on_worker(|| async {
        let (address, _) = server(100).await;
        let fixture = Fixture::with(over_http2(address));
        for (body, expected) in [
            (UpstreamBody::Full(Bytes::from_static(b"whole")), "whole"),
            (chunks(&["in ", "parts"]), "in parts"),
            (UpstreamBody::Empty, ""),
        ] {
            let mut request = Request::post("http://web/up").body(body).unwrap();
            // Nothing of a hop may get through.
            for (name, value) in [("connection", "x-hop"), ("x-hop", "1"), ("te", "gzip")] {
                request.headers_mut().insert(name, value.parse().unwrap());
            }
            let response = fixture.lease().await.unwrap().send(request).await.unwrap();
            let said = text(response.into_body()).await;
            assert_eq!(said, format!("1 http://web/up {expected}"));
        }
    });
}

#[test]
fn a_full_connection_is_joined_by_another() {
    on_worker(|| async {
        let (address, connections) = server(2).await;
        let mut settings = over_http2(address);
        settings.http.http2.max_concurrent_streams = 2;
        let fixture = Fixture::with(settings);
        let mut held = Vec::new();
        for _ in 0..5 {
            held.push(fixture.lease().await.unwrap());
        }
        assert_eq!(fixture.cluster().stats().upstream_cx_total.get(), 3);
        assert_eq!(fixture.host().active_requests(), 5);
        held.clear();
        fixture.lease().await.unwrap().send(get("/")).await.unwrap();
        until(|| connections.get() == 3).await;
        assert_eq!(fixture.cluster().stats().upstream_cx_total.get(), 3);
    });
}

#[test]
fn at_the_connection_limit_streams_are_waited_for() {
    on_worker(|| async {
        let (address, connections) = server(100).await;
        let mut settings = over_http2(address);
        settings.http.http2.max_concurrent_streams = 1;
        settings.circuit_breakers.default.max_connections = 1;
        let fixture = Fixture::with(settings);
        let get = async || {
            let lease = fixture.lease().await.unwrap();
            text(lease.send(get("/")).await.unwrap().into_body()).await
        };
        let all = tokio::join!(get(), get(), get(), get());
        assert_eq!(all.3, "1 http://web/ ");
        assert_eq!(connections.get(), 1);
    });
}

#[test]
fn an_upstream_that_goes_away_is_replaced() {
    on_worker(|| async {
        let (address, connections) = server(100).await;
        let fixture = Fixture::with(over_http2(address));
        let send = async |path: &str| fixture.lease().await.unwrap().send(get(path)).await;
        let response = send("/go-away").await.unwrap();
        assert_eq!(text(response.into_body()).await, "1 http://web/go-away ");
        until(|| fixture.cluster().stats().upstream_cx_active.get() == 0).await;
        let response = send("/").await.unwrap();
        assert_eq!(text(response.into_body()).await, "2 http://web/ ");
        assert_eq!(connections.get(), 2);
    });
}

#[test]
fn a_reset_says_whose_it_is() {
    on_worker(|| async {
        let (address, connections) = server(100).await;
        let fixture = Fixture::with(over_http2(address));
        let send = async |path: &str| fixture.lease().await.unwrap().send(get(path)).await;
        let failure = send("/refuse").await.unwrap_err();
        assert_eq!(failure.reason, ResetReason::RemoteRefused);
        assert!(failure.reason.is_safe_to_retry());
        let held = tokio::time::timeout(Duration::from_millis(20), send("/hold"));
        assert!(held.await.is_err());
        // The connection outlives both.
        assert_eq!(
            text(send("/").await.unwrap().into_body()).await,
            "1 http://web/ "
        );
        assert_eq!(connections.get(), 1);
        assert_eq!(fixture.host().active_requests(), 0);
    });
}

#[test]
fn a_websocket_goes_over_extended_connect() {
    on_worker(|| async {
        let (address, _) = server(100).await;
        let mut settings = over_http2(address);
        let upgrade_request = || {
            let mut request = get("/chat");
            for (name, value) in [("upgrade", "websocket"), ("connection", "upgrade")] {
                request.headers_mut().insert(name, value.parse().unwrap());
            }
            request
        };
        let fixture = Fixture::with(settings.clone());
        let lease = fixture.lease().await.unwrap();
        let failure = lease.send(upgrade_request()).await.unwrap_err();
        assert!(matches!(failure.reason, ResetReason::InvalidRequest(_)));

        settings.http.http2.allow_connect = true;
        let fixture = Fixture::with(settings);
        // The upstream says that it takes extended CONNECT with its first frame.
        let response = fixture.lease().await.unwrap().send(get("/")).await.unwrap();
        text(response.into_body()).await;
        let lease = fixture.lease().await.unwrap();
        let response = lease.send(upgrade_request()).await.unwrap();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(response.headers()["upgrade"], "websocket");
        let mut stream = upgrade(response).await.unwrap();
        stream.write_all(b"echo").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "echo");
        assert_eq!(fixture.host().active_requests(), 1);
        drop(stream);
        assert_eq!(fixture.host().active_requests(), 0);
    });
}

#[test]
fn an_unanswered_ping_ends_the_connection() {
    on_worker(|| async {
        let (listener, address) = listen().await;
        let silent = tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            // An empty SETTINGS frame, and then nothing.
            stream
                .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
                .await
                .unwrap();
            let mut sink = Vec::new();
            let _ = stream.read_to_end(&mut sink).await;
        });
        let mut settings = over_http2(address);
        settings.http.http2.keepalive = Some(Http2Keepalive {
            interval: Duration::from_millis(10),
            timeout: Duration::from_millis(10),
        });
        let fixture = Fixture::with(settings);
        let failure = fixture
            .lease()
            .await
            .unwrap()
            .send(get("/"))
            .await
            .unwrap_err();
        assert_eq!(failure.reason, ResetReason::ConnectionTermination);
        silent.await.unwrap();
    });
}
