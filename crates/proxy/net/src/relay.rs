//! Copying bytes both ways between two streams: TCP proxying and upgraded HTTP.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// The buffer of one direction, in bytes.
const BUFFER: usize = 16 * 1024;

/// Why the copying ended.
#[derive(Debug)]
pub enum RelayEnd {
    /// Both sides finished in order.
    Finished,
    /// Nothing moved for the idle limit.
    Idle,
    /// The longest allowed time passed.
    Expired,
    /// The downstream side failed.
    Downstream(io::Error),
    /// The upstream side failed.
    Upstream(io::Error),
}

/// What moved, and why it ended.
#[derive(Debug)]
pub struct RelayOutcome {
    /// Bytes read from the downstream side.
    pub received: u64,
    /// Bytes written to the downstream side.
    pub sent: u64,
    /// Why it ended.
    pub end: RelayEnd,
}

/// Copies both ways until both sides have finished, one fails, or a limit passes. An end
/// of one direction is passed on (`shutdown`) and the other direction goes on.
///
/// `progress` is called with the bytes received and sent since the last call, whenever
/// any moved, so that counters can follow a long connection.
pub async fn relay<D, U>(
    downstream: &mut D,
    upstream: &mut U,
    idle: Option<Duration>,
    deadline: Option<Instant>,
    progress: impl Fn(u64, u64),
) -> RelayOutcome
where
    D: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let mut towards_upstream = Direction::default();
    let mut towards_downstream = Direction::default();
    let mut reported = (0, 0);
    let mut limit = Limit::new(idle, deadline);
    let end = poll_fn(|cx| {
        let up = towards_upstream.poll(cx, downstream, upstream);
        let down = towards_downstream.poll(cx, upstream, downstream);
        let moved = (towards_upstream.total, towards_downstream.total);
        if moved != reported {
            progress(moved.0 - reported.0, moved.1 - reported.1);
            reported = moved;
            limit.touch();
        }
        match (up, down) {
            (Poll::Ready(Err(Side::Reader(error))), _)
            | (_, Poll::Ready(Err(Side::Writer(error)))) => {
                Poll::Ready(RelayEnd::Downstream(error))
            }
            (Poll::Ready(Err(Side::Writer(error))), _)
            | (_, Poll::Ready(Err(Side::Reader(error)))) => Poll::Ready(RelayEnd::Upstream(error)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(RelayEnd::Finished),
            _ => limit.poll(cx),
        }
    })
    .await;
    RelayOutcome {
        received: towards_upstream.total,
        sent: towards_downstream.total,
        end,
    }
}

/// Which side of a direction failed.
enum Side {
    Reader(io::Error),
    Writer(io::Error),
}

/// One direction; it holds a buffer only while bytes move.
#[derive(Default)]
struct Direction {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    total: u64,
    ended: bool,
    shut: bool,
    needs_flush: bool,
}

impl Direction {
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
    ) -> Poll<Result<(), Side>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            while self.start < self.end {
                let part = &self.buffer[self.start..self.end];
                let wrote =
                    ready!(Pin::new(&mut *writer).poll_write(cx, part)).map_err(Side::Writer)?;
                if wrote == 0 {
                    return Poll::Ready(Err(Side::Writer(io::ErrorKind::WriteZero.into())));
                }
                self.start += wrote;
                self.total += wrote as u64;
                self.needs_flush = true;
            }
            if self.ended {
                if !self.shut {
                    // An error here only says that the other side is gone already.
                    let _ = ready!(Pin::new(&mut *writer).poll_shutdown(cx));
                    self.shut = true;
                }
                return Poll::Ready(Ok(()));
            }
            match self.fill(cx, reader) {
                Poll::Ready(Ok(count)) => self.ended = count == 0,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Side::Reader(error))),
                Poll::Pending => {
                    self.buffer = Vec::new();
                    if self.needs_flush {
                        ready!(Pin::new(&mut *writer).poll_flush(cx)).map_err(Side::Writer)?;
                        self.needs_flush = false;
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn fill<R: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
    ) -> Poll<io::Result<usize>> {
        self.buffer.resize(BUFFER, 0);
        let mut space = ReadBuf::new(&mut self.buffer);
        ready!(Pin::new(reader).poll_read(cx, &mut space))?;
        (self.start, self.end) = (0, space.filled().len());
        Poll::Ready(Ok(self.end))
    }
}

/// The idle limit and the deadline share one timer, which is moved only when it fires.
struct Limit {
    idle: Option<Duration>,
    deadline: Option<Instant>,
    last: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Limit {
    fn new(idle: Option<Duration>, deadline: Option<Instant>) -> Self {
        let mut limit = Self {
            idle,
            deadline,
            last: Instant::now(),
            timer: None,
        };
        limit.timer = limit
            .next()
            .map(|at| Box::pin(tokio::time::sleep_until(at)));
        limit
    }

    fn touch(&mut self) {
        if self.idle.is_some() {
            self.last = Instant::now();
        }
    }

    fn next(&self) -> Option<Instant> {
        let idle = self.idle.map(|idle| self.last + idle);
        match (idle, self.deadline) {
            (Some(idle), Some(deadline)) => Some(idle.min(deadline)),
            (idle, deadline) => idle.or(deadline),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<RelayEnd> {
        while let Some(next) = self.next() {
            let Some(timer) = self.timer.as_mut() else {
                break;
            };
            ready!(timer.as_mut().poll(cx));
            let now = Instant::now();
            if self.deadline.is_some_and(|deadline| deadline <= now) {
                return Poll::Ready(RelayEnd::Expired);
            }
            if next <= now {
                return Poll::Ready(RelayEnd::Idle);
            }
            timer.as_mut().reset(next);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn both_ways_with_half_close() {
        let (mut client, mut downstream) = duplex(64);
        let (mut upstream, mut server) = duplex(64);
        let copy = tokio::spawn(async move {
            relay(&mut downstream, &mut upstream, None, None, |_, _| {}).await
        });
        let question = vec![7u8; 100_000];
        let server = tokio::spawn(async move {
            let mut got = Vec::new();
            server.read_to_end(&mut got).await.unwrap();
            server.write_all(&got[..50_000]).await.unwrap();
            server.shutdown().await.unwrap();
        });
        client.write_all(&question).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        server.await.unwrap();
        let outcome = copy.await.unwrap();
        assert_eq!(
            (outcome.received, outcome.sent, answer.len()),
            (100_000, 50_000, 50_000)
        );
        assert!(matches!(outcome.end, RelayEnd::Finished));
    }

    #[tokio::test(start_paused = true)]
    async fn idleness_is_counted_from_the_last_byte() {
        let (mut client, mut downstream) = duplex(64);
        let (mut upstream, _server) = duplex(64);
        let idle = Some(Duration::from_secs(10));
        let start = Instant::now();
        let copy = tokio::spawn(async move {
            relay(&mut downstream, &mut upstream, idle, None, |_, _| {}).await
        });
        tokio::time::sleep(Duration::from_secs(7)).await;
        client.write_all(b"x").await.unwrap();
        let outcome = copy.await.unwrap();
        assert!(matches!(outcome.end, RelayEnd::Idle));
        assert_eq!(start.elapsed().as_secs(), 17);
        assert_eq!(outcome.received, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_ends_a_busy_connection() {
        let (mut client, mut downstream) = duplex(64);
        let (mut upstream, _server) = duplex(64);
        let deadline = Some(Instant::now() + Duration::from_secs(3));
        let copy = tokio::spawn(async move {
            relay(
                &mut downstream,
                &mut upstream,
                Some(Duration::from_secs(2)),
                deadline,
                |_, _| {},
            )
            .await
        });
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            client.write_all(b"x").await.unwrap();
        }
        assert!(matches!(copy.await.unwrap().end, RelayEnd::Expired));
    }
}
