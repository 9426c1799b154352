//! A client's connection: commands are read, answers are written in the order of the commands.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use meltemi_ir as ir;
use meltemi_lifecycle::{Clock, DrainSignal, WorkerId};
use meltemi_telemetry::{RedisStats, Sharded, StatsRegistry};
use meltemi_upstream::Pools;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::session::{Answer, Session};
use crate::{Connections, Decoder, Value};

/// As many commands of a client are under way at a time; further ones are not read.
const MOST_UNDER_WAY: usize = 1024;

/// As many bytes of answers may wait for a client that does not take them; then nothing is read.
const MOST_UNSENT: usize = 1 << 20;

/// How much is read at a time.
const PIECE: usize = 4096;

/// How long answers are written to a client that has ended its half.
const LAST: Duration = Duration::from_secs(1);

/// The filter with its statistics.
#[derive(Debug)]
pub struct RedisProxy {
    /// How it is set.
    pub config: Arc<ir::RedisProxy>,
    /// What it counts.
    pub stats: Arc<Sharded<RedisStats>>,
}

impl RedisProxy {
    /// The filter of a chain.
    #[must_use]
    pub fn new(config: Arc<ir::RedisProxy>, stats: &StatsRegistry) -> Arc<Self> {
        let stats = stats.extension("redis", "envoy_redis_prefix", &config.stat_prefix);
        Arc::new(Self { config, stats })
    }
}

/// What a connection is served with.
pub struct Context {
    /// On which worker.
    pub worker: WorkerId,
    /// The worker's clusters.
    pub pools: Rc<Pools>,
    /// The time.
    pub clock: Clock,
    /// The worker's connections to upstreams.
    pub connections: Rc<Connections>,
    /// Told when the connection is to end after its next answer.
    pub drain: DrainSignal,
}

/// Serves a connection until its client goes, or until the proxy has written the last that it will
/// say: then it is true, and the connection is to be closed.
pub async fn serve<IO>(stream: &mut IO, proxy: &Arc<RedisProxy>, context: &Context) -> bool
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let stats = proxy.stats.shard(context.worker);
    let _connection = CountConnection::begin(stats);
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut client = Client {
        session: Session::new(proxy, context),
        stats,
        decoder: Decoder::of_commands(),
        input: BytesMut::new(),
        waiting: VecDeque::new(),
        out: BytesMut::new(),
        is_ending: false,
    };
    let mut is_flushed = true;
    let wake = Rc::clone(&client.session.wake);
    loop {
        client.advance();
        is_flushed &= client.out.is_empty();
        if client.is_ending && is_flushed {
            return true;
        }
        let reads = !client.is_ending && client.has_room();
        if reads {
            client.input.reserve(PIECE);
        }
        tokio::select! {
            read = reader.read_buf(&mut client.input), if reads => match read {
                Ok(0) | Err(_) => {
                    // ignored: whoever is gone takes no answers, or only for a moment
                    let rest = send(&mut writer, &mut client.out, stats);
                    let _ = tokio::time::timeout(LAST, rest).await;
                    return false;
                }
                Ok(count) => stats.downstream_cx_rx_bytes_total.add(count as u64),
            },
            sent = send(&mut writer, &mut client.out, stats), if !is_flushed => match sent {
                Ok(()) => is_flushed = true,
                Err(_) => return false,
            },
            () = wake.notified() => {}
        }
    }
}

/// Writes what there is.
async fn send<W: AsyncWrite + Unpin>(
    writer: &mut W,
    out: &mut BytesMut,
    stats: &RedisStats,
) -> io::Result<()> {
    while !out.is_empty() {
        let count = writer.write_buf(out).await?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        stats.downstream_cx_tx_bytes_total.add(count as u64);
    }
    writer.flush().await
}

/// A client with what it has sent and has not got.
struct Client<'a> {
    session: Session<'a>,
    stats: &'a RedisStats,
    decoder: Decoder,
    input: BytesMut,
    /// What answers are waited for, in the order of the commands.
    waiting: VecDeque<Waiting<'a>>,
    /// Answers on their way to the client.
    out: BytesMut,
    /// Nothing more is read or answered.
    is_ending: bool,
}

impl Client<'_> {
    /// Carries out what has come, and writes the answers whose turn it is.
    fn advance(&mut self) {
        self.settle();
        while !self.is_ending && self.has_room() {
            match self.decoder.decode(&mut self.input) {
                Ok(None) => break,
                Ok(Some(value)) => {
                    let answer = self.session.ask(value);
                    let waiting = Waiting::begin(answer, self.stats);
                    self.waiting.push_back(waiting);
                    self.settle();
                }
                Err(_) => {
                    self.stats.downstream_cx_protocol_error.inc();
                    Value::error("downstream protocol error").encode(&mut self.out);
                    self.waiting.clear();
                    self.is_ending = true;
                }
            }
        }
    }

    fn has_room(&self) -> bool {
        self.waiting.len() < MOST_UNDER_WAY && self.out.len() < MOST_UNSENT
    }

    /// Writes the answers whose turn it is.
    fn settle(&mut self) {
        let before = self.waiting.len();
        while let Some(answer) = self.waiting.front_mut().and_then(Waiting::take) {
            answer.encode(&mut self.out);
            self.waiting.pop_front();
        }
        if !self.waiting.is_empty() || before == 0 {
            return;
        }
        if self.session.has_quit {
            self.is_ending = true;
        } else if self.session.context.drain.is_draining() {
            self.stats.downstream_cx_drain_close.inc();
            self.is_ending = true;
        }
    }
}

/// A command that has no answer yet; counts as one under way until dropped, and gives up then.
struct Waiting<'a> {
    answer: Option<Answer>,
    stats: &'a RedisStats,
}

impl<'a> Waiting<'a> {
    fn begin(answer: Answer, stats: &'a RedisStats) -> Self {
        stats.downstream_rq_total.inc();
        stats.downstream_rq_active.inc();
        Self {
            answer: Some(answer),
            stats,
        }
    }

    /// The answer, if it is there.
    fn take(&mut self) -> Option<Value> {
        match self.answer.take()? {
            Answer::Ready(value) => Some(value),
            Answer::Call(call) => {
                let value = call.take();
                if value.is_none() {
                    self.answer = Some(Answer::Call(call));
                }
                value
            }
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.stats.downstream_rq_active.dec();
        if let Some(Answer::Call(call)) = &self.answer {
            call.give_up();
        }
    }
}

/// Counts a connection until dropped.
struct CountConnection<'a>(&'a RedisStats);

impl<'a> CountConnection<'a> {
    fn begin(stats: &'a RedisStats) -> Self {
        stats.downstream_cx_total.inc();
        stats.downstream_cx_active.inc();
        Self(stats)
    }
}

impl Drop for CountConnection<'_> {
    fn drop(&mut self) {
        self.0.downstream_cx_active.dec();
    }
}

#[cfg(test)]
mod tests;
