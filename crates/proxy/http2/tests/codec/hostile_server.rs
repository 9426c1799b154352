//! What a client makes of frames that it should not get.

use std::future::poll_fn;

use http::Method;
use meltemi_http2::Reason;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::spawn_local;

use crate::fixture::{client_config, connect, head, receive_all, request, run, settle, wire};
use crate::frames::*;

/// What a client says that has a request in flight, after its head. Its preface is left out.
async fn said(script: &[u8]) -> Heard {
    let (near, mut far) = wire();
    let mut config = client_config();
    config.stream_window = 1000;
    let mut client = connect(near, &config);
    let (mut response, send) = client
        .sender
        .send_request(&request(Method::POST, "/"), false)
        .unwrap();
    spawn_local(async move {
        if let Ok((_, mut receive)) = head(&mut response).await {
            let _ = receive_all(&mut receive).await;
        }
        // the request stays open, so that what is reset is the client's doing
        std::future::pending::<()>().await;
        drop(send);
    });
    let mut preface = vec![0; PREFACE.len()];
    far.read_exact(&mut preface).await.unwrap();
    assert_eq!(preface, PREFACE);
    // the request has left
    settle().await;
    let heard = exchange(far, b"", script).await;
    let _ = client.end.await.unwrap();
    heard
}

fn settings() -> Vec<u8> {
    [frame(SETTINGS, 0, 0, b""), frame(SETTINGS, ACK, 0, b"")].concat()
}

#[test]
fn frames_that_a_client_should_not_get() {
    let head = |block: &[u8]| frame(HEADERS, END_HEADERS, 1, block);
    let ok = b"\x88";
    let four = |number: u32| number.to_be_bytes();
    let with = |fields: &[(&str, &str)]| head(&[ok, &block(fields)[..]].concat());
    let cases: Vec<Case> = vec![
        ("nothing", vec![], Outcome::Fine),
        (
            "a response",
            vec![head(ok), frame(DATA, END_STREAM, 1, b"x")],
            Outcome::Fine,
        ),
        (
            "two heads before the response",
            vec![head(b"\x08\x03100"), head(b"\x08\x03103"), head(ok)],
            Outcome::Fine,
        ),
        (
            "a head before the response that ends",
            vec![frame(HEADERS, WHOLE, 1, b"\x08\x03100")],
            Outcome::Broken(1, PROTOCOL),
        ),
        (
            "DATA before the head",
            vec![frame(DATA, 0, 1, b"x")],
            Outcome::Broken(1, PROTOCOL),
        ),
        (
            "DATA on no stream",
            vec![frame(DATA, 0, 0, b"x")],
            Outcome::Gone(&[PROTOCOL]),
        ),
        (
            "DATA on an idle stream",
            vec![frame(DATA, 0, 3, b"x")],
            Outcome::Gone(&[PROTOCOL]),
        ),
        (
            "HEADERS on an idle stream",
            vec![frame(HEADERS, WHOLE, 3, ok)],
            Outcome::Gone(&[PROTOCOL]),
        ),
        (
            "HEADERS on a stream of the server's",
            vec![frame(HEADERS, WHOLE, 2, ok)],
            Outcome::Gone(&[PROTOCOL]),
        ),
        (
            "RST_STREAM on an idle stream",
            vec![frame(RST_STREAM, 0, 3, &four(8))],
            Outcome::Gone(&[PROTOCOL]),
        ),
        (
            "PUSH_PROMISE",
            vec![frame(
                PUSH_PROMISE,
                END_HEADERS,
                1,
                b"\0\0\0\x02\x82\x86\x84\x41\x01h",
            )],
            Outcome::Gone(&[PROTOCOL]),
        ),
        (
            "push",
            vec![frame(SETTINGS, 0, 0, &setting(2, 1))],
            Outcome::Gone(&[PROTOCOL]),
        ),
        (
            "no status",
            vec![head(&field("a", "b"))],
            Outcome::Broken(1, PROTOCOL),
        ),
        (
            "a status that is none",
            vec![head(&field(":status", "2000"))],
            Outcome::Broken(1, PROTOCOL),
        ),
        (
            "a path",
            vec![with(&[(":path", "/")])],
            Outcome::Broken(1, PROTOCOL),
        ),
        (
            "connection",
            vec![with(&[("connection", "close")])],
            Outcome::Broken(1, PROTOCOL),
        ),
        (
            "an upper case name",
            vec![with(&[("A", "b")])],
            Outcome::Broken(1, PROTOCOL),
        ),
        (
            "less than the length",
            vec![
                with(&[("content-length", "2")]),
                frame(DATA, END_STREAM, 1, b"x"),
            ],
            Outcome::Broken(1, PROTOCOL),
        ),
        (
            "more than the length",
            vec![with(&[("content-length", "2")]), frame(DATA, 0, 1, b"xyz")],
            Outcome::Broken(1, PROTOCOL),
        ),
        (
            "more than the window",
            vec![head(ok), frame(DATA, 0, 1, &[0; 1001])],
            Outcome::Broken(1, FLOW_CONTROL),
        ),
        (
            "DATA after the end",
            vec![frame(HEADERS, WHOLE, 1, ok), frame(DATA, 0, 1, b"x")],
            Outcome::Broken(1, STREAM_CLOSED),
        ),
        (
            "a field that nobody knows",
            vec![head(b"\xbe")],
            Outcome::Gone(&[COMPRESSION]),
        ),
        (
            "CONTINUATION of nothing",
            vec![frame(CONTINUATION, END_HEADERS, 1, ok)],
            Outcome::Gone(&[PROTOCOL]),
        ),
        (
            "endless CONTINUATION",
            vec![
                frame(HEADERS, 0, 1, ok),
                vec![frame(CONTINUATION, 0, 1, &field("a", "b").repeat(2000)); 500].concat(),
            ],
            Outcome::Gone(&[PROTOCOL, CALM, COMPRESSION]),
        ),
        (
            "PING of 7 bytes",
            vec![frame(PING, 0, 0, &[0; 7])],
            Outcome::Gone(&[FRAME_SIZE]),
        ),
    ];
    check_all(cases, async |script| {
        said(&[&settings()[..], script].concat()).await
    });
    let first = frame(PING, 0, 0, &[0; 8]);
    let cases = vec![("no SETTINGS", vec![first], Outcome::Gone(&[PROTOCOL]))];
    check_all(cases, said);
}

#[test]
fn streams_after_the_last_that_was_seen_may_be_sent_again() {
    run(async {
        let (near, mut far) = wire();
        let mut client = connect(near, &client_config());
        let mut sent = Vec::new();
        for _ in 0..2 {
            let request = request(Method::GET, "/");
            sent.push(client.sender.send_request(&request, true).unwrap());
        }
        settle().await;
        let goaway = frame(GOAWAY, 0, 0, b"\0\0\0\x01\0\0\0\0");
        far.write_all(&[settings(), goaway].concat()).await.unwrap();
        let error = head(&mut sent[1].0).await.unwrap_err();
        assert!(error.is_go_away() && error.is_remote(), "{error}");
        assert_eq!(error.reason(), Some(Reason::NO_ERROR));
        assert!(!client.sender.is_open());
        let answer = [
            frame(HEADERS, END_HEADERS, 1, b"\x88"),
            frame(DATA, END_STREAM, 1, b"seen"),
        ];
        far.write_all(&answer.concat()).await.unwrap();
        let (_, mut receive) = head(&mut sent[0].0).await.unwrap();
        assert_eq!(receive_all(&mut receive).await.unwrap().0, b"seen");
        drop((sent, receive));
        client.end.await.unwrap().unwrap();
    });
}

#[test]
fn a_servers_limit_changes_as_it_says() {
    run(async {
        let (near, mut far) = wire();
        let mut client = connect(near, &client_config());
        for limit in [7, 1, 0, 20] {
            let settings = frame(SETTINGS, 0, 0, &setting(3, limit));
            far.write_all(&settings).await.unwrap();
            settle().await;
            assert_eq!(client.sender.max_send_streams(), limit as usize);
            let sent = client.sender.send_request(&request(Method::GET, "/"), true);
            assert_eq!(sent.is_ok(), limit > 0);
            drop(sent);
            settle().await;
        }
        assert!(client.sender.is_open());
        far.write_all(&frame(PING, 0, 0, &[0; 7])).await.unwrap();
        let end = client.end.await.unwrap().unwrap_err();
        assert_eq!(end.reason(), Some(Reason::FRAME_SIZE_ERROR));
        assert!(end.is_library() && !end.is_remote());
    });
}

#[test]
fn heads_before_the_response_are_passed_over() {
    run(async {
        let (near, mut far) = wire();
        let mut client = connect(near, &client_config());
        let (mut response, mut send) = client
            .sender
            .send_request(&request(Method::POST, "/"), false)
            .unwrap();
        settle().await;
        let answer = [
            settings(),
            frame(HEADERS, END_HEADERS, 1, b"\x08\x03100"),
            frame(HEADERS, WHOLE, 1, b"\x89"),
            frame(RST_STREAM, 0, 1, &[0; 4]),
        ];
        far.write_all(&answer.concat()).await.unwrap();
        let (parts, receive) = head(&mut response).await.unwrap();
        assert_eq!(parts.status, 204);
        assert!(receive.is_end_stream());
        let error = poll_fn(|cx| send.poll_reset(cx)).await;
        assert_eq!(error.reason(), Some(Reason::NO_ERROR));
    });
}
