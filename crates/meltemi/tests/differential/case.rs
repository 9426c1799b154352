//! Differential cases, as written in `tests/differential/*.yaml`.
//!
//! In: YAML. Out: [`Suite`]: one Envoy configuration, what its upstreams do, and cases. Read by
//! `differential`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::check;

use meltemi_testkit::{Action, Reply, Request};
use serde::Deserialize;
use serde_json::Value;

/// A file: a configuration and the cases that it is put to.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// The bootstrap; its addresses are set by the runner, see `document`.
    pub config: Value,
    /// Bootstraps beside this checkout, under `shared/data`, that the same cases hold for.
    #[serde(default)]
    pub also: Vec<String>,
    /// What both programs are started with besides.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Files that stand in `${dir}` when the programs start, by name: documents that are placed as the
    /// bootstrap is, and texts.
    #[serde(default)]
    pub files: BTreeMap<String, Value>,
    /// What management servers answer, by name: discovery responses as in `files`; those without
    /// resources have a `type_url`.
    #[serde(default)]
    pub answers: BTreeMap<String, Value>,
    /// Management servers, by the name that takes the place of an address, and the answers that they
    /// begin with.
    #[serde(default)]
    pub management: BTreeMap<String, Vec<String>>,
    /// What stands behind the configuration, by the name that takes the place of an address.
    #[serde(default)]
    pub upstreams: BTreeMap<String, Behind>,
    /// Statistics that must be the same in the end, by what their names begin and end with.
    #[serde(default)]
    pub statistics: Vec<(String, Vec<String>)>,
    /// Expressions whose matches are written as what stands beside them, in every report.
    #[serde(default)]
    pub masks: Vec<(String, String)>,
    /// The cases, run in order.
    pub cases: Vec<Case>,
}

/// A server behind the proxy.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Behind {
    /// HTTP: what it answers by path, unless a case says otherwise.
    #[serde(default)]
    pub replies: BTreeMap<String, Scripted>,
    /// The certificate that it shows, see `Pki` in `run`.
    pub tls: Option<String>,
    /// The protocols that it offers behind TLS.
    #[serde(default)]
    pub alpn: Vec<String>,
    /// Bytes in the place of HTTP: what it does on each connection.
    pub bytes: Option<Vec<Act>>,
    /// Redis in the place of HTTP.
    #[serde(default)]
    pub redis: bool,
    /// Whether nothing listens there.
    #[serde(default)]
    pub refuses: bool,
    /// Paths of requests that are not reported: those of health checks, which nobody counts.
    #[serde(default)]
    pub quiet: Vec<String>,
}

/// A thing that a server of bytes does.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    Send(String),
    Expect(usize),
    ExpectEnd,
    Echo,
    Finish,
    WaitMs(u64),
    Reset,
}

/// Something that is done to both programs, and what both must make of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// The listener; the only one unless given.
    pub listener: Option<String>,
    /// How connections speak.
    #[serde(default)]
    pub protocol: Protocol,
    /// The TLS that they speak; none unless given.
    pub tls: Option<ClientTls>,
    /// What they begin with, as text.
    #[serde(default)]
    pub preface: String,
    /// The same as hexadecimal digits, after the text.
    #[serde(default)]
    pub preface_hex: String,
    /// The loopback address that they come from.
    pub from: Option<std::net::IpAddr>,
    /// The loopback address that they go to in place of the listener's.
    pub to: Option<std::net::IpAddr>,
    /// What `upstream` answers by path: each reply once, then the last for ever.
    #[serde(default)]
    pub upstream: BTreeMap<String, Vec<Scripted>>,
    /// What happens, in order.
    pub send: Vec<Sent>,
    /// Statistics of which the case's part is reported; one that ends in `*` stands for all that
    /// changed.
    #[serde(default)]
    pub stats: Vec<String>,
    /// Texts of which none may begin a line of the report.
    #[serde(default)]
    pub never: Vec<String>,
    /// Texts each of which must begin a line of the report.
    #[serde(default)]
    pub must: Vec<String>,
    /// The same of our proxy alone, where the two differ.
    #[serde(default)]
    pub must_here: Vec<String>,
    /// Whether the order of headers counts.
    #[serde(default)]
    pub ordered: bool,
    /// Why the two programs may differ, and where.
    #[serde(default)]
    pub differs: Vec<Difference>,
}

/// A difference that is known and meant.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// Why; `docs/differences-from-envoy.md` has the same sentence.
    pub because: String,
    /// The lines of the report that may differ begin with one of these.
    pub lines: Vec<String>,
    /// Whether they may also be the same.
    #[serde(default)]
    pub sometimes: bool,
}

/// Which protocol a connection speaks.
#[derive(Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 by prior knowledge, or as ALPN says.
    Http2,
    /// HTTP/2 frame by frame, as steps say.
    Frames,
}

/// TLS of a client.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientTls {
    /// The name that it asks for.
    pub sni: String,
    /// The protocols that it offers.
    #[serde(default)]
    pub alpn: Vec<String>,
    /// The certificate that it has.
    pub certificate: Option<String>,
    /// The only version that it speaks, `1.2` or `1.3`; both unless given.
    pub version: Option<String>,
    /// Whether it takes any server.
    #[serde(default)]
    pub trusting: bool,
    /// Whether the case's connections share their sessions.
    #[serde(default)]
    pub resumes: bool,
    /// Whether what the handshake agreed on is reported.
    #[serde(default)]
    pub report: bool,
}

/// A step: one of a request, bytes, what is done with a connection, and a question to the
/// administration endpoint.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sent {
    /// `METHOD TARGET`.
    pub request: Option<String>,
    /// Bytes in the place of a request, answered as one; HTTP/1 only.
    pub raw: Option<String>,
    /// Bytes.
    pub write: Option<String>,
    /// Commands of Redis, their arguments with spaces between; written at once.
    #[serde(default)]
    pub commands: Vec<String>,
    /// Frames of HTTP/2, see `frames`.
    #[serde(default)]
    pub frames: Vec<String>,
    /// How many bytes to write after those; a repeated letter.
    #[serde(default)]
    pub fill: usize,
    /// Text that is to come next; reads until it has come or nothing more does.
    pub read: Option<String>,
    /// Reads until the end, and reports what came and how it ended.
    #[serde(default)]
    pub read_end: bool,
    /// Ends the sending half.
    #[serde(default)]
    pub finish: bool,
    /// Breaks the connection.
    #[serde(default)]
    pub reset: bool,
    /// Closes the connection.
    #[serde(default)]
    pub close: bool,
    /// Waits.
    pub wait_ms: Option<u64>,
    /// `FROM TO`: moves a file of the suite into the place of another.
    pub moves: Option<String>,
    /// `SERVER ANSWER`: has a management server give another answer, and waits until that has been
    /// taken or refused, which Envoy puts off while clusters warm; not in the background.
    pub answers: Option<String>,
    /// `SERVER`: reports what a management server has been told since it was asked last.
    pub asked: Option<String>,
    /// `SERVER`: stops a management server.
    pub stops: Option<String>,
    /// `SERVER`: starts it again.
    pub starts: Option<String>,
    /// `METHOD PATH` on the administration endpoint.
    pub admin: Option<String>,
    /// Lines of the answer that are reported begin with one of these; all unless given.
    #[serde(default)]
    pub only: Vec<String>,
    /// Lines of the answer that are reported have one of these in them; all unless given.
    #[serde(default)]
    pub having: Vec<String>,
    /// Which of the case's connections; the first unless given.
    #[serde(default)]
    pub on: usize,
    /// Whether the next step does not wait for it; its connection is its own.
    #[serde(default)]
    pub background: bool,

    /// `name: value` each; `host: interop.test` unless given.
    #[serde(default)]
    pub headers: Vec<String>,
    /// A body, framed by its length unless the headers frame it.
    #[serde(default)]
    pub body: String,
    /// A body of chunks; HTTP/1 only.
    #[serde(default)]
    pub chunks: Vec<String>,
    /// `name: value` each, after the body.
    #[serde(default)]
    pub trailers: Vec<String>,
    /// A header of so many bytes beside the others.
    #[serde(default)]
    pub padding: usize,
    /// The status that both must answer; 0 for a connection that is closed without one.
    pub status: Option<u16>,
    /// How many requests the upstreams must see.
    pub attempts: Option<usize>,
    /// The same of our proxy where it differs; the case says why.
    pub meltemi: Option<Expected>,
    /// How many responses come of it, where `raw` has several requests; the last has the status.
    #[serde(default = "once")]
    pub responses: usize,
    /// How often it is sent; once unless given.
    #[serde(default = "once")]
    pub times: usize,
}

/// What must come of a request.
#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// The status; 0 for none.
    pub status: Option<u16>,
    /// How many requests the upstream must see.
    pub attempts: Option<usize>,
}

/// A reply of the upstream.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scripted {
    status: u16,
    headers: Vec<String>,
    body: String,
    fill: usize,
    pieces: Vec<String>,
    trailers: Vec<String>,
    delay_ms: u64,
    raw: Option<String>,
    how: How,
    /// An answer of an authorization service over gRPC.
    check: Option<Value>,
}

/// How a reply ends, or what stands in its place.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum How {
    Whole,
    Echo,
    Close,
    BreakBeforeHead,
    BreakInBody,
    Silence,
    Upgrade,
}

impl Default for Scripted {
    fn default() -> Self {
        Self {
            status: 200,
            headers: Vec::new(),
            body: String::new(),
            fill: 0,
            pieces: Vec::new(),
            trailers: Vec::new(),
            delay_ms: 0,
            raw: None,
            how: How::Whole,
            check: None,
        }
    }
}

impl Scripted {
    /// The reply for the scripted upstream.
    pub fn reply(&self) -> Reply {
        if let Some(answer) = &self.check {
            return Reply::status(200)
                .header("content-type", "application/grpc")
                .body(check::answer(answer))
                .trailer("grpc-status", "0");
        }
        let reply = match (&self.raw, self.how) {
            (Some(raw), _) => Reply::raw(raw.clone()),
            (None, How::Echo) => Reply::echo(),
            (None, How::BreakBeforeHead) => Reply::break_before_head(),
            (None, How::Silence) => Reply::silence(),
            (None, How::Upgrade) => Reply::upgrade("websocket"),
            (None, How::Whole | How::Close | How::BreakInBody) => {
                let reply = Reply::status(self.status);
                if self.pieces.is_empty() {
                    reply.body(self.body.clone() + &"x".repeat(self.fill))
                } else {
                    reply.pieces(self.pieces.clone(), Duration::from_millis(5))
                }
            }
        };
        let reply = match self.how {
            How::Close => reply.close(),
            How::BreakInBody => reply.break_in_body(),
            How::Whole | How::Echo | How::BreakBeforeHead | How::Silence | How::Upgrade => reply,
        };
        let reply = self.headers.iter().fold(reply, |reply, line| {
            let (name, value) = field(line);
            reply.header(name, value)
        });
        let reply = self.trailers.iter().fold(reply, |reply, line| {
            let (name, value) = field(line);
            reply.trailer(name, value)
        });
        reply.delay(Duration::from_millis(self.delay_ms))
    }
}

impl Act {
    /// The action of the server of bytes.
    pub fn action(&self) -> Action {
        match self {
            Self::Send(text) => Action::Send(text.clone().into()),
            Self::Expect(count) => Action::Expect(*count),
            Self::ExpectEnd => Action::ExpectEnd,
            Self::Echo => Action::Echo,
            Self::Finish => Action::Finish,
            Self::WaitMs(time) => Action::Wait(Duration::from_millis(*time)),
            Self::Reset => Action::Reset,
        }
    }
}

/// How many characters two texts begin with alike.
fn shared(one: &str, other: &str) -> usize {
    let pairs = one.chars().zip(other.chars());
    pairs.take_while(|(one, other)| one == other).count()
}

impl Case {
    /// What a report says that it may not, or does not say that it must.
    pub fn unwanted(&self, lines: &[String], ours: bool) -> Vec<String> {
        let begins = |text: &&String| lines.iter().any(|line| line.starts_with(text.as_str()));
        let never = self.never.iter().filter(begins);
        let never = never.map(|text| format!("{}: there is {text:?}", self.name));
        let here = self.must_here.iter().filter(|_| ours);
        let must = self.must.iter().chain(here).filter(|text| !begins(text));
        let must = must.map(|text| {
            let nearest = lines.iter().max_by_key(|line| shared(line, text));
            let nearest = nearest.map_or("", |line| line.as_str());
            format!("{}: there is no {text:?}\nbut {nearest:?}", self.name)
        });
        never.chain(must).collect()
    }

    /// The bytes that a connection begins with.
    pub fn first_bytes(&self) -> Vec<u8> {
        let digits: Vec<_> = self
            .preface_hex
            .chars()
            .filter(|it| !it.is_whitespace())
            .collect();
        let pairs = digits.chunks(2).map(|pair| {
            let pair: String = pair.iter().collect();
            u8::from_str_radix(&pair, 16).expect("pairs of hexadecimal digits")
        });
        self.preface.bytes().chain(pairs).collect()
    }
}

impl Sent {
    /// What must come of it, under our proxy or under Envoy.
    pub fn expected(&self, ours: bool) -> Expected {
        let usual = Expected {
            status: self.status,
            attempts: self.attempts,
        };
        self.meltemi.filter(|_| ours).unwrap_or(usual)
    }

    /// What it is called in reports.
    pub fn title(&self) -> String {
        let texts = [
            &self.request,
            &self.raw,
            &self.write,
            &self.admin,
            &self.moves,
            &self.answers,
            &self.asked,
            &self.stops,
            &self.starts,
        ];
        if let Some(text) = texts.into_iter().flatten().next() {
            let short: String = text.chars().take(200).collect();
            return format!("{short:?}");
        }
        if !self.commands.is_empty() {
            let short: String = self.commands.join(", ").chars().take(200).collect();
            return format!("{short:?}");
        }
        let kinds = [
            ("frames", !self.frames.is_empty()),
            ("read", self.read.is_some()),
            ("read to the end", self.read_end),
            ("finish", self.finish),
            ("reset", self.reset),
            ("close", self.close),
            ("wait", self.wait_ms.is_some()),
        ];
        let kind = kinds.iter().find(|(_, is)| *is);
        kind.map_or("connect", |(name, _)| name).to_owned()
    }

    /// The bytes of its commands of Redis.
    pub fn redis(&self) -> Vec<u8> {
        let mut text = String::new();
        for command in &self.commands {
            let arguments: Vec<_> = command.split(' ').collect();
            text += &format!("*{}\r\n", arguments.len());
            for argument in arguments {
                text += &format!("${}\r\n{argument}\r\n", argument.len());
            }
        }
        text.into_bytes()
    }

    /// The request; none where something else stands in its place.
    pub fn request(&self) -> Option<Request> {
        let line = self.request.as_ref()?;
        let (method, target) = line.split_once(' ').expect("METHOD TARGET");
        let mut request = Request::new(method, target);
        if !self
            .headers
            .iter()
            .any(|line| field(line).0.eq_ignore_ascii_case("host"))
        {
            request = request.host("interop.test");
        }
        for line in &self.headers {
            let (name, value) = field(line);
            request = request.header(name, value);
        }
        for line in &self.trailers {
            let (name, value) = field(line);
            request = request.trailer(name, value);
        }
        if self.padding > 0 {
            request = request.header("x-padding", &"x".repeat(self.padding));
        }
        if self.chunks.is_empty() {
            return Some(request.body(self.body.clone() + &"x".repeat(self.fill)));
        }
        let chunks = self
            .chunks
            .iter()
            .map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len()));
        let body = chunks.chain(["0\r\n\r\n".to_owned()]).collect::<String>();
        Some(request.header("transfer-encoding", "chunked").body(body))
    }
}

fn field(line: &str) -> (&str, &str) {
    let (name, value) = line[1..].split_once(':').expect("name: value");
    (&line[..name.len() + 1], value.trim())
}

fn once() -> usize {
    1
}
