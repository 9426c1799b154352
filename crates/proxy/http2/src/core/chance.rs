//! Frames and calls in an order that nobody thought of; after each, what always holds has to hold.

#![allow(clippy::unwrap_used)]

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response};
use tokio::io::AsyncWrite;

use super::{Core, Limits, Side};
use crate::frame::{FrameHead, kind};
use crate::model::Chance;
use crate::stream::Key;
use crate::{Error, Reason, error::Kind};

const WINDOW: u32 = 80_000;
const CASES: u64 = 2000;
const STEPS: usize = 150;
/// A first request.
const FIRST: &[u8] = b"\0\0\x06\x01\x04\0\0\0\x01\x83\x86\x84\x41\x01h";

/// A stream below that takes so much.
struct Narrow(usize);

impl AsyncWrite for Narrow {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = bytes.len().min(self.0);
        self.0 -= count;
        match count {
            0 => Poll::Pending,
            count => Poll::Ready(Ok(count)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A frame that is mostly one that may come.
fn frame(chance: &mut Chance, side: Side, newest: u32) -> BytesMut {
    let kinds = [
        kind::DATA,
        kind::DATA,
        kind::HEADERS,
        kind::HEADERS,
        kind::RST_STREAM,
        kind::WINDOW_UPDATE,
        kind::WINDOW_UPDATE,
        kind::SETTINGS,
        kind::PING,
        kind::PRIORITY,
        kind::GOAWAY,
    ];
    let known = if chance.one_in(20) { 11 } else { 8 };
    let kind = kinds[chance.below(known) as usize];
    let mut stream = newest - 2 * chance.below(u64::from(newest.div_ceil(2)).min(8)) as u32;
    if kind == kind::HEADERS && side == Side::Server && !chance.one_in(3) {
        stream = newest + 2;
    }
    let mut flags = [0, 1, 4, 5][chance.below(4) as usize];
    let mut payload = vec![0; chance.size(9000)];
    match kind {
        kind::DATA if chance.one_in(4) && !payload.is_empty() => {
            flags |= 8;
            payload[0] = chance.below(payload.len().min(256) as u64) as u8;
        }
        kind::HEADERS => {
            flags |= 4;
            let blocks: [&[u8]; 6] = match side {
                Side::Server => [
                    b"\x83\x86\x84\x41\x01h",
                    b"\x82\x86\x84\x41\x01h",
                    b"\x83\x86\x84\x41\x01h\x0f\x0d\x0550000",
                    b"\x83",
                    b"",
                    b"",
                ],
                Side::Client => [
                    b"\x88",
                    b"\x88",
                    b"\x88\x0f\x0d\x0550000",
                    b"\x08\x03103",
                    b"\x83",
                    b"",
                ],
            };
            payload = blocks[chance.below(6) as usize].to_vec();
        }
        kind::WINDOW_UPDATE => {
            stream *= chance.below(2) as u32;
            let most = if chance.one_in(50) { 1 << 31 } else { 60_000 };
            payload = (1 + chance.below(most) as u32).to_be_bytes().to_vec();
        }
        kind::SETTINGS => {
            (stream, flags) = (0, 0);
            payload = [&[0, 4][..], &(chance.size(100_000) as u32).to_be_bytes()].concat();
        }
        kind::PING => (stream, payload) = (0, b"shutdown".to_vec()),
        kind::PRIORITY => payload = vec![0, 0, 0, chance.below(9) as u8, 0],
        kind::GOAWAY => (stream, payload) = (0, vec![0, 0, 0, chance.below(99) as u8, 0, 0, 0, 0]),
        kind::RST_STREAM => payload = vec![0; 4],
        _ => {}
    }
    let length = payload.len();
    let head = FrameHead {
        length,
        kind,
        flags,
        stream,
    };
    BytesMut::from(&[&head.bytes()[..], &payload].concat()[..])
}

/// Whether a frame comes for a half that has ended, or has not begun.
fn is_fault(core: &mut Core, input: &[u8]) -> bool {
    let head = FrameHead::read(input).unwrap();
    if !matches!(head.kind, kind::DATA | kind::HEADERS) {
        return false;
    }
    let Some(key) = core.streams.find(head.stream) else {
        return head.stream <= core.last_stream && !core.has_forgotten(head.stream);
    };
    let stream = core.streams.get(key);
    let is_early = head.kind == kind::DATA && !stream.has_head;
    stream.reset.is_none() && (stream.has_ended || is_early)
}

/// What always holds.
fn check(core: &mut Core) {
    let keys = core.streams.keys();
    let (mut active, mut unread) = (0, 0);
    let (limit, confirmed) = (WINDOW, core.confirmed_window);
    for key in &keys {
        let connection_waits = core.waiting.contains(key);
        let stream = core.streams.get(*key);
        let data: usize = stream.data.iter().map(Bytes::len).sum();
        unread += data as i64;
        active += usize::from(!stream.is_closed());
        assert_eq!(stream.is_active, !stream.is_closed());
        assert_eq!(stream.is_waiting, connection_waits);
        if stream.reset.is_some() {
            assert!(stream.queue.is_empty() && !stream.is_waiting);
            continue;
        }
        // what may be sent is going to be, and who waits for room will hear of it
        let waits = !stream.queue.is_empty() && stream.send_window > 0;
        assert!(stream.is_waiting || !waits);
        if !stream.has_ended && !stream.is_unread {
            let given = stream.receive_window + i64::from(stream.unclaimed) + data as i64;
            assert_eq!(given, i64::from(confirmed));
        }
    }
    assert_eq!(core.active, active);
    assert!(core.waiting.iter().all(|key| keys.contains(key)));
    assert!(core.waiting.len() <= keys.len());
    let given = core.receive_window + i64::from(core.unclaimed) + unread;
    // of a connection that failed nobody sends more
    assert!(core.failed.is_some() || given == i64::from(limit));
}

/// Does something with one of the streams that somebody holds.
fn call(core: &mut Core, chance: &mut Chance, held: &mut Vec<Key>) {
    if held.is_empty() {
        return;
    }
    let nth = chance.below(held.len() as u64) as usize;
    let key = held[nth];
    let (end, size) = (chance.one_in(3), chance.size(40_000));
    match chance.below(8) {
        0 => drop(core.send_response(key, &Response::new(()), chance.one_in(8))),
        1 | 2 => drop(core.send_data(key, Bytes::from(vec![0; size]), end)),
        3 if end => drop(core.send_trailers(key, HeaderMap::new())),
        3 | 4 => drop(core.poll_room(key, &mut Context::from_waker(Waker::noop()))),
        5 => drop(core.take_data(key)),
        6 if end => core.reset(key, Error(Kind::Cancelled(Reason::CANCEL))),
        6 if size < 100 => core.stop_reading(key),
        7 if end => {
            held.swap_remove(nth);
            core.streams.get(key).handles = 0;
            core.release(key);
        }
        _ => {}
    }
}

fn case(number: u64, side: Side) {
    let chance = &mut Chance(number);
    let limits = Limits {
        stream_window: 20_000,
        connection_window: WINDOW,
        max_streams: 10,
        max_header_list: 1000,
        connect_protocol: true,
    };
    let mut core = Core::new(side, limits, 10);
    core.senders = 1;
    let post = Request::builder()
        .method(Method::POST)
        .uri("http://host/")
        .body(())
        .unwrap();
    let mut held = Vec::new();
    let cx = &mut Context::from_waker(Waker::noop());
    let settings = FrameHead {
        length: 0,
        kind: kind::SETTINGS,
        flags: 0,
        stream: 0,
    };
    core.digest(&mut BytesMut::from(&settings.bytes()[..]))
        .unwrap();
    for _ in 0..STEPS {
        match chance.below(8) {
            0..3 => {
                let newest = match side {
                    Side::Server => core.last_stream,
                    Side::Client => core.next_stream.saturating_sub(2),
                };
                let mut input = match (side, newest) {
                    (Side::Client, 0) => continue,
                    (Side::Server, 0) => BytesMut::from(FIRST),
                    _ => frame(chance, side, newest),
                };
                if is_fault(&mut core, &input) && !chance.one_in(40) {
                    continue;
                }
                if let Err(error) = core.digest(&mut input) {
                    core.fail(error);
                    break;
                }
            }
            3 => match side {
                Side::Server => {
                    if let Some((_, key)) = core.accepted.pop_front() {
                        core.streams.get(key).handles = 1;
                        held.push(key);
                    }
                }
                Side::Client => {
                    if let Ok(key) = core.send_request(&post, chance.one_in(3)) {
                        core.streams.get(key).handles = 1;
                        held.push(key);
                    }
                }
            },
            4 => drop(core.poll_flush(&mut Narrow(chance.size(60_000)), cx)),
            5 if chance.one_in(50) => core.announce_end(),
            _ => call(&mut core, chance, &mut held),
        }
        check(&mut core);
    }
    check(&mut core);
    for key in held {
        core.streams.get(key).handles = 0;
        core.release(key);
        check(&mut core);
    }
    core.end_streams(&Error(Kind::Io(io::ErrorKind::NotConnected)));
    check(&mut core);
    assert!(core.streams.keys().is_empty() && core.active == 0);
    drop(core.poll_flush(&mut Narrow(usize::MAX), cx));
    assert_eq!(core.unsent(), 0);
}

#[test]
fn what_always_holds_holds() {
    for number in 0..CASES {
        case(number, Side::Server);
        case(number, Side::Client);
    }
}
