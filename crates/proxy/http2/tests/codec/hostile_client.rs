//! What a server makes of frames that it should not get.

use http::Response;

use crate::fixture::{receive_all, run, serve, server_config, wire};
use crate::frames::*;

pub const GET: &[u8] = b"\x82\x86\x84\x41\x01h";
const POST: &[u8] = b"\x83\x86\x84\x41\x01h";

/// What a server that allows little says to this after the preface.
pub async fn said(script: &[u8]) -> Heard {
    let (near, far) = wire();
    let mut config = server_config();
    config.stream_window = 1000;
    config.max_concurrent_streams = 3;
    let served = serve(far, &config, async |request, mut reply| {
        if receive_all(&mut request.into_body()).await.is_ok() {
            // ignored: the stream may be gone
            let _ = reply.send_response(Response::new(()), true);
        } else {
            std::future::poll_fn(|cx| reply.poll_reset(cx)).await;
        }
    });
    let settled = [frame(SETTINGS, 0, 0, b""), frame(SETTINGS, ACK, 0, b"")].concat();
    let heard = exchange(near, PREFACE, &[&settled[..], script].concat()).await;
    // ignored: how it ended is in what it said
    let _ = served.end.await.unwrap();
    heard
}

/// A request's head that a body follows.
pub fn open(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, POST)
}

fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, GET)
}

fn four(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

#[test]
fn streams_that_cannot_be() {
    let cases = vec![
        (
            "DATA on no stream",
            vec![frame(DATA, 0, 0, b"x")],
            Outcome::Gone(&[PROTOCOL]),
        ),
        (
            "HEADERS on no stream",
            vec![get(0)],
            Outcome::Gone(&[PROTOCOL]),
        ),
        (
            "HEADERS on a stream of ours",
            vec![get(2)],
            Outcome::Gone(&[PROTOCOL]),
        ),
        (
            "a stream before the last",
            vec![get(5), get(3)],
            Outcome::Gone(&[PROTOCOL, STREAM_CLOSED]),
        ),
        (
            "DATA on an idle stream",
            vec![frame(DATA, 0, 1, b"x")],
            Outcome::Gone(&[PROTOCOL]),
        ),
        (
            "RST_STREAM on no stream",
            vec![frame(RST_STREAM, 0, 0, &four(8))],
            Outcome::Gone(&[PROTOCOL]),
        ),
        (
            "RST_STREAM on an idle stream",
            vec![frame(RST_STREAM, 0, 1, &four(8))],
            Outcome::Gone(&[PROTOCOL]),
        ),
        (
            "WINDOW_UPDATE on an idle stream",
            vec![frame(WINDOW_UPDATE, 0, 1, &four(8))],
            Outcome::Gone(&[PROTOCOL]),
        ),
        (
            "SETTINGS on a stream",
            vec![frame(SETTINGS, 0, 1, b"")],
            Outcome::Gone(&[PROTOCOL]),
        ),
        (
            "PING on a stream",
            vec![frame(PING, 0, 1, b"12345678")],
            Outcome::Gone(&[PROTOCOL]),
        ),
        (
            "GOAWAY on a stream",
            vec![frame(GOAWAY, 0, 1, &[0; 8])],
            Outcome::Gone(&[PROTOCOL]),
        ),
        (
            "PRIORITY on no stream",
            vec![frame(PRIORITY, 0, 0, &[0; 5])],
            Outcome::Gone(&[PROTOCOL]),
        ),
        (
            "PUSH_PROMISE",
            vec![
                open(1),
                frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\x02\x82"),
            ],
            Outcome::Gone(&[PROTOCOL]),
        ),
        (
            "DATA after the end",
            vec![get(1), frame(DATA, 0, 1, b"x")],
            Outcome::Broken(1, STREAM_CLOSED),
        ),
        (
            "DATA after a reset",
            vec![
                open(1),
                frame(RST_STREAM, 0, 1, &four(8)),
                frame(DATA, 0, 1, b"x"),
            ],
            Outcome::Broken(1, STREAM_CLOSED),
        ),
        (
            "too many streams",
            vec![open(1), open(3), open(5), open(7)],
            Outcome::Reset(7, REFUSED),
        ),
        (
            "as many streams as may be",
            vec![open(1), open(3), open(5)],
            Outcome::Fine,
        ),
    ];
    check_all(cases, said);
}

#[test]
fn windows_that_cannot_be() {
    let most = (1 << 31) - 1;
    let window = |value| frame(SETTINGS, 0, 0, &setting(4, value));
    let cases = vec![
        (
            "WINDOW_UPDATE by nothing",
            vec![frame(WINDOW_UPDATE, 0, 0, &four(0))],
            Outcome::Gone(&[PROTOCOL]),
        ),
        (
            "a stream's WINDOW_UPDATE by nothing",
            vec![open(1), frame(WINDOW_UPDATE, 0, 1, &four(0))],
            Outcome::Broken(1, PROTOCOL),
        ),
        (
            "a window beyond the largest",
            vec![frame(WINDOW_UPDATE, 0, 0, &four(most))],
            Outcome::Gone(&[FLOW_CONTROL]),
        ),
        (
            "a stream's window beyond the largest",
            vec![open(1), frame(WINDOW_UPDATE, 0, 1, &four(most))],
            Outcome::Broken(1, FLOW_CONTROL),
        ),
        (
            "the largest window",
            vec![frame(WINDOW_UPDATE, 0, 0, &four(most - 65_535))],
            Outcome::Fine,
        ),
        (
            "WINDOW_UPDATE after a reset",
            vec![
                open(1),
                frame(RST_STREAM, 0, 1, &four(8)),
                frame(WINDOW_UPDATE, 0, 1, &four(8)),
            ],
            Outcome::Fine,
        ),
        (
            "settings that make a window too large",
            vec![
                open(1),
                frame(WINDOW_UPDATE, 0, 1, &four(most - 65_535)),
                window(65_536),
            ],
            Outcome::Gone(&[FLOW_CONTROL]),
        ),
        (
            "settings that make windows negative",
            vec![open(1), window(0)],
            Outcome::Fine,
        ),
        (
            "as much as a stream's window",
            vec![open(1), frame(DATA, 0, 1, &[0; 1000])],
            Outcome::Fine,
        ),
        (
            "more than a stream's window",
            vec![open(1), frame(DATA, 0, 1, &[0; 1001])],
            Outcome::Broken(1, FLOW_CONTROL),
        ),
        (
            "padding beyond a stream's window",
            vec![
                open(1),
                frame(DATA, PADDED, 1, &[&[255][..], &[0; 1000]].concat()),
            ],
            Outcome::Broken(1, FLOW_CONTROL),
        ),
    ];
    check_all(cases, said);
}

#[test]
fn more_than_the_connections_window() {
    run(async {
        let (near, far) = wire();
        let mut config = server_config();
        config.stream_window = 1 << 20;
        config.connection_window = 65_535;
        let _served = serve(far, &config, async |request, reply| {
            // it reads nothing
            std::future::pending::<()>().await;
            drop((request, reply));
        });
        let mut script = [frame(SETTINGS, 0, 0, b""), frame(SETTINGS, ACK, 0, b"")].concat();
        script.extend(open(1));
        for _ in 0..4 {
            script.extend(frame(DATA, 0, 1, &[0; 16 << 10]));
        }
        let heard = exchange(near, PREFACE, &script).await;
        assert_eq!(heard.gone, Some(FLOW_CONTROL));
    });
}

#[test]
fn frames_of_wrong_sizes() {
    let zeros = |count: usize| vec![0; count];
    let cases = vec![
        (
            "SETTINGS of half a setting",
            vec![frame(SETTINGS, 0, 0, &zeros(5))],
            Outcome::Gone(&[FRAME_SIZE]),
        ),
        (
            "acknowledged SETTINGS that have some",
            vec![frame(SETTINGS, ACK, 0, &setting(4, 1))],
            Outcome::Gone(&[FRAME_SIZE]),
        ),
        (
            "PING of 7 bytes",
            vec![frame(PING, 0, 0, &zeros(7))],
            Outcome::Gone(&[FRAME_SIZE]),
        ),
        (
            "PING of 9 bytes",
            vec![frame(PING, 0, 0, &zeros(9))],
            Outcome::Gone(&[FRAME_SIZE]),
        ),
        (
            "GOAWAY of 7 bytes",
            vec![frame(GOAWAY, 0, 0, &zeros(7))],
            Outcome::Gone(&[FRAME_SIZE]),
        ),
        (
            "RST_STREAM of 3 bytes",
            vec![open(1), frame(RST_STREAM, 0, 1, &zeros(3))],
            Outcome::Gone(&[FRAME_SIZE]),
        ),
        (
            "WINDOW_UPDATE of 3 bytes",
            vec![frame(WINDOW_UPDATE, 0, 0, &zeros(3))],
            Outcome::Gone(&[FRAME_SIZE]),
        ),
        (
            "PRIORITY of 4 bytes",
            vec![open(1), frame(PRIORITY, 0, 1, &zeros(4))],
            Outcome::Broken(1, FRAME_SIZE),
        ),
        (
            "HEADERS that are too large",
            vec![frame(HEADERS, WHOLE, 1, &zeros((16 << 10) + 1))],
            Outcome::Gone(&[FRAME_SIZE]),
        ),
        (
            "SETTINGS that are too large",
            vec![frame(SETTINGS, 0, 0, &zeros(6 * 3000))],
            Outcome::Gone(&[FRAME_SIZE]),
        ),
        (
            "HEADERS without their priority",
            vec![frame(HEADERS, WHOLE | HAS_PRIORITY, 1, &zeros(4))],
            Outcome::Gone(&[FRAME_SIZE, PROTOCOL]),
        ),
        (
            "DATA without the length of their padding",
            vec![open(1), frame(DATA, PADDED, 1, b"")],
            Outcome::Gone(&[FRAME_SIZE, PROTOCOL]),
        ),
        (
            "DATA of padding alone",
            vec![open(1), frame(DATA, PADDED, 1, b"\x02\0\0")],
            Outcome::Fine,
        ),
        (
            "DATA with more padding than there is",
            vec![open(1), frame(DATA, PADDED, 1, b"\x03\0\0")],
            Outcome::Gone(&[PROTOCOL]),
        ),
        (
            "HEADERS with more padding than there is",
            vec![frame(HEADERS, WHOLE | PADDED, 1, b"\x05\x82\x86\0\0")],
            Outcome::Gone(&[PROTOCOL]),
        ),
    ];
    check_all(cases, said);
}

#[test]
fn settings() {
    let one = |id, value| vec![frame(SETTINGS, 0, 0, &setting(id, value))];
    let cases = vec![
        (
            "push that is neither on nor off",
            one(2, 2),
            Outcome::Gone(&[PROTOCOL]),
        ),
        (
            "a window beyond the largest",
            one(4, 1 << 31),
            Outcome::Gone(&[FLOW_CONTROL]),
        ),
        (
            "frames that are too small",
            one(5, 16_383),
            Outcome::Gone(&[PROTOCOL]),
        ),
        (
            "frames that are too large",
            one(5, 1 << 24),
            Outcome::Gone(&[PROTOCOL]),
        ),
        ("the largest frames", one(5, (1 << 24) - 1), Outcome::Fine),
        ("no push", one(2, 0), Outcome::Fine),
        ("no table", one(1, 0), Outcome::Fine),
        ("the largest table", one(1, u32::MAX), Outcome::Fine),
        ("what nobody knows", one(0xabcd, 1), Outcome::Fine),
    ];
    check_all(cases, said);
}

#[test]
fn header_blocks_in_pieces() {
    let begun = || frame(HEADERS, END_STREAM, 1, &GET[..2]);
    let many = |count, payload: &[u8]| vec![frame(CONTINUATION, 0, 1, payload); count].concat();
    let fields = field("a", "b").repeat(2000);
    let cases = vec![
        (
            "CONTINUATION",
            vec![begun(), frame(CONTINUATION, END_HEADERS, 1, &GET[2..])],
            Outcome::Fine,
        ),
        (
            "CONTINUATION of nothing",
            vec![frame(CONTINUATION, END_HEADERS, 1, GET)],
            Outcome::Gone(&[PROTOCOL]),
        ),
        (
            "CONTINUATION after the end",
            vec![get(1), frame(CONTINUATION, END_HEADERS, 1, GET)],
            Outcome::Gone(&[PROTOCOL]),
        ),
        (
            "CONTINUATION of another stream",
            vec![begun(), frame(CONTINUATION, END_HEADERS, 3, GET)],
            Outcome::Gone(&[PROTOCOL]),
        ),
        (
            "PING within a block",
            vec![begun(), frame(PING, 0, 0, &[0; 8])],
            Outcome::Gone(&[PROTOCOL]),
        ),
        (
            "DATA within a block",
            vec![begun(), frame(DATA, 0, 1, b"x")],
            Outcome::Gone(&[PROTOCOL]),
        ),
        (
            "HEADERS within a block",
            vec![begun(), get(3)],
            Outcome::Gone(&[PROTOCOL]),
        ),
        (
            "an unknown frame within a block",
            vec![begun(), frame(0xbe, 0, 1, b"x")],
            Outcome::Gone(&[PROTOCOL]),
        ),
        (
            "endless CONTINUATION",
            vec![begun(), many(500, &fields)],
            Outcome::Gone(&[PROTOCOL, CALM, COMPRESSION]),
        ),
        (
            "endless CONTINUATION of nothing",
            vec![begun(), many(20_000, b"")],
            Outcome::Gone(&[PROTOCOL, CALM, COMPRESSION]),
        ),
    ];
    check_all(cases, said);
}

#[test]
fn what_is_no_fault() {
    let cases = vec![
        ("a request", vec![get(1)], Outcome::Fine),
        (
            "a frame that nobody knows",
            vec![frame(0xbe, 0xff, 77, b"what")],
            Outcome::Fine,
        ),
        (
            "flags that nobody knows",
            vec![frame(PING, 0xfe, 0, &[0; 8])],
            Outcome::Fine,
        ),
        (
            "PRIORITY of an idle stream",
            vec![frame(PRIORITY, 0, 99, b"\0\0\0\x01\0")],
            Outcome::Fine,
        ),
        (
            "RST_STREAM after the end",
            vec![get(1), frame(RST_STREAM, 0, 1, &four(8))],
            Outcome::Fine,
        ),
        (
            "RST_STREAM twice",
            vec![
                open(1),
                frame(RST_STREAM, 0, 1, &four(8)),
                frame(RST_STREAM, 0, 1, &four(8)),
            ],
            Outcome::Fine,
        ),
        (
            "PRIORITY in a head",
            vec![frame(
                HEADERS,
                WHOLE | HAS_PRIORITY | PADDED,
                1,
                &[b"\x02\0\0\0\x03\x10", GET, b"\0\0"].concat(),
            )],
            Outcome::Fine,
        ),
        ("streams left out", vec![get(1), get(101)], Outcome::Fine),
        (
            "an answer to no PING",
            vec![frame(PING, ACK, 0, &[7; 8])],
            Outcome::Fine,
        ),
    ];
    check_all(cases, said);
}

#[test]
fn who_resets_nearly_all_is_told_to_be_calm() {
    let pairs = |count: u32| {
        let mut script = Vec::new();
        for stream in (0..count).map(|index| 2 * index + 1) {
            script.extend(get(stream));
            script.extend(frame(RST_STREAM, 0, stream, &four(8)));
        }
        script
    };
    let cases = vec![
        ("a few resets", vec![pairs(100)], Outcome::Fine),
        (
            "nothing but resets",
            vec![pairs(3000)],
            Outcome::Gone(&[CALM]),
        ),
    ];
    check_all(cases, said);
}

#[test]
fn who_makes_us_reset_nearly_all_is_told_to_be_calm() {
    let faults = |count: u32| {
        let mut script = Vec::new();
        for stream in (0..count).map(|index| 2 * index + 1) {
            script.extend(open(stream));
            script.extend(frame(WINDOW_UPDATE, 0, stream, &four((1 << 31) - 1)));
        }
        script
    };
    let cases = vec![("only faults", vec![faults(1100)], Outcome::Gone(&[CALM]))];
    check_all(cases, said);
}

#[test]
fn another_protocol() {
    run(async {
        let (near, far) = wire();
        let served = serve(far, &server_config(), async |_, _| {});
        let heard = exchange(near, b"GET / HTTP/1.1\r\nhost: somebody\r\n\r\n", b"").await;
        assert!(!heard.lasted && heard.heads.is_empty(), "{heard:?}");
        served.end.await.unwrap().unwrap_err();
    });
}
