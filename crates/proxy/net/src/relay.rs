//! Copying bytes both ways between two streams, and moving them without a copy where both are
//! plain TCP connections: TCP proxying.

mod pipe;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use pipe::Pipe;

/// The buffer of one direction, in bytes.
const BUFFER: usize = 16 * 1024;

/// Full buffers, one after the other, after which a direction goes through a pipe where it can:
/// two pipes cost more than they save a connection on which little moves.
const MUCH: u32 = 4;

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

/// How a relay gets at the TCP connections beneath its streams, so that the kernel can move bytes
/// from one to the other.
pub struct Beneath<D, U> {
    /// The downstream connection, where what is read next and written next is the connection's own.
    pub downstream: fn(&D) -> Option<&TcpStream>,
    /// The same of the upstream.
    pub upstream: fn(&U) -> Option<&TcpStream>,
    /// Is told how many bytes were written to and read from the upstream without it.
    pub passed: fn(&mut U, u64, u64),
}

impl<D, U> Beneath<D, U> {
    /// For streams that are no TCP connections.
    pub fn nothing() -> Self {
        Self {
            downstream: |_| None,
            upstream: |_| None,
            passed: |_, _, _| {},
        }
    }
}

/// Copies both ways until both sides have finished, one fails, or a limit passes. An end
/// of one direction is passed on (`shutdown`) and the other direction goes on.
///
/// `progress` is called with the bytes received and sent since the last call, whenever
/// any moved, so that counters can follow a long connection.
pub async fn relay<D, U>(
    (downstream, upstream): (&mut D, &mut U),
    beneath: Beneath<D, U>,
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
        let up = towards_upstream.poll(
            cx,
            (downstream, beneath.downstream),
            (upstream, beneath.upstream),
        );
        let down = towards_downstream.poll(
            cx,
            (upstream, beneath.upstream),
            (downstream, beneath.downstream),
        );
        let (written, read) = (towards_upstream.piped(), towards_downstream.piped());
        if (written, read) != (0, 0) {
            (beneath.passed)(upstream, written, read);
        }
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
    /// Full buffers since the last that was not.
    full: u32,
    pipe: Option<Pipe>,
    /// The kernel moves nothing between these two.
    no_pipe: bool,
    /// Bytes that went through the pipe and have not been told.
    piped: u64,
}

impl Direction {
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        (reader, reader_beneath): (&mut R, fn(&R) -> Option<&TcpStream>),
        (writer, writer_beneath): (&mut W, fn(&W) -> Option<&TcpStream>),
    ) -> Poll<Result<(), Side>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            ready!(self.write(cx, writer))?;
            if let (Some(from), Some(to)) = (reader_beneath(reader), writer_beneath(writer)) {
                ready!(self.pipe(cx, from, to))?;
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

    /// Writes what the buffer holds.
    fn write<W>(&mut self, cx: &mut Context<'_>, writer: &mut W) -> Poll<Result<(), Side>>
    where
        W: AsyncWrite + Unpin,
    {
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
        Poll::Ready(Ok(()))
    }

    /// Moves bytes through the pipe for as long as there are many. Ready when the next are to be
    /// copied: an end, a failure and what is little are left to that.
    fn pipe(
        &mut self,
        cx: &mut Context<'_>,
        from: &TcpStream,
        to: &TcpStream,
    ) -> Poll<Result<(), Side>> {
        loop {
            while let Some(pipe) = self.pipe.as_mut().filter(|pipe| pipe.held() > 0) {
                let moved = ready!(pipe.poll_drain(cx, to)).map_err(Side::Writer)?;
                self.total += moved as u64;
                self.piped += moved as u64;
            }
            if self.full < MUCH || self.no_pipe || self.ended {
                return Poll::Ready(Ok(()));
            }
            if self.pipe.is_none() {
                self.pipe = Pipe::new();
            }
            let Some(pipe) = &mut self.pipe else {
                self.no_pipe = true;
                return Poll::Ready(Ok(()));
            };
            match pipe.poll_fill(cx, from) {
                Poll::Ready(Ok(count)) if count >= BUFFER => {}
                Poll::Ready(Ok(_)) => self.full = 0,
                Poll::Ready(Err(_)) => self.no_pipe = true,
                Poll::Pending => {
                    self.buffer = Vec::new();
                    return Poll::Pending;
                }
            }
        }
    }

    /// Bytes that went through the pipe since the last call.
    fn piped(&mut self) -> u64 {
        std::mem::take(&mut self.piped)
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
        self.full = if self.end == BUFFER { self.full + 1 } else { 0 };
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
            relay(
                (&mut downstream, &mut upstream),
                Beneath::nothing(),
                None,
                None,
                |_, _| {},
            )
            .await
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
            relay(
                (&mut downstream, &mut upstream),
                Beneath::nothing(),
                idle,
                None,
                |_, _| {},
            )
            .await
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
                (&mut downstream, &mut upstream),
                Beneath::nothing(),
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

    /// Two ends of a TCP connection.
    async fn pair() -> (TcpStream, TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        (client.unwrap(), accepted.unwrap().0)
    }

    /// Relays between two TCP connections; gives what arrived, what the relay counted, and what
    /// went past the upstream stream.
    async fn over_tcp(question: &[u8], answer: &[u8]) -> (Vec<u8>, Vec<u8>, (u64, u64), u64) {
        let (mut client, mut downstream) = pair().await;
        let (upstream, mut server) = pair().await;
        let mut upstream = Counted(upstream, 0);
        let beneath = Beneath::<TcpStream, Counted> {
            downstream: |stream| Some(stream),
            upstream: |stream| Some(&stream.0),
            passed: |stream, written, read| stream.1 += written + read,
        };
        let asking = async {
            client.write_all(question).await.unwrap();
            client.shutdown().await.unwrap();
            let mut got = Vec::new();
            client.read_to_end(&mut got).await.unwrap();
            got
        };
        let answering = async {
            let mut got = Vec::new();
            server.read_to_end(&mut got).await.unwrap();
            server.write_all(answer).await.unwrap();
            server.shutdown().await.unwrap();
            got
        };
        let copying = relay(
            (&mut downstream, &mut upstream),
            beneath,
            None,
            None,
            |_, _| {},
        );
        let (got_answer, got_question, outcome) = tokio::join!(asking, answering, copying);
        assert!(matches!(outcome.end, RelayEnd::Finished));
        let counted = (outcome.received, outcome.sent);
        (got_question, got_answer, counted, upstream.1)
    }

    /// A connection, and the bytes that went past it.
    struct Counted(TcpStream, u64);

    impl AsyncRead for Counted {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buf)
        }
    }

    impl AsyncWrite for Counted {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(cx, buf)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    #[tokio::test]
    async fn much_goes_through_a_pipe_and_arrives_whole() {
        let question: Vec<u8> = (0..5_000_000u32).map(|at| (at % 251) as u8).collect();
        let answer: Vec<u8> = (0..3_000_000u32).map(|at| (at % 241) as u8).collect();
        let (asked, answered, counted, passed) = over_tcp(&question, &answer).await;
        assert!(asked == question && answered == answer);
        assert_eq!(counted, (5_000_000, 3_000_000));
        assert!(passed > 1_000_000, "{passed} bytes went through a pipe");
    }

    #[tokio::test]
    async fn little_is_copied() {
        let (asked, answered, counted, passed) = over_tcp(b"question", b"answer").await;
        assert_eq!((&*asked, &*answered), (&b"question"[..], &b"answer"[..]));
        assert_eq!(counted, (8, 6));
        assert_eq!(passed, 0);
    }
}
