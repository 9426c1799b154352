//! What a connection's state is after frames and calls in an unhappy order.

#![allow(clippy::unwrap_used)]

use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response};

use super::{Core, Limits, Side};
use crate::Error;
use crate::frame::{FrameHead, flag, kind, put_data, put_reset, put_window_update};
use crate::stream::{Key, Sending};

const WINDOW: u32 = 100_000;
const POST: &[u8] = b"\x83\x86\x84\x41\x01h";
const GET: &[u8] = b"\x82\x86\x84\x41\x01h";
const WHOLE: u8 = flag::END_HEADERS | flag::END_STREAM;

fn core(side: Side) -> Core {
    let limits = Limits {
        stream_window: 65_535,
        connection_window: WINDOW,
        max_streams: 1000,
        max_header_list: 16 << 10,
        connect_protocol: true,
    };
    Core::new(side, limits, 100)
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> BytesMut {
    let length = payload.len();
    let head = FrameHead {
        length,
        kind,
        flags,
        stream,
    };
    let mut frame = BytesMut::from(&head.bytes()[..]);
    frame.extend_from_slice(payload);
    frame
}

/// Opens a stream of the client's, which somebody takes.
fn accept(core: &mut Core, id: u32, flags: u8) -> Key {
    let block = if flags == WHOLE { GET } else { POST };
    core.digest(&mut frame(kind::HEADERS, flags, id, block))
        .unwrap();
    let (_, key) = core.accepted.pop_front().unwrap();
    core.streams.get(key).handles = 1;
    key
}

/// The same, with the head of the answer.
fn answered(core: &mut Core, id: u32) -> Key {
    let key = accept(core, id, WHOLE);
    core.send_response(key, &Response::new(()), false).unwrap();
    key
}

fn let_go(core: &mut Core, key: Key) {
    core.streams.get(key).handles = 0;
    core.release(key);
}

fn room(core: &mut Core, key: Key) -> Poll<Result<(), Error>> {
    core.poll_room(key, &mut Context::from_waker(Waker::noop()))
}

fn grow(core: &mut Core, id: u32, increment: u32) {
    let mut update = BytesMut::new();
    put_window_update(&mut update, id, increment);
    core.digest(&mut update).unwrap();
}

/// Has what waits sent as far as it goes.
fn flush(core: &mut Core) {
    let cx = &mut Context::from_waker(Waker::noop());
    let flushed = core.poll_flush(&mut tokio::io::sink(), cx);
    assert!(matches!(flushed, Poll::Ready(Ok(()))));
}

/// What the peer may send and will be allowed to.
fn given(core: &Core) -> i64 {
    core.receive_window + i64::from(core.unclaimed)
}

#[test]
fn a_stream_that_ends_while_it_has_its_turn_yet_to_come_leaves_no_trace() {
    let mut core = core(Side::Server);
    let key = answered(&mut core, 1);
    core.streams.get(key).send_window = 0;
    assert!(room(&mut core, key).is_pending());
    grow(&mut core, 1, 10);
    assert_eq!(core.waiting, [key]);
    // who sends was woken by something else
    assert!(room(&mut core, key).is_ready());
    core.send_data(key, Bytes::from_static(b"all"), true)
        .unwrap();
    let_go(&mut core, key);
    assert!(core.waiting.is_empty());
    assert_eq!(core.active, 0);
}

#[test]
fn many_streams_that_end_so_do_not_matter_to_who_comes_later() {
    let mut core = core(Side::Server);
    let keys: Vec<_> = (0..200)
        .map(|nth| answered(&mut core, 2 * nth + 1))
        .collect();
    for (nth, key) in keys.iter().enumerate() {
        core.streams.get(*key).send_window = 0;
        assert!(room(&mut core, *key).is_pending());
        grow(&mut core, 2 * nth as u32 + 1, 10);
        core.send_data(*key, Bytes::new(), true).unwrap();
    }
    keys.iter().for_each(|key| let_go(&mut core, *key));
    flush(&mut core);
    assert_eq!(core.active, 0);
}

#[test]
fn data_of_a_request_that_is_reset_before_anybody_has_it_are_given_back() {
    let mut core = core(Side::Server);
    let mut input = frame(kind::HEADERS, flag::END_HEADERS, 1, POST);
    put_data(&mut input, 1, &[0; 1000], false);
    put_reset(&mut input, 1, crate::Reason::CANCEL);
    core.digest(&mut input).unwrap();
    assert!(core.accepted.is_empty());
    assert_eq!((core.active, given(&core)), (0, i64::from(WINDOW)));
}

#[test]
fn padding_is_given_back_on_the_stream_too() {
    let mut core = core(Side::Server);
    let key = accept(&mut core, 1, flag::END_HEADERS);
    for _ in 0..50 {
        let mut padded = frame(
            kind::DATA,
            flag::PADDED,
            1,
            &[&[200][..], &[0; 200]].concat(),
        );
        core.digest(&mut padded).unwrap();
        let mut padded = frame(
            kind::DATA,
            flag::PADDED,
            1,
            &[&[200][..], &[0; 201]].concat(),
        );
        core.digest(&mut padded).unwrap();
        assert_eq!(core.take_data(key).unwrap().len(), 1);
    }
    let stream = core.streams.get(key);
    let of_stream = stream.receive_window + i64::from(stream.unclaimed);
    assert_eq!((of_stream, given(&core)), (65_535, i64::from(WINDOW)));
}

#[test]
fn an_end_needs_no_window() {
    let mut core = core(Side::Server);
    let [a, b, c] = [1, 3, 5].map(|id| answered(&mut core, id));
    core.streams.get(b).send_window = 0;
    core.send_data(b, Bytes::from_static(b"0123456789"), false)
        .unwrap();
    core.send_trailers(b, HeaderMap::new()).unwrap();
    grow(&mut core, 3, 100);
    core.send_window = 10;
    core.send_data(a, Bytes::from_static(b"more than that"), false)
        .unwrap();
    flush(&mut core);
    // though the other waits for the connection's window
    assert!(matches!(core.streams.get(b).sending, Sending::Ended));
    assert_eq!(core.waiting, [a]);
    core.streams.get(c).send_window = -5;
    core.send_data(c, Bytes::new(), true).unwrap();
    assert!(matches!(core.streams.get(c).sending, Sending::Ended));
}

#[test]
fn streams_after_the_last_one_are_passed_over() {
    let mut core = core(Side::Server);
    let key = answered(&mut core, 1);
    core.leave_after_last();
    let mut input = frame(kind::HEADERS, flag::END_HEADERS, 3, POST);
    put_data(&mut input, 3, &[0; 1000], true);
    put_window_update(&mut input, 3, 10);
    put_reset(&mut input, 3, crate::Reason::CANCEL);
    core.digest(&mut input).unwrap();
    assert!(core.accepted.is_empty());
    assert_eq!((core.active, given(&core)), (1, i64::from(WINDOW)));
    core.send_data(key, Bytes::new(), true).unwrap();
    assert!(core.is_done());
}

#[test]
fn the_answer_to_head_has_no_data() {
    let mut core = core(Side::Client);
    core.digest(&mut frame(kind::SETTINGS, 0, 0, b"")).unwrap();
    let request = Request::builder()
        .method(Method::HEAD)
        .uri("http://host/")
        .body(())
        .unwrap();
    for (nth, data) in [&b""[..], b"body!"].iter().enumerate() {
        let key = core.send_request(&request, true).unwrap();
        core.streams.get(key).handles = 1;
        let id = 2 * nth as u32 + 1;
        let head = b"\x88\x0f\x0d\x015";
        let mut input = frame(kind::HEADERS, flag::END_HEADERS, id, head);
        put_data(&mut input, id, data, true);
        core.digest(&mut input).unwrap();
        assert_eq!(core.streams.get(key).reset.is_some(), !data.is_empty());
    }
    assert_eq!((core.active, given(&core)), (0, i64::from(WINDOW)));
}

#[test]
fn a_stream_that_depends_on_itself_is_reset_wherever_it_is() {
    let mut core = core(Side::Server);
    let key = accept(&mut core, 1, flag::END_HEADERS);
    let flags = WHOLE | flag::PRIORITY;
    let mut trailers = frame(kind::HEADERS, flags, 1, b"\0\0\0\x01\0");
    core.digest(&mut trailers).unwrap();
    assert!(core.streams.get(key).reset.is_some());
    let_go(&mut core, key);
    // what is on its way is passed over
    core.digest(&mut frame(kind::HEADERS, flags, 1, b"\0\0\0\x01\0"))
        .unwrap();
    assert_eq!(core.active, 0);
}

#[test]
fn crumbs_that_nobody_takes_do_not_stay_crumbs() {
    let mut core = core(Side::Server);
    let key = accept(&mut core, 1, flag::END_HEADERS);
    let body: Vec<_> = (0..20_000).map(|at| (at / 3) as u8).collect();
    for byte in &body {
        let mut input = BytesMut::new();
        put_data(&mut input, 1, &[*byte], false);
        core.digest(&mut input).unwrap();
    }
    assert!(core.streams.get(key).data.len() < 40);
    let taken = std::iter::from_fn(|| core.take_data(key)).flatten();
    assert!(taken.eq(body));
    assert_eq!(given(&core), i64::from(WINDOW));
}

#[test]
fn trailers_on_their_way_are_no_fault_however_many_streams_we_reset() {
    let mut core = core(Side::Server);
    for nth in 0..500 {
        let key = accept(&mut core, 2 * nth + 1, flag::END_HEADERS);
        core.send_response(key, &Response::new(()), true).unwrap();
        let_go(&mut core, key);
    }
    for nth in 0..500 {
        core.digest(&mut frame(kind::HEADERS, WHOLE, 2 * nth + 1, b""))
            .unwrap();
    }
    assert_eq!(core.active, 0);
}

#[test]
fn an_answer_is_whole_though_its_stream_is_reset_behind_it() {
    let mut core = core(Side::Client);
    let mut input = frame(kind::SETTINGS, 0, 0, b"");
    let request = Request::builder()
        .method(Method::POST)
        .uri("http://host/")
        .body(())
        .unwrap();
    let key = core.send_request(&request, false).unwrap();
    core.streams.get(key).handles = 1;
    core.send_window = 0;
    core.send_data(key, Bytes::from_static(b"more"), false)
        .unwrap();
    input.unsplit(frame(kind::HEADERS, flag::END_HEADERS, 1, b"\x88"));
    put_data(&mut input, 1, b"body", true);
    put_reset(&mut input, 1, crate::Reason::NO_ERROR);
    core.digest(&mut input).unwrap();
    let stream = core.streams.get(key);
    assert!(stream.response.is_some() && stream.has_ended && stream.reset.is_some());
    assert_eq!(core.take_data(key).unwrap(), "body");
    assert_eq!((core.active, given(&core)), (0, i64::from(WINDOW)));
    assert!(core.waiting.is_empty());
    let_go(&mut core, key);
    assert!(core.streams.keys().is_empty());
}

#[test]
fn a_tunnel_has_no_length() {
    let mut core = core(Side::Client);
    let request = Request::connect("host:80").body(()).unwrap();
    let key = core.send_request(&request, false).unwrap();
    core.streams.get(key).handles = 1;
    let mut input = frame(kind::SETTINGS, 0, 0, b"");
    let head = b"\x88\x0f\x0d\x010";
    input.unsplit(frame(kind::HEADERS, flag::END_HEADERS, 1, head));
    put_data(&mut input, 1, b"bytes", false);
    core.digest(&mut input).unwrap();
    assert_eq!(core.take_data(key).unwrap(), "bytes");
}

#[test]
fn only_the_last_window_of_settings_counts() {
    let mut core = core(Side::Server);
    let key = answered(&mut core, 1);
    let most = [0, 4, 0x7f, 0xff, 0xff, 0xff];
    let little = [0, 4, 0, 0, 0, 9];
    grow(&mut core, 1, 10);
    let mut settings = frame(kind::SETTINGS, 0, 0, &[most, little].concat());
    core.digest(&mut settings).unwrap();
    assert_eq!(core.streams.get(key).send_window, 19);
    core.digest(&mut frame(kind::SETTINGS, 0, 0, &most))
        .unwrap_err();
}
