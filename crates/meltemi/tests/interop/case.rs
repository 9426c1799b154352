//! Tables of requests, as written in `requests/*.yaml`.
//!
//! In: YAML. Out: [`Suite`]: what the upstream answers, and cases of one connection each. Read by
//! `interop_bootstrap`.

use std::collections::BTreeMap;
use std::time::Duration;

use meltemi_testkit::{Reply, Request};
use serde::Deserialize;

/// A file of cases for one bootstrap.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// What the upstream answers by path, unless a case says otherwise.
    #[serde(default)]
    pub upstream: BTreeMap<String, Scripted>,
    /// Statistics that must be the same in the end, by what their names begin and end with.
    #[serde(default)]
    pub statistics: Vec<(String, Vec<String>)>,
    /// The cases, run in order.
    pub cases: Vec<Case>,
}

/// One or more requests on a connection of their own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// The listener; the only one unless given.
    pub listener: Option<String>,
    /// How the connection speaks.
    #[serde(default)]
    pub protocol: Protocol,
    /// What the upstream answers by path: each reply once, then the last for ever.
    #[serde(default)]
    pub upstream: BTreeMap<String, Vec<Scripted>>,
    /// The requests.
    pub send: Vec<Sent>,
    /// Why the two programs may differ, and where: names of parts of the report.
    pub differs: Option<Difference>,
}

/// A difference that is known and meant.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// Why.
    pub because: String,
    /// The lines of the report that may differ begin with one of these.
    pub lines: Vec<String>,
}

/// Which protocol a connection speaks.
#[derive(Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 by prior knowledge.
    Http2,
}

/// One request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sent {
    /// `METHOD TARGET`.
    pub request: Option<String>,
    /// Bytes in the place of a request; HTTP/1 only.
    pub raw: Option<String>,
    /// `name: value` each; `host: interop.test` unless given.
    #[serde(default)]
    pub headers: Vec<String>,
    /// A body, framed by its length unless the headers frame it.
    #[serde(default)]
    pub body: String,
    /// A body of chunks; HTTP/1 only.
    #[serde(default)]
    pub chunks: Vec<String>,
    /// A header of so many bytes beside the others.
    #[serde(default)]
    pub padding: usize,
    /// The status that both must answer; 0 for a connection that is closed without one.
    pub status: u16,
    /// How many requests the upstream must see.
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
    pub status: u16,
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
    pieces: Vec<String>,
    trailers: Vec<String>,
    delay_ms: u64,
    raw: Option<String>,
    how: How,
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
            pieces: Vec::new(),
            trailers: Vec::new(),
            delay_ms: 0,
            raw: None,
            how: How::Whole,
        }
    }
}

impl Scripted {
    /// The reply for the scripted upstream.
    pub fn reply(&self) -> Reply {
        let reply = match (&self.raw, self.how) {
            (Some(raw), _) => Reply::raw(raw.clone()),
            (None, How::Echo) => Reply::echo(),
            (None, How::BreakBeforeHead) => Reply::break_before_head(),
            (None, How::Silence) => Reply::silence(),
            (None, How::Upgrade) => Reply::upgrade("websocket"),
            (None, How::Whole | How::Close | How::BreakInBody) => {
                let reply = Reply::status(self.status);
                if self.pieces.is_empty() {
                    reply.body(self.body.clone())
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

impl Sent {
    /// What must come of it, under our proxy or under Envoy.
    pub fn expected(&self, ours: bool) -> Expected {
        let usual = Expected {
            status: self.status,
            attempts: self.attempts,
        };
        self.meltemi.filter(|_| ours).unwrap_or(usual)
    }

    /// The request; none where bytes stand in its place.
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
        if self.padding > 0 {
            request = request.header("x-padding", &"x".repeat(self.padding));
        }
        if self.chunks.is_empty() {
            return Some(request.body(self.body.clone()));
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
    let (name, value) = line.split_once(':').expect("name: value");
    (name, value.trim())
}

fn once() -> usize {
    1
}
