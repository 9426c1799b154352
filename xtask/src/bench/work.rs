//! The kinds of load: what is sent, how much of it at a time, and what it is counted in.

use clap::ValueEnum;

/// A kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Work {
    /// HTTP/1.1 on both sides.
    Http1,
    /// HTTP/2 on both sides, 20 streams on each connection.
    Http2,
    /// HTTP/2 from the client, 8 streams on each connection, HTTP/1.1 to the upstream.
    Http2Http1,
    /// HTTP/1.1 over TLS from the client, over mutual TLS to the upstream.
    Tls,
    /// Bytes from a client to a sink.
    Tcp,
    /// A connection, a handshake of mutual TLS and one small answer, again and again.
    Handshakes,
}

impl Work {
    /// Every kind, in the order in which they are reported.
    pub const ALL: [Self; 6] = [
        Self::Http1,
        Self::Http2,
        Self::Http2Http1,
        Self::Tls,
        Self::Tcp,
        Self::Handshakes,
    ];

    /// As it is named on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Http2Http1 => "http2-http1",
            Self::Tls => "tls",
            Self::Tcp => "tcp",
            Self::Handshakes => "handshakes",
        }
    }

    /// What the report calls it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2 to HTTP/2",
            Self::Http2Http1 => "HTTP/2 to HTTP/1.1",
            Self::Tls => "HTTP/1.1, TLS in and mutual TLS out",
            Self::Tcp => "TCP, writes of 1 MB",
            Self::Handshakes => "handshakes of mutual TLS, P-256",
        }
    }

    /// What the load is counted in.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Http1 | Self::Http2 | Self::Http2Http1 | Self::Tls => "request",
            Self::Tcp => "MB",
            Self::Handshakes => "handshake",
        }
    }

    /// How many at a time, unless somebody says otherwise.
    pub fn concurrency(self) -> usize {
        match self {
            Self::Http1 | Self::Http2Http1 | Self::Tls => 64,
            Self::Http2 => 200,
            Self::Tcp => 8,
            Self::Handshakes => 16,
        }
    }

    /// Streams on each of the client's connections.
    pub fn streams(self) -> usize {
        match self {
            Self::Http2 => 20,
            Self::Http2Http1 => 8,
            Self::Http1 | Self::Tls | Self::Tcp | Self::Handshakes => 1,
        }
    }
}
