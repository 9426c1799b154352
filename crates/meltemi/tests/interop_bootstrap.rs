//! The same bootstrap in a stock Envoy and in `meltemi proxy`, the same requests, the same answers.
//!
//! Tables of requests (`interop/requests`) are sent through both programs, each with an upstream of
//! its own; what the client got, what the upstream was sent and what the access log says must be the
//! same. The bootstraps are those of the project (`interop/bootstraps`) and, where they are beside
//! the checkout, those of a book's third chapter. Without an Envoy the expected statuses and numbers
//! of attempts are still held against `meltemi proxy`.
#![allow(clippy::unwrap_used)]

#[path = "interop/admin.rs"]
mod admin;
#[path = "interop/case.rs"]
mod case;
#[path = "interop/document.rs"]
mod document;
#[path = "interop/observation.rs"]
mod observation;
#[path = "interop/program.rs"]
mod program;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use case::{Case, Protocol, Suite};
use document::{Placed, own_data, place, read, with_filter_types};
use meltemi_testkit::{
    ClientError, Http2Client, Output, Process, RawClient, Response, Upstream, envoy_binary,
    free_port, shared_data, skip,
};
use observation::{Observation, difference};
use program::Program;
use serde_json::Value;

/// How long a response may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a connection that is to be closed may take to be, once all cases have run.
const CLOSING: Duration = Duration::from_millis(300);

/// How long an access log may take to be written.
const LOGGING: Duration = Duration::from_secs(3);

/// What the line of an access log begins with, so that it is found in what a program writes.
const LOG_LINE: &str = "access ";

#[tokio::test]
async fn simple() {
    check(&own_data().join("bootstraps/simple.yaml"), "simple").await;
}

#[tokio::test]
async fn timeout() {
    check(&own_data().join("bootstraps/timeout.yaml"), "timeout").await;
}

#[tokio::test]
async fn retry() {
    check(&own_data().join("bootstraps/retry.yaml"), "retry").await;
}

#[tokio::test]
async fn routing() {
    check(&own_data().join("bootstraps/routing.yaml"), "routing").await;
}

#[tokio::test]
async fn simple_of_the_book() {
    check_book("simple.yaml", "simple").await;
}

#[tokio::test]
async fn timeout_of_the_book() {
    check_book("simple_change_timeout.yaml", "timeout").await;
}

#[tokio::test]
async fn retry_of_the_book() {
    check_book("simple_retry.yaml", "retry").await;
}

async fn check_book(file: &str, suite: &str) {
    match shared_data() {
        Some(data) => check(&data.join("book/ch3").join(file), suite).await,
        None => skip("shared/data is not beside this checkout; the project's own bootstraps ran"),
    }
}

/// Runs the suite of requests against the bootstrap in both programs.
async fn check(bootstrap: &Path, suite: &str) {
    let requests = own_data().join(format!("requests/{suite}.yaml"));
    let suite: Suite = serde_json::from_value(read(&requests)).unwrap();
    let document = read(bootstrap);
    let directory = tempfile::tempdir().unwrap();
    let mut ours = Run::start(Program::Meltemi, document.clone(), &suite, directory.path());
    let Some(envoy) = envoy_binary() else {
        skip("no Envoy: set ENVOY_BIN, or have envoy on the path; only our own side is checked");
        let seen = ours.all(&suite).await;
        return report(&unexpected(&seen));
    };
    let mut theirs = Run::start(Program::Envoy(envoy), document, &suite, directory.path());
    let (theirs_seen, ours_seen) = tokio::join!(theirs.all(&suite), ours.all(&suite));
    let statistics = [
        theirs.statistics(&suite).await,
        ours.statistics(&suite).await,
    ];
    let (theirs, ours) = (theirs_seen, ours_seen);
    let mut problems = unexpected(&theirs);
    if let Some(text) = difference(&statistics[0], &statistics[1], &[]) {
        problems.push(format!("statistics: - Envoy, + meltemi\n{text}"));
    }
    problems.extend(unexpected(&ours));
    for ((case, theirs), ours) in suite.cases.iter().zip(&theirs).zip(&ours) {
        let (may_differ, because) = match &case.differs {
            Some(differs) => (differs.lines.as_slice(), differs.because.as_str()),
            None => (&[][..], ""),
        };
        if let Some(text) = difference(&theirs.observation, &ours.observation, may_differ) {
            problems.push(format!(
                "{}: - Envoy, + meltemi {because}\n{text}",
                case.name
            ));
        }
    }
    report(&problems);
}

fn report(problems: &[String]) {
    let count = problems.len();
    assert!(
        problems.is_empty(),
        "{count} differences\n\n{}",
        problems.join("\n")
    );
}

/// What is not as the table says, whoever did it.
fn unexpected(seen: &[Seen]) -> Vec<String> {
    seen.iter()
        .flat_map(|seen| seen.unexpected.clone())
        .collect()
}

/// A program with its upstream.
struct Run {
    program: Program,
    process: Process,
    admin: SocketAddr,
    upstream: Upstream,
    listeners: BTreeMap<String, SocketAddr>,
    masks: Vec<(String, &'static str)>,
}

/// What came of a case.
struct Seen {
    observation: Observation,
    unexpected: Vec<String>,
}

/// A client connection.
enum Connection {
    Http1(RawClient),
    Http2(Http2Client),
}

impl Run {
    fn start(program: Program, document: Value, suite: &Suite, directory: &Path) -> Self {
        let upstream = Upstream::start();
        for (path, scripted) in &suite.upstream {
            upstream.on(path, scripted.reply());
        }
        let port = upstream.address().port();
        let closed = free_port();
        let upstreams = BTreeMap::from([
            ("httpbin", ("localhost", port)),
            ("upstream", ("localhost", port)),
            ("upstream-ip", ("127.0.0.1", port)),
            ("refusing", ("127.0.0.1", closed)),
        ]);
        let document = match program {
            Program::Envoy(_) => with_filter_types(document),
            Program::Meltemi => document,
        };
        let Placed {
            document,
            admin,
            listeners,
        } = place(document, &upstreams);
        let process = program.start(directory, "bootstrap", &document, admin);
        let mut masks = vec![
            (format!(":{port}"), ":(upstream)"),
            (format!(":{closed}"), ":(refusing)"),
        ];
        masks.extend(
            listeners
                .values()
                .map(|it| (format!(":{}", it.port()), ":(listener)")),
        );
        Self {
            program,
            process,
            admin,
            upstream,
            listeners,
            masks,
        }
    }

    /// Runs every case.
    async fn all(&mut self, suite: &Suite) -> Vec<Seen> {
        let mut seen = Vec::new();
        let mut connections = Vec::new();
        for (number, case) in suite.cases.iter().enumerate() {
            let (one, connection) = self.case(case, number).await;
            seen.push(one);
            connections.push(connection);
        }
        // whether the proxy closes connections, all at once: the wait is the same for one as for all
        tokio::time::sleep(CLOSING).await;
        for (seen, connection) in seen.iter_mut().zip(connections) {
            if let Some(connection) = connection {
                seen.observation
                    .say(&format!("connection: {}", connection.state().await));
            }
        }
        self.add_logs(suite, &mut seen).await;
        seen
    }

    async fn case(&self, case: &Case, number: usize) -> (Seen, Option<Connection>) {
        for (path, replies) in &case.upstream {
            self.upstream
                .on_each(path, replies.iter().map(case::Scripted::reply));
        }
        let mut observation = Observation {
            masks: self.masks.clone(),
            ..Observation::default()
        };
        let mut unexpected = Vec::new();
        let listener = match &case.listener {
            Some(name) => self.listeners[name],
            None => *self
                .listeners
                .values()
                .next()
                .expect("a bootstrap has a listener"),
        };
        let mut connection = Connection::open(case.protocol, listener).await.ok();
        for (step, sent) in case.send.iter().enumerate() {
            for _ in 0..sent.times {
                let what = sent
                    .request
                    .as_ref()
                    .or(sent.raw.as_ref())
                    .expect("request or raw");
                observation.say(&format!("request {step}: {what:?}"));
                let mut response = match &mut connection {
                    Some(connection) => connection.send(sent, number).await,
                    None => Err(ClientError::Closed { address: listener }),
                };
                for _ in 1..sent.responses {
                    observation.response(&response);
                    response = match &mut connection {
                        Some(Connection::Http1(client)) => client.read_response("GET").await,
                        _ => Err(ClientError::Closed { address: listener }),
                    };
                }
                let received = self.upstream.take_received();
                observation.response(&response);
                observation.received(&received);
                let status = response.as_ref().map_or(0, |response| response.status);
                let ours = matches!(self.program, Program::Meltemi);
                let expected = sent.expected(ours);
                let wanted = expected.attempts.unwrap_or(received.len());
                if (status, received.len()) != (expected.status, wanted) {
                    let mut text = format!(
                        "{}: {}: {what:?}: status {status}, {} attempts; expected {}, {wanted}",
                        case.name,
                        self.program.name(),
                        received.len(),
                        expected.status,
                    );
                    if let Err(error) = response {
                        write!(text, " ({error})").unwrap();
                    }
                    unexpected.push(text);
                }
            }
        }
        let seen = Seen {
            observation,
            unexpected,
        };
        (seen, connection)
    }

    /// The statistics that the suite names.
    async fn statistics(&self, suite: &Suite) -> Observation {
        let mut observation = Observation::default();
        let text = admin::ask(self.admin, "/stats").await;
        for line in text.lines() {
            let Some((name, value)) = line.split_once(": ") else {
                continue;
            };
            let wanted = suite.statistics.iter().any(|(begin, ends)| {
                let rest = name.strip_prefix(begin.as_str());
                rest.is_some_and(|rest| ends.iter().any(|end| end == rest))
            });
            if wanted {
                observation.say(&format!("{name}: {value}"));
            }
        }
        observation.lines.sort();
        observation
    }

    /// Adds what the access log says of each case, if the bootstrap has one.
    async fn add_logs(&self, suite: &Suite, seen: &mut [Seen]) {
        let tagged = |line: &String| {
            let rest = line.strip_prefix(LOG_LINE)?;
            let (number, text) = rest.split_once(' ')?;
            Some((number.parse::<usize>().ok()?, text.to_owned()))
        };
        let logged = || -> Vec<_> {
            let lines = self.process.lines(Output::Stdout);
            lines.iter().filter_map(tagged).collect()
        };
        let plain = |case: &&Case| case.send.iter().all(|sent| sent.raw.is_none());
        let cases = suite.cases.iter().filter(plain);
        let expected: usize = cases
            .flat_map(|case| &case.send)
            .map(|sent| sent.times)
            .sum();
        let logs = self
            .process
            .lines(Output::Stdout)
            .iter()
            .any(|it| it.starts_with(LOG_LINE));
        let mut waited = Duration::ZERO;
        while logs && logged().len() < expected && waited < LOGGING {
            tokio::time::sleep(CLOSING).await;
            waited += CLOSING;
        }
        for (number, text) in logged() {
            seen[number].observation.say(&format!("log: {text}"));
        }
    }
}

impl Connection {
    async fn open(protocol: Protocol, address: SocketAddr) -> Result<Self, ClientError> {
        Ok(match protocol {
            Protocol::Http1 => Self::Http1(RawClient::connect(address).await?),
            Protocol::Http2 => Self::Http2(Http2Client::connect(address).await?),
        })
    }

    /// Sends a request, marked with the number of its case for the access log.
    async fn send(&mut self, sent: &case::Sent, number: usize) -> Result<Response, ClientError> {
        let request = sent
            .request()
            .map(|it| it.header("x-case", &number.to_string()));
        let exchange = async {
            match (self, request) {
                (Self::Http1(client), Some(request)) => client.exchange(&request).await,
                (Self::Http1(client), None) => {
                    let raw = sent.raw.as_deref().unwrap_or_default();
                    client.send_bytes(raw.as_bytes()).await?;
                    client
                        .read_response(raw.split(' ').next().unwrap_or_default())
                        .await
                }
                (Self::Http2(client), Some(request)) => client.send(&request).await,
                (Self::Http2(_), None) => panic!("bytes are for HTTP/1"),
            }
        };
        let late = |_| panic!("no answer within {PATIENCE:?}: {:?}", sent.request);
        tokio::time::timeout(PATIENCE, exchange)
            .await
            .unwrap_or_else(late)
    }

    async fn state(self) -> &'static str {
        match self {
            Self::Http1(mut client) => {
                let read = client.read_some();
                match tokio::time::timeout(Duration::from_millis(1), read).await {
                    Err(_) => "open",
                    Ok(Ok(bytes)) if bytes.is_empty() => "closed",
                    Ok(Ok(_)) => "open, with more to read",
                    Ok(Err(_)) => "closed",
                }
            }
            Self::Http2(client) if client.is_closed() => "closed",
            Self::Http2(_) => "open",
        }
    }
}
