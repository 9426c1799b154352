//! The examples of RFC 7541, appendix C; what is refused; and that what is written is read again.

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::{Block, DecodeError, Decoder, Encoder, huffman};

/// A limit that nothing reaches.
const NO_LIMIT: usize = usize::MAX;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .chars()
        .filter(|digit| !digit.is_whitespace())
        .map(|digit| digit.to_digit(16).unwrap() as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

/// What is in a block, a line for each field.
fn lines(block: &Block) -> String {
    let pseudo = &block.pseudo;
    let mut lines = String::new();
    let mut line = |name: &str, value: &str| {
        lines.push_str(name);
        lines.push_str(": ");
        lines.push_str(value);
        lines.push('\n');
    };
    if let Some(method) = &pseudo.method {
        line(":method", method.as_str());
    }
    if let Some(scheme) = &pseudo.scheme {
        line(":scheme", scheme.as_str());
    }
    if let Some(path) = &pseudo.path {
        line(":path", path.as_str());
    }
    if let Some(authority) = &pseudo.authority {
        line(":authority", authority.as_str());
    }
    if let Some(protocol) = &pseudo.protocol {
        line(":protocol", protocol.to_str().unwrap());
    }
    if let Some(status) = &pseudo.status {
        line(":status", status.as_str());
    }
    for (name, value) in &block.headers {
        line(name.as_str(), &String::from_utf8_lossy(value.as_bytes()));
    }
    lines
}

/// Blocks that one decoder reads, with the fields and the size of the table after each.
fn check(max_table_size: usize, blocks: &[(&str, &str, usize)]) {
    let mut decoder = Decoder::new(max_table_size);
    for (hex, fields, table) in blocks {
        let block = decoder.decode(&bytes(hex), NO_LIMIT).unwrap();
        assert_eq!(lines(&block), *fields, "{hex}");
        assert_eq!(decoder.table_size(), *table, "{hex}");
        assert_eq!(block.malformed, None);
        assert!(!block.over_size);
    }
}

const REQUESTS: [(&str, usize); 3] = [
    (
        ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\n",
        57,
    ),
    (
        ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\n\
         cache-control: no-cache\n",
        110,
    ),
    (
        ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\n\
         custom-key: custom-value\n",
        164,
    ),
];

const RESPONSES: [(&str, usize); 3] = [
    (
        ":status: 302\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\n\
         location: https://www.example.com\n",
        222,
    ),
    (
        ":status: 307\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\n\
         location: https://www.example.com\n",
        222,
    ),
    (
        ":status: 200\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:22 GMT\n\
         location: https://www.example.com\ncontent-encoding: gzip\n\
         set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1\n",
        215,
    ),
];

fn check_examples(max_table_size: usize, hex: [&str; 3], expected: [(&str, usize); 3]) {
    let blocks = [0, 1, 2].map(|nth| (hex[nth], expected[nth].0, expected[nth].1));
    check(max_table_size, &blocks);
}

#[test]
fn examples_of_representations() {
    check(
        4096,
        &[(
            "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
            "custom-key: custom-header\n",
            55,
        )],
    );
    check(
        4096,
        &[
            (
                "040c 2f73 616d 706c 652f 7061 7468",
                ":path: /sample/path\n",
                0,
            ),
            (
                "1008 7061 7373 776f 7264 0673 6563 7265 74",
                "password: secret\n",
                0,
            ),
            ("82", ":method: GET\n", 0),
        ],
    );
}

#[test]
fn examples_of_requests() {
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    check_examples(4096, plain, REQUESTS);
    let coded = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    check_examples(4096, coded, REQUESTS);
}

#[test]
fn examples_of_responses() {
    let plain = [
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032
         303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63
         6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0
         5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851
         5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
    ];
    check_examples(256, plain, RESPONSES);
    let coded = [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b
         ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad
         94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160
         65c0 03ed 4ee5 b106 3d50 07",
    ];
    check_examples(256, coded, RESPONSES);
}

#[test]
fn what_is_not_a_block_ends_the_connection() {
    use DecodeError::{Compression, Field};
    let refused = [
        ("80", Compression("no such table entry")),
        ("be", Compression("no such table entry")),
        ("7f00 00", Compression("no such table entry")),
        ("ff", Compression("header block ends early")),
        ("ff80", Compression("header block ends early")),
        ("ff80 8080 8000", Compression("integer too large")),
        (
            "ffff ffff ffff ffff ffff 7f",
            Compression("integer too large"),
        ),
        ("40", Compression("header block ends early")),
        ("4001 61", Compression("header block ends early")),
        ("4002 61", Compression("string beyond the header block")),
        (
            "4001 6102 61",
            Compression("string beyond the header block"),
        ),
        (
            "4001 617f ffff ff7f",
            Compression("string beyond the header block"),
        ),
        // Padding of eight bits, padding that is not of ones, and the end of a string in it.
        ("0f0c 82 17ff", Compression("bad Huffman code")),
        ("0f0c 81 10", Compression("bad Huffman code")),
        ("0f0c 84 ffff ffff", Compression("bad Huffman code")),
        ("0f0c 85 17ff ffff ff", Compression("bad Huffman code")),
        // Table sizes: larger than allowed, and after a field.
        ("3fe2 1f", Compression("bad table size update")),
        ("8220", Compression("bad table size update")),
        // Names and values.
        ("4000 0161", Field("invalid header name")),
        ("4001 4101 61", Field("invalid header name")),
        ("4003 6120 6201 61", Field("invalid header name")),
        ("4002 3a61 0161", Field("unknown pseudo-header")),
        ("4001 6101 0a", Field("invalid header value")),
        ("4001 6101 7f", Field("invalid header value")),
        ("0401 ff", Field("invalid header value")),
        ("0200", Field("invalid :method")),
        ("0203 4720 54", Field("invalid :method")),
        ("0802 3230", Field("invalid :status")),
        ("0803 3230 61", Field("invalid :status")),
    ];
    for (hex, error) in refused {
        let result = Decoder::new(4096).decode(&bytes(hex), NO_LIMIT);
        assert_eq!(result.unwrap_err(), error, "{hex}");
    }
}

#[test]
fn what_is_not_a_message_ends_the_stream() {
    let header = "4001 6101 61";
    let cases = [
        (header.to_owned() + "82", "pseudo-header after a header"),
        ("8282".to_owned(), "pseudo-header twice"),
        ("8283".to_owned(), "pseudo-header twice"),
        ("81".to_owned(), "invalid :authority"),
        ("0101 20".to_owned(), "invalid :authority"),
        ("0400".to_owned(), "empty :path"),
        ("0402 2361".to_owned(), "empty :path"),
        ("0402 2f20".to_owned(), "invalid :path"),
        ("0601 20".to_owned(), "invalid :scheme"),
        ("b9".to_owned(), "connection-specific header"),
        ("0f2a 00".to_owned(), "connection-specific header"),
        (field("connection", "close"), "connection-specific header"),
        (field("keep-alive", ""), "connection-specific header"),
        (field("proxy-connection", "a"), "connection-specific header"),
        (field("upgrade", "h2c"), "connection-specific header"),
        (field("te", "gzip"), "connection-specific header"),
    ];
    for (hex, why) in cases {
        // The table follows all the same.
        let mut decoder = Decoder::new(4096);
        let block = bytes(&(hex.clone() + "4001 6201 62"));
        let block = decoder.decode(&block, NO_LIMIT).unwrap();
        assert_eq!(block.malformed, Some(why), "{hex}");
        let block = decoder.decode(&[0xbe], NO_LIMIT).unwrap();
        assert_eq!(lines(&block), "b: b\n", "{hex}");
    }
    let block = bytes(&field("te", "trailers"));
    let block = Decoder::new(4096).decode(&block, NO_LIMIT).unwrap();
    assert_eq!(block.malformed, None);
}

/// A field in no table.
fn field(name: &str, value: &str) -> String {
    let mut hex = "00".to_owned();
    for string in [name, value] {
        hex.push_str(&format!("{:02x}", string.len()));
        for byte in string.bytes() {
            hex.push_str(&format!("{byte:02x}"));
        }
    }
    hex
}

#[test]
fn what_passes_the_limit_is_not_kept_but_goes_into_the_table() {
    let mut decoder = Decoder::new(4096);
    let block = bytes("82 4001 6101 61 4001 6201 62 4001 6301 63");
    let block = decoder.decode(&block, 42 + 34 + 33).unwrap();
    assert!(block.over_size);
    assert_eq!(lines(&block), ":method: GET\na: a\n");
    let block = decoder.decode(&bytes("be bf c0"), 3 * 34).unwrap();
    assert!(!block.over_size);
    assert_eq!(lines(&block), "c: c\nb: b\na: a\n");
}

#[test]
fn more_names_than_a_map_has_room_for() {
    let mut block = Vec::new();
    for nth in 0..40_000 {
        block.extend_from_slice(b"\0\x06");
        block.extend_from_slice(format!("a{nth:05}").as_bytes());
        block.push(0);
    }
    let block = Decoder::new(4096).decode(&block, NO_LIMIT).unwrap();
    assert!(block.over_size);
}

#[test]
fn sizes_of_the_table() {
    let mut decoder = Decoder::new(100);
    decoder
        .decode(&bytes("4001 6101 61 4001 6201 62"), NO_LIMIT)
        .unwrap();
    assert_eq!(decoder.table_size(), 68);
    // Only the newer one is left.
    decoder.decode(&bytes("3f0f"), NO_LIMIT).unwrap();
    assert_eq!(decoder.table_size(), 34);
    let block = decoder.decode(&bytes("be"), NO_LIMIT).unwrap();
    assert_eq!(lines(&block), "b: b\n");
    // One larger than the table leaves it empty.
    let large = "41".to_owned() + "10" + &"61".repeat(16);
    decoder.decode(&bytes(&large), NO_LIMIT).unwrap();
    assert_eq!(decoder.table_size(), 0);
    // Two updates, of which the first only empties it.
    decoder
        .decode(&bytes("20 3f45 4001 6101 61"), NO_LIMIT)
        .unwrap();
    assert_eq!(decoder.table_size(), 34);
}

#[test]
fn huffman_code_of_every_byte() {
    let mut random = Random(1);
    let mut strings: Vec<Vec<u8>> = (0..=255_u8).map(|byte| vec![byte; 3]).collect();
    strings.push((0..=255).collect());
    strings.extend((0..200).map(|length| (0..length).map(|_| random.next() as u8).collect()));
    let (mut coded, mut decoded) = (Vec::new(), Vec::new());
    for string in strings {
        coded.clear();
        huffman::encode(&string, &mut coded);
        huffman::decode(&coded, &mut decoded).unwrap();
        assert_eq!(decoded, string);
    }
}

/// Numbers that look as if by chance, and are the same each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        self.0 >> 33
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

fn random_headers(random: &mut Random) -> HeaderMap {
    const NAMES: [&str; 12] = [
        "accept",
        "accept-encoding",
        "authorization",
        "content-length",
        "cookie",
        "set-cookie",
        "user-agent",
        "x-custom",
        "x-request-id",
        "a",
        "x-b3-traceid",
        "te",
    ];
    let mut headers = HeaderMap::new();
    for _ in 0..random.below(12) {
        let name = NAMES[random.below(12) as usize];
        let value = match (name, random.below(8)) {
            ("te", _) => "trailers".to_owned(),
            (_, 0) => String::new(),
            (_, 1) => "gzip, deflate".to_owned(),
            (_, 2) => "x".repeat(random.below(3000) as usize),
            (_, 3 | 4) => random.next().to_string(),
            _ => "v".repeat(random.below(4) as usize * 13),
        };
        let mut value = HeaderValue::try_from(value).unwrap();
        value.set_sensitive(random.below(20) == 0);
        headers.append(HeaderName::from_static(name), value);
    }
    headers
}

#[test]
fn what_is_written_is_read() {
    const STATUS: [u16; 6] = [200, 204, 304, 418, 429, 599];
    let mut random = Random(7);
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
    let mut out = BytesMut::new();
    for _ in 0..5_000 {
        for _ in 0..random.below(30).saturating_sub(27) {
            encoder.set_max_table_size(random.below(6000) as usize);
        }
        let headers = random_headers(&mut random);
        let path = format!("/{}", random.below(40));
        let status = StatusCode::from_u16(STATUS[random.below(6) as usize]).unwrap();
        let method = [Method::GET, Method::PUT, Method::POST][random.below(3) as usize].clone();
        let protocol = HeaderValue::from_static("websocket");
        out.clear();
        encoder.begin(&mut out);
        encoder.method(&method, &mut out);
        encoder.scheme("https", &mut out);
        encoder.authority("example.com:80", &mut out);
        encoder.path(&path, &mut out);
        encoder.status(status, &mut out);
        encoder.protocol(&protocol, &mut out);
        encoder.fields(&headers, &mut out);

        let block = decoder.decode(&out, NO_LIMIT).unwrap();
        assert_eq!(block.malformed, None);
        assert_eq!(block.headers, headers);
        assert_eq!(block.pseudo.method, Some(method));
        assert_eq!(block.pseudo.scheme.as_ref().unwrap().as_str(), "https");
        assert_eq!(
            block.pseudo.authority.as_ref().unwrap().as_str(),
            "example.com:80"
        );
        assert_eq!(block.pseudo.path.as_ref().unwrap().as_str(), path);
        assert_eq!(block.pseudo.status, Some(status));
        assert_eq!(block.pseudo.protocol, Some(protocol));
        assert_eq!(decoder.table_size(), encoder.table_size());
    }
}

/// The bytes of one field, as the block that it is.
fn written(encoder: &mut Encoder, name: &'static str, value: &'static str) -> Vec<u8> {
    let mut out = BytesMut::new();
    encoder.begin(&mut out);
    let name = HeaderName::from_static(name);
    encoder.field(&name, &HeaderValue::from_static(value), &mut out);
    out.to_vec()
}

#[test]
fn only_what_is_sent_again_goes_into_the_table() {
    let mut encoder = Encoder::new();
    assert_eq!(written(&mut encoder, "accept", "b"), b"\x0f\x04\x01b");
    assert_eq!(written(&mut encoder, "accept", "b"), b"\x53\x01b");
    assert_eq!(written(&mut encoder, "accept", "b"), b"\xbe");
    // The name of a field whose value is never the same.
    assert_eq!(written(&mut encoder, "x-id", "1"), b"\0\x04x-id\x011");
    assert_eq!(written(&mut encoder, "x-id", "2"), b"\x40\x04x-id\x012");
    assert_eq!(written(&mut encoder, "x-id", "3"), b"\x0f\x2f\x013");
    assert_eq!(written(&mut encoder, "accept", "b"), b"\xbf");
}

#[test]
fn fields_of_the_static_table_take_a_byte() {
    let mut encoder = Encoder::new();
    assert_eq!(
        written(&mut encoder, "accept-encoding", "gzip, deflate"),
        b"\x90"
    );
    assert_eq!(written(&mut encoder, "accept", ""), b"\x93");
    assert_eq!(written(&mut encoder, "accept-encoding", ""), b"\x0f\x01\0");
    let mut out = BytesMut::new();
    for method in [Method::GET, Method::POST] {
        encoder.method(&method, &mut out);
    }
    encoder.path("/", &mut out);
    encoder.scheme("http", &mut out);
    encoder.scheme("https", &mut out);
    for status in [200, 204, 206, 304, 400, 404, 500] {
        encoder.status(StatusCode::from_u16(status).unwrap(), &mut out);
    }
    let expected = [
        0x82, 0x83, 0x84, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b, 0x8c, 0x8d, 0x8e,
    ];
    assert_eq!(out[..], expected);
}

#[test]
fn secrets_never_go_into_a_table() {
    let mut encoder = Encoder::new();
    for _ in 0..3 {
        assert_eq!(
            written(&mut encoder, "authorization", "a"),
            b"\x1f\x08\x01a"
        );
        assert_eq!(written(&mut encoder, "set-cookie", "a"), b"\x1f\x28\x01a");
        assert_eq!(written(&mut encoder, "cookie", "a"), b"\x1f\x11\x01a");
    }
    assert_eq!(encoder.table_size(), 0);
    // Whoever forwards it has to know.
    let block = written(&mut encoder, "authorization", "a");
    let block = Decoder::new(4096).decode(&block, NO_LIMIT).unwrap();
    assert!(block.headers["authorization"].is_sensitive());
}

#[test]
fn table_sizes_are_told_with_the_next_block() {
    let mut encoder = Encoder::new();
    for _ in 0..2 {
        written(&mut encoder, "accept", "b");
    }
    encoder.set_max_table_size(1 << 20);
    assert_eq!(written(&mut encoder, "accept", "b"), b"\xbe");
    encoder.set_max_table_size(0);
    encoder.set_max_table_size(1 << 20);
    let block = written(&mut encoder, "accept", "b");
    assert_eq!(block, b"\x20\x3f\xe1\x1f\x53\x01b");
    encoder.set_max_table_size(30);
    assert_eq!(written(&mut encoder, "accept", "b"), b"\x3e\x0f\x04\x01b");
    assert_eq!(encoder.table_size(), 0);
}
