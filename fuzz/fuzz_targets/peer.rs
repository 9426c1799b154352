//! The other end of a connection of HTTP/2: it says what is given, in pieces, and keeps what it
//! hears.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// SETTINGS (RFC 9113, 6.5).
const SETTINGS: u8 = 4;

/// Says some bytes and then ends.
pub struct Peer {
    says: Vec<u8>,
    said: usize,
    /// So much is said at a time.
    piece: usize,
    /// A turn passes before the next piece.
    pausing: bool,
    heard: Rc<RefCell<Vec<u8>>>,
}

impl Peer {
    /// Says `before` and the rest of the input, whose first byte says how large a piece is. Also
    /// gives where all that is heard will be, and a number of turns that is enough for anything.
    pub fn new(before: &[u8], input: &[u8]) -> (Self, Rc<RefCell<Vec<u8>>>, usize) {
        let (piece, rest) = match input.split_first() {
            Some((0, rest)) => (usize::MAX, rest),
            Some((piece, rest)) => (usize::from(*piece), rest),
            None => (usize::MAX, input),
        };
        let heard = Rc::new(RefCell::new(Vec::new()));
        let says = [before, rest].concat();
        let turns = 1000 + 4 * says.len();
        let peer = Self {
            says,
            said: 0,
            piece,
            pausing: true,
            heard: heard.clone(),
        };
        (peer, heard, turns)
    }
}

impl AsyncRead for Peer {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.pausing = !this.pausing;
        if !this.pausing {
            let rest = &this.says[this.said..];
            let count = rest.len().min(this.piece).min(buf.remaining());
            buf.put_slice(&rest[..count]);
            this.said += count;
            return Poll::Ready(Ok(()));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl AsyncWrite for Peer {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.heard.borrow_mut().extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Panics unless these are whole frames of which SETTINGS are the first.
pub fn check_frames(mut rest: &[u8]) {
    let mut first = true;
    while !rest.is_empty() {
        let (head, after) = rest.split_at_checked(9).expect("a frame's head");
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        assert!(
            !first || (head[3] == SETTINGS && head[4] == 0),
            "no SETTINGS"
        );
        let (_, after) = after.split_at_checked(length).expect("a whole frame");
        (first, rest) = (false, after);
    }
}
