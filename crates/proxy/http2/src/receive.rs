//! What comes from the peer, frame by frame.
//!
//! An `Err` ends the connection; what is wrong with one stream ends that stream alone.

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, Method};

use crate::core::{Core, Side, Unfinished};
use crate::error::{Kind, PREMATURE_RESETS};
use crate::frame::{FrameHead, HEAD, MAX_FRAME, flag, kind, put_reset};
use crate::hpack::{Block, DecodeError};
use crate::message;
use crate::stream::{Key, Sending};
use crate::{Error, Reason};

mod control;

/// Frames of data without data that may follow each other.
const EMPTY_FRAMES: u32 = 100;
/// A client's resets of streams that it has just opened end the connection when they are more than
/// half of these, or of as many streams as there were (Envoy's premature resets).
const FEW_STREAMS: u64 = 500;
/// Milliseconds after which a reset is no premature one.
const PREMATURE: u32 = 1000;
/// So many streams of a connection are reset for what the peer did, and it goes on.
const FAULTS: u32 = 1024;

fn go_away(reason: Reason, text: &'static str) -> Error {
    Error(Kind::GoAway(reason, text))
}

fn protocol(text: &'static str) -> Error {
    go_away(Reason::PROTOCOL_ERROR, text)
}

fn reset(reason: Reason, text: &'static str) -> Error {
    Error(Kind::Reset(reason, text))
}

fn malformed(text: &'static str) -> Error {
    reset(Reason::PROTOCOL_ERROR, text)
}

/// Four bytes as a number.
fn number(payload: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(payload.try_into().ok()?))
}

/// The payload without its padding.
fn unpadded(head: FrameHead, payload: &[u8]) -> Result<std::ops::Range<usize>, Error> {
    if !head.has(flag::PADDED) {
        return Ok(0..payload.len());
    }
    let padding = payload.first().map(|length| usize::from(*length));
    match padding {
        Some(padding) if padding < payload.len() => Ok(1..payload.len() - padding),
        _ => Err(protocol("more padding than payload")),
    }
}

impl Core {
    /// Takes the whole frames from the beginning of what has come.
    ///
    /// # Errors
    /// Why the connection ends.
    pub(crate) fn digest(&mut self, input: &mut BytesMut) -> Result<(), Error> {
        while let Some(head) = FrameHead::read(input) {
            if head.length > MAX_FRAME {
                return Err(go_away(Reason::FRAME_SIZE_ERROR, "a frame is too large"));
            }
            if input.len() < HEAD + head.length {
                return Ok(());
            }
            let goes_on = head.kind == kind::CONTINUATION;
            if self.unfinished.is_some() != goes_on {
                return Err(protocol("header block and continuation do not match"));
            }
            if !self.has_begun && !self.begins(head) {
                return Err(protocol("a server that does not begin with its settings"));
            }
            if self.faults > FAULTS {
                let text = "too many streams at fault";
                return Err(go_away(Reason::ENHANCE_YOUR_CALM, text));
            }
            // what it carries may be secret
            tracing::trace!(?head, "HTTP/2 frame");
            input.advance(HEAD);
            if head.kind == kind::DATA {
                self.receive_data(head, input)?;
                continue;
            }
            let payload = &input[..head.length];
            match head.kind {
                kind::HEADERS => self.receive_headers(head, payload)?,
                kind::CONTINUATION => self.receive_continuation(head, payload)?,
                kind::PRIORITY => self.receive_priority(head, payload)?,
                kind::RST_STREAM => self.receive_reset(head, payload)?,
                kind::SETTINGS => self.receive_settings(head, payload)?,
                kind::PING => self.receive_ping(head, payload)?,
                kind::GOAWAY => self.receive_goaway(head, payload)?,
                kind::WINDOW_UPDATE => self.receive_window(head, payload)?,
                kind::PUSH_PROMISE => return Err(protocol("nothing may be pushed")),
                _ => {}
            }
            input.advance(head.length);
        }
        Ok(())
    }

    /// Whether this may be the peer's first frame. A client's settings are not waited for.
    fn begins(&mut self, head: FrameHead) -> bool {
        self.has_begun = true;
        let is_settings = head.kind == kind::SETTINGS && !head.has(flag::ACK);
        is_settings || self.side == Side::Server
    }

    /// Whether nobody has opened this stream yet.
    fn is_idle(&self, id: u32) -> bool {
        let is_clients = id % 2 == 1;
        match (self.side, is_clients) {
            // what comes after the last stream that we told of is passed over
            (Side::Server, true) => id > self.last_stream && !self.takes_no_more(),
            (Side::Client, true) => id >= self.next_stream,
            (_, false) => true,
        }
    }

    /// The stream of a frame; none where it was forgotten.
    fn addressed(&self, id: u32) -> Result<Option<Key>, Error> {
        match self.streams.find(id) {
            None if self.is_idle(id) => Err(protocol("a frame of a stream that is not open")),
            found => Ok(found),
        }
    }

    fn receive_data(&mut self, head: FrameHead, input: &mut BytesMut) -> Result<(), Error> {
        let range = unpadded(head, &input[..head.length])?;
        let found = self.addressed(head.stream)?;
        let whole = head.length as i64;
        if whole > self.receive_window {
            let text = "more data than the connection's window allows";
            return Err(go_away(Reason::FLOW_CONTROL_ERROR, text));
        }
        self.receive_window -= whole;
        let end = head.has(flag::END_STREAM);
        if range.is_empty() && !end {
            self.empty_frames += 1;
            if self.empty_frames > EMPTY_FRAMES {
                let text = "data without data";
                return Err(go_away(Reason::ENHANCE_YOUR_CALM, text));
            }
        } else {
            self.empty_frames = 0;
        }
        let Some(key) = found else {
            input.advance(head.length);
            self.claim(head.length);
            let is_known = head.stream > self.last_stream || self.has_forgotten(head.stream);
            if !is_known && self.side == Side::Server {
                put_reset(&mut self.out, head.stream, Reason::STREAM_CLOSED);
                self.stir();
            }
            return Ok(());
        };
        let length = range.len();
        let data = match length {
            0 => {
                input.advance(head.length);
                Bytes::new()
            }
            length => {
                input.advance(range.start);
                let data = input.split_to(length).freeze();
                input.advance(head.length - range.end);
                data
            }
        };
        self.receive_on(key, data, whole, end)
    }

    /// Data of a stream; `whole` is their length with the padding.
    fn receive_on(&mut self, key: Key, data: Bytes, whole: i64, end: bool) -> Result<(), Error> {
        let length = data.len();
        let stream = self.streams.get(key);
        if stream.reset.is_some() {
            self.claim(whole as usize);
            return Ok(());
        }
        if !stream.has_head {
            return Err(protocol("data before the head"));
        }
        if stream.has_ended {
            return Err(go_away(Reason::STREAM_CLOSED, "data after the end"));
        }
        if whole > stream.receive_window {
            let text = "more data than the stream's window allows";
            self.reset(key, reset(Reason::FLOW_CONTROL_ERROR, text));
            self.claim(whole as usize);
            return Ok(());
        }
        stream.receive_window -= whole;
        if let Some(left) = &mut stream.left {
            let rest = left.checked_sub(length as u64);
            if rest.is_none() || (end && rest != Some(0)) {
                self.reset(key, malformed("not as many data as the head says"));
                self.claim(whole as usize);
                return Ok(());
            }
            *left = rest.unwrap_or(0);
        }
        if !stream.is_unread && length > 0 {
            stream.keep(data);
        }
        stream.has_ended = end;
        stream.ends_late = end && length == 0;
        stream.wake_receiver();
        let padding = whole as usize - length;
        match stream.is_unread {
            // who does not read does not get more than the window
            true => self.claim(whole as usize),
            false if padding == 0 => {}
            false => self.claim_on(key, padding),
        }
        if end {
            self.half_closed(key);
        }
        Ok(())
    }

    fn receive_headers(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Error> {
        if head.stream == 0 {
            return Err(protocol("headers of no stream"));
        }
        let mut block = &payload[unpadded(head, payload)?];
        if head.has(flag::PRIORITY) {
            let Some((dependency, rest)) = block.split_at_checked(5) else {
                return Err(go_away(Reason::FRAME_SIZE_ERROR, "a priority is cut off"));
            };
            if depends_on(dependency) == head.stream {
                // the block is decoded all the same: others lean on what it puts into the table
                let _ = self.decode(rest)?;
                return self.receive_dependent(head.stream);
            }
            block = rest;
        }
        let end = head.has(flag::END_STREAM);
        if head.has(flag::END_HEADERS) {
            return self.receive_block(head.stream, end, block);
        }
        self.unfinished = Some(Unfinished {
            stream: head.stream,
            end,
            block: block.to_vec(),
            frames: 0,
        });
        Ok(())
    }

    fn receive_continuation(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Error> {
        let Some(unfinished) = &mut self.unfinished else {
            return Err(protocol("nothing is to be continued"));
        };
        if unfinished.stream != head.stream {
            return Err(protocol("another stream is continued"));
        }
        unfinished.frames += 1;
        unfinished.block.extend_from_slice(payload);
        let most = 2 * self.limits.max_header_list + MAX_FRAME;
        if unfinished.block.len() > most || unfinished.frames > 8 + most / MAX_FRAME {
            let text = "a header block without end";
            return Err(go_away(Reason::ENHANCE_YOUR_CALM, text));
        }
        if head.has(flag::END_HEADERS)
            && let Some(whole) = self.unfinished.take()
        {
            return self.receive_block(whole.stream, whole.end, &whole.block);
        }
        Ok(())
    }

    fn decode(&mut self, block: &[u8]) -> Result<Block, Error> {
        let limit = self.limits.max_header_list;
        self.decoder
            .decode(block, limit)
            .map_err(|error| match error {
                DecodeError::Compression(text) => go_away(Reason::COMPRESSION_ERROR, text),
                DecodeError::Field(text) => protocol(text),
            })
    }

    /// A whole header block.
    fn receive_block(&mut self, id: u32, end: bool, block: &[u8]) -> Result<(), Error> {
        let block = self.decode(block)?;
        match self.streams.find(id) {
            Some(key) => self.receive_more_headers(key, block, end),
            None if self.side == Side::Server => self.receive_request(id, block, end),
            None if self.is_idle(id) => Err(protocol("an answer that nobody asked for")),
            None => Ok(()),
        }
    }

    /// Headers, or a priority, of a stream that depends on itself.
    fn receive_dependent(&mut self, id: u32) -> Result<(), Error> {
        let text = "a stream that depends on itself";
        match self.streams.find(id) {
            Some(key) => self.reset(key, malformed(text)),
            None if self.is_idle(id) => return Err(protocol(text)),
            None => {}
        }
        Ok(())
    }

    /// Ends a stream that has not begun.
    fn refuse(&mut self, id: u32, reason: Reason) {
        put_reset(&mut self.out, id, reason);
        self.faults += u32::from(reason == Reason::PROTOCOL_ERROR);
        self.forget(id);
        self.stir();
    }

    fn receive_request(&mut self, id: u32, block: Block, end: bool) -> Result<(), Error> {
        if self.takes_no_more() && id > self.last_stream {
            return Ok(());
        }
        if !self.is_idle(id) {
            return match self.has_forgotten(id) {
                true => Ok(()),
                false => Err(go_away(Reason::STREAM_CLOSED, "headers of a closed stream")),
            };
        }
        if id.is_multiple_of(2) {
            return Err(protocol("a stream of even number"));
        }
        self.last_stream = id;
        if block.over_size {
            return self.answer_too_large(id);
        }
        if self.active >= self.limits.max_streams as usize {
            self.refuse(id, Reason::REFUSED_STREAM);
            return Ok(());
        }
        let length = match block.malformed {
            Some(_) => Err(()),
            None => message::content_length(&block.headers).map_err(drop),
        };
        let request = message::request(block, self.limits.connect_protocol);
        let (Ok(length), Ok(request)) = (length, request) else {
            self.refuse(id, Reason::PROTOCOL_ERROR);
            return Ok(());
        };
        let goes_nowhere =
            request.method() == Method::CONNECT && request.uri().authority().is_none();
        if goes_nowhere || (end && length.is_some_and(|length| length > 0)) {
            self.refuse(id, Reason::PROTOCOL_ERROR);
            return Ok(());
        }
        let key = self.open(id);
        let stream = self.streams.get(key);
        stream.has_head = true;
        stream.has_ended = end;
        stream.left = length.filter(|_| request.method() != Method::CONNECT);
        self.accepted.push_back((request, key));
        Ok(())
    }

    /// A request whose headers are more than is allowed.
    fn answer_too_large(&mut self, id: u32) -> Result<(), Error> {
        let key = self.open(id);
        self.streams.get(key).handles = 1;
        let mut response = http::Response::new(());
        *response.status_mut() = http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        // ignored: the reset says that there is no answer
        let _ = self.send_response(key, &response, true);
        self.reset(key, Error(Kind::Cancelled(Reason::PROTOCOL_ERROR)));
        self.streams.get(key).handles = 0;
        self.remove(key);
        Ok(())
    }

    /// A response's head, or trailers.
    fn receive_more_headers(&mut self, key: Key, block: Block, end: bool) -> Result<(), Error> {
        let stream = self.streams.get(key);
        if stream.reset.is_some() {
            return Ok(());
        }
        if stream.has_ended {
            let text = "headers after the end";
            return Err(go_away(Reason::STREAM_CLOSED, text));
        }
        let problem = match (&block.malformed, block.over_size) {
            (Some(text), _) => Some(*text),
            (None, true) => Some("headers of too many bytes"),
            (None, false) => None,
        };
        let taken = match (problem, stream.has_head) {
            (Some(text), _) => Err(text),
            (None, true) => {
                message::trailers(block).and_then(|it| self.take_trailers(key, it, end))
            }
            (None, false) => self.take_response(key, block, end),
        };
        if let Err(text) = taken {
            self.reset(key, malformed(text));
            return Ok(());
        }
        let stream = self.streams.get(key);
        stream.wake_receiver();
        if end {
            self.half_closed(key);
        }
        Ok(())
    }

    fn take_trailers(
        &mut self,
        key: Key,
        trailers: HeaderMap,
        end: bool,
    ) -> Result<(), &'static str> {
        let stream = self.streams.get(key);
        if !end {
            return Err("trailers that do not end the stream");
        }
        if stream.left.is_some_and(|left| left > 0) {
            return Err("not as many data as the head says");
        }
        stream.trailers = Some(trailers);
        stream.has_ended = true;
        Ok(())
    }

    fn take_response(&mut self, key: Key, block: Block, end: bool) -> Result<(), &'static str> {
        let length = message::content_length(&block.headers);
        let response = message::response(block)?;
        let stream = self.streams.get(key);
        if response.status().is_informational() {
            let is_sound = !end && response.status() != http::StatusCode::SWITCHING_PROTOCOLS;
            return is_sound
                .then_some(())
                .ok_or("an informational response that ends");
        }
        let has_no_body = stream.is_head_request || matches!(response.status().as_u16(), 204 | 304);
        stream.left = if has_no_body {
            Some(0)
        } else if stream.is_connect && response.status().is_success() {
            None
        } else {
            length.map_err(|_| "content-length")?
        };
        if end && stream.left.is_some_and(|left| left > 0) {
            return Err("not as many data as the head says");
        }
        stream.response = Some(response);
        stream.has_head = true;
        stream.has_ended = end;
        Ok(())
    }

    fn receive_priority(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Error> {
        if head.stream == 0 {
            return Err(protocol("a priority of no stream"));
        }
        if payload.len() != 5 {
            return Err(go_away(
                Reason::FRAME_SIZE_ERROR,
                "a priority of a wrong size",
            ));
        }
        match depends_on(payload) == head.stream {
            true => self.receive_dependent(head.stream),
            false => Ok(()),
        }
    }

    fn receive_reset(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Error> {
        let Some(code) = number(payload) else {
            return Err(go_away(Reason::FRAME_SIZE_ERROR, "a reset of a wrong size"));
        };
        let Some(key) = self.addressed(head.stream)? else {
            return Ok(());
        };
        let now = self.now;
        let stream = self.streams.get(key);
        if stream.is_closed() {
            return Ok(());
        }
        let is_unanswered = matches!(stream.sending, Sending::Head);
        let is_premature = is_unanswered && now - stream.opened <= PREMATURE;
        self.break_off(key, Error(Kind::RemoteReset(Reason::new(code))));
        if self.side == Side::Server && is_premature {
            self.premature_resets += 1;
            if 2 * self.premature_resets > self.closed_streams.max(FEW_STREAMS) {
                return Err(go_away(Reason::ENHANCE_YOUR_CALM, PREMATURE_RESETS));
            }
        }
        Ok(())
    }
}

/// The stream that a priority names.
fn depends_on(priority: &[u8]) -> u32 {
    let id = priority.get(..4).and_then(number).unwrap_or_default();
    id & crate::frame::MAX_STREAM
}
