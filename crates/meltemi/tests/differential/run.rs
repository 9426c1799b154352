//! One program with its upstreams, and what it makes of a case.
//!
//! In: a suite, its cases one by one. Out: observations and statistics. Called by `differential`
//! for each program.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use meltemi_testkit::{
    ByteServer, Client, Output, Pki, Process, RedisServer, Request, Upstream, free_port,
};
use serde_json::Value;
use tokio_rustls::rustls::ClientConfig;

use crate::admin;
use crate::case::{Act, Behind, Case, Scripted, Sent, Suite};
use crate::connection::{Connection, client_config};
use crate::document::{Placed, place, with_filter_types};
use crate::management::Management;
use crate::observation::{Observation, shown};
use crate::program::Program;

/// How long after a step in the background the next one starts, so that their order is certain.
const HEAD_START: Duration = Duration::from_millis(60);

/// How long a connection that is to be closed may take to be, once all cases have run.
const CLOSING: Duration = Duration::from_millis(300);

/// How long an upstream may take to close what it closes with its answer.
const CLOSED: Duration = Duration::from_secs(2);

/// How long no line must have come for the access log to be complete.
const LOGGED: Duration = Duration::from_millis(250);

/// What the line of an access log begins with, so that it is found in what a program writes; the
/// client's address follows.
const LOG_LINE: &str = "access ";

/// A program with its upstreams.
pub struct Run<'a> {
    program: Program,
    process: Process,
    /// Its own files.
    directory: PathBuf,
    admin: SocketAddr,
    servers: BTreeMap<String, Server>,
    management: Management,
    listeners: BTreeMap<String, SocketAddr>,
    masks: Vec<(String, &'static str)>,
    pki: &'a Pki,
    /// The clients' addresses, and the cases they belong to.
    clients: Vec<(SocketAddr, usize)>,
    /// The TLS of cases whose connections share sessions.
    sessions: BTreeMap<usize, Arc<ClientConfig>>,
    /// Connections that cases left open.
    left: Vec<(usize, Connection)>,
}

/// What came of a case.
pub struct Seen {
    /// The report.
    pub observation: Observation,
    /// What is not as the case says.
    pub unexpected: Vec<String>,
}

/// A connection of a case: opened at its first use.
type Connections = BTreeMap<usize, Option<Connection>>;

enum Server {
    /// With paths of requests that are not reported.
    Http(Box<Upstream>, Vec<String>),
    Bytes(ByteServer),
    Redis(RedisServer),
}

impl<'a> Run<'a> {
    /// Starts a program with a configuration, and waits until it is ready.
    pub fn start(
        program: Program,
        document: &Value,
        suite: &Suite,
        pki: &'a Pki,
        directory: &Path,
    ) -> Self {
        let mut servers = BTreeMap::new();
        let mut ports = BTreeMap::new();
        let mut masks = Vec::new();
        let default = Behind::default();
        let written = suite.upstreams.iter().map(|(name, it)| (name.as_str(), it));
        let implied = (!suite.upstreams.contains_key("upstream")).then_some(("upstream", &default));
        for (name, behind) in written.chain(implied) {
            let port = if behind.refuses {
                free_port()
            } else {
                let server = Server::start(behind, pki);
                let port = server.address().port();
                servers.insert(name.to_owned(), server);
                port
            };
            ports.insert(name.to_owned(), port);
        }
        let mut management = Management::start(&suite.management);
        ports.extend(management.ports());
        ports.insert("refusing".to_owned(), free_port());
        // other names of the same
        let upstream = ports["upstream"];
        ports.insert("httpbin".to_owned(), upstream);
        ports.insert("upstream-ip".to_owned(), upstream);
        for (name, port) in &ports {
            let stands_for: &'static str = match name.as_str() {
                "refusing" => ":(refusing)",
                "upstream" | "httpbin" | "upstream-ip" => ":(upstream)",
                other => format!(":({other})").leak(),
            };
            masks.push((format!(":{port}"), stands_for));
        }
        let document = match program {
            Program::Envoy(_) => with_filter_types(document.clone()),
            Program::Meltemi => document.clone(),
        };
        let own = directory.join(program.name());
        std::fs::create_dir_all(&own).unwrap();
        pki.write(&own).unwrap();
        let Placed {
            document,
            admin,
            listeners,
            files,
        } = place(document, Management::with_answers(suite), &ports, &own, pki);
        for (name, file) in management.take_answers(files, suite) {
            let text = match file {
                Value::String(text) => text,
                other => other.to_string(),
            };
            std::fs::write(own.join(name), text).unwrap();
        }
        masks.extend(
            listeners
                .values()
                .map(|it| (format!(":{}", it.port()), ":(listener)")),
        );
        masks.push((own.display().to_string(), "(dir)"));
        let process = program.start(directory, "bootstrap", (&document, &suite.arguments), admin);
        Self {
            program,
            process,
            directory: own,
            admin,
            servers,
            management,
            listeners,
            masks,
            pki,
            clients: Vec::new(),
            sessions: BTreeMap::new(),
            left: Vec::new(),
        }
    }

    /// Puts the program to a case.
    pub async fn case(&mut self, case: &Case, number: usize) -> Seen {
        for (path, replies) in &case.upstream {
            if let Some(Server::Http(upstream, _)) = self.servers.get("upstream") {
                upstream.on_each(path, replies.iter().map(Scripted::reply));
            }
        }
        let mut seen = Seen {
            observation: Observation {
                masks: self.masks.clone(),
                ordered: case.ordered,
                ..Observation::default()
            },
            unexpected: Vec::new(),
        };
        let mut connections = Connections::new();
        let mut background = Vec::new();
        for (step, sent) in case.send.iter().enumerate() {
            if sent.background && sent.answers.is_none() {
                let (connection, mut report) = self.open(case, number).await;
                let sent = sent.clone();
                background.push(tokio::spawn(async move {
                    report.say(&format!("step {step}: {}", sent.title()));
                    let mut connection = connection?;
                    connection.exchange(&sent, &mut report).await;
                    Some((connection, report))
                }));
                tokio::time::sleep(HEAD_START).await;
                continue;
            }
            for _ in 0..sent.times {
                self.step(case, number, step, sent, &mut connections, &mut seen)
                    .await;
            }
        }
        for done in background {
            if let Some((connection, report)) = done.await.unwrap() {
                seen.observation.lines.extend(report.lines);
                self.left.push((number, connection));
            }
        }
        self.received(&mut seen.observation);
        let ours = matches!(self.program, Program::Meltemi);
        let unwanted = case.unwanted(&seen.observation.lines, ours);
        seen.unexpected.extend(unwanted);
        let left = connections.into_values().flatten();
        self.left
            .extend(left.map(|connection| (number, connection)));
        seen
    }

    async fn step(
        &mut self,
        case: &Case,
        number: usize,
        step: usize,
        sent: &Sent,
        connections: &mut Connections,
        seen: &mut Seen,
    ) {
        seen.observation
            .say(&format!("step {step}: {}", sent.title()));
        if let Some(time) = sent.wait_ms {
            tokio::time::sleep(Duration::from_millis(time)).await;
            return;
        }
        if let Some(moves) = &sent.moves {
            let (from, to) = moves.split_once(' ').expect("FROM TO");
            std::fs::rename(self.directory.join(from), self.directory.join(to)).unwrap();
            return;
        }
        if self.management.step(sent, &mut seen.observation).await {
            return;
        }
        if let Some(line) = &sent.admin {
            return self.administer(line, sent, &mut seen.observation).await;
        }
        let connection = match connections.entry(sent.on) {
            Entry::Occupied(opened) => opened.into_mut(),
            Entry::Vacant(place) => {
                let (connection, report) = self.open(case, number).await;
                seen.observation.masks = report.masks;
                seen.observation.lines.extend(report.lines);
                place.insert(connection)
            }
        };
        for server in self.servers.values() {
            if let Server::Http(upstream, _) = server {
                // ignored: what still closes then is what the case is about
                let _ = upstream.wait_closed(CLOSED).await;
            }
        }
        let Some(connection) = connection.as_mut() else {
            if sent.status.unwrap_or(0) != 0 {
                let text = format!("{}: {}: no connection", case.name, self.program.name());
                seen.unexpected.push(text);
            }
            return;
        };
        if sent.request.is_none() && sent.raw.is_none() {
            connection.bytes(sent, &mut seen.observation).await;
            if sent.reset || sent.close {
                connections.insert(sent.on, None);
            }
            return;
        }
        let status = connection.exchange(sent, &mut seen.observation).await;
        let received = self.received(&mut seen.observation);
        let ours = matches!(self.program, Program::Meltemi);
        let expected = sent.expected(ours);
        let wanted = (
            expected.status.unwrap_or(status),
            expected.attempts.unwrap_or(received),
        );
        if (status, received) != wanted {
            seen.unexpected.push(format!(
                "{}: {}: {}: status {status}, {received} attempts; expected {}, {}",
                case.name,
                self.program.name(),
                sent.title(),
                wanted.0,
                wanted.1,
            ));
        }
    }

    /// Opens a connection, and begins a report that knows its port.
    async fn open(&mut self, case: &Case, number: usize) -> (Option<Connection>, Observation) {
        let listener = match &case.listener {
            Some(name) => self.listeners[name],
            None => *self
                .listeners
                .values()
                .next()
                .expect("a bootstrap has a listener"),
        };
        let config = match &case.tls {
            None => None,
            Some(tls) if tls.resumes => {
                let pki = self.pki;
                let shared = self.sessions.entry(number);
                Some(Arc::clone(
                    shared.or_insert_with(|| client_config(tls, pki)),
                ))
            }
            Some(tls) => Some(client_config(tls, self.pki)),
        };
        let (own, opened) = Connection::open(case, config, listener).await;
        self.clients.push((own, number));
        let mut report = Observation {
            masks: self.masks.clone(),
            ordered: case.ordered,
            ..Observation::default()
        };
        report.masks.push((format!(":{}", own.port()), ":(client)"));
        match opened {
            Ok(connection) => {
                if let Some(agreed) = &connection.agreed {
                    report.say(agreed);
                }
                (Some(connection), report)
            }
            Err(error) => {
                report.say(&format!("connection: {error}"));
                (None, report)
            }
        }
    }

    /// Reports what the upstreams were sent; how many requests that were.
    fn received(&self, observation: &mut Observation) -> usize {
        let mut count = 0;
        for (name, server) in &self.servers {
            match server {
                Server::Http(upstream, quiet) => {
                    let mut received = upstream.take_received();
                    received.retain(|it| !quiet.iter().any(|path| path == it.path()));
                    count += received.len();
                    if name == "upstream" || !received.is_empty() {
                        observation.received(name, &received);
                    }
                }
                Server::Redis(server) => {
                    for (_, command) in server.take_commands() {
                        observation.say(&format!("{name}: {command}"));
                    }
                }
                Server::Bytes(server) => {
                    for transcript in server.take_transcripts() {
                        if !transcript.received.is_empty() {
                            let text = shown(&transcript.received);
                            observation.say(&format!("{name} received: {text}"));
                        }
                    }
                }
            }
        }
        count
    }

    async fn administer(&self, line: &str, sent: &Sent, observation: &mut Observation) {
        let (method, path) = line.split_once(' ').expect("METHOD PATH");
        let request = Request::new(method, path).body(sent.body.clone());
        let response = Client::new(self.admin).send(&request).await;
        let response = match response {
            Ok(response) => response,
            Err(_) => return observation.say("admin: no answer"),
        };
        let kind = response.header("content-type").unwrap_or_default();
        observation.say(&format!("admin: {} {kind}", response.status));
        let text = response.text();
        let lines: Vec<_> = text
            .lines()
            .filter(|line| {
                let begins = |it: &String| line.trim_start().starts_with(it.as_str());
                sent.only.is_empty() || sent.only.iter().any(begins)
            })
            .filter(|line| {
                sent.having.is_empty() || sent.having.iter().any(|it| line.contains(it.as_str()))
            })
            .collect();
        let from = observation.lines.len();
        for line in lines {
            observation.say(&format!("admin: {line}"));
        }
        if !sent.only.is_empty() || !sent.having.is_empty() {
            observation.lines[from..].sort_unstable();
        }
    }

    /// The counters and gauges, by name.
    pub async fn statistics(&self) -> BTreeMap<String, i64> {
        let text = admin::ask(self.admin, "/stats").await;
        let values = text.lines().filter_map(|line| {
            let (name, value) = line.rsplit_once(": ")?;
            let name = self
                .masks
                .iter()
                .fold(name.to_owned(), |name, (text, stands_for)| {
                    // statistics write addresses with underscores or as they are
                    name.replace(text, stands_for)
                });
            Some((name, value.parse().ok()?))
        });
        values.collect()
    }

    /// Reports how the connections that were left open stand, then closes them, and adds what the
    /// access log says of each case.
    pub async fn finish(&mut self, seen: &mut [Seen]) {
        tokio::time::sleep(CLOSING).await;
        for (number, mut connection) in std::mem::take(&mut self.left) {
            let state = connection.state().await;
            seen[number]
                .observation
                .say(&format!("connection: {state}"));
        }
        let mut lines = 0;
        loop {
            tokio::time::sleep(LOGGED).await;
            let now = self.process.lines(Output::Stdout).len();
            if now == lines {
                break;
            }
            lines = now;
        }
        for line in self.process.lines(Output::Stdout) {
            let Some((client, text)) = line
                .strip_prefix(LOG_LINE)
                .and_then(|rest| rest.split_once(' '))
            else {
                continue;
            };
            let client = client.parse().ok();
            if let Some((own, number)) = self.clients.iter().find(|(own, _)| Some(*own) == client) {
                let observation = &mut seen[*number].observation;
                let text = text.replace(&format!(":{}", own.port()), ":(client)");
                observation.say(&format!("log: {text}"));
            }
        }
    }

    /// What the program wrote for people.
    pub fn complaints(&self) -> String {
        self.process.output()
    }
}

impl Server {
    fn start(behind: &Behind, pki: &Pki) -> Self {
        if let Some(script) = &behind.bytes {
            return Self::Bytes(ByteServer::start(script.iter().map(Act::action).collect()));
        }
        if behind.redis {
            return Self::Redis(RedisServer::start());
        }
        let upstream = match &behind.tls {
            None => Upstream::start(),
            Some(name) => {
                let alpn: Vec<_> = behind.alpn.iter().map(String::as_str).collect();
                Upstream::start_tls(pki.server(name, &alpn))
            }
        };
        for (path, scripted) in &behind.replies {
            upstream.on(path, scripted.reply());
        }
        Self::Http(Box::new(upstream), behind.quiet.clone())
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::Http(upstream, _) => upstream.address(),
            Self::Bytes(server) => server.address(),
            Self::Redis(server) => server.address(),
        }
    }
}
