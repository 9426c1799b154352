//! Which fields make a head, and how heads are written.

use bytes::BytesMut;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Version, header};

mod interop;

use super::{
    Protocol, content_length, request, response, trailers, write_request, write_response,
    write_trailers,
};
use crate::hpack::{Block, Decoder, Encoder};

/// A block of these fields, as it comes off the wire.
fn block(fields: &[(&str, &str)]) -> Block {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for string in [name, value] {
            bytes.push(u8::try_from(string.len()).unwrap());
            bytes.extend_from_slice(string.as_bytes());
        }
    }
    Decoder::new(0).decode(&bytes, usize::MAX).unwrap()
}

const GET: (&str, &str) = (":method", "GET");
const CONNECT: (&str, &str) = (":method", "CONNECT");
const HTTP: (&str, &str) = (":scheme", "http");
const HOST: (&str, &str) = (":authority", "host:1");
const PATH: (&str, &str) = (":path", "/a?b");
const WEBSOCKET: (&str, &str) = (":protocol", "websocket");
const OK: (&str, &str) = (":status", "200");

#[test]
fn requests() {
    let accepted: [(&[_], &str); 5] = [
        (&[GET, HTTP, HOST, PATH], "GET http://host:1/a?b"),
        (&[GET, HTTP, PATH], "GET /a?b"),
        (&[(":method", "OPTIONS"), HTTP, (":path", "*")], "OPTIONS *"),
        (&[CONNECT, HOST], "CONNECT host:1"),
        (
            &[CONNECT, HTTP, HOST, PATH, WEBSOCKET],
            "CONNECT http://host:1/a?b",
        ),
    ];
    for (fields, expected) in accepted {
        let mut fields = fields.to_vec();
        fields.push(("accept", "a"));
        let request = request(block(&fields), true).unwrap();
        let line = format!("{} {}", request.method(), request.uri());
        assert_eq!(line, expected);
        assert_eq!(request.version(), Version::HTTP_2);
        assert_eq!(request.headers()["accept"], "a");
        let protocol = request.extensions().get().map(Protocol::as_str);
        assert_eq!(protocol, fields.contains(&WEBSOCKET).then_some("websocket"));
    }
}

#[test]
fn fields_that_make_no_request() {
    let refused: [(&[_], &str); 14] = [
        (&[HTTP, HOST, PATH], "no :method"),
        (&[GET, HOST, PATH], "no :scheme"),
        (&[GET, HTTP, HOST], "no :path"),
        (&[GET, HTTP], "no :path"),
        (&[GET, HTTP, HOST, (":path", "")], "empty :path"),
        (&[GET, HTTP, HOST, PATH, OK], ":status in a request"),
        (
            &[GET, HTTP, HOST, PATH, WEBSOCKET],
            ":protocol without CONNECT",
        ),
        (&[CONNECT, HTTP, HOST], ":scheme in CONNECT"),
        (&[CONNECT, HOST, PATH], ":path in CONNECT"),
        (&[CONNECT, HOST, PATH, WEBSOCKET], "no :scheme"),
        (&[CONNECT, HOST, HTTP, WEBSOCKET], "no :path"),
        (
            &[GET, HTTP, (":authority", "a b"), PATH],
            "invalid :authority",
        ),
        (
            &[GET, HTTP, ("a", "b"), PATH],
            "pseudo-header after a header",
        ),
        (
            &[GET, HTTP, PATH, ("upgrade", "a")],
            "connection-specific header",
        ),
    ];
    for (fields, why) in refused {
        assert_eq!(request(block(fields), true).unwrap_err(), why, "{fields:?}");
    }
    let fields = [CONNECT, HTTP, HOST, PATH, WEBSOCKET];
    let why = request(block(&fields), false).unwrap_err();
    assert_eq!(why, ":protocol, which was not allowed");
}

#[test]
fn responses_and_trailers() {
    let head = response(block(&[(":status", "103"), ("a", "b")])).unwrap();
    assert_eq!(head.status(), 103);
    assert_eq!(head.version(), Version::HTTP_2);
    assert_eq!(head.headers()["a"], "b");
    assert_eq!(response(block(&[("a", "b")])).unwrap_err(), "no :status");
    assert!(response(block(&[OK, PATH])).is_err());
    assert!(response(block(&[OK, OK])).is_err());

    assert_eq!(trailers(block(&[("a", "b")])).unwrap()["a"], "b");
    assert!(trailers(block(&[OK, ("a", "b")])).is_err());
    assert!(trailers(block(&[GET])).is_err());
    assert!(trailers(block(&[("connection", "close")])).is_err());
}

#[test]
fn content_lengths() {
    let cases: [(&[_], _); 9] = [
        (&[], Some(None)),
        (&["0"], Some(Some(0))),
        (&["12"], Some(Some(12))),
        (
            &["9999999999999999999"],
            Some(Some(9_999_999_999_999_999_999)),
        ),
        (&["12", "12"], Some(Some(12))),
        (&["12", "13"], None),
        (&["12, 12"], None),
        (&[""], None),
        (&["10000000000000000000"], None),
    ];
    for (values, expected) in cases {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::CONTENT_LENGTH, value.parse().unwrap());
        }
        assert_eq!(content_length(&headers).ok(), expected, "{values:?}");
    }
}

/// What a peer reads of a request that is written.
fn sent(head: &Request<()>) -> Result<Request<()>, &'static str> {
    let mut out = BytesMut::new();
    let mut encoder = Encoder::new();
    if let Err(why) = write_request(&mut encoder, head, &mut out) {
        assert!(out.is_empty());
        return Err(why);
    }
    let block = Decoder::new(4096).decode(&out, usize::MAX).unwrap();
    request(block, true)
}

#[test]
fn requests_are_written() {
    let cases = [
        ("GET", "http://host/a?b", Ok("GET http://host/a?b")),
        ("PUT", "https://host", Ok("PUT https://host/")),
        ("OPTIONS", "*", Ok("OPTIONS *")),
        ("GET", "/a", Ok("GET /a")),
        ("CONNECT", "host:80", Ok("CONNECT host:80")),
        ("CONNECT", "/a", Err("CONNECT without an authority")),
        ("GET", "host:80", Err("an address without a scheme")),
    ];
    for (method, uri, expected) in cases {
        let head = Request::builder()
            .method(method)
            .uri(uri)
            .header("accept", "a")
            .header("accept", "b")
            .body(())
            .unwrap();
        let sent = sent(&head).map(|sent| {
            assert_eq!(sent.headers(), head.headers());
            format!("{} {}", sent.method(), sent.uri())
        });
        assert_eq!(sent, expected.map(str::to_owned), "{method} {uri}");
    }
}

#[test]
fn requests_that_cannot_be_written() {
    let mut head = Request::new(());
    *head.version_mut() = Version::HTTP_2;
    assert!(sent(&head).is_err());
    *head.version_mut() = Version::HTTP_11;
    assert!(sent(&head).is_ok());
    for (name, value) in [("connection", "a"), ("te", "gzip"), ("upgrade", "a")] {
        let head = Request::builder().header(name, value).body(()).unwrap();
        assert_eq!(sent(&head).unwrap_err(), "malformed headers");
    }
}

#[test]
fn extended_connect_is_written() {
    let protocol = Protocol(HeaderValue::from_static("websocket"));
    let head = Request::connect("https://host/chat")
        .extension(protocol.clone())
        .body(())
        .unwrap();
    let sent = sent(&head).unwrap();
    assert_eq!(sent.uri(), "https://host/chat");
    assert_eq!(sent.extensions().get(), Some(&protocol));
}

#[test]
fn responses_and_trailers_are_written() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
    let mut headers = HeaderMap::new();
    headers.insert("grpc-status", HeaderValue::from_static("0"));
    for status in [StatusCode::OK, StatusCode::IM_A_TEAPOT] {
        let mut out = BytesMut::new();
        write_response(&mut encoder, status, &headers, &mut out).unwrap();
        let head = response(decoder.decode(&out, usize::MAX).unwrap()).unwrap();
        assert_eq!((head.status(), head.headers()), (status, &headers));

        let mut out = BytesMut::new();
        write_trailers(&mut encoder, &headers, &mut out).unwrap();
        let block = decoder.decode(&out, usize::MAX).unwrap();
        assert_eq!(trailers(block).unwrap(), headers);
    }
    headers.insert(
        header::TRANSFER_ENCODING,
        HeaderValue::from_static("chunked"),
    );
    let mut out = BytesMut::new();
    assert!(write_response(&mut encoder, StatusCode::OK, &headers, &mut out).is_err());
    assert!(write_trailers(&mut encoder, &headers, &mut out).is_err());
    assert!(out.is_empty());
}
