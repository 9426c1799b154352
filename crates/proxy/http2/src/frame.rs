//! Frames as bytes (RFC 9113, 4 and 6): their heads, the short ones whole, and settings.

use bytes::{BufMut as _, BytesMut};

use crate::Reason;

/// What a client begins with.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame's head.
pub(crate) const HEAD: usize = 9;
/// Most bytes of a frame's payload that we take, and that a peer takes that says nothing.
pub(crate) const MAX_FRAME: usize = 16 << 10;
/// A stream's and a connection's window where nothing else was said.
pub(crate) const DEFAULT_WINDOW: u32 = 65_535;
/// The largest window.
pub(crate) const MAX_WINDOW: i64 = (1 << 31) - 1;
/// The largest number of a stream.
pub(crate) const MAX_STREAM: u32 = (1 << 31) - 1;

/// Kinds of frames.
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const PRIORITY: u8 = 2;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PUSH_PROMISE: u8 = 5;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub(crate) mod flag {
    pub(crate) const ACK: u8 = 0x1;
    pub(crate) const END_STREAM: u8 = 0x1;
    pub(crate) const END_HEADERS: u8 = 0x4;
    pub(crate) const PADDED: u8 = 0x8;
    pub(crate) const PRIORITY: u8 = 0x20;
}

/// Settings by their numbers.
pub(crate) mod setting {
    pub(crate) const HEADER_TABLE_SIZE: u16 = 1;
    pub(crate) const ENABLE_PUSH: u16 = 2;
    pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;
    pub(crate) const MAX_FRAME_SIZE: u16 = 5;
    pub(crate) const MAX_HEADER_LIST_SIZE: u16 = 6;
    pub(crate) const ENABLE_CONNECT_PROTOCOL: u16 = 8;
}

/// The head of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameHead {
    pub(crate) length: usize,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

impl FrameHead {
    /// Reads a head, if there is all of it.
    #[inline]
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let head: &[u8; HEAD] = bytes.first_chunk()?;
        Some(Self {
            length: u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize,
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & MAX_STREAM,
        })
    }

    #[inline]
    pub(crate) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The head as bytes.
    #[inline]
    pub(crate) fn bytes(self) -> [u8; HEAD] {
        let [_, a, b, c] = (self.length as u32).to_be_bytes();
        let [d, e, f, g] = self.stream.to_be_bytes();
        [a, b, c, self.kind, self.flags, d, e, f, g]
    }
}

fn put(out: &mut BytesMut, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let head = FrameHead {
        length: payload.len(),
        kind,
        flags,
        stream,
    };
    out.reserve(HEAD + payload.len());
    out.put_slice(&head.bytes());
    out.put_slice(payload);
}

/// Writes data; they fit in one frame.
#[inline]
pub(crate) fn put_data(out: &mut BytesMut, stream: u32, data: &[u8], end: bool) {
    let flags = if end { flag::END_STREAM } else { 0 };
    put(out, kind::DATA, flags, stream, data);
}

pub(crate) fn put_reset(out: &mut BytesMut, stream: u32, reason: Reason) {
    let code = reason.code().to_be_bytes();
    put(out, kind::RST_STREAM, 0, stream, &code);
}

pub(crate) fn put_window_update(out: &mut BytesMut, stream: u32, increment: u32) {
    let increment = increment.to_be_bytes();
    put(out, kind::WINDOW_UPDATE, 0, stream, &increment);
}

pub(crate) fn put_ping(out: &mut BytesMut, payload: [u8; 8], ack: bool) {
    let flags = if ack { flag::ACK } else { 0 };
    put(out, kind::PING, flags, 0, &payload);
}

pub(crate) fn put_goaway(out: &mut BytesMut, last: u32, reason: Reason) {
    let mut payload = [0; 8];
    payload[..4].copy_from_slice(&last.to_be_bytes());
    payload[4..].copy_from_slice(&reason.code().to_be_bytes());
    put(out, kind::GOAWAY, 0, 0, &payload);
}

pub(crate) fn put_settings(out: &mut BytesMut, settings: &[(u16, u32)]) {
    let mut payload = Vec::with_capacity(6 * settings.len());
    for (setting, value) in settings {
        payload.extend_from_slice(&setting.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    put(out, kind::SETTINGS, 0, 0, &payload);
}

pub(crate) fn put_settings_ack(out: &mut BytesMut) {
    put(out, kind::SETTINGS, flag::ACK, 0, &[]);
}

/// Makes the header block that lies in `out` behind room for a frame's head, from `start` on, into
/// a HEADERS frame, and as many CONTINUATION frames as it needs.
pub(crate) fn finish_headers(
    out: &mut BytesMut,
    start: usize,
    stream: u32,
    end: bool,
    max_frame: usize,
) {
    let flags = if end { flag::END_STREAM } else { 0 };
    let length = out.len() - start - HEAD;
    let mut head = FrameHead {
        length: length.min(max_frame),
        kind: kind::HEADERS,
        flags: flags | flag::END_HEADERS,
        stream,
    };
    if length <= max_frame {
        out[start..start + HEAD].copy_from_slice(&head.bytes());
        return;
    }
    head.flags = flags;
    out[start..start + HEAD].copy_from_slice(&head.bytes());
    let rest = out.split_off(start + HEAD + max_frame);
    let mut pieces = rest.chunks(max_frame).peekable();
    while let Some(piece) = pieces.next() {
        let flags = match pieces.peek() {
            Some(_) => 0,
            None => flag::END_HEADERS,
        };
        put(out, kind::CONTINUATION, flags, stream, piece);
    }
}
