//! The HTTP/1.1 side of the scripted upstream: one connection in, replies out byte by byte.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::reply::{Content, Ending};
use super::{Received, Reply, State, on_purpose};
use crate::wire::{Head, Wire};

/// Whether the connection takes another request.
#[derive(PartialEq, Eq)]
enum Next {
    Request,
    Close,
}

pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    state: &State,
    number: usize,
) -> io::Result<()> {
    // dropped after the wire, whose socket is closed by then
    let mut _closing = None;
    let mut wire = Wire::new(stream);
    while let Some(head) = wire.read_head().await? {
        let request = receive(&mut wire, head, number).await?;
        let asked_to_close =
            request.headers.has_token("connection", "close") || request.version == "HTTP/1.0";
        let reply = state.receive(request.clone());
        tokio::time::sleep(reply.delay).await;
        if asked_to_close || reply.closes() {
            _closing = Some(state.closing());
        }
        if respond(&mut wire, &request, reply).await? == Next::Close || asked_to_close {
            break;
        }
    }
    wire.shutdown().await
}

async fn receive<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    head: Head,
    connection: usize,
) -> io::Result<Received> {
    if head.headers.has_token("expect", "100-continue") {
        wire.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let (body, trailers) = wire.read_body(head.request_framing()?).await?;
    let mut parts = head.start.splitn(3, ' ').map(str::to_owned);
    let mut part = || parts.next().unwrap_or_default();
    Ok(Received {
        method: part(),
        target: part(),
        version: part(),
        headers: head.headers,
        body,
        trailers,
        connection,
    })
}

async fn respond<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    request: &Received,
    mut reply: Reply,
) -> io::Result<Next> {
    match reply.ending {
        Ending::Silence => return std::future::pending().await,
        Ending::BreakBeforeHead => return Err(on_purpose()),
        Ending::EchoBytes => {
            wire.write(head(&reply, None).as_bytes()).await?;
            return echo_bytes(wire).await;
        }
        Ending::Close => reply.headers.push("connection", "close"),
        Ending::KeepAlive | Ending::BreakInBody => {}
    }
    let (pieces, pause, whole) = match std::mem::replace(&mut reply.content, Content::Echo) {
        Content::Raw(bytes) => {
            wire.write(&bytes).await?;
            return Ok(Next::Close);
        }
        Content::Echo => {
            if let Some(kind) = request.header("content-type") {
                reply.headers.push("content-type", kind);
            }
            (vec![request.body.clone()], Duration::ZERO, true)
        }
        Content::Whole(body) => (vec![body], Duration::ZERO, true),
        Content::Pieces { pieces, pause } => (pieces, pause, false),
    };
    let chunked = !whole || !reply.trailers.is_empty();
    let broken = reply.ending == Ending::BreakInBody;
    let length = (!chunked).then(|| pieces[0].len() + usize::from(broken));
    wire.write(head(&reply, Some(length)).as_bytes()).await?;
    if request.method != "HEAD" && !matches!(reply.status, 204 | 304) {
        write_body(wire, &reply, &pieces, pause, chunked).await?;
    }
    if broken {
        return Err(on_purpose());
    }
    Ok(if reply.ending == Ending::Close {
        Next::Close
    } else {
        Next::Request
    })
}

async fn write_body<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    reply: &Reply,
    pieces: &[Bytes],
    pause: Duration,
    chunked: bool,
) -> io::Result<()> {
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        if chunked {
            let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
            chunk.extend_from_slice(piece);
            chunk.extend_from_slice(b"\r\n");
            wire.write(&chunk).await?;
        } else {
            wire.write(piece).await?;
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    if chunked && reply.ending != Ending::BreakInBody {
        let mut end = String::from("0\r\n");
        for (name, value) in reply.trailers.iter() {
            write!(end, "{name}: {value}\r\n").expect("a string takes any text");
        }
        end.push_str("\r\n");
        wire.write(end.as_bytes()).await?;
    }
    Ok(())
}

/// The response head; `framing` is the content length, or chunked, or for a 101 neither.
fn head(reply: &Reply, framing: Option<Option<usize>>) -> String {
    let status = reply.status;
    let reason = http::StatusCode::from_u16(status)
        .ok()
        .and_then(|code| code.canonical_reason());
    let mut head = format!("HTTP/1.1 {status} {}\r\n", reason.unwrap_or("Scripted"));
    for (name, value) in reply.headers.iter() {
        write!(head, "{name}: {value}\r\n").expect("a string takes any text");
    }
    match framing {
        None => {}
        _ if matches!(status, 204 | 304) || reply.headers.contains("content-length") => {}
        Some(Some(length)) => {
            write!(head, "content-length: {length}\r\n").expect("a string takes any text")
        }
        Some(None) => head.push_str("transfer-encoding: chunked\r\n"),
    }
    head.push_str("\r\n");
    head
}

async fn echo_bytes<S: AsyncRead + AsyncWrite + Unpin>(wire: &mut Wire<S>) -> io::Result<Next> {
    loop {
        let bytes = wire.read_some().await?;
        if bytes.is_empty() {
            return Ok(Next::Close);
        }
        wire.write(&bytes).await?;
    }
}
