//! HTTP/1.1 on a byte stream, read plainly: bytes in, head lines and bodies out.
//!
//! Written apart from any HTTP library so that tests see exactly what was on the wire, and so that
//! malformed messages can be sent. Used by the clients, the load generator and the upstream.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::message::Headers;

const LARGEST_HEAD: usize = 1 << 20;

/// A stream with the bytes that were read from it too early.
pub(crate) struct Wire<S> {
    stream: S,
    buffer: BytesMut,
}

/// A start line and its header block.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) start: String,
    pub(crate) headers: Headers,
}

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
        }
    }

    /// The stream, and what had been read from it and not been used.
    pub(crate) fn into_parts(self) -> (S, Bytes) {
        (self.stream, self.buffer.freeze())
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    pub(crate) async fn shutdown(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// Whatever comes next; empty at the end of the stream.
    pub(crate) async fn read_some(&mut self) -> io::Result<Bytes> {
        if self.buffer.is_empty() {
            self.fill().await?;
        }
        Ok(self.buffer.split().freeze())
    }

    /// The next message head, or `None` when the stream ended before its first byte.
    pub(crate) async fn read_head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let block = self.buffer.split_to(end + 4);
                return parse_head(&block[..end]).map(Some);
            }
            if self.buffer.len() > LARGEST_HEAD {
                return Err(invalid("message head without end"));
            }
            if self.fill().await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(cut_short("message head"))
                };
            }
        }
    }

    /// A body and its trailers.
    pub(crate) async fn read_body(&mut self, framing: Framing) -> io::Result<(Bytes, Headers)> {
        match framing {
            Framing::Length(length) => Ok((self.read_exact(length).await?, Headers::new())),
            Framing::Chunked => self.read_chunks().await,
            Framing::UntilClose => {
                while self.fill().await? > 0 {}
                Ok((self.buffer.split().freeze(), Headers::new()))
            }
        }
    }

    async fn read_chunks(&mut self) -> io::Result<(Bytes, Headers)> {
        let mut body = BytesMut::new();
        loop {
            let line = self.read_line().await?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| invalid("chunk size"))?;
            if size == 0 {
                break;
            }
            body.extend_from_slice(&self.read_exact(size).await?);
            if &self.read_exact(2).await?[..] != b"\r\n" {
                return Err(invalid("chunk without CRLF at its end"));
            }
        }
        let mut trailers = Headers::new();
        loop {
            let line = self.read_line().await?;
            if line.is_empty() {
                return Ok((body.freeze(), trailers));
            }
            let (name, value) = parse_field(&line)?;
            trailers.push(name, value);
        }
    }

    async fn read_exact(&mut self, length: usize) -> io::Result<Bytes> {
        while self.buffer.len() < length {
            if self.fill().await? == 0 {
                return Err(cut_short("message body"));
            }
        }
        Ok(self.buffer.split_to(length).freeze())
    }

    async fn read_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line = self.buffer.split_to(end + 2);
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if self.fill().await? == 0 {
                return Err(cut_short("line"));
            }
        }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.buffer.reserve(16 * 1024);
        self.stream.read_buf(&mut self.buffer).await
    }
}

impl Head {
    /// How the body of a request with this head ends.
    pub(crate) fn request_framing(&self) -> io::Result<Framing> {
        Ok(self.declared_framing()?.unwrap_or(Framing::Length(0)))
    }

    /// How the body of a response with this head ends (RFC 9112, section 6.3).
    pub(crate) fn response_framing(&self, method: &str, status: u16) -> io::Result<Framing> {
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            return Ok(Framing::Length(0));
        }
        Ok(self.declared_framing()?.unwrap_or(Framing::UntilClose))
    }

    fn declared_framing(&self) -> io::Result<Option<Framing>> {
        if self.headers.has_token("transfer-encoding", "chunked") {
            return Ok(Some(Framing::Chunked));
        }
        match self.headers.get("content-length") {
            None => Ok(None),
            Some(length) => {
                let length = length
                    .trim()
                    .parse()
                    .map_err(|_| invalid("content-length"))?;
                Ok(Some(Framing::Length(length)))
            }
        }
    }
}

fn parse_head(block: &[u8]) -> io::Result<Head> {
    let text = String::from_utf8_lossy(block);
    let mut lines = text.split("\r\n");
    let start = lines.next().unwrap_or_default().to_owned();
    let headers = lines.map(parse_field).collect::<io::Result<Headers>>()?;
    Ok(Head { start, headers })
}

fn parse_field(line: &str) -> io::Result<(String, String)> {
    let (name, value) = line
        .split_once(':')
        .ok_or_else(|| invalid("header line without a colon"))?;
    Ok((name.to_owned(), value.trim().to_owned()))
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("malformed HTTP/1.1: {what}"),
    )
}

fn cut_short(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        format!("the stream ended inside a {what}"),
    )
}

#[cfg(test)]
mod tests;
