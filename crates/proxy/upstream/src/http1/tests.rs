use std::fmt::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use hyper::ext::ReasonPhrase;

use super::decode::Piece;
use super::head::{Asked, Reader};
use super::outgoing::Outgoing;
use super::{case, request};
use crate::{BodyError, ResetReason, UpstreamBody};

/// What a response is read as: its status and headers, its body, its trailers, how it ends, and
/// what of the bytes is not its own.
fn read(asked: Asked, parts: &[&[u8]]) -> String {
    match try_read(asked, parts) {
        Ok(text) => text,
        Err((text, ResetReason::ProtocolError(_))) => text + "malformed",
        Err((text, reason)) => text + &reason.to_string(),
    }
}

fn try_read(asked: Asked, parts: &[&[u8]]) -> Result<String, (String, ResetReason)> {
    let mut parts = parts.iter();
    let (mut unread, mut text) = (BytesMut::new(), String::new());
    let mut reader = Reader::new(usize::MAX, false);
    let mut spare = HeaderMap::new();
    let head = loop {
        let head = reader.read(&mut unread, asked, &mut spare);
        if let Some(head) = head.map_err(|reason| (text.clone(), reason))? {
            break head;
        }
        let Some(part) = parts.next() else {
            return Err((text, ResetReason::ConnectionTermination));
        };
        unread.extend_from_slice(part);
    };
    let response: Response<()> = head.response;
    let _ = write!(text, "{} ", response.status().as_u16());
    for (name, value) in response.headers() {
        let _ = write!(text, "{name}={} ", value.to_str().unwrap());
    }
    let (mut body, mut data, mut keeps_alive) = (head.body, Vec::new(), head.keeps_alive);
    loop {
        let piece = match body.decode(&mut unread) {
            Ok(Piece::Missing) => match parts.next() {
                Some(part) => {
                    unread.extend_from_slice(part);
                    continue;
                }
                None => {
                    keeps_alive = false;
                    body.close()
                }
            },
            piece => piece,
        };
        match piece {
            Ok(Piece::Data(some)) => data.extend_from_slice(&some),
            Ok(Piece::Trailers(trailers)) => {
                for (name, value) in &trailers {
                    let _ = write!(text, "+{name}={} ", value.to_str().unwrap());
                }
            }
            Ok(Piece::End | Piece::Missing) => break,
            Err(reason) => return Err((text, reason)),
        }
    }
    for part in parts {
        unread.extend_from_slice(part);
    }
    let end = match (head.is_upgrade, keeps_alive) {
        (true, _) => "upgrades",
        (false, true) => "stays",
        (false, false) => "closes",
    };
    let (data, rest) = (
        String::from_utf8_lossy(&data),
        String::from_utf8_lossy(&unread),
    );
    let _ = write!(text, "[{data}] {end} {rest}");
    Ok(text.trim_end().to_owned())
}

#[test]
fn responses_are_read_the_same_however_they_are_split() {
    use Asked::{Connect, Head, Other};
    let cases: &[(Asked, &str, &str)] = &[
        (
            Other,
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab",
            "200 content-length=2 [ab] stays",
        ),
        (
            Other,
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nx",
            "200 content-length=0 [] stays x",
        ),
        (
            Other,
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nabc",
            "200 content-length=2 [ab] stays c",
        ),
        (
            Other,
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab",
            "200 content-length=3 connection termination",
        ),
        (Other, "HTTP/1.1 200 OK\r\n\r\nab", "200 [ab] closes"),
        (
            Other,
            "HTTP/1.1 200\r\nA: \tb \r\nC:\r\n\r\n",
            "200 a=b c= [] closes",
        ),
        (Other, "HTTP/1.1 200 OK\nA: b\n\n", "200 a=b [] closes"),
        (Other, "\r\nHTTP/1.1 204 No Content\r\n\r\n", "204 [] stays"),
        (
            Other,
            "HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nab",
            "204 content-length=2 [] stays ab",
        ),
        (
            Other,
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 2\r\n\r\n",
            "304 content-length=2 [] stays",
        ),
        (
            Head,
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n",
            "200 content-length=2 [] stays",
        ),
        (
            Head,
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "200 transfer-encoding=chunked [] stays",
        ),
        (Connect, "HTTP/1.1 200 OK\r\n\r\nab", "200 [] upgrades ab"),
        (
            Connect,
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab",
            "200 content-length=2 [] upgrades ab",
        ),
        (
            Connect,
            "HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nab",
            "403 content-length=2 [ab] stays",
        ),
        (
            Other,
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: a\r\n\r\nab",
            "101 upgrade=a [] upgrades ab",
        ),
        (
            Other,
            "HTTP/1.1 101 X\r\ncontent-length: 2\r\n\r\nab",
            "101 content-length=2 [] upgrades ab",
        ),
        // Interim responses are skipped.
        (
            Other,
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
            "204 [] stays",
        ),
        (
            Other,
            "HTTP/1.1 100 Continue\r\n\r\n",
            "connection termination",
        ),
        // Lengths.
        (
            Other,
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nContent-Length: 2\r\n\r\nab",
            "200 content-length=2 content-length=2 [ab] stays",
        ),
        (
            Other,
            "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nab",
            "200 content-length=2, 2 [ab] stays",
        ),
        (
            Other,
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nab",
            "malformed",
        ),
        (
            Other,
            "HTTP/1.1 200 OK\r\ncontent-length: 2, 3\r\n\r\nab",
            "malformed",
        ),
        (
            Other,
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: x\r\n\r\nab",
            "malformed",
        ),
        (
            Other,
            "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nab",
            "malformed",
        ),
        (
            Other,
            "HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\nab",
            "malformed",
        ),
        (
            Other,
            "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551616\r\n\r\nab",
            "malformed",
        ),
        // Codings.
        (
            Other,
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "malformed",
        ),
        (
            Other,
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nab",
            "malformed",
        ),
        (
            Other,
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: gzip\r\n\r\nab",
            "malformed",
        ),
        (
            Other,
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\nab",
            "malformed",
        ),
        (
            Other,
            "HTTP/1.1 204 No\r\ntransfer-encoding: chunked\r\n\r\n",
            "malformed",
        ),
        (
            Other,
            "HTTP/1.1 101 X\r\ntransfer-encoding: chunked\r\n\r\n",
            "malformed",
        ),
        (
            Other,
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "malformed",
        ),
        // Whether the connection stays.
        (
            Other,
            "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nab",
            "200 content-length=2 [ab] closes",
        ),
        (
            Other,
            "HTTP/1.0 200 OK\r\nconnection: Keep-Alive\r\ncontent-length: 2\r\n\r\nab",
            "200 connection=Keep-Alive content-length=2 [ab] stays",
        ),
        (
            Other,
            "HTTP/1.1 204 No\r\nconnection: a, Close\r\n\r\n",
            "204 connection=a, Close [] closes",
        ),
        (
            Other,
            "HTTP/1.1 204 No\r\nconnection: close\r\nconnection: keep-alive\r\n\r\n",
            "204 connection=close connection=keep-alive [] closes",
        ),
        // No HTTP.
        (Other, "", "connection termination"),
        (
            Other,
            "HTTP/1.1 200 OK\r\ncontent-len",
            "connection termination",
        ),
        (Other, "nonsense\r\n\r\n", "malformed"),
        (Other, "HTTP/2.0 200 OK\r\n\r\n", "malformed"),
        (Other, "HTTP/1.1 099 OK\r\n\r\n", "malformed"),
        (Other, "HTTP/1.1 200 OK\r\na b: c\r\n\r\n", "malformed"),
        (Other, "HTTP/1.1 200 OK\r\na : c\r\n\r\n", "malformed"),
        (Other, "HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n", "malformed"),
        (Other, "HTTP/1.1 200 OK\r\na: b\0\r\n\r\n", "malformed"),
    ];
    for (asked, bytes, expected) in cases {
        check(*asked, bytes, expected);
    }
}

#[test]
fn chunks_are_read_the_same_however_they_are_split() {
    let ends = " [abc] stays";
    let cases: &[(&str, &str)] = &[
        ("2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", ends),
        ("2\r\nab\r\n1\r\nc\r\n0\r\n\r\nrest", " [abc] stays rest"),
        ("0003\r\nabc\r\n000\r\n\r\n", ends),
        ("3 \t\r\nabc\r\n0\r\n\r\n", ends),
        ("3;a=b\r\nabc\r\n0;c\r\n\r\n", ends),
        ("3 ;a=\"b\"\r\nabc\r\n0\r\n\r\n", ends),
        ("A\r\n0123456789\r\n0\r\n\r\n", " [0123456789] stays"),
        ("0\r\n\r\n", " [] stays"),
        (
            "3\r\nabc\r\n0\r\nX-A: b\r\nc:d\r\n\r\nrest",
            " +x-a=b +c=d [abc] stays rest",
        ),
        ("0\r\na: b\r\n\r\n", " +a=b [] stays"),
        ("3\r\nabc\r\n0\r\na b: c\r\n\r\n", " malformed"),
        ("3\r\nabc\r\n0\r\na: b\r\r\n\r\n", " malformed"),
        ("3\r\nabc\r\n0\r\n", " connection termination"),
        ("3\r\nab", " connection termination"),
        ("3", " connection termination"),
        ("", " connection termination"),
        ("\r\nabc\r\n0\r\n\r\n", " malformed"),
        ("x\r\nabc\r\n0\r\n\r\n", " malformed"),
        (" 3\r\nabc\r\n0\r\n\r\n", " malformed"),
        ("-3\r\nabc\r\n0\r\n\r\n", " malformed"),
        ("3 3\r\nabc\r\n0\r\n\r\n", " malformed"),
        ("3\nabc\r\n0\r\n\r\n", " malformed"),
        ("3\rabc\r\n0\r\n\r\n", " malformed"),
        ("3;a\n\r\nabc\r\n0\r\n\r\n", " malformed"),
        ("3\r\nabcd\r\n0\r\n\r\n", " malformed"),
        ("3\r\nabc\n0\r\n\r\n", " malformed"),
        ("3\r\nabc\r\n0\r\n\rx", " malformed"),
        ("10000000000000000\r\nabc", " malformed"),
        ("ffffffffffffffff\r\nabc", " connection termination"),
    ];
    for (body, expected) in cases {
        let bytes = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}");
        let expected = format!("200 transfer-encoding=chunked{expected}");
        check(Asked::Other, &bytes, &expected);
    }
}

fn check(asked: Asked, bytes: &str, expected: &str) {
    let whole = bytes.as_bytes();
    for at in 0..=whole.len() {
        let (first, second) = whole.split_at(at);
        assert_eq!(read(asked, &[first, second]), expected, "{bytes:?} at {at}");
    }
    let single: Vec<&[u8]> = whole.chunks(1).collect();
    assert_eq!(read(asked, &single), expected, "{bytes:?}");
}

#[test]
fn limits_hold() {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n";
    let fields = |count| (0..count).fold(String::new(), |all, at| all + &format!("a{at}: b\r\n"));
    let cases = [
        (
            "99 more headers",
            format!("{head}{}\r\n0\r\n\r\n", fields(99)),
            true,
        ),
        (
            "100 more headers",
            format!("{head}{}\r\n0\r\n\r\n", fields(100)),
            false,
        ),
        (
            "a long header",
            format!("{head}a: {}\r\n\r\n0\r\n\r\n", "b".repeat(60_000)),
            true,
        ),
        (
            "a longer header",
            format!("{head}a: {}\r\n\r\n0\r\n\r\n", "b".repeat(62_000)),
            false,
        ),
        ("no end", format!("{head}a: {}", "b".repeat(62_000)), false),
        (
            "100 trailers",
            format!("{head}\r\n0\r\n{}\r\n", fields(100)),
            true,
        ),
        (
            "101 trailers",
            format!("{head}\r\n0\r\n{}\r\n", fields(101)),
            false,
        ),
        (
            "a long trailer",
            format!("{head}\r\n0\r\na: {}\r\n\r\n", "b".repeat(62_000)),
            false,
        ),
        (
            "an extension",
            format!("{head}\r\n0;{}\r\n\r\n", "b".repeat(16_000)),
            true,
        ),
        (
            "a long one",
            format!("{head}\r\n0;{}\r\n\r\n", "b".repeat(17_000)),
            false,
        ),
    ];
    for (name, bytes, is_read) in cases {
        let parts: Vec<&[u8]> = bytes.as_bytes().chunks(8192).collect();
        let text = read(Asked::Other, &parts);
        assert_eq!(text.ends_with("stays"), is_read, "{name}");
        assert_eq!(text.ends_with("malformed"), !is_read, "{name}");
    }
}

#[test]
fn large_bodies_come_without_a_copy() {
    let mut unread = BytesMut::from(&b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n"[..]);
    let mut reader = Reader::new(usize::MAX, false);
    let head = reader.read(&mut unread, Asked::Other, &mut HeaderMap::new());
    let mut body = head.unwrap().unwrap().body;
    unread.extend_from_slice(&[b'a'; 50_000]);
    let at = unread.as_ptr();
    let Ok(Piece::Data(data)) = body.decode(&mut unread) else {
        panic!("there is some");
    };
    assert_eq!((data.len(), data.as_ptr()), (50_000, at));
    assert_eq!(body.left(), Some(50_000));
}

#[test]
fn reasons_and_the_case_of_names_are_kept() {
    let reason = |response: &Response<()>| {
        let reason = response.extensions().get::<ReasonPhrase>();
        reason.map(|it| String::from_utf8_lossy(it.as_bytes()).into_owned())
    };
    for (line, expected) in [
        ("200 OK", None),
        ("200 Fine", Some("Fine")),
        ("200 ", Some("")),
        ("200", Some("")),
        ("799 Whatever", Some("Whatever")),
    ] {
        for keeps_case in [false, true] {
            let mut unread =
                BytesMut::from(format!("HTTP/1.1 {line}\r\nX-aBc: d\r\n\r\n").as_bytes());
            let mut reader = Reader::new(usize::MAX, keeps_case);
            let head = reader.read(&mut unread, Asked::Other, &mut HeaderMap::new());
            let response = head.unwrap().unwrap().response;
            assert_eq!(reason(&response).as_deref(), expected, "{line}");
            if !keeps_case {
                continue;
            }
            // What is kept is what the codec writes again.
            let (mut head, ()) = response.into_parts();
            let mut parts = Request::get("/").body(()).unwrap().into_parts().0;
            parts.headers = std::mem::take(&mut head.headers);
            parts.extensions = head.extensions;
            let written = case::spell(parts, false, false).unwrap();
            let written = String::from_utf8(written).unwrap();
            assert_eq!(written, "GET / HTTP/1.1\r\nX-aBc: d\r\n\r\n");
        }
    }
}

/// Frames that come one for each poll.
struct Frames(Vec<Frame<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let next = (!self.0.is_empty()).then(|| Ok(self.0.remove(0)));
        Poll::Ready(next)
    }
}

fn frames(data: &[&'static str], trailers: &[(&'static str, &'static str)]) -> UpstreamBody {
    let data = data
        .iter()
        .map(|it| Frame::data(Bytes::from_static(it.as_bytes())));
    let mut frames: Vec<_> = data.collect();
    if !trailers.is_empty() {
        let mut map = HeaderMap::new();
        for (name, value) in trailers {
            map.append(*name, value.parse().unwrap());
        }
        frames.push(Frame::trailers(map));
    }
    UpstreamBody::Boxed(Box::pin(Frames(frames)))
}

/// All that is written of a request, or why it is not.
fn written(request: Request<UpstreamBody>, title_case: bool) -> String {
    let mut out = Outgoing::default();
    let written = match request::write(request, title_case, out.buffer()) {
        Ok(written) => written,
        Err(reason) => return format!("{reason:?}"),
    };
    let (mut upload, mut cx) = (written.upload, Context::from_waker(Waker::noop()));
    while !upload.is_ended() {
        assert!(out.has_room());
        match upload.poll_encode(title_case, &mut out, &mut cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(ResetReason::RequestBody(text))) => return text.to_string(),
            other => panic!("{other:?}"),
        }
    }
    let end = if written.is_last { "(last)" } else { "" };
    String::from_utf8_lossy(out.buffer()).replace("\r\n", "|") + end
}

#[test]
fn requests_are_written() {
    let full = |text: &'static str| UpstreamBody::Full(Bytes::from_static(text.as_bytes()));
    let none = || UpstreamBody::Empty;
    type Fields<'a> = &'a [(&'a str, &'a str)];
    let cases: Vec<(&str, &str, Fields<'_>, UpstreamBody, &str)> = vec![
        (
            "GET",
            "/a?b",
            &[("host", "h"), ("a", "")],
            none(),
            "GET /a?b HTTP/1.1|host: h|a: ||",
        ),
        (
            "GET",
            "http://h/a?b",
            &[("a", "b")],
            none(),
            "GET /a?b HTTP/1.1|a: b|host: h||",
        ),
        (
            "GET",
            "http://h?b",
            &[("host", "i")],
            none(),
            "GET /?b HTTP/1.1|host: i||",
        ),
        ("GET", "http://h", &[], none(), "GET / HTTP/1.1|host: h||"),
        ("OPTIONS", "*", &[], none(), "OPTIONS * HTTP/1.1||"),
        ("CONNECT", "h:80", &[], none(), "CONNECT h:80 HTTP/1.1||"),
        (
            "CONNECT",
            "h:80",
            &[],
            frames(&["a"], &[]),
            "CONNECT h:80 HTTP/1.1||",
        ),
        (
            "GET",
            "/",
            &[("connection", "close")],
            none(),
            "GET / HTTP/1.1|connection: close||(last)",
        ),
        // Bodies of known length.
        ("POST", "/", &[], none(), "POST / HTTP/1.1||"),
        (
            "POST",
            "/",
            &[],
            full("ab"),
            "POST / HTTP/1.1|content-length: 2||ab",
        ),
        (
            "GET",
            "/",
            &[],
            full("ab"),
            "GET / HTTP/1.1|content-length: 2||ab",
        ),
        (
            "POST",
            "/",
            &[("content-length", "2")],
            frames(&["a", "b"], &[]),
            "POST / HTTP/1.1|content-length: 2||ab",
        ),
        (
            "POST",
            "/",
            &[("content-length", "2")],
            frames(&["a", "bcd"], &[]),
            "POST / HTTP/1.1|content-length: 2||ab",
        ),
        (
            "POST",
            "/",
            &[("content-length", "3")],
            frames(&["a", "b"], &[]),
            "the body ended 1 bytes early",
        ),
        (
            "POST",
            "/",
            &[("content-length", "0")],
            none(),
            "POST / HTTP/1.1|content-length: 0||",
        ),
        // Chunks.
        (
            "POST",
            "/",
            &[],
            frames(&["a", "", "0123456789"], &[]),
            "POST / HTTP/1.1|transfer-encoding: chunked||1|a|A|0123456789|0||",
        ),
        (
            "GET",
            "/",
            &[],
            frames(&["a"], &[]),
            "GET / HTTP/1.1|transfer-encoding: chunked||1|a|0||",
        ),
        (
            "POST",
            "/",
            &[("content-length", "x")],
            frames(&["a"], &[]),
            "POST / HTTP/1.1|transfer-encoding: chunked||1|a|0||",
        ),
        (
            "POST",
            "/",
            &[("transfer-encoding", "chunked"), ("content-length", "1")],
            full("a"),
            "POST / HTTP/1.1|transfer-encoding: chunked||1|a|0||",
        ),
        (
            "POST",
            "/",
            &[("transfer-encoding", "chunked")],
            none(),
            "POST / HTTP/1.1||",
        ),
        // Trailers, where they were announced.
        (
            "POST",
            "/",
            &[("trailer", "a, b"), ("trailer", "host")],
            frames(&["x"], &[("a", "1"), ("c", "2"), ("b", "3"), ("host", "4")]),
            "POST / HTTP/1.1|trailer: a, b|trailer: host|transfer-encoding: chunked||1|x|0|a: 1|b: 3||",
        ),
        (
            "POST",
            "/",
            &[],
            frames(&["x"], &[("a", "1")]),
            "POST / HTTP/1.1|transfer-encoding: chunked||1|x|0||",
        ),
        (
            "POST",
            "/",
            &[("content-length", "2")],
            frames(&["x"], &[("a", "1")]),
            "the body ended 1 bytes early",
        ),
    ];
    for (method, uri, fields, body, expected) in cases {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(body).unwrap();
        assert_eq!(written(request, false), expected, "{method} {uri}");
    }
    let request = Request::get("/")
        .header("x-a-bc", "d")
        .body(none())
        .unwrap();
    assert_eq!(written(request, true), "GET / HTTP/1.1|X-A-Bc: d||");
}
