//! Frames that change what may be sent, and those of the connection as a whole.

use super::{go_away, number, protocol, reset};
use crate::core::{Core, Side};
use crate::error::Kind;
use crate::frame::{FrameHead, MAX_FRAME, MAX_WINDOW, flag, put_ping, put_settings_ack, setting};
use crate::stream::Key;
use crate::{Error, Reason};

impl Core {
    pub(super) fn receive_settings(
        &mut self,
        head: FrameHead,
        payload: &[u8],
    ) -> Result<(), Error> {
        if head.stream != 0 {
            return Err(protocol("settings of a stream"));
        }
        if head.has(flag::ACK) {
            if !payload.is_empty() {
                let text = "a confirmation that says something";
                return Err(go_away(Reason::FRAME_SIZE_ERROR, text));
            }
            self.confirm_settings();
            return Ok(());
        }
        let (settings, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() {
            let text = "settings of a wrong size";
            return Err(go_away(Reason::FRAME_SIZE_ERROR, text));
        }
        let mut window = None;
        for [a, b, value @ ..] in settings {
            let (id, value) = (u16::from_be_bytes([*a, *b]), u32::from_be_bytes(*value));
            match id {
                setting::INITIAL_WINDOW_SIZE => window = Some(check_window(value)?),
                _ => self.receive_setting(id, value)?,
            }
        }
        if let Some(window) = window {
            self.change_windows(window)?;
        }
        put_settings_ack(&mut self.out);
        self.stir();
        Ok(())
    }

    /// The peer has taken note of what we allow: its window for new streams is as we said.
    fn confirm_settings(&mut self) {
        let change = i64::from(self.limits.stream_window) - i64::from(self.confirmed_window);
        if change == 0 {
            return;
        }
        self.confirmed_window = self.limits.stream_window;
        for key in self.streams.keys() {
            self.streams.get(key).receive_window += change;
            // of a smaller window, what was taken may be much
            self.claim_on(key, 0);
        }
    }

    fn receive_setting(&mut self, id: u16, value: u32) -> Result<(), Error> {
        match id {
            setting::HEADER_TABLE_SIZE => self.encoder.set_max_table_size(value as usize),
            setting::ENABLE_PUSH if value > 1 || (value == 1 && self.side == Side::Client) => {
                return Err(protocol("SETTINGS_ENABLE_PUSH"));
            }
            setting::MAX_CONCURRENT_STREAMS => {
                self.peer.max_streams = value as usize;
            }
            // what is allowed beyond that is not made use of: other streams would wait longer
            setting::MAX_FRAME_SIZE if !(MAX_FRAME as u32..1 << 24).contains(&value) => {
                return Err(protocol("SETTINGS_MAX_FRAME_SIZE"));
            }
            setting::ENABLE_CONNECT_PROTOCOL if value > 1 => {
                return Err(protocol("SETTINGS_ENABLE_CONNECT_PROTOCOL"));
            }
            _ => {}
        }
        Ok(())
    }

    fn change_windows(&mut self, value: u32) -> Result<(), Error> {
        let change = i64::from(value) - i64::from(self.peer.stream_window);
        if change == 0 {
            return Ok(());
        }
        self.peer.stream_window = value;
        for key in self.streams.keys() {
            let stream = self.streams.get(key);
            stream.send_window += change;
            if stream.send_window > MAX_WINDOW {
                let text = "a stream's window grows too much";
                return Err(go_away(Reason::FLOW_CONTROL_ERROR, text));
            }
            self.go_on(key);
        }
        Ok(())
    }

    /// A stream's window may have opened.
    fn go_on(&mut self, key: Key) {
        let stream = self.streams.get(key);
        if !stream.queue.is_empty() || stream.send_waker.is_some() {
            self.wait(key);
        }
    }

    pub(super) fn receive_ping(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Error> {
        if head.stream != 0 {
            return Err(protocol("a ping of a stream"));
        }
        let Ok(payload) = payload.try_into() else {
            return Err(go_away(Reason::FRAME_SIZE_ERROR, "a ping of a wrong size"));
        };
        if head.has(flag::ACK) {
            self.receive_pong(payload);
        } else {
            put_ping(&mut self.out, payload, true);
            self.stir();
        }
        Ok(())
    }

    pub(super) fn receive_goaway(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Error> {
        if head.stream != 0 {
            return Err(protocol("a goodbye of a stream"));
        }
        let fields = payload.get(..4).and_then(number);
        let (Some(last), Some(code)) = (fields, payload.get(4..8).and_then(number)) else {
            return Err(go_away(
                Reason::FRAME_SIZE_ERROR,
                "a goodbye that is cut off",
            ));
        };
        let reason = Reason::new(code);
        self.peer.leaves = Some(reason);
        if self.side == Side::Client {
            for key in self.streams.keys() {
                let stream = self.streams.get(key);
                if stream.id > last && !stream.is_closed() {
                    self.break_off(key, Error(Kind::RemoteGoAway(reason)));
                }
            }
        }
        self.stir();
        Ok(())
    }

    pub(super) fn receive_window(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Error> {
        let Some(increment) = number(payload) else {
            let text = "an update of a window of a wrong size";
            return Err(go_away(Reason::FRAME_SIZE_ERROR, text));
        };
        let increment = i64::from(increment & MAX_WINDOW as u32);
        if increment == 0 {
            return Err(protocol("a window grows by nothing"));
        }
        if head.stream == 0 {
            self.send_window += increment;
            if self.send_window > MAX_WINDOW {
                let text = "the connection's window grows too much";
                return Err(go_away(Reason::FLOW_CONTROL_ERROR, text));
            }
            if !self.waiting.is_empty() {
                self.stir();
            }
            return Ok(());
        }
        let Some(key) = self.addressed(head.stream)? else {
            return Ok(());
        };
        let stream = self.streams.get(key);
        if stream.is_closed() {
            return Ok(());
        }
        stream.send_window += increment;
        if stream.send_window > MAX_WINDOW {
            let text = "a stream's window grows too much";
            self.reset(key, reset(Reason::FLOW_CONTROL_ERROR, text));
            return Ok(());
        }
        self.go_on(key);
        Ok(())
    }
}

fn check_window(value: u32) -> Result<u32, Error> {
    if i64::from(value) > MAX_WINDOW {
        let text = "SETTINGS_INITIAL_WINDOW_SIZE";
        return Err(go_away(Reason::FLOW_CONTROL_ERROR, text));
    }
    Ok(value)
}
