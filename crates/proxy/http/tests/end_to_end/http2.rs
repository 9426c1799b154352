//! HTTP/2 in front of and behind the proxy.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, client};
use http::Method;
use meltemi_ir as ir;
use meltemi_testkit::{Http2Client, Reply, Request, Upstream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::fixture::{Proxy, cluster, everything, hcm, on_worker};

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

/// The sending half of a connection whose client has small windows and drives it by itself.
async fn narrow(address: SocketAddr) -> client::SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = client::Builder::new()
        .initial_window_size(1000)
        .handshake(stream)
        .await
        .unwrap();
    tokio::task::spawn_local(connection);
    sender.ready().await.unwrap()
}

fn request(method: Method, target: &str) -> http::Request<()> {
    let uri = format!("http://web.example{target}");
    let request = http::Request::builder().method(method).uri(uri);
    request.body(()).unwrap()
}

#[test]
fn a_body_goes_as_fast_as_the_client_takes_it() {
    on_worker(async || {
        let upstream = Upstream::start();
        let pieces = vec![vec![b'x'; 5000]; 20];
        upstream.on("/pieces", Reply::ok().pieces(pieces, Duration::ZERO));
        upstream.on("/whole", Reply::ok().body(vec![b'x'; 100_000]));
        let proxy = Proxy::routing(&upstream, everything()).await;
        for target in ["/pieces", "/whole"] {
            let mut sender = narrow(proxy.address).await;
            let (response, _) = sender
                .send_request(request(Method::GET, target), true)
                .unwrap();
            let mut body = response.await.unwrap().into_body();
            let mut count = 0;
            while let Some(data) = body.data().await {
                let data = data.unwrap();
                count += data.len();
                body.flow_control().release_capacity(data.len()).unwrap();
            }
            assert_eq!(count, 100_000, "{target}");
        }
    });
}

#[test]
fn a_stream_that_the_client_resets_is_over() {
    on_worker(async || {
        let upstream = Upstream::start();
        upstream.on("/never", Reply::silence());
        let pieces = vec![vec![b'x'; 5000]; 20];
        upstream.on("/pieces", Reply::ok().pieces(pieces, Duration::ZERO));
        let proxy = Proxy::routing(&upstream, everything()).await;
        let mut sender = narrow(proxy.address).await;
        let never = request(Method::GET, "/never");
        let (response, mut stream) = sender.send_request(never, true).unwrap();
        assert!(upstream.wait_received(1, Duration::from_secs(10)).await);
        stream.send_reset(Reason::CANCEL);
        let line = proxy.last_line(1).await;
        assert!(
            line.starts_with("GET /never 0 DR http2.remote_reset"),
            "{line}"
        );
        drop(response);
        // one whose window is closed
        let pieces = request(Method::GET, "/pieces");
        let (response, mut stream) = sender.send_request(pieces, true).unwrap();
        let response = response.await.unwrap();
        stream.send_reset(Reason::CANCEL);
        let line = proxy.last_line(2).await;
        assert!(
            line.starts_with("GET /pieces 200 DR http2.remote_reset"),
            "{line}"
        );
        drop(response);
    });
}

#[test]
fn a_client_that_resets_nearly_all_of_its_streams_is_left() {
    on_worker(async || {
        let upstream = Upstream::start();
        upstream.on("/never", Reply::silence());
        let proxy = Proxy::routing(&upstream, everything()).await;
        let (mut read, mut write) = TcpStream::connect(proxy.address)
            .await
            .unwrap()
            .into_split();
        let mut said = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
        for stream in (0..3000_u32).map(|index| 2 * index + 1) {
            said.extend(b"\0\0\x0d\x01\x05");
            said.extend(stream.to_be_bytes());
            said.extend(b"\x82\x86\x04\x06/never\x41\x01h");
            said.extend(b"\0\0\x04\x03\0");
            said.extend(stream.to_be_bytes());
            said.extend(b"\0\0\0\x08");
        }
        // ignored: who has gone away listens no more
        tokio::task::spawn_local(async move { write.write_all(&said).await });
        let mut got = Vec::new();
        // ignored: so much may be unread that the end is a reset
        let _ = read.read_to_end(&mut got).await;
        let name = "http.test.downstream_rq_too_many_premature_resets";
        assert_eq!(proxy.stat(name), 1);
        assert_eq!(proxy.stat("http.test.downstream_cx_protocol_error"), 1);
    });
}

#[test]
fn a_client_that_answers_no_ping_is_left() {
    on_worker(async || {
        let upstream = Upstream::start();
        let mut config = hcm(everything());
        config.http2.keepalive = Some(ir::Http2Keepalive {
            interval: Duration::from_millis(200),
            timeout: Duration::from_millis(200),
        });
        let proxy = Proxy::start(config).await;
        proxy.cluster("up", &[upstream.address()]);
        // answers
        let lively = Http2Client::connect(proxy.address).await.unwrap();
        // says nothing after its preface
        let mut silent = TcpStream::connect(proxy.address).await.unwrap();
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        silent.write_all(preface).await.unwrap();
        let began = Instant::now();
        let mut got = Vec::new();
        silent.read_to_end(&mut got).await.unwrap();
        let passed = began.elapsed();
        assert!(passed >= Duration::from_millis(400), "{passed:?}");
        let frame = |kind: u8| got.windows(5).any(|it| it == [0, 0, 8, kind, 0]);
        assert!(frame(6), "a PING in {got:?}");
        assert!(frame(7), "a GOAWAY in {got:?}");
        assert!(!lively.is_closed());
        assert_eq!(lively.get("/").await.unwrap().status, 200);
    });
}

#[test]
fn a_tunnel_over_http2_carries_bytes_both_ways_and_ends() {
    on_worker(async || {
        let upstream = Upstream::start();
        upstream.on("/ws", Reply::upgrade("websocket"));
        let mut config = hcm(everything());
        config.upgrades = vec!["websocket".to_owned()];
        config.http2.allow_connect = true;
        let proxy = Proxy::start(config).await;
        proxy.cluster("up", &[upstream.address()]);
        let mut sender = narrow(proxy.address).await;
        while !sender.is_extended_connect_protocol_enabled() {
            tokio::task::yield_now().await;
        }
        let mut connect = request(Method::CONNECT, "/ws");
        let protocol = h2::ext::Protocol::from_static("websocket");
        connect.extensions_mut().insert(protocol);
        let (response, mut send) = sender.send_request(connect, false).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        let mut receive = response.into_body();
        let sent = vec![b'y'; 20_000];
        send.send_data(Bytes::from(sent.clone()), false).unwrap();
        let mut echoed = 0;
        while echoed < sent.len() {
            let data = receive.data().await.unwrap().unwrap();
            echoed += data.len();
            receive.flow_control().release_capacity(data.len()).unwrap();
        }
        send.send_data(Bytes::new(), true).unwrap();
        while let Some(rest) = receive.data().await {
            assert_eq!(rest.unwrap(), "");
        }
        let line = proxy.last_line(1).await;
        assert!(
            line.starts_with("GET /ws 200 - via_upstream rx=20000 tx=20000"),
            "{line}"
        );
    });
}

/// An upstream that agrees to every `CONNECT` over HTTP/2; gives what the first asked for.
async fn agreeing() -> (SocketAddr, tokio::sync::oneshot::Receiver<Option<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (give, take) = tokio::sync::oneshot::channel();
    tokio::task::spawn_local(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut builder = h2::server::Builder::new();
        builder.enable_connect_protocol();
        let mut connection = builder.handshake::<_, Bytes>(stream).await.unwrap();
        let (request, mut reply) = connection.accept().await.unwrap().unwrap();
        let protocol = request.extensions().get::<h2::ext::Protocol>();
        give.send(protocol.map(|it| it.as_str().to_owned()))
            .unwrap();
        let mut send = reply.send_response(http::Response::new(()), false).unwrap();
        send.send_data(Bytes::from_static(b"hello"), false).unwrap();
        while connection.accept().await.is_some() {}
    });
    (address, take)
}

#[test]
fn an_upgrade_stays_one_between_two_connections_of_http2() {
    on_worker(async || {
        let (address, asked) = agreeing().await;
        let mut config = hcm(everything());
        config.upgrades = vec!["websocket".to_owned()];
        config.http2.allow_connect = true;
        let proxy = Proxy::start(config).await;
        let mut up = cluster("up", &[address]);
        up.http.protocol = ir::UpstreamProtocol::Http2;
        up.http.http2.allow_connect = true;
        proxy.apply(up);
        let mut sender = narrow(proxy.address).await;
        while !sender.is_extended_connect_protocol_enabled() {
            tokio::task::yield_now().await;
        }
        let mut connect = request(Method::CONNECT, "/ws");
        let protocol = h2::ext::Protocol::from_static("websocket");
        connect.extensions_mut().insert(protocol);
        let (response, _send) = sender.send_request(connect, false).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(asked.await.unwrap().as_deref(), Some("websocket"));
        let mut receive = response.into_body();
        assert_eq!(receive.data().await.unwrap().unwrap(), "hello");
    });
}
