//! PINGs to a client of HTTP/2 that says nothing, and the end of a connection whose client does
//! not answer them.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use meltemi_http2::PingPong;
use meltemi_ir::Http2Keepalive;
use tokio::time::{Instant, Sleep, sleep};

/// The PINGs of one connection.
pub(super) struct Keepalive {
    interval: Duration,
    timeout: Duration,
    pings: PingPong,
    sleep: Pin<Box<Sleep>>,
    /// One is to be answered.
    sent: bool,
}

impl Keepalive {
    /// Begins to wait.
    pub(super) fn new(config: Http2Keepalive, pings: PingPong) -> Self {
        let Http2Keepalive { interval, timeout } = config;
        Self {
            interval,
            timeout,
            pings,
            sleep: Box::pin(sleep(interval)),
            sent: false,
        }
    }

    /// Ready when the client does not answer; `heard` is when it last said something.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, heard: Instant) -> Poll<()> {
        loop {
            if self.sent {
                match self.pings.poll_pong(cx) {
                    Poll::Ready(()) => self.wait(Instant::now()),
                    Poll::Pending => return self.sleep.as_mut().poll(cx),
                }
                continue;
            }
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if heard + self.interval > now {
                self.wait(heard);
            } else if self.pings.send_ping() {
                self.sent = true;
                self.sleep.as_mut().reset(now + self.timeout);
            } else {
                self.wait(now);
            }
        }
    }

    fn wait(&mut self, from: Instant) {
        self.sent = false;
        self.sleep.as_mut().reset(from + self.interval);
    }
}
