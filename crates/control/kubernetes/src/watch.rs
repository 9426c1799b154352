//! Watching a cluster.
//!
//! In: a client. Out: [`Event`]s over a channel. A task for each kind asks what its course says; what they hear
//! is gathered and given to the cluster in bursts.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use meltemi_lifecycle::Random;
use meltemi_model::Defaults;
use meltemi_source::Event;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::client::{Client, ClientError, parse, read};
use crate::cluster::Cluster;
use crate::course::{Course, Message, Next, Question};
use crate::kind::{KINDS, MeshConfigPlace};

/// A watch is asked to end after so many seconds, and up to twice as many: they do not all end at a time.
const WATCH: u64 = 300;
/// How long after that it may still be silent.
const OVERTIME: Duration = Duration::from_secs(30);
/// A streaming list that brings nothing for so long is none.
const STALLED: Duration = Duration::from_secs(10);
/// The first pause after a failure, and the longest.
const SHORTEST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);
/// The pause before it is looked whether a kind is there, or may be seen.
const SELDOM: Duration = Duration::from_secs(30);
/// A stream that is over sooner was no success.
const SHORT_LIVED: Duration = Duration::from_secs(1);
/// The longest line of a watch; objects have at most some 1.5 MiB.
const LONGEST_LINE: usize = 16 << 20;
/// How many messages may be ahead, and are taken together.
const AHEAD: usize = 4096;

type Messages = mpsc::Sender<(usize, Message)>;

/// Watches the cluster of an API server and sends what happens to `events` until its receiver is dropped. A
/// server that cannot be reached is asked again for ever; what it said before holds on.
pub async fn watch(client: Arc<Client>, defaults: Defaults, events: mpsc::Sender<Event>) {
    let (sender, mut messages) = mpsc::channel(AHEAD);
    let mut tasks = JoinSet::new();
    let random = Random::from_entropy();
    let mesh_config = MeshConfigPlace {
        namespace: defaults.root_namespace.clone(),
        name: defaults.mesh_config_map(),
    };
    for (index, kind) in KINDS.iter().enumerate() {
        let asker = Asker {
            client: client.clone(),
            course: Course::new(kind, mesh_config.clone()),
            index,
            messages: sender.clone(),
            random: random.fork(),
            pause: SHORTEST,
        };
        tasks.spawn(asker.run());
    }
    let mut cluster = Cluster::new(client.server(), defaults);
    let mut burst = Vec::new();
    loop {
        let (back, batch) = aside(cluster, std::mem::take(&mut burst)).await;
        cluster = back;
        for event in batch {
            if events.send(event).await.is_err() {
                return;
            }
        }
        tokio::select! {
            _count = messages.recv_many(&mut burst, AHEAD) => {}
            () = events.closed() => return,
        }
    }
}

/// Takes a burst where that delays nobody.
async fn aside(mut cluster: Cluster, burst: Vec<(usize, Message)>) -> (Cluster, Vec<Event>) {
    let done = tokio::task::spawn_blocking(move || {
        for (kind, message) in burst {
            cluster.take(kind, message);
        }
        let events = cluster.changes();
        (cluster, events)
    });
    done.await.expect("reading objects does not panic")
}

/// Asks for one kind.
struct Asker {
    client: Arc<Client>,
    course: Course,
    index: usize,
    messages: Messages,
    random: Random,
    /// The next pause after a failure.
    pause: Duration,
}

/// Nobody listens any more.
struct Closed;

impl Asker {
    async fn run(mut self) {
        while let Ok(next) = self.ask().await {
            let pause = match next {
                Next::Now => continue,
                Next::Later => {
                    let pause = self.pause;
                    self.pause = (pause * 2).min(LONGEST);
                    pause
                }
                Next::Seldom => SELDOM,
            };
            // Up to half as long again: they do not all come at a time.
            sleep(pause.mul_f64(1.0 + self.random.unit() / 2.0)).await;
        }
    }

    /// Asks once and hears all of the answer.
    async fn ask(&mut self) -> Result<Next, Closed> {
        let seconds = WATCH + self.random.below(WATCH);
        let Question { path, is_stream } = self.course.question(seconds);
        let response = match self.client.get(&path).await {
            Ok(response) => response,
            Err(error) => return self.fail(&error).await,
        };
        let status = response.status();
        if !status.is_success() {
            // What a refusal says is no more than a help.
            let body = read(response).await.unwrap_or_default();
            let said: Value = serde_json::from_slice(&body).unwrap_or_default();
            let (messages, next) = self.course.refused(u64::from(status.as_u16()), &said);
            self.say(messages).await?;
            return Ok(next.unwrap_or(Next::Later));
        }
        let accepted = self.course.accepted();
        self.say(accepted).await?;
        if is_stream {
            let limit = Duration::from_secs(seconds) + OVERTIME;
            return self.hear(response.into_body(), limit).await;
        }
        match read(response).await.and_then(|body| parse(&body)) {
            Ok(page) => {
                let messages = self.course.page(page);
                self.say(messages).await?;
                self.pause = SHORTEST;
                Ok(Next::Now)
            }
            Err(error) => self.fail(&error).await,
        }
    }

    async fn fail(&mut self, error: &ClientError) -> Result<Next, Closed> {
        let message = self.course.failed(error.to_string());
        self.say(vec![message]).await?;
        Ok(Next::Later)
    }

    /// Hears a stream until it ends.
    async fn hear(&mut self, mut body: Incoming, limit: Duration) -> Result<Next, Closed> {
        let start = Instant::now();
        let mut lines = Lines::default();
        loop {
            let patience = match self.course.is_streaming_first() {
                true => STALLED,
                false => limit.saturating_sub(start.elapsed()),
            };
            let frame = tokio::select! {
                frame = timeout(patience, body.frame()) => frame,
                () = self.messages.closed() => return Err(Closed),
            };
            // Whether it ended, broke off or stays silent: it is asked again from where it was.
            let Ok(Some(Ok(frame))) = frame else {
                break;
            };
            let Ok(bytes) = frame.into_data() else {
                continue;
            };
            lines.push(&bytes);
            while let Some(line) = lines.next() {
                let (messages, next) = self.course.line(&line);
                self.say(messages).await?;
                if let Some(next) = next {
                    return Ok(next);
                }
            }
            if lines.rest() > LONGEST_LINE {
                let error = ClientError::Answer("a line of the watch has no end".to_owned());
                return self.fail(&error).await;
            }
        }
        self.course.ended();
        if start.elapsed() < SHORT_LIVED {
            return Ok(Next::Later);
        }
        self.pause = SHORTEST;
        Ok(Next::Now)
    }

    async fn say(&mut self, messages: Vec<Message>) -> Result<(), Closed> {
        for message in messages {
            let sent = self.messages.send((self.index, message)).await;
            sent.map_err(|_| Closed)?;
        }
        Ok(())
    }
}

/// Bytes as lines.
#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    /// Where the next line begins, and how far no end of it was found.
    start: usize,
    searched: usize,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next line that is not empty.
    fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let rest = &self.bytes[self.searched..];
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                self.searched = self.bytes.len();
                return None;
            };
            let end = self.searched + end;
            let line = self.bytes[self.start..end].trim_ascii().to_vec();
            self.start = end + 1;
            self.searched = self.start;
            if !line.is_empty() {
                return Some(line);
            }
        }
    }

    /// How long what has not ended is.
    fn rest(&self) -> usize {
        self.bytes.len() - self.start
    }
}
