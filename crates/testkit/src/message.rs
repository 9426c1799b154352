//! Requests and responses as tests see them: headers keep their order, case and repeats.
//!
//! Made by tests (requests) and by the clients and the scripted upstream (everything received).

use bytes::Bytes;

/// A header block in the order it was on the wire, names in the case they had there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

/// A request to send; without a `host` header the client adds one naming its peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method, sent as it stands.
    pub method: String,
    /// The request target: a path with query, or an absolute URI for a forward proxy.
    pub target: String,
    /// Headers in the order to send them.
    pub headers: Headers,
    /// The whole body; framed by `content-length` when not empty.
    pub body: Bytes,
    /// Fields after the body, which is chunked on HTTP/1.1 when there are any.
    pub trailers: Headers,
}

/// A response as received.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The version on the status line (`HTTP/1.1`), or `HTTP/2`.
    pub version: String,
    /// Statuses of the 1xx responses that came before this one (101 is a final response).
    pub informational: Vec<u16>,
    /// The header block.
    pub headers: Headers,
    /// The body with its framing removed.
    pub body: Bytes,
    /// Trailers, empty when there were none.
    pub trailers: Headers,
}

impl Headers {
    /// An empty block.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a field at the end.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push((name.into(), value.into()));
    }

    /// The first value under `name`, compared without case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Every value under `name`, in order.
    pub fn all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        self.0
            .iter()
            .filter(move |(candidate, _)| candidate.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Whether a field of this name is present.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The names in order, lower-cased, repeats included.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.0
            .iter()
            .map(|(name, _)| name.to_ascii_lowercase())
            .collect()
    }

    /// The fields in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a comma-separated field holds `token`, compared without case.
    #[must_use]
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.all(name)
            .flat_map(|value| value.split(','))
            .any(|part| part.trim().eq_ignore_ascii_case(token))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        Self(
            fields
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

impl From<&http::HeaderMap> for Headers {
    fn from(map: &http::HeaderMap) -> Self {
        map.iter()
            .map(|(name, value)| {
                (
                    name.as_str(),
                    String::from_utf8_lossy(value.as_bytes()).into_owned(),
                )
            })
            .collect()
    }
}

impl Request {
    /// A request with no headers and no body.
    #[must_use]
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Headers::new(),
            body: Bytes::new(),
            trailers: Headers::new(),
        }
    }

    /// A `GET`.
    #[must_use]
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A `POST` with a body.
    #[must_use]
    pub fn post(target: &str, body: impl Into<Bytes>) -> Self {
        Self::new("POST", target).body(body)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push(name, value);
        self
    }

    /// Adds a trailer.
    #[must_use]
    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.push(name, value);
        self
    }

    /// Sets the host: the `Host` header, or `:authority` on HTTP/2.
    #[must_use]
    pub fn host(self, authority: &str) -> Self {
        self.header("host", authority)
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

impl Response {
    /// The first value of a header, compared without case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// The body as text; bytes that are not UTF-8 show as replacement characters.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When the body is no JSON, showing it: a test has nothing better to do.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!(
                "status {}, body is no JSON ({error}): {}",
                self.status,
                self.text()
            )
        })
    }
}
