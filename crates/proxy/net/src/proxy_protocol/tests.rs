#![allow(clippy::unwrap_used)]

use super::*;

const V4: &[u8] = b"\x21\x11\x00\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x04\x57\x08\xae";

fn v2(rest: &[u8]) -> Vec<u8> {
    [&SIGNATURE[..], rest].concat()
}

#[test]
fn a_line_is_read() {
    /// Source and destination; none inside where the line says nothing of them.
    type Read = Option<Option<(&'static str, &'static str)>>;
    let cases: [(&str, Read); 11] = [
        (
            "PROXY TCP4 1.2.3.4 5.6.7.8 11 22\r\n",
            Some(Some(("1.2.3.4:11", "5.6.7.8:22"))),
        ),
        (
            "PROXY TCP6 ::1 ::2 11 22\r\n",
            Some(Some(("[::1]:11", "[::2]:22"))),
        ),
        ("PROXY UNKNOWN\r\n", Some(None)),
        ("PROXY UNKNOWN whatever comes\r\n", Some(None)),
        ("PROXY TCP4 ::1 ::2 11 22\r\n", None),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 11\r\n", None),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 11 22 33\r\n", None),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 11 65536\r\n", None),
        ("PROXY UDP4 1.2.3.4 5.6.7.8 11 22\r\n", None),
        ("PROXY \r\n", None),
        ("PROXY TCP4  1.2.3.4 5.6.7.8 11 22\r\n", None),
    ];
    for (line, expected) in cases {
        let read = inspect_proxy(line.as_bytes());
        let addresses = read.map(|read| match read {
            Inspection::Is(header) => header.addresses,
            other => panic!("{line}: {other:?}"),
        });
        let expected = expected.map(|it| {
            it.map(|(source, destination)| (source.parse().unwrap(), destination.parse().unwrap()))
        });
        assert_eq!(addresses.ok(), expected, "{line}");
    }
}

#[test]
fn a_header_is_found_at_every_cut() {
    let line = b"PROXY TCP4 1.2.3.4 5.6.7.8 11 22\r\n".to_vec();
    for header in [line, v2(V4)] {
        for cut in 0..header.len() {
            assert_eq!(inspect_proxy(&header[..cut]), Ok(Inspection::More), "{cut}");
        }
        let more = [&header[..], b"GET /"].concat();
        for bytes in [&header, &more] {
            let Ok(Inspection::Is(found)) = inspect_proxy(bytes) else {
                panic!("not found");
            };
            assert_eq!(found.length, header.len());
        }
    }
}

#[test]
fn something_else_is_none() {
    for bytes in [
        &b"GET / HTTP/1.1"[..],
        b"PRI * ",
        b"PROXX",
        b"\r\n\r\nGET",
        b"\x16\x03",
    ] {
        assert_eq!(inspect_proxy(bytes), Ok(Inspection::No));
    }
}

#[test]
fn a_line_has_an_end() {
    let mut line = b"PROXY TCP4 ".to_vec();
    line.resize(V1_MAX - 1, b'1');
    assert_eq!(inspect_proxy(&line), Ok(Inspection::More));
    line.push(b'1');
    assert_eq!(inspect_proxy(&line), Err(MalformedHeader(ProxyVersion::V1)));
}

#[test]
fn the_binary_form_is_read() {
    let mut with_entries = V4.to_vec();
    with_entries[3] = 12 + 5;
    with_entries.extend_from_slice(b"\xea\x00\x02ab");
    let Ok(Inspection::Is(header)) = inspect_proxy(&v2(&with_entries)) else {
        panic!("not found");
    };
    let addresses = (
        "1.2.3.4:1111".parse().unwrap(),
        "5.6.7.8:2222".parse().unwrap(),
    );
    assert_eq!(header.addresses, Some(addresses));
    assert_eq!(header.entries, vec![(0xea, b"ab".to_vec())]);
    for (rest, addresses) in [
        (&b"\x20\x00\x00\x00"[..], Ok(None)),
        (b"\x20\x11\x00\x01x", Ok(None)),
        // cut entries, another command, another version, another transport, too short, a Unix socket
        (
            b"\x21\x11\x00\x0d\x01\x02\x03\x04\x05\x06\x07\x08\x04\x57\x08\xae\xea",
            Err(()),
        ),
        (b"\x22\x11\x00\x00", Err(())),
        (b"\x31\x11\x00\x00", Err(())),
        (b"\x21\x13\x00\x0c", Err(())),
        (b"\x21\x11\x00\x04abcd", Err(())),
        (b"\x21\x31\x00\x00", Err(())),
    ] {
        let read = match inspect_proxy(&v2(rest)) {
            Ok(Inspection::Is(header)) => Ok(header.addresses),
            Err(_) => Err(()),
            Ok(other) => panic!("{rest:?}: {other:?}"),
        };
        assert_eq!(read, addresses, "{rest:?}");
    }
}
