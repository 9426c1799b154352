//! Requests that are none: header blocks that cannot be read, and what they must not say.

use crate::frames::*;
use crate::hostile_client::{GET, open, said};

#[test]
fn header_compression() {
    let head = |block: &[u8]| vec![frame(HEADERS, WHOLE, 1, block)];
    let cases = vec![
        (
            "a field of number 0",
            head(b"\x80"),
            Outcome::Gone(&[COMPRESSION]),
        ),
        (
            "a field that nobody knows",
            head(b"\xbe"),
            Outcome::Gone(&[COMPRESSION]),
        ),
        (
            "a name that nobody knows",
            head(b"\x7e\x01a"),
            Outcome::Gone(&[COMPRESSION]),
        ),
        (
            "a number that does not end",
            head(&[0xff; 20]),
            Outcome::Gone(&[COMPRESSION]),
        ),
        (
            "a field that breaks off",
            head(b"\x82\x86\x84\x41\x05h"),
            Outcome::Gone(&[COMPRESSION]),
        ),
        (
            "a table that is too large",
            head(&[b"\x3f\xe2\x1f", GET].concat()),
            Outcome::Gone(&[COMPRESSION]),
        ),
        (
            "a table that grows in the middle",
            head(&[GET, b"\x20"].concat()),
            Outcome::Gone(&[COMPRESSION]),
        ),
        (
            "text that is no Huffman code",
            head(&[GET, b"\0\x01a\x81\0"].concat()),
            Outcome::Gone(&[COMPRESSION]),
        ),
        (
            "a smaller table",
            head(&[b"\x20", GET].concat()),
            Outcome::Fine,
        ),
    ];
    check_all(cases, said);
}

#[test]
fn requests_that_are_malformed() {
    let whole = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "h"),
    ];
    let with = |more: &[(&str, &str)]| block(&[&whole[..], more].concat());
    let without = |name: &str| {
        let mut rest = whole.to_vec();
        rest.retain(|field| field.0 != name);
        block(&rest)
    };
    let malformed = vec![
        ("an upper case name", with(&[("Name", "x")])),
        ("a name with a blank", with(&[("a b", "x")])),
        ("an empty name", with(&[("", "x")])),
        ("a value with a line's end", with(&[("a", "x\r\ny")])),
        ("an unknown pseudo-header", with(&[(":other", "x")])),
        ("a response's pseudo-header", with(&[(":status", "200")])),
        ("a pseudo-header twice", with(&[(":path", "/x")])),
        (
            "a pseudo-header after others",
            block(&[&whole[..3], &[("a", "b"), whole[3]]].concat()),
        ),
        ("no method", without(":method")),
        ("no scheme", without(":scheme")),
        ("no path", without(":path")),
        (
            "an empty path",
            block(&[whole[0], whole[1], (":path", ""), whole[3]]),
        ),
        ("connection", with(&[("connection", "close")])),
        (
            "transfer-encoding",
            with(&[("transfer-encoding", "chunked")]),
        ),
        ("te", with(&[("te", "gzip")])),
        (
            "CONNECT with a path",
            block(&[(":method", "CONNECT"), whole[2], whole[3]]),
        ),
        (
            "CONNECT without authority",
            block(&[(":method", "CONNECT")]),
        ),
        (
            "a protocol without CONNECT",
            with(&[(":protocol", "websocket")]),
        ),
        ("a length and no body", with(&[("content-length", "5")])),
        ("a length that is none", with(&[("content-length", "x")])),
    ];
    let mut cases: Vec<Case> = malformed
        .into_iter()
        .map(|(name, block)| {
            let script = vec![frame(HEADERS, WHOLE, 1, &block)];
            (name, script, Outcome::Broken(1, PROTOCOL))
        })
        .collect();
    let sized = |length| {
        frame(
            HEADERS,
            END_HEADERS,
            1,
            &with(&[("content-length", length)]),
        )
    };
    let trailers = |flags, block: &[u8]| vec![open(1), frame(HEADERS, flags, 1, block)];
    cases.extend([
        (
            "te: trailers",
            vec![frame(HEADERS, WHOLE, 1, &with(&[("te", "trailers")]))],
            Outcome::Fine,
        ),
        (
            "less than the length",
            vec![sized("5"), frame(DATA, END_STREAM, 1, b"four")],
            Outcome::Broken(1, PROTOCOL),
        ),
        (
            "more than the length",
            vec![sized("5"), frame(DATA, 0, 1, b"longer")],
            Outcome::Broken(1, PROTOCOL),
        ),
        (
            "as much as the length",
            vec![sized("5"), frame(DATA, END_STREAM, 1, b"great")],
            Outcome::Fine,
        ),
        ("trailers", trailers(WHOLE, &field("a", "b")), Outcome::Fine),
        (
            "trailers that do not end",
            trailers(END_HEADERS, &field("a", "b")),
            Outcome::Broken(1, PROTOCOL),
        ),
        (
            "trailers with a path",
            trailers(WHOLE, &field(":path", "/")),
            Outcome::Broken(1, PROTOCOL),
        ),
        (
            "a stream that depends on itself",
            vec![open(1), frame(PRIORITY, 0, 1, b"\0\0\0\x01\0")],
            Outcome::Broken(1, PROTOCOL),
        ),
    ]);
    check_all(cases, said);
}
