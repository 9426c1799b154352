use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body::{Body, Frame};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::fixture::{Fixture, get, listen, on_worker, read_request, respond, text, to, until};
use crate::{BodyError, ResetReason, ResponseBody, UpstreamBody, upgrade};

/// A fixture, and our end of the first connection it makes, which a lease holds.
async fn connected() -> (Fixture, crate::HttpLease, TcpStream) {
    let (listener, address) = listen().await;
    let fixture = Fixture::with(to(&[address]));
    let (lease, accepted) = tokio::join!(fixture.lease(), listener.accept());
    // Refuses what else is opened.
    drop(listener);
    (fixture, lease.unwrap(), accepted.unwrap().0)
}

async fn active(fixture: &Fixture, connections: i64) {
    until(|| fixture.cluster().stats().upstream_cx_active.get() == connections).await;
}

/// A body that gives what is sent to it.
fn fed() -> (mpsc::UnboundedSender<&'static str>, UpstreamBody) {
    struct Fed(mpsc::UnboundedReceiver<&'static str>);
    impl Body for Fed {
        type Data = Bytes;
        type Error = BodyError;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            self.0.poll_recv(cx).map(|text| {
                text.map(|text| match text {
                    "broken" => Err(BodyError::Source("broken".into())),
                    text => Ok(Frame::data(Bytes::from_static(text.as_bytes()))),
                })
            })
        }
    }
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, UpstreamBody::Boxed(Box::pin(Fed(receiver))))
}

async fn next(body: &mut ResponseBody) -> Option<Result<Bytes, BodyError>> {
    let frame = std::future::poll_fn(|cx| std::pin::Pin::new(&mut *body).poll_frame(cx)).await?;
    Some(frame.map(|frame| frame.into_data().unwrap()))
}

#[test]
fn what_the_upstream_does_to_an_idle_connection_ends_it() {
    on_worker(|| async {
        for is_said in [false, true] {
            for is_new in [false, true] {
                let (fixture, lease, mut stream) = connected().await;
                if is_new {
                    drop(lease);
                } else {
                    let (response, ()) = tokio::join!(lease.send(get("/")), async {
                        read_request(&mut stream).await.unwrap();
                        respond(&mut stream, "1").await;
                    });
                    assert_eq!(text(response.unwrap().into_body()).await, "1");
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
                assert_eq!(fixture.cluster().stats().upstream_cx_active.get(), 1);
                if is_said {
                    stream
                        .write_all(b"HTTP/1.1 408 Too Slow\r\n\r\n")
                        .await
                        .unwrap();
                } else {
                    stream.shutdown().await.unwrap();
                }
                active(&fixture, 0).await;
                let failure = fixture.lease().await.unwrap_err();
                assert_eq!(
                    failure.transport_failure_reason(),
                    "delayed connect error: Connection refused"
                );
            }
        }
    });
}

#[test]
fn bytes_after_a_response_end_the_connection() {
    on_worker(|| async {
        let (fixture, lease, mut stream) = connected().await;
        let (response, ()) = tokio::join!(lease.send(get("/")), async {
            read_request(&mut stream).await.unwrap();
            let twice = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx".repeat(2);
            stream.write_all(twice.as_bytes()).await.unwrap();
        });
        assert_eq!(text(response.unwrap().into_body()).await, "x");
        active(&fixture, 0).await;
    });
}

#[test]
fn connections_are_kept_after_whole_responses_only() {
    on_worker(|| async {
        let cases = [
            ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx", true),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\na: b\r\n\r\n",
                true,
            ),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx",
                true,
            ),
            (
                "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 1\r\n\r\nx",
                true,
            ),
            ("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nx", false),
            (
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx",
                false,
            ),
        ];
        for is_read in [true, false] {
            for (answer, is_kept) in cases {
                let (fixture, lease, mut stream) = connected().await;
                let (response, ()) = tokio::join!(lease.send(get("/")), async {
                    read_request(&mut stream).await.unwrap();
                    stream.write_all(answer.as_bytes()).await.unwrap();
                });
                let body = response.unwrap().into_body();
                if is_read {
                    assert_eq!(text(body).await, "x");
                } else {
                    // Given up, it is there all the same.
                    drop(body);
                }
                active(&fixture, i64::from(is_kept)).await;
            }
        }
    });
}

#[test]
fn a_response_given_up_half_way_closes_the_connection() {
    on_worker(|| async {
        let (fixture, lease, mut stream) = connected().await;
        let (response, ()) = tokio::join!(lease.send(get("/")), async {
            read_request(&mut stream).await.unwrap();
            let half = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nx";
            stream.write_all(half.as_bytes()).await.unwrap();
        });
        drop(response);
        active(&fixture, 0).await;
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    });
}

#[test]
fn a_response_that_ends_early_says_so() {
    on_worker(|| async {
        for head in ["content-length: 2", "transfer-encoding: chunked"] {
            let (fixture, lease, mut stream) = connected().await;
            let (response, ()) = tokio::join!(lease.send(get("/")), async {
                read_request(&mut stream).await.unwrap();
                let half = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n");
                stream.write_all(half.as_bytes()).await.unwrap();
            });
            let mut body = response.unwrap().into_body();
            drop(stream);
            let failed = next(&mut body).await;
            let terminated = ResetReason::ConnectionTermination;
            assert!(
                matches!(&failed, Some(Err(BodyError::Upstream(it))) if *it == terminated),
                "{head}: {failed:?}"
            );
            assert!(next(&mut body).await.is_none());
            active(&fixture, 0).await;
        }
    });
}

#[test]
fn the_end_of_a_body_is_seen_with_its_last_data() {
    on_worker(|| async {
        for (head, data) in [
            ("content-length: 1", "x"),
            ("transfer-encoding: chunked", "1\r\nx\r\n0\r\n\r\n"),
        ] {
            let (_fixture, lease, mut stream) = connected().await;
            let (response, ()) = tokio::join!(lease.send(get("/")), async {
                read_request(&mut stream).await.unwrap();
                let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{data}");
                stream.write_all(answer.as_bytes()).await.unwrap();
            });
            let mut body = response.unwrap().into_body();
            assert!(!body.is_end_stream(), "{head}");
            assert_eq!(next(&mut body).await.unwrap().unwrap(), "x");
            assert!(body.is_end_stream(), "{head}");
        }
    });
}

#[test]
fn an_upload_goes_on_beside_the_response() {
    on_worker(|| async {
        let (fixture, lease, mut stream) = connected().await;
        let (feed, body) = fed();
        let request = Request::post("/").body(body).unwrap();
        let (response, ()) = tokio::join!(lease.send(request), async {
            read_request(&mut stream).await.unwrap();
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
        });
        let mut body = response.unwrap().into_body();
        // Each is echoed before the next comes.
        for _ in 0..3 {
            feed.send("ab").unwrap();
            let (data, ()) = tokio::join!(next(&mut body), async {
                let mut chunk = [0; 7];
                stream.read_exact(&mut chunk).await.unwrap();
                assert_eq!(&chunk, b"2\r\nab\r\n");
                stream.write_all(&chunk).await.unwrap();
            });
            assert_eq!(data.unwrap().unwrap(), "ab");
        }
        // The response ends first; the connection is free when the request is through too.
        stream.write_all(b"0\r\n\r\n").await.unwrap();
        assert!(next(&mut body).await.is_none());
        assert_eq!(fixture.host().active_requests(), 0);
        feed.send("c").unwrap();
        drop(feed);
        let mut rest = [0; 11];
        stream.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"1\r\nc\r\n0\r\n\r\n");
        tokio::time::sleep(Duration::from_millis(5)).await;
        let lease = fixture.lease().await.unwrap();
        assert!(lease.is_reused());
    });
}

#[test]
fn an_upload_does_not_wait_for_whoever_reads_the_response() {
    on_worker(|| async {
        let (fixture, lease, stream) = connected().await;
        let size = 8 << 20;
        let large = UpstreamBody::Full(Bytes::from(vec![b'a'; size]));
        let request = Request::post("/").body(large).unwrap();
        let (mut reader, mut writer) = stream.into_split();
        let response = tokio::task::spawn_local(lease.send(request));
        read_request_head(&mut reader).await;
        respond_in_part(&mut writer).await;
        // It stays unread.
        let response = response.await.unwrap().unwrap();
        let mut all = vec![0; size];
        reader.read_exact(&mut all).await.unwrap();
        writer.write_all(b"b").await.unwrap();
        assert_eq!(text(response.into_body()).await, "ab");
        assert!(fixture.lease().await.unwrap().is_reused());
    });
}

async fn respond_in_part(stream: &mut (impl tokio::io::AsyncWrite + Unpin)) {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na";
    stream.write_all(answer.as_bytes()).await.unwrap();
}

#[test]
fn an_upload_that_breaks_off_ends_the_connection() {
    on_worker(|| async {
        for is_answered in [false, true] {
            let (fixture, lease, mut stream) = connected().await;
            let (feed, body) = fed();
            let request = Request::post("/").body(body).unwrap();
            let (response, ()) = tokio::join!(lease.send(request), async {
                read_request(&mut stream).await.unwrap();
                if is_answered {
                    respond(&mut stream, "1").await;
                } else {
                    feed.send("broken").unwrap();
                }
            });
            if is_answered {
                assert_eq!(text(response.unwrap().into_body()).await, "1");
                feed.send("broken").unwrap();
            } else {
                let reason = response.unwrap_err().reason;
                assert_eq!(reason, ResetReason::RequestBody("broken".into()));
            }
            active(&fixture, 0).await;
        }
    });
}

#[test]
fn a_response_to_a_request_that_is_not_taken_whole_is_heard() {
    on_worker(|| async {
        let (fixture, lease, mut stream) = connected().await;
        let large = UpstreamBody::Full(Bytes::from(vec![b'a'; 16 << 20]));
        let request = Request::post("/").body(large).unwrap();
        let (response, ()) = tokio::join!(lease.send(request), async {
            let mut head = [0; 64];
            stream.read_exact(&mut head).await.unwrap();
            let answer = "HTTP/1.1 413 Too Large\r\ncontent-length: 1\r\n\r\nx";
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        });
        let response = response.unwrap();
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(text(response.into_body()).await, "x");
        active(&fixture, 0).await;
    });
}

#[test]
fn large_bodies_pass_both_ways() {
    on_worker(|| async {
        let (fixture, lease, stream) = connected().await;
        let size = 3 << 20;
        let sent: Vec<u8> = (0..size).map(|at: u32| (at % 251) as u8).collect();
        let body = UpstreamBody::Full(Bytes::from(sent.clone()));
        let request = Request::post("/").body(body).unwrap();
        let (mut reader, mut writer) = stream.into_split();
        let echo = tokio::task::spawn_local(async move {
            read_request_head(&mut reader).await;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n");
            writer.write_all(head.as_bytes()).await.unwrap();
            let body = &mut (&mut reader).take(u64::from(size));
            tokio::io::copy(body, &mut writer).await.unwrap();
            (reader, writer)
        });
        let mut body = lease.send(request).await.unwrap().into_body();
        let mut got = Vec::new();
        while let Some(data) = next(&mut body).await {
            got.extend_from_slice(&data.unwrap());
        }
        assert!(got == sent);
        let _open = echo.await.unwrap();
        assert!(fixture.lease().await.unwrap().is_reused());
    });
}

async fn read_request_head(stream: &mut (impl tokio::io::AsyncRead + Unpin)) {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        seen.push(stream.read_u8().await.unwrap());
    }
}

#[test]
fn a_tunnel_begins_with_what_came_with_the_response() {
    on_worker(|| async {
        let (fixture, lease, mut stream) = connected().await;
        let request = Request::connect("web:80")
            .body(UpstreamBody::Empty)
            .unwrap();
        let (response, ()) = tokio::join!(lease.send(request), async {
            let head = read_request(&mut stream).await.unwrap();
            assert!(head.starts_with("CONNECT web:80 HTTP/1.1\r\n"), "{head}");
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhello";
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let mut tunnel = upgrade(response.unwrap()).await.unwrap();
        tunnel.write_all(b"you").await.unwrap();
        tunnel.shutdown().await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "you");
        stream.write_all(b" there").await.unwrap();
        drop(stream);
        let mut heard = String::new();
        tunnel.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "hello there");
        drop(tunnel);
        active(&fixture, 0).await;
    });
}
