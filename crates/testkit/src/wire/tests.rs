#![allow(clippy::unwrap_used)]

use super::{Framing, Wire};

async fn wire_of(bytes: &[u8]) -> Wire<tokio::io::DuplexStream> {
    let (near, far) = tokio::io::duplex(bytes.len().max(1));
    let mut sender = Wire::new(near);
    sender.write(bytes).await.unwrap();
    Wire::new(far)
}

#[tokio::test]
async fn heads_keep_order_case_and_repeats() {
    let mut wire = wire_of(b"GET /a HTTP/1.1\r\nHost: x\r\nB: 1\r\nA: 2\r\nb:3\r\n\r\nrest").await;
    let head = wire.read_head().await.unwrap().unwrap();
    assert_eq!(head.start, "GET /a HTTP/1.1");
    assert_eq!(
        head.headers.iter().collect::<Vec<_>>(),
        [("Host", "x"), ("B", "1"), ("A", "2"), ("b", "3")]
    );
    assert_eq!(head.headers.all("b").collect::<Vec<_>>(), ["1", "3"]);
    assert_eq!(&wire.read_some().await.unwrap()[..], b"rest");
    assert!(wire.read_head().await.unwrap().is_none());
}

#[tokio::test]
async fn bodies_end_where_their_framing_says() {
    let cases: [(&[u8], Framing, &[u8], usize); 4] = [
        (b"hello!", Framing::Length(5), b"hello", 0),
        (
            b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n!",
            Framing::Chunked,
            b"abcde",
            0,
        ),
        (
            b"1\r\nz\r\n0\r\nT: 1\r\nU: 2\r\n\r\n!",
            Framing::Chunked,
            b"z",
            2,
        ),
        (b"all of it", Framing::UntilClose, b"all of it", 0),
    ];
    for (bytes, framing, body, trailers) in cases {
        let mut wire = wire_of(bytes).await;
        let (read, fields) = wire.read_body(framing).await.unwrap();
        assert_eq!(&read[..], body, "{framing:?}");
        assert_eq!(fields.len(), trailers, "{framing:?}");
    }
}

#[tokio::test]
async fn a_stream_that_ends_early_is_an_error() {
    for (bytes, framing) in [
        (&b"hel"[..], Framing::Length(5)),
        (b"5\r\nhel", Framing::Chunked),
    ] {
        let error = wire_of(bytes).await.read_body(framing).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    }
    let error = wire_of(b"GET / HT").await.read_head().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
}
