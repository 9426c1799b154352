//! What a connection and its streams share: both ends' settings, the streams, the windows of the
//! connection, and the buffer in which frames wait to be sent.
//!
//! `receive` changes it by what comes, `send` by what streams send; here is what begins and ends.

use std::collections::VecDeque;
use std::task::Waker;

use bytes::{Bytes, BytesMut};
use http::Request;
use tokio::time::Instant;

use crate::error::Kind;
use crate::frame::{
    DEFAULT_WINDOW, MAX_FRAME, MAX_STREAM, PREFACE, put_goaway, put_ping, put_reset, put_settings,
    put_window_update, setting,
};
use crate::hpack::{Decoder, Encoder};
use crate::stream::{Key, Sending, Streams};
use crate::{Error, Reason};

#[cfg(test)]
mod chance;
#[cfg(test)]
mod tests;

/// The table of header compression that a peer may fill.
const HEADER_TABLE: usize = 4096;
/// So many streams that we ended before the peer had are remembered: what was on its way is theirs.
const FORGOTTEN: usize = 256;
/// What a PING says with which a graceful shutdown asks whether the client knows of it.
const SHUTDOWN: [u8; 8] = *b"shutdown";
/// What a PING for keepalive says.
const KEEPALIVE: [u8; 8] = *b"keepaliv";

/// Which end of the connection is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// What we allow.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) stream_window: u32,
    pub(crate) connection_window: u32,
    pub(crate) max_streams: u32,
    pub(crate) max_header_list: usize,
    pub(crate) connect_protocol: bool,
}

/// What the peer allows.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) stream_window: u32,
    pub(crate) max_frame: usize,
    pub(crate) max_streams: usize,
    /// It said goodbye.
    pub(crate) leaves: Option<Reason>,
}

/// A PING of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ping {
    None,
    Sent,
    Answered,
}

/// How far our own goodbye is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    No,
    /// The peer was told that it will be; what it opens until it knows is served.
    Announced,
    /// Streams that are open are served, and no more.
    AfterLast,
    /// Nothing more is.
    AtOnce,
}

/// A header block of which there is more to come.
#[derive(Debug)]
pub(crate) struct Unfinished {
    pub(crate) stream: u32,
    pub(crate) end: bool,
    pub(crate) block: Vec<u8>,
    pub(crate) frames: usize,
}

/// The state of a connection.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) side: Side,
    pub(crate) limits: Limits,
    pub(crate) peer: Peer,
    pub(crate) streams: Streams,
    /// Streams that count.
    pub(crate) active: usize,
    /// Why the connection is over, if not as it should.
    pub(crate) failed: Option<Error>,
    pub(crate) leaving: Leaving,

    pub(crate) encoder: Encoder,
    /// Frames that are to be sent.
    pub(crate) out: BytesMut,
    /// How much of them was.
    pub(crate) sent: usize,
    pub(crate) send_window: i64,
    /// Streams that have something to send and may.
    pub(crate) waiting: VecDeque<Key>,
    /// The next stream of ours.
    pub(crate) next_stream: u32,
    /// Handles that may open more.
    pub(crate) senders: usize,

    /// A frame has come.
    pub(crate) has_begun: bool,
    pub(crate) decoder: Decoder,
    pub(crate) unfinished: Option<Unfinished>,
    pub(crate) receive_window: i64,
    pub(crate) unclaimed: u32,
    /// What a new stream may send, as far as the peer has confirmed it.
    pub(crate) confirmed_window: u32,
    /// The last stream that the peer opened.
    pub(crate) last_stream: u32,
    /// Requests that nobody has taken yet.
    pub(crate) accepted: VecDeque<(Request<()>, Key)>,
    pub(crate) forgotten: VecDeque<u32>,
    /// The last stream that is not even among those any more.
    long_forgotten: u32,
    /// Frames of data without data, in a row.
    pub(crate) empty_frames: u32,
    /// Streams that we reset for what the peer did.
    pub(crate) faults: u32,
    /// Streams that were closed, and of these those that the client reset at once, unanswered.
    pub(crate) closed_streams: u64,
    pub(crate) premature_resets: u64,

    pub(crate) ping: Ping,
    pub(crate) ping_waker: Option<Waker>,
    /// Who drives the connection.
    pub(crate) task: Option<Waker>,
    /// It is at it, or knows that there is something to do.
    pub(crate) is_stirred: bool,
    began: Instant,
    /// The time of the last look at what had come, in milliseconds since the connection began.
    pub(crate) now: u32,
}

impl Core {
    pub(crate) fn new(side: Side, limits: Limits, initial_streams: usize) -> Self {
        let mut out = BytesMut::new();
        let mut settings = Vec::with_capacity(4);
        match side {
            Side::Client => {
                out.extend_from_slice(PREFACE);
                settings.push((setting::ENABLE_PUSH, 0));
            }
            Side::Server => {
                settings.push((setting::MAX_CONCURRENT_STREAMS, limits.max_streams));
            }
        }
        settings.push((setting::INITIAL_WINDOW_SIZE, limits.stream_window));
        let most = u32::try_from(limits.max_header_list).unwrap_or(u32::MAX);
        settings.push((setting::MAX_HEADER_LIST_SIZE, most));
        if limits.connect_protocol {
            settings.push((setting::ENABLE_CONNECT_PROTOCOL, 1));
        }
        put_settings(&mut out, &settings);
        let window = limits.connection_window.max(DEFAULT_WINDOW);
        if window > DEFAULT_WINDOW {
            put_window_update(&mut out, 0, window - DEFAULT_WINDOW);
        }
        Self {
            side,
            peer: Peer {
                stream_window: DEFAULT_WINDOW,
                max_frame: MAX_FRAME,
                max_streams: initial_streams,
                leaves: None,
            },
            streams: Streams::default(),
            active: 0,
            failed: None,
            leaving: Leaving::No,
            encoder: Encoder::new(),
            out,
            sent: 0,
            send_window: i64::from(DEFAULT_WINDOW),
            waiting: VecDeque::new(),
            next_stream: 1,
            senders: 0,
            has_begun: false,
            decoder: Decoder::new(HEADER_TABLE),
            unfinished: None,
            receive_window: i64::from(window),
            unclaimed: 0,
            confirmed_window: DEFAULT_WINDOW,
            last_stream: 0,
            accepted: VecDeque::new(),
            forgotten: VecDeque::new(),
            long_forgotten: 0,
            empty_frames: 0,
            faults: 0,
            closed_streams: 0,
            premature_resets: 0,
            ping: Ping::None,
            ping_waker: None,
            task: None,
            is_stirred: true,
            began: Instant::now(),
            now: 0,
            limits: Limits {
                connection_window: window,
                ..limits
            },
        }
    }

    /// Takes the time.
    pub(crate) fn look_at_clock(&mut self) {
        let passed = self.began.elapsed().as_millis();
        self.now = u32::try_from(passed).unwrap_or(u32::MAX);
    }

    /// Has the connection driven: there is something to send.
    #[inline]
    pub(crate) fn stir(&mut self) {
        if !self.is_stirred {
            self.is_stirred = true;
            if let Some(task) = &self.task {
                task.wake_by_ref();
            }
        }
    }

    /// Bytes that are to be sent.
    #[inline]
    pub(crate) fn unsent(&self) -> usize {
        self.out.len() - self.sent
    }

    /// Nothing of a stream is to come any more, in one direction at least.
    pub(crate) fn half_closed(&mut self, key: Key) {
        let stream = self.streams.get(key);
        if !stream.is_closed() {
            return;
        }
        let is_held = stream.handles > 0;
        if std::mem::take(&mut stream.is_active) {
            self.active -= 1;
            self.closed_streams += 1;
            if self.active == 0 {
                self.look_at_end();
            }
        }
        if !is_held {
            self.accepted.retain(|(_, accepted)| *accepted != key);
            self.remove(key);
        }
    }

    /// Forgets a stream that nobody holds.
    pub(crate) fn remove(&mut self, key: Key) {
        // what came before anybody had it would else be missing from the connection's window
        self.stop_reading(key);
        let stream = self.streams.get(key);
        if std::mem::take(&mut stream.is_waiting) {
            self.waiting.retain(|it| *it != key);
        }
        self.streams.remove(key);
    }

    /// With the last stream the connection may be at its end. Whoever drives it looks once more,
    /// also if it is about to rest and has looked already.
    pub(crate) fn look_at_end(&mut self) {
        let may_end = self.leaving != Leaving::No || self.peer.leaves.is_some();
        if may_end || (self.side == Side::Client && self.senders == 0) {
            self.is_stirred = true;
            if let Some(task) = &self.task {
                task.wake_by_ref();
            }
        }
    }

    /// Ends a stream before its end, for a reason that the peer is told.
    pub(crate) fn reset(&mut self, key: Key, error: Error) {
        let stream = self.streams.get(key);
        if stream.is_closed() {
            return;
        }
        let (id, has_ended) = (stream.id, stream.has_ended);
        if let Some(reason) = error.reason() {
            put_reset(&mut self.out, id, reason);
        }
        if matches!(error.0, Kind::Reset(..)) {
            self.faults += 1;
        }
        if !has_ended {
            self.forget(id);
        }
        self.break_off(key, error);
        self.stir();
    }

    /// The peer may still send something on this stream.
    pub(crate) fn forget(&mut self, id: u32) {
        if self.forgotten.len() == FORGOTTEN
            && let Some(first) = self.forgotten.pop_front()
        {
            self.long_forgotten = self.long_forgotten.max(first);
        }
        self.forgotten.push_back(id);
    }

    /// Whether we may have ended a stream that is not known, so that frames of it are no fault.
    pub(crate) fn has_forgotten(&self, id: u32) -> bool {
        id <= self.long_forgotten || self.forgotten.contains(&id)
    }

    /// A stream ended before its end.
    pub(crate) fn break_off(&mut self, key: Key, error: Error) {
        let stream = self.streams.get(key);
        stream.reset = Some(error);
        stream.queue.clear();
        stream.wake_sender();
        stream.wake_receiver();
        if std::mem::take(&mut stream.is_waiting) {
            self.waiting.retain(|it| *it != key);
        }
        self.half_closed(key);
    }

    /// Nobody holds the stream any more.
    pub(crate) fn release(&mut self, key: Key) {
        self.stop_reading(key);
        let stream = self.streams.get(key);
        if stream.is_closed() {
            self.remove(key);
            return;
        }
        match stream.sending {
            // goes on when what is queued has left; not if that asks for what nobody would hear
            Sending::Ending(_) if self.side == Side::Server || stream.has_ended => {}
            Sending::Ended => self.abandon(key),
            _ => self.reset(key, Error(Kind::Cancelled(Reason::CANCEL))),
        }
    }

    /// Nobody reads the stream any more.
    pub(crate) fn stop_reading(&mut self, key: Key) {
        let stream = self.streams.get(key);
        stream.is_unread = true;
        let untaken: usize = stream.data.drain(..).map(|data| data.len()).sum();
        self.claim(untaken);
    }

    /// Everything was sent on a stream that nobody reads.
    pub(crate) fn abandon(&mut self, key: Key) {
        // an answer that came before the request's end says that its rest is not needed
        // (RFC 9113, 8.1)
        let reason = match self.side {
            Side::Server => Reason::NO_ERROR,
            Side::Client => Reason::CANCEL,
        };
        self.reset(key, Error(Kind::Cancelled(reason)));
    }

    /// Lets the peer send as much again on the connection.
    pub(crate) fn claim(&mut self, count: usize) {
        self.unclaimed += count as u32;
        if self.unclaimed > 0 && self.unclaimed >= self.limits.connection_window / 2 {
            put_window_update(&mut self.out, 0, self.unclaimed);
            self.receive_window += i64::from(self.unclaimed);
            self.unclaimed = 0;
            self.stir();
        }
    }

    /// Lets the peer send as much again on a stream and on the connection.
    #[inline]
    pub(crate) fn claim_on(&mut self, key: Key, count: usize) {
        let window = self.limits.stream_window;
        let stream = self.streams.get(key);
        if !stream.has_ended && stream.reset.is_none() {
            stream.unclaimed += count as u32;
            if stream.unclaimed > 0 && stream.unclaimed >= window / 2 {
                let (id, unclaimed) = (stream.id, std::mem::take(&mut stream.unclaimed));
                stream.receive_window += i64::from(unclaimed);
                put_window_update(&mut self.out, id, unclaimed);
                self.stir();
            }
        }
        self.claim(count);
    }

    /// Takes data that have come.
    #[inline]
    pub(crate) fn take_data(&mut self, key: Key) -> Option<Bytes> {
        let data = self.streams.get(key).data.pop_front()?;
        self.claim_on(key, data.len());
        Some(data)
    }

    /// The connection is over: says why, and ends all streams.
    pub(crate) fn fail(&mut self, error: Error) {
        if self.failed.is_some() {
            return;
        }
        if let Kind::GoAway(reason, _) = error.0 {
            put_goaway(&mut self.out, self.last_stream, reason);
        }
        self.end_streams(&error);
        self.failed = Some(error);
        self.stir();
    }

    /// Ends all streams for this reason.
    pub(crate) fn end_streams(&mut self, error: &Error) {
        self.accepted.clear();
        for key in self.streams.keys() {
            if self.streams.get(key).is_closed() {
                continue;
            }
            self.break_off(key, error.clone());
        }
        self.ping_waker = None;
    }

    /// Tells the peer that the connection will end.
    pub(crate) fn announce_end(&mut self) {
        if self.leaving == Leaving::No {
            self.leaving = Leaving::Announced;
            put_goaway(&mut self.out, MAX_STREAM, Reason::NO_ERROR);
            put_ping(&mut self.out, SHUTDOWN, false);
            self.stir();
        }
    }

    /// Ends the connection, with what the last stream is.
    pub(crate) fn leave_after_last(&mut self) {
        if !matches!(self.leaving, Leaving::AfterLast | Leaving::AtOnce) {
            self.leaving = Leaving::AfterLast;
            put_goaway(&mut self.out, self.last_stream, Reason::NO_ERROR);
            self.stir();
        }
    }

    /// Ends the connection whatever its streams do.
    pub(crate) fn leave_at_once(&mut self, reason: Reason) {
        self.leaving = Leaving::AtOnce;
        put_goaway(&mut self.out, self.last_stream, reason);
        self.end_streams(&Error(Kind::Cancelled(reason)));
        self.stir();
    }

    /// Whether a stream that the peer opens now is none.
    pub(crate) fn takes_no_more(&self) -> bool {
        self.failed.is_some() || matches!(self.leaving, Leaving::AfterLast | Leaving::AtOnce)
    }

    /// Whether the connection ends as soon as everything is sent.
    pub(crate) fn is_done(&mut self) -> bool {
        if self.leaving == Leaving::AtOnce {
            return true;
        }
        if self.active > 0 || !self.accepted.is_empty() {
            return false;
        }
        let nobody_asks = self.side == Side::Client && self.senders == 0;
        if self.peer.leaves.is_some() || nobody_asks {
            self.leave_after_last();
        }
        matches!(self.leaving, Leaving::AfterLast)
    }

    /// Sends a PING for keepalive, unless one is unanswered.
    pub(crate) fn send_ping(&mut self) -> bool {
        if self.ping == Ping::Sent {
            return false;
        }
        self.ping = Ping::Sent;
        put_ping(&mut self.out, KEEPALIVE, false);
        self.stir();
        true
    }

    /// A PING was answered.
    pub(crate) fn receive_pong(&mut self, payload: [u8; 8]) {
        if payload == SHUTDOWN && self.leaving == Leaving::Announced {
            self.leave_after_last();
        } else if payload == KEEPALIVE && self.ping == Ping::Sent {
            self.ping = Ping::Answered;
            if let Some(waker) = self.ping_waker.take() {
                waker.wake();
            }
        }
    }
}
