//! What a client and an upstream saw of a case, in lines that can be compared.
//!
//! In: responses and received requests. Out: a report in which whatever differs between any two
//! runs (times, random ids, ports) is masked. Made by `run` for each program.

use crate::check;

use meltemi_testkit::{ClientError, Headers, Received, Response};

/// The report of a case under one program.
#[derive(Default)]
pub struct Observation {
    /// The lines.
    pub lines: Vec<String>,
    /// Text that stands for something else in this run, and what for.
    pub masks: Vec<(String, &'static str)>,
    /// Whether the order of headers counts.
    pub ordered: bool,
}

impl Observation {
    /// Adds what the client got.
    pub fn response(&mut self, result: &Result<Response, ClientError>) {
        let response = match result {
            Ok(response) => response,
            Err(ClientError::Closed { .. }) => return self.say("response: closed"),
            Err(ClientError::TimedOut { .. }) => return self.say("response: none in time"),
            Err(ClientError::Io { .. } | ClientError::Http2 { .. }) => {
                return self.say("response: broken");
            }
        };
        let Response {
            status,
            version,
            informational,
            headers,
            body,
            trailers,
        } = response;
        self.say(&format!("response: {version} {status}"));
        if !informational.is_empty() {
            self.say(&format!("response informational: {informational:?}"));
        }
        self.headers("response header", headers);
        self.say(&format!("response body: {}", shown(body)));
        self.headers("response trailer", trailers);
    }

    /// Adds what an upstream was sent.
    pub fn received(&mut self, upstream: &str, requests: &[Received]) {
        self.say(&format!("{upstream} requests: {}", requests.len()));
        for (attempt, request) in requests.iter().enumerate() {
            let Received {
                method,
                target,
                version,
                headers,
                body,
                trailers,
                // ignored: pools may spread requests as they like
                connection: _,
            } = request;
            self.say(&format!("{upstream}: {method} {target} {version}"));
            let headers = headers.iter().map(|(name, value)| match name {
                // what is left of the time
                "x-envoy-expected-rq-timeout-ms" if attempt > 0 => (name, "(less)"),
                // Envoy names the host that its own first attempt put there
                "x-envoy-original-host" if attempt > 0 => (name, "(the one before)"),
                _ => (name, value),
            });
            self.headers(&format!("{upstream} header"), &headers.collect());
            match check::said(target, body) {
                Some(said) => self.say(&format!("{upstream} is told: {said}")),
                None => self.say(&format!("{upstream} body: {}", shown(body))),
            }
            self.headers(&format!("{upstream} trailer"), trailers);
        }
    }

    /// Adds a line.
    pub fn say(&mut self, line: &str) {
        let masked = self
            .masks
            .iter()
            .fold(line.to_owned(), |line, (text, stands_for)| {
                line.replace(text, stands_for)
            });
        self.lines.push(masked);
    }

    /// Replaces what expressions match.
    pub fn mask(&mut self, masks: &[(regex::Regex, String)]) {
        for line in &mut self.lines {
            for (pattern, with) in masks {
                if pattern.is_match(line) {
                    *line = pattern.replace_all(line, with.as_str()).into_owned();
                }
            }
        }
    }

    /// Fields by name; those of one name keep their order, which is all that a header block promises.
    fn headers(&mut self, what: &str, headers: &Headers) {
        let mut fields: Vec<_> = headers.iter().collect();
        if !self.ordered {
            fields.sort_by_key(|(name, _)| *name);
        }
        for (name, value) in fields {
            self.say(&format!("{what}: {name}: {}", masked(name, value)));
        }
    }
}

/// Bytes as a text; of many, how many, and their beginning.
pub fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    match text.char_indices().nth(300) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?} and so on, {} in all", &text[..end], bytes.len()),
    }
}

/// A value, unless it is another one each time.
fn masked<'a>(name: &str, value: &'a str) -> &'a str {
    match name.to_ascii_lowercase().as_str() {
        "date" if value.ends_with(" GMT") => "(a date)",
        "x-envoy-upstream-service-time" if value.parse::<u64>().is_ok() => "(milliseconds)",
        "x-request-id" if is_uuid(value) => "(a UUID)",
        _ => value,
    }
}

fn is_uuid(value: &str) -> bool {
    let groups: Vec<_> = value.split('-').map(str::len).collect();
    let hexadecimal = value.chars().all(|it| it == '-' || it.is_ascii_hexdigit());
    hexadecimal && groups == [8, 4, 4, 4, 12]
}

/// Both reports side by side where they differ; `None` where they do not, lines that may differ
/// set aside.
pub fn difference(
    left: &Observation,
    right: &Observation,
    may_differ: &[String],
) -> Option<String> {
    let counts = |line: &&String| {
        !may_differ
            .iter()
            .any(|prefix| line.starts_with(prefix.as_str()))
    };
    let left: Vec<_> = left.lines.iter().filter(counts).collect();
    let right: Vec<_> = right.lines.iter().filter(counts).collect();
    if left == right {
        return None;
    }
    let mut text = String::new();
    for step in align(&left, &right) {
        let (mark, line) = match step {
            Step::Both(line) => (' ', line),
            Step::Left(line) => ('-', line),
            Step::Right(line) => ('+', line),
        };
        text.push_str(&format!("    {mark} {line}\n"));
    }
    Some(text)
}

enum Step<'a> {
    Both(&'a str),
    Left(&'a str),
    Right(&'a str),
}

/// A longest common subsequence, with what is on one side only in its place.
fn align<'a>(left: &[&'a String], right: &[&'a String]) -> Vec<Step<'a>> {
    let mut common = vec![vec![0; right.len() + 1]; left.len() + 1];
    for l in (0..left.len()).rev() {
        for r in (0..right.len()).rev() {
            common[l][r] = if left[l] == right[r] {
                common[l + 1][r + 1] + 1
            } else {
                common[l + 1][r].max(common[l][r + 1])
            };
        }
    }
    let (mut l, mut r) = (0, 0);
    let mut steps = Vec::new();
    while l < left.len() || r < right.len() {
        if l < left.len() && r < right.len() && left[l] == right[r] {
            steps.push(Step::Both(left[l]));
            (l, r) = (l + 1, r + 1);
        } else if r == right.len() || (l < left.len() && common[l + 1][r] >= common[l][r + 1]) {
            steps.push(Step::Left(left[l]));
            l += 1;
        } else {
            steps.push(Step::Right(right[r]));
            r += 1;
        }
    }
    steps
}
