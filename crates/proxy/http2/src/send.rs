//! What streams send, into the connection's buffer as far as windows and the buffer allow.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use tokio::io::AsyncWrite;

use crate::core::{Core, Leaving};
use crate::error::Kind;
use crate::frame::{HEAD, MAX_STREAM, finish_headers, put_data};
use crate::message::{write_request, write_response, write_trailers};
use crate::stream::{Key, Sending};
use crate::{Error, Reason};

/// Bytes that wait in the buffer at most before data wait in their streams.
const FULL: usize = 64 << 10;
/// A buffer of this size is kept while there is no stream.
const SMALL: usize = 4 << 10;

impl Core {
    /// Whether streams can be opened.
    pub(crate) fn is_open(&self) -> bool {
        self.failed.is_none()
            && self.peer.leaves.is_none()
            && self.leaving == Leaving::No
            && self.next_stream <= MAX_STREAM
    }

    /// Opens a stream with a request's head.
    pub(crate) fn send_request(&mut self, request: &Request<()>, end: bool) -> Result<Key, Error> {
        if !self.is_open() || self.active >= self.peer.max_streams {
            return Err(Error(Kind::Full));
        }
        let id = self.next_stream;
        self.send_head(id, end, |core| {
            write_request(&mut core.encoder, request, &mut core.out)
        })?;
        self.next_stream += 2;
        let key = self.open(id);
        let stream = self.streams.get(key);
        stream.is_head_request = request.method() == http::Method::HEAD;
        stream.is_connect = request.method() == http::Method::CONNECT;
        stream.sending = if end { Sending::Ended } else { Sending::Open };
        Ok(key)
    }

    /// A new stream.
    pub(crate) fn open(&mut self, id: u32) -> Key {
        let key = self.streams.insert(id);
        let (now, send_window) = (self.now, i64::from(self.peer.stream_window));
        let receive_window = i64::from(self.confirmed_window);
        let stream = self.streams.get(key);
        stream.is_active = true;
        stream.opened = now;
        stream.send_window = send_window;
        stream.receive_window = receive_window;
        self.active += 1;
        key
    }

    /// Answers a request.
    pub(crate) fn send_response(
        &mut self,
        key: Key,
        response: &Response<()>,
        end: bool,
    ) -> Result<(), Error> {
        let stream = self.streams.get(key);
        let id = stream.id;
        if let Some(error) = &stream.reset {
            return Err(error.clone());
        }
        if !matches!(stream.sending, Sending::Head) {
            return Err(Error(Kind::Unsendable("the request has been answered")));
        }
        self.send_head(id, end, |core| {
            let (status, headers) = (response.status(), response.headers());
            write_response(&mut core.encoder, status, headers, &mut core.out)
        })?;
        self.streams.get(key).sending = Sending::Open;
        if end {
            self.sent_end(key);
        }
        Ok(())
    }

    /// Writes a header block and what is around it.
    fn send_head(
        &mut self,
        id: u32,
        end: bool,
        write: impl FnOnce(&mut Self) -> Result<(), &'static str>,
    ) -> Result<(), Error> {
        let start = self.out.len();
        self.out.extend_from_slice(&[0; HEAD]);
        if let Err(reason) = write(self) {
            self.out.truncate(start);
            return Err(Error(Kind::Unsendable(reason)));
        }
        finish_headers(&mut self.out, start, id, end, self.peer.max_frame);
        self.stir();
        Ok(())
    }

    /// Sends data, or has them wait.
    pub(crate) fn send_data(&mut self, key: Key, data: Bytes, end: bool) -> Result<(), Error> {
        let is_full = self.unsent() >= FULL;
        let most = self.peer.max_frame as i64;
        let window = self.send_window;
        let stream = self.streams.get(key);
        if let Some(error) = &stream.reset {
            return Err(error.clone());
        }
        if !matches!(stream.sending, Sending::Open) {
            return Err(Error(Kind::Unsendable("the stream has ended")));
        }
        let length = data.len() as i64;
        // an end needs no window
        let fits = length == 0 || (length <= most.min(window).min(stream.send_window) && !is_full);
        if stream.queue.is_empty() && fits {
            if length > 0 || end {
                put_data(&mut self.out, stream.id, &data, end);
                stream.send_window -= length;
                self.send_window -= length;
                self.stir();
            }
            if end {
                self.sent_end(key);
            }
            return Ok(());
        }
        if !data.is_empty() {
            stream.queue.push_back(data);
        }
        if end {
            stream.sending = Sending::Ending(None);
        }
        self.wait(key);
        Ok(())
    }

    /// Ends with trailers, after what is queued.
    pub(crate) fn send_trailers(&mut self, key: Key, trailers: HeaderMap) -> Result<(), Error> {
        let stream = self.streams.get(key);
        if let Some(error) = &stream.reset {
            return Err(error.clone());
        }
        if !matches!(stream.sending, Sending::Open) {
            return Err(Error(Kind::Unsendable("the stream has ended")));
        }
        if stream.queue.is_empty() {
            return self.send_end(key, &trailers);
        }
        stream.sending = Sending::Ending(Some(Box::new(trailers)));
        self.wait(key);
        Ok(())
    }

    /// Ends a stream of which everything else is sent.
    fn send_end(&mut self, key: Key, trailers: &HeaderMap) -> Result<(), Error> {
        let id = self.streams.get(key).id;
        self.send_head(id, true, |core| {
            write_trailers(&mut core.encoder, trailers, &mut core.out)
        })?;
        self.sent_end(key);
        Ok(())
    }

    /// The sending half has ended.
    fn sent_end(&mut self, key: Key) {
        let stream = self.streams.get(key);
        stream.sending = Sending::Ended;
        let is_left = stream.handles == 0 && !stream.has_ended;
        if is_left {
            self.abandon(key);
        } else {
            self.half_closed(key);
        }
    }

    /// Has a stream wait for its turn, if its window lets anything through.
    pub(crate) fn wait(&mut self, key: Key) {
        let stream = self.streams.get(key);
        if stream.send_window > 0 && !stream.is_waiting && stream.reset.is_none() {
            stream.is_waiting = true;
            self.waiting.push_back(key);
            self.stir();
        }
    }

    /// Moves data from the streams that wait to the buffer, a frame of each in turn.
    fn pump(&mut self) {
        while self.unsent() < FULL {
            let Some(key) = self.waiting.pop_front() else {
                return;
            };
            if self.send_window <= 0 {
                // goes on when the connection's window opens
                self.waiting.push_front(key);
                return;
            }
            self.streams.get(key).is_waiting = false;
            self.send_some(key);
        }
    }

    /// Sends a frame of what a stream has queued.
    fn send_some(&mut self, key: Key) {
        let most = self.peer.max_frame as i64;
        let most = most.min(self.send_window);
        let stream = self.streams.get(key);
        let Some(first) = stream.queue.front_mut() else {
            // it waits for room
            return stream.wake_sender();
        };
        let most = usize::try_from(most.min(stream.send_window)).unwrap_or(0);
        let count = first.len().min(most);
        if count == 0 {
            return;
        }
        let data = if count == first.len() {
            std::mem::take(first)
        } else {
            first.split_to(count)
        };
        if first.is_empty() {
            stream.queue.pop_front();
        }
        let is_last = stream.queue.is_empty();
        let ends = is_last && matches!(stream.sending, Sending::Ending(None));
        put_data(&mut self.out, stream.id, &data, ends);
        stream.send_window -= count as i64;
        self.send_window -= count as i64;
        if ends {
            self.sent_end(key);
        } else if !is_last {
            self.wait(key);
        } else if let Sending::Ending(Some(trailers)) = &mut stream.sending {
            // they need no window, and do not wait for those who do
            let trailers = std::mem::take(&mut **trailers);
            if self.send_end(key, &trailers).is_err() {
                self.reset(key, Error(Kind::Cancelled(Reason::INTERNAL_ERROR)));
            }
        } else {
            stream.wake_sender();
        }
    }

    /// Ready when all that was given has left its stream, and there may be more.
    pub(crate) fn poll_room(&mut self, key: Key, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let is_full = self.unsent() >= FULL || self.send_window <= 0;
        let stream = self.streams.get(key);
        if let Some(error) = &stream.reset {
            return Poll::Ready(Err(error.clone()));
        }
        if !matches!(stream.sending, Sending::Open) {
            let error = Error(Kind::Unsendable("the stream has ended"));
            return Poll::Ready(Err(error));
        }
        if stream.queue.is_empty() && stream.send_window > 0 && !is_full {
            return Poll::Ready(Ok(()));
        }
        crate::stream::remember(&mut stream.send_waker, cx);
        if stream.queue.is_empty() {
            // it is woken when it has its turn
            self.wait(key);
        }
        Poll::Pending
    }

    /// Writes what there is to be sent, as far as the stream below takes it.
    pub(crate) fn poll_flush<I: AsyncWrite + Unpin>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            self.pump();
            if self.out.is_empty() {
                self.is_stirred = false;
                return Pin::new(io).poll_flush(cx);
            }
            let rest = &self.out[self.sent..];
            let count = ready!(Pin::new(&mut *io).poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += count;
            if self.sent == self.out.len() {
                self.empty_buffer();
            } else if self.sent >= FULL {
                self.out.advance(self.sent);
                self.sent = 0;
            }
        }
    }

    fn empty_buffer(&mut self) {
        // what a connection needed once it does not keep when it needs less
        let most = if self.active == 0 { SMALL } else { 2 * FULL };
        if self.out.capacity() > most {
            self.out = BytesMut::new();
        }
        self.out.clear();
        self.sent = 0;
    }
}
