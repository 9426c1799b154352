//! What is answered to heads that are none.

use super::{CodecRefusal, is_codecs};

#[test]
fn a_head_is_refused_for_what_is_wrong_with_it() {
    for (head, status, details) in [
        (
            "G@T / HTTP/1.1\r\nhost: a\r\n\r\n",
            400,
            "http1.codec_error",
        ),
        ("GET / HTTP/1.1\r\nhost a\r\n\r\n", 400, "http1.codec_error"),
        ("\r\nGET / HTTP/1.2\r\nhost: a\r\n\r\n", 426, "low_version"),
        ("GET / HTTP/2.0\r\nhost: a\r\n\r\n", 426, "low_version"),
        ("GET /\r\nhost: a\r\n\r\n", 426, "low_version"),
        (
            "GET / http/1.1\r\nhost: a\r\n\r\n",
            400,
            "http1.codec_error",
        ),
        (
            "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n",
            400,
            "http1.codec_error",
        ),
        ("BAD\r\n\r\n", 400, "http1.codec_error"),
        ("PRI * HTTP/2.0\r\n\r\n", 400, "http1.codec_error"),
        (
            "GET / HTTP/1.1\r\nx: a\u{1}b\r\n\r\n",
            400,
            "http1.invalid_characters",
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
            501,
            "http1.invalid_transfer_encoding",
        ),
        (
            "POST / HTTP/1.1\r\ntransfer-encoding: identity\r\ncontent-length: 1\r\n\r\n",
            400,
            "http1.content_length_and_chunked_not_allowed",
        ),
    ] {
        let refusal = CodecRefusal::of(head.as_bytes(), false);
        let found = (refusal.status, refusal.details);
        assert_eq!(found, (status, details), "{head:?}");
        assert_eq!(CodecRefusal::of(head.as_bytes(), true).status, 431);
    }
}

#[test]
fn the_codecs_answer_is_told_from_others() {
    let codecs = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\
                  date: Sat, 28 Nov 2026 05:28:56 GMT\r\n\r\n";
    assert!(is_codecs(codecs.as_bytes()));
    for other in [
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nserver: a\r\n\r\n",
        "HTTP/1.1 400 Bad Request\r\ncontent-length: 3\r\n\r\nbad",
    ] {
        assert!(!is_codecs(other.as_bytes()), "{other:?}");
    }
}
