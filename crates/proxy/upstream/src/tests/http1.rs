use std::time::Duration;

use http::{Request, StatusCode};
use meltemi_ir::{Discovery, Priority};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::fixture::{
    Fixture, NAME, assignment, chunks, config, endpoint, get, listen, of, on_worker, read_request,
    respond, serve, server, text, to, until,
};
use crate::{Breaker, ConnectFailure, HttpVersion, ResetReason, SendFailure, upgrade};

#[test]
fn a_connection_is_used_again() {
    on_worker(|| async {
        let address = server().await;
        let fixture = Fixture::with(to(&[address]));
        let lease = fixture.lease().await.unwrap();
        assert_eq!(lease.version(), HttpVersion::Http1);
        assert!(!lease.is_reused());
        assert_eq!(lease.details().remote, Some(address));
        assert!(lease.local_address().is_some());
        drop(lease);
        for _ in 0..5 {
            assert_eq!(fixture.get().await, "1");
        }
        assert!(fixture.lease().await.unwrap().is_reused());
        let cluster = fixture.cluster();
        let stats = cluster.stats();
        assert_eq!(stats.upstream_cx_total.get(), 1);
        assert_eq!(stats.upstream_cx_http1_total.get(), 1);
        assert_eq!(stats.upstream_rq_total.get(), 7);
        assert_eq!(stats.upstream_rq_active.get(), 0);
        assert_eq!(stats.upstream_rq_pending_total.get(), 1);
        assert_eq!(stats.upstream_rq_pending_active.get(), 0);
        assert!(stats.upstream_cx_rx_bytes_total.get() > 0);
        assert!(stats.upstream_cx_tx_bytes_total.get() > 0);
        assert_eq!(fixture.host().active_requests(), 0);
    });
}

#[test]
fn the_last_used_connection_is_the_first_taken() {
    on_worker(|| async {
        let fixture = Fixture::with(to(&[server().await]));
        let (first, second) = tokio::join!(fixture.lease(), fixture.lease());
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!(fixture.host().active_requests(), 2);
        let last = second.details().local;
        drop(first);
        drop(second);
        for _ in 0..3 {
            assert_eq!(fixture.lease().await.unwrap().local_address(), last);
        }
        assert_eq!(fixture.cluster().stats().upstream_cx_active.get(), 2);
    });
}

#[test]
fn a_streaming_body_arrives_and_the_connection_is_kept() {
    on_worker(|| async {
        let (listener, address) = listen().await;
        let upstream = tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            let mut buffer = [0; 64];
            while !seen.ends_with(b"0\r\n\r\n") {
                let count = stream.read(&mut buffer).await.unwrap();
                seen.extend_from_slice(&buffer[..count]);
            }
            respond(&mut stream, "done").await;
            assert!(
                read_request(&mut stream)
                    .await
                    .unwrap()
                    .starts_with("GET /")
            );
            respond(&mut stream, "again").await;
            String::from_utf8(seen).unwrap()
        });
        let fixture = Fixture::with(to(&[address]));
        let request = Request::post("http://web/upload?x=1")
            .body(chunks(&["ab", "cd"]))
            .unwrap();
        let response = fixture.lease().await.unwrap().send(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(text(response.into_body()).await, "done");
        assert_eq!(fixture.get().await, "again");
        let seen = upstream.await.unwrap();
        assert!(
            seen.starts_with("POST /upload?x=1 HTTP/1.1\r\nhost: web\r\n"),
            "{seen}"
        );
        assert!(seen.ends_with("2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n"), "{seen}");
    });
}

#[test]
fn a_stale_connection_costs_no_request() {
    on_worker(|| async {
        let (listener, address) = listen().await;
        let fixture = Fixture::with(to(&[address]));
        let lease = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await.unwrap();
            respond(&mut stream, "1").await;
            (stream, listener)
        });
        assert_eq!(fixture.get().await, "1");
        let (stream, listener) = lease.await.unwrap();
        // Leased while it lived, closed before it was used.
        let lease = fixture.lease().await.unwrap();
        drop(stream);
        until(|| fixture.cluster().stats().upstream_cx_active.get() == 0).await;
        serve(listener);
        let mut request = get("/");
        let mut lease = Some(lease);
        let response = loop {
            let taken = match lease.take() {
                Some(lease) => lease,
                None => fixture.lease().await.unwrap(),
            };
            match taken.send(request).await {
                Ok(response) => break response,
                Err(SendFailure {
                    reason,
                    request: unsent,
                    unprocessed: _,
                    sent: _,
                }) => {
                    assert_eq!(reason, ResetReason::ConnectionTermination);
                    request = *unsent.expect("not a byte was sent");
                }
            }
        };
        assert_eq!(text(response.into_body()).await, "1");
        until(|| fixture.cluster().stats().upstream_cx_destroy_remote.get() == 1).await;
    });
}

#[test]
fn what_ends_without_a_response_says_why() {
    on_worker(|| async {
        let cases: [(&str, Option<&str>); 2] =
            [("closes", None), ("babbles", Some("nonsense\r\n\r\n"))];
        for (name, answer) in cases {
            let (listener, address) = listen().await;
            tokio::task::spawn_local(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                read_request(&mut stream).await.unwrap();
                if let Some(answer) = answer {
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
            let fixture = Fixture::with(to(&[address]));
            let lease = fixture.lease().await.unwrap();
            let failure = lease.send(get("/")).await.unwrap_err();
            assert!(failure.request.is_none(), "{name}");
            match failure.reason {
                ResetReason::ConnectionTermination => assert_eq!(name, "closes"),
                ResetReason::ProtocolError(_) => assert_eq!(name, "babbles"),
                other => panic!("{name}: {other:?}"),
            }
            until(|| fixture.cluster().stats().upstream_cx_active.get() == 0).await;
            assert_eq!(fixture.host().active_requests(), 0);
        }
    });
}

#[test]
fn giving_up_closes_the_connection() {
    on_worker(|| async {
        let (listener, address) = listen().await;
        let fixture = Fixture::with(to(&[address]));
        let lease = fixture.lease().await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let sent = tokio::time::timeout(Duration::from_millis(20), lease.send(get("/")));
        assert!(sent.await.is_err());
        read_request(&mut stream).await.unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        until(|| fixture.cluster().stats().upstream_cx_destroy_local.get() == 1).await;
        assert_eq!(fixture.host().active_requests(), 0);
        // A response given up half-way does not come back either.
        serve(listener);
        assert_eq!(fixture.get().await, "1");
    });
}

#[test]
fn a_refused_connection_says_so() {
    on_worker(|| async {
        let (listener, address) = listen().await;
        drop(listener);
        let fixture = Fixture::with(to(&[address]));
        let failure = fixture.lease().await.unwrap_err();
        assert_eq!(
            failure.transport_failure_reason(),
            "delayed connect error: Connection refused"
        );
        let cluster = fixture.cluster();
        assert_eq!(cluster.stats().upstream_cx_connect_fail.get(), 1);
        assert_eq!(cluster.stats().upstream_cx_active.get(), 0);
        assert_eq!(cluster.snapshot().hosts[0].cx_connect_fail, 1);
    });
}

#[test]
fn at_the_connection_limit_requests_wait_their_turn() {
    on_worker(|| async {
        let mut settings = to(&[server().await]);
        settings.circuit_breakers.default.max_connections = 1;
        settings.circuit_breakers.default.max_pending_requests = 2;
        let fixture = Fixture::with(settings);
        let held = fixture.lease().await.unwrap();
        let get = async || {
            let lease = fixture.lease().await?;
            let response = lease.send(get("/")).await.unwrap();
            Ok::<_, ConnectFailure>(text(response.into_body()).await)
        };
        let release = async {
            until(|| fixture.cluster().stats().upstream_rq_pending_active.get() == 2).await;
            let overflow = fixture.lease().await.unwrap_err();
            assert_eq!(overflow, ConnectFailure::Overflow(Breaker::PendingRequests));
            drop(held);
        };
        let (first, second, ()) = tokio::join!(get(), get(), release);
        assert_eq!(
            (first.unwrap(), second.unwrap()),
            ("1".to_owned(), "1".to_owned())
        );
        let cluster = fixture.cluster();
        assert!(cluster.stats().upstream_cx_overflow.get() >= 2);
        assert_eq!(cluster.stats().upstream_rq_pending_overflow.get(), 1);
        assert_eq!(cluster.stats().upstream_cx_total.get(), 1);
    });
}

#[test]
fn request_and_retry_limits_hold() {
    on_worker(|| async {
        let mut settings = to(&[server().await]);
        settings.circuit_breakers.default.max_requests = 1;
        settings.circuit_breakers.default.max_retries = 1;
        let fixture = Fixture::with(settings);
        let cluster = fixture.cluster();
        let held = fixture.lease().await.unwrap();
        let failure = fixture.lease().await.unwrap_err();
        assert_eq!(failure, ConnectFailure::Overflow(Breaker::Requests));
        let host = fixture.host();
        let high = cluster.http(&host, of(Priority::High));
        assert!(high.await.is_ok(), "priorities have limits of their own");
        drop(held);
        assert!(fixture.lease().await.is_ok());
        let retry = cluster.retry(Priority::Default).unwrap();
        assert!(cluster.retry(Priority::Default).is_none());
        drop(retry);
        assert!(cluster.retry(Priority::Default).is_some());
        let breakers = cluster.breakers().of(Priority::Default);
        assert_eq!((breakers.requests.used(), breakers.pending.used()), (0, 0));
    });
}

#[test]
fn connections_end_after_their_requests() {
    on_worker(|| async {
        let mut settings = to(&[server().await]);
        settings.max_requests_per_connection = 2;
        let fixture = Fixture::with(settings);
        let mut seen = Vec::new();
        for _ in 0..5 {
            seen.push(fixture.get().await);
        }
        assert_eq!(seen, ["1", "1", "2", "2", "3"]);
        let cluster = fixture.cluster();
        assert_eq!(cluster.stats().upstream_cx_max_requests.get(), 2);
        until(|| cluster.stats().upstream_cx_active.get() == 1).await;
    });
}

#[test]
fn idle_connections_are_closed() {
    on_worker(|| async {
        let mut settings = to(&[server().await]);
        settings.idle_timeout = Some(Duration::from_millis(50));
        let fixture = Fixture::new();
        fixture.manager.apply(settings, true).unwrap();
        assert_eq!(fixture.get().await, "1");
        let cluster = fixture.cluster();
        until(|| cluster.stats().upstream_cx_idle_timeout.get() == 1).await;
        until(|| cluster.stats().upstream_cx_active.get() == 0).await;
        assert_eq!(fixture.get().await, "2");
    });
}

#[test]
fn a_removed_host_drains() {
    on_worker(|| async {
        let address = server().await;
        let eds = Discovery::Eds {
            service_name: String::new(),
            source: meltemi_ir::ConfigSource::default(),
        };
        let fixture = Fixture::with(config(eds));
        let endpoints = |addresses: &[std::net::SocketAddr]| {
            let endpoints = addresses.iter().copied().map(endpoint).collect();
            fixture.manager.apply_endpoints(assignment(NAME, endpoints));
        };
        endpoints(&[address]);
        let host = fixture.host();
        let (idle, busy) = tokio::join!(fixture.lease(), fixture.lease());
        drop(idle.unwrap());
        endpoints(&[]);
        // The worker notices at its next look.
        let cluster = fixture.cluster();
        assert!(cluster.choose(&crate::LbContext::default()).is_none());
        until(|| host.stats().cx_active.get() == 1).await;
        let response = busy.unwrap().send(get("/")).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        text(response.into_body()).await;
        until(|| host.stats().cx_active.get() == 0).await;
    });
}

#[test]
fn an_upgraded_connection_is_a_stream() {
    on_worker(|| async {
        let (listener, address) = listen().await;
        tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let head = read_request(&mut stream).await.unwrap();
            assert!(head.contains("upgrade: websocket"), "{head}");
            let answer = "HTTP/1.1 101 Switching Protocols\r\n\
                          upgrade: websocket\r\nconnection: upgrade\r\n\r\nhello";
            stream.write_all(answer.as_bytes()).await.unwrap();
            let mut said = [0; 3];
            stream.read_exact(&mut said).await.unwrap();
            stream.write_all(&said).await.unwrap();
        });
        let fixture = Fixture::with(to(&[address]));
        let mut request = get("/chat");
        for (name, value) in [("upgrade", "websocket"), ("connection", "upgrade")] {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let response = fixture.lease().await.unwrap().send(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        let mut stream = upgrade(response).await.unwrap();
        assert_eq!(fixture.host().active_requests(), 1);
        stream.write_all(b"you").await.unwrap();
        stream.flush().await.unwrap();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "helloyou");
        drop(stream);
        assert_eq!(fixture.host().active_requests(), 0);
        until(|| fixture.cluster().stats().upstream_cx_active.get() == 0).await;
    });
}
