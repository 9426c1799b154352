//! The streams of a connection and where each of them is.

use std::collections::VecDeque;
use std::task::{Context, Waker};

use bytes::Bytes;
use http::{HeaderMap, Response};

use crate::Error;

/// Where a stream lies among the streams of its connection.
pub(crate) type Key = usize;

/// The streams of a connection. A place is used again when its stream is forgotten.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    places: Vec<Stream>,
    free: Vec<Key>,
    /// Numbers and places of the streams that are known, by number.
    known: VecDeque<(u32, Key)>,
}

/// So many places are kept while there is no stream.
const KEPT: usize = 128;
/// So many pieces of data that nobody has taken yet are kept as they came.
const PIECES: usize = 4;
/// Beyond that, smaller ones are put together.
const CRUMB: usize = 1 << 10;

/// One stream.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    pub(crate) id: u32,
    /// How many hold it.
    pub(crate) handles: u32,
    /// It counts among those that may be open at a time.
    pub(crate) is_active: bool,
    /// Why it ended before its end.
    pub(crate) reset: Option<Error>,
    /// When it was opened, in milliseconds of its connection.
    pub(crate) opened: u32,

    pub(crate) send_window: i64,
    /// What the windows, or the connection's buffer, did not let through yet.
    pub(crate) queue: VecDeque<Bytes>,
    pub(crate) sending: Sending,
    /// It is in the connection's list of those that wait for their turn.
    pub(crate) is_waiting: bool,
    pub(crate) send_waker: Option<Waker>,

    pub(crate) receive_window: i64,
    /// Taken, but not yet given back to the sender.
    pub(crate) unclaimed: u32,
    /// Received, not taken yet.
    pub(crate) data: VecDeque<Bytes>,
    pub(crate) response: Option<Response<()>>,
    /// The head that is no informational one has come.
    pub(crate) has_head: bool,
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) has_ended: bool,
    /// The end came by itself, after all data, and whoever reads has not heard of it.
    pub(crate) ends_late: bool,
    /// Nobody reads it any more.
    pub(crate) is_unread: bool,
    /// What is to come, where the head says so.
    pub(crate) left: Option<u64>,
    /// Its response has no body, whatever its head says of a length.
    pub(crate) is_head_request: bool,
    /// It is a tunnel once it is answered, and no head says how much it carries.
    pub(crate) is_connect: bool,
    pub(crate) receive_waker: Option<Waker>,
}

/// Where a stream's sending half is.
#[derive(Debug, Default)]
pub(crate) enum Sending {
    /// No head was sent.
    #[default]
    Head,
    Open,
    /// It ends when what is queued has left, perhaps with trailers.
    Ending(Option<Box<HeaderMap>>),
    Ended,
}

impl Streams {
    /// A new stream, of a higher number than all before it.
    pub(crate) fn insert(&mut self, id: u32) -> Key {
        let key = match self.free.pop() {
            Some(key) => key,
            None => {
                self.places.push(Stream::default());
                self.places.len() - 1
            }
        };
        self.places[key].id = id;
        self.known.push_back((id, key));
        key
    }

    /// The stream of this number, if it is known.
    #[inline]
    pub(crate) fn find(&self, id: u32) -> Option<Key> {
        let index = self.index(id)?;
        Some(self.known[index].1)
    }

    fn index(&self, id: u32) -> Option<usize> {
        // one end opens every second number, and most streams end in the order in which they began
        let (first, _) = self.known.front()?;
        let likely = (id.checked_sub(*first)? / 2) as usize;
        if self
            .known
            .get(likely)
            .is_some_and(|(known, _)| *known == id)
        {
            return Some(likely);
        }
        self.known
            .binary_search_by_key(&id, |(known, _)| *known)
            .ok()
    }

    #[inline]
    pub(crate) fn get(&mut self, key: Key) -> &mut Stream {
        &mut self.places[key]
    }

    /// Forgets a stream.
    pub(crate) fn remove(&mut self, key: Key) {
        let id = self.places[key].id;
        if let Some(index) = self.index(id) {
            self.known.remove(index);
        }
        self.places[key].clear();
        self.free.push(key);
        if self.known.is_empty() && self.places.len() > KEPT {
            self.places = Vec::new();
            self.free = Vec::new();
        }
    }

    /// The places of those that are known, in the order of their numbers.
    pub(crate) fn keys(&self) -> Vec<Key> {
        self.known.iter().map(|(_, key)| *key).collect()
    }
}

impl Stream {
    /// Makes room for another stream; queues keep their memory, if it is little.
    fn clear(&mut self) {
        let mut queue = std::mem::take(&mut self.queue);
        let mut data = std::mem::take(&mut self.data);
        queue.clear();
        data.clear();
        if queue.capacity() + data.capacity() > 32 {
            (queue, data) = Default::default();
        }
        *self = Self {
            queue,
            data,
            ..Self::default()
        };
    }

    /// Keeps data until somebody takes them.
    #[inline]
    pub(crate) fn keep(&mut self, data: Bytes) {
        if self.data.len() < PIECES || data.len() >= CRUMB {
            self.data.push_back(data);
        } else {
            self.keep_crumb(&data);
        }
    }

    /// A piece holds all of the buffer that it came in, so that many small ones would take far more
    /// memory than the window says. Each is put together with those before it that are not larger;
    /// so no byte is copied often.
    fn keep_crumb(&mut self, data: &[u8]) {
        let mut first = self.data.len();
        let mut size = data.len();
        while first > 0 && size < CRUMB && self.data[first - 1].len() <= size {
            first -= 1;
            size += self.data[first].len();
        }
        let mut whole = Vec::with_capacity(size);
        for piece in self.data.drain(first..) {
            whole.extend_from_slice(&piece);
        }
        whole.extend_from_slice(data);
        self.data.push_back(whole.into());
    }

    /// Whether nothing more is to be sent or received.
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.reset.is_some() || (self.has_ended && matches!(self.sending, Sending::Ended))
    }

    #[inline]
    pub(crate) fn wake_sender(&mut self) {
        if let Some(waker) = self.send_waker.take() {
            waker.wake();
        }
    }

    #[inline]
    pub(crate) fn wake_receiver(&mut self) {
        if let Some(waker) = self.receive_waker.take() {
            waker.wake();
        }
    }
}

/// Has the task woken by what is kept here.
#[inline]
pub(crate) fn remember(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(known) if known.will_wake(cx.waker()) => {}
        known => *known = Some(cx.waker().clone()),
    }
}
