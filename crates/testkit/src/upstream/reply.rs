//! One scripted reply: status, headers, body, and how it misbehaves.
//!
//! Built by tests, carried out by `http1` and `http2`.

use std::time::Duration;

use bytes::Bytes;

use crate::message::Headers;

/// How to answer one request. Without further calls: at once, in full, keeping the connection.
#[derive(Debug, Clone)]
pub struct Reply {
    pub(super) status: u16,
    pub(super) headers: Headers,
    pub(super) content: Content,
    pub(super) trailers: Headers,
    pub(super) delay: Duration,
    pub(super) ending: Ending,
}

/// What the body is made of.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// Sent whole, with a `content-length`.
    Whole(Bytes),
    /// Sent piece by piece with a pause after each; chunked on HTTP/1.1.
    Pieces { pieces: Vec<Bytes>, pause: Duration },
    /// The request's own body.
    Echo,
    /// Bytes sent in the place of a whole HTTP/1.1 response; refused on HTTP/2.
    Raw(Bytes),
}

/// What happens after the body, or instead of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// The response ends properly; the connection stays.
    KeepAlive,
    /// The response ends properly and says `connection: close`.
    Close,
    /// The connection (on HTTP/2 the stream) breaks before any response.
    BreakBeforeHead,
    /// It breaks after the body, whose end was not sent.
    BreakInBody,
    /// No response at all, and the connection stays open.
    Silence,
    /// Status 101, then every byte received is sent back.
    EchoBytes,
}

impl Default for Reply {
    fn default() -> Self {
        Self::ok()
    }
}

impl Reply {
    /// Status 200 and no body.
    #[must_use]
    pub fn ok() -> Self {
        Self::status(200)
    }

    /// A status and no body.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self {
            status,
            headers: Headers::new(),
            content: Content::Whole(Bytes::new()),
            trailers: Headers::new(),
            delay: Duration::ZERO,
            ending: Ending::KeepAlive,
        }
    }

    /// Whether an HTTP/1.1 connection ends with it, announced or not.
    pub(super) fn closes(&self) -> bool {
        let ends = matches!(
            self.ending,
            Ending::Close | Ending::BreakBeforeHead | Ending::BreakInBody
        );
        ends || matches!(self.content, Content::Raw(_))
    }

    /// Status 200 and the request's body sent back with its `content-type`.
    #[must_use]
    pub fn echo() -> Self {
        Self {
            content: Content::Echo,
            ..Self::ok()
        }
    }

    /// An HTTP/1.1 response written byte for byte, after which the connection closes.
    #[must_use]
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self {
            content: Content::Raw(bytes.into()),
            ending: Ending::Close,
            ..Self::ok()
        }
    }

    /// Switches protocols (HTTP/1.1 only) and then sends back every byte it receives.
    #[must_use]
    pub fn upgrade(protocol: &str) -> Self {
        let reply = Self {
            ending: Ending::EchoBytes,
            ..Self::status(101)
        };
        reply
            .header("connection", "Upgrade")
            .header("upgrade", protocol)
    }

    /// Never answers.
    #[must_use]
    pub fn silence() -> Self {
        Self {
            ending: Ending::Silence,
            ..Self::ok()
        }
    }

    /// Breaks the connection (or the HTTP/2 stream) instead of answering.
    #[must_use]
    pub fn break_before_head() -> Self {
        Self {
            ending: Ending::BreakBeforeHead,
            ..Self::ok()
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push(name, value);
        self
    }

    /// A body sent whole.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.content = Content::Whole(body.into());
        self
    }

    /// A body sent in pieces with a pause after each.
    #[must_use]
    pub fn pieces<P: Into<Bytes>>(
        mut self,
        pieces: impl IntoIterator<Item = P>,
        pause: Duration,
    ) -> Self {
        self.content = Content::Pieces {
            pieces: pieces.into_iter().map(Into::into).collect(),
            pause,
        };
        self
    }

    /// Adds a trailer; the body becomes chunked on HTTP/1.1.
    #[must_use]
    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.push(name, value);
        self
    }

    /// Waits before answering.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Closes the connection after the response and says so in it.
    #[must_use]
    pub fn close(mut self) -> Self {
        self.ending = Ending::Close;
        self
    }

    /// Breaks the connection (or the HTTP/2 stream) after the body's bytes, before its end.
    #[must_use]
    pub fn break_in_body(mut self) -> Self {
        self.ending = Ending::BreakInBody;
        self
    }
}
