//! The `h2` crate as the other end: it reads what we write, we read what it writes, and both make
//! the same of blocks that were damaged.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::super::{content_length, request, write_request};
use crate::hpack::{DecodeError, Decoder, Encoder};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

type H2Server = h2::server::Connection<DuplexStream, Bytes>;

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Request(String),
    StreamError,
    ConnectionError,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The kinds and payloads of frames.
fn frames(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut frames = Vec::new();
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = bytes {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let Some((payload, after)) = rest.split_at_checked(length) else {
            break;
        };
        frames.push((*kind, payload));
        bytes = after;
    }
    frames
}

fn show(request: &Request<()>) -> String {
    let protocol = request.extensions().get::<super::Protocol>();
    format!(
        "{} {} {:?} {:?}",
        request.method(),
        request.uri(),
        protocol.map(super::Protocol::as_str),
        plain(request.headers())
    )
}

/// Fields without what they say of secrecy, which h2 does not keep.
fn plain(headers: &HeaderMap) -> Vec<(&str, &[u8])> {
    let fields = headers.iter();
    fields
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect()
}

/// What our decoder makes of the block of a request that data follow.
fn ours(decoder: &mut Decoder, block: &[u8]) -> Outcome {
    let block = match decoder.decode(block, 1 << 20) {
        Ok(block) => block,
        Err(DecodeError::Compression(_) | DecodeError::Field(_)) => {
            return Outcome::ConnectionError;
        }
    };
    match request(block, true) {
        Ok(request) if content_length(request.headers()).is_ok() => {
            Outcome::Request(show(&request))
        }
        _ => Outcome::StreamError,
    }
}

/// What h2's server makes of blocks, on one connection, up to an error of that.
async fn theirs(blocks: &[Vec<u8>]) -> Vec<Outcome> {
    let (mut client, server) = tokio::io::duplex(1 << 22);
    client.write_all(PREFACE).await.unwrap();
    client.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    let mut connection: H2Server = h2::server::Builder::new()
        .max_header_list_size(1 << 20)
        .enable_connect_protocol()
        .handshake(server)
        .await
        .unwrap();
    let mut outcomes = Vec::new();
    for (nth, block) in blocks.iter().enumerate() {
        let stream = u32::try_from(2 * nth + 1).unwrap();
        let head = frame(HEADERS, 4, stream, block);
        client.write_all(&head).await.unwrap();
        outcomes.push(outcome(&mut connection, &mut client).await);
        if outcomes.last() == Some(&Outcome::ConnectionError) {
            break;
        }
    }
    outcomes
}

async fn outcome(connection: &mut H2Server, client: &mut DuplexStream) -> Outcome {
    let mut written = vec![0; 1 << 16];
    loop {
        tokio::select! {
            biased;
            accepted = connection.accept() => {
                let Some(Ok((request, _respond))) = accepted else {
                    return Outcome::ConnectionError;
                };
                let protocol = request.extensions().get::<h2::ext::Protocol>();
                let protocol = protocol.map(|protocol| protocol.as_str().to_owned());
                let (parts, _) = request.into_parts();
                // These it lets through, and we do not.
                let no_path = parts.uri == "" && parts.method != "CONNECT";
                let length = parts.headers.get("content-length");
                let no_length = length.is_some_and(HeaderValue::is_empty);
                let no_protocol = protocol.as_deref().is_some_and(|protocol| {
                    HeaderValue::from_str(protocol).is_err()
                });
                if no_path || no_length || no_protocol {
                    return Outcome::StreamError;
                }
                return Outcome::Request(format!(
                    "{} {} {:?} {:?}",
                    parts.method,
                    parts.uri,
                    protocol,
                    plain(&parts.headers)
                ));
            }
            length = client.read(&mut written) => {
                let frames = frames(&written[..length.unwrap()]);
                if frames.iter().any(|(kind, _)| *kind == GOAWAY) {
                    return Outcome::ConnectionError;
                }
                // The request before is let go of, which resets it: that is code 8.
                let reset = |(kind, payload): &(u8, &[u8])| *kind == RST_STREAM && payload[3] == 1;
                if frames.iter().any(reset) {
                    return Outcome::StreamError;
                }
            }
        }
    }
}

/// Numbers that look as if by chance, and are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % limit
    }
}

fn random_block(random: &mut Random) -> Vec<u8> {
    const BEGINNINGS: [&[u8]; 6] = [
        b"\x82\x86\x84\x41\x04host",
        b"\x83\x87\x44\x02/a",
        b"\x82\x86\x41\x06host:1\x04\x04/a?b",
        b"\x42\x07CONNECT\x41\x06host:1",
        b"\x02\x07CONNECT\x01\x06host:1\x87\x84\x40\x09:protocol\x02ws",
        b"\x02\x07OPTIONS\x86\x04\x01*",
    ];
    const FIELDS: [&[u8]; 20] = [
        b"\x90",
        b"\xbe",
        b"\xbf",
        b"\xc1",
        b"\x40\x01a\x01b",
        b"\x10\x01a\x01b",
        b"\x00\x0ax-whatever\x03\xff\xfe ",
        b"\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf",
        b"\x58\x86\xa8\xeb\x10\x64\x9c\xbf",
        b"\x0f\x0d\x0212",
        b"\x0f\x0d\x0213",
        b"\x0f\x0d\x021x",
        b"\x40\x02te\x08trailers",
        b"\x40\x02te\x04gzip",
        b"\x40\x0aconnection\x05close",
        b"\x00\x01A\x01b",
        b"\x00\x02:a\x01b",
        b"\x88",
        b"\x82",
        b"\x60\x00",
    ];
    let mut block = BEGINNINGS[random.below(BEGINNINGS.len())].to_vec();
    if random.below(8) == 0 {
        block.insert(0, 0x20 | random.below(31) as u8);
    }
    for _ in 0..random.below(5) {
        // Most often one of the first, which are in order.
        let count = if random.below(4) == 0 { 20 } else { 10 };
        block.extend_from_slice(FIELDS[random.below(count)]);
    }
    if random.below(3) == 0 {
        let at = random.below(block.len());
        match random.below(3) {
            0 => block[at] ^= 1 << random.below(8),
            // A path that is a fragment is a slash to h2, and to us it is none.
            1 => block[at] = b'#' ^ (1 + random.below(255)) as u8,
            _ => block.truncate(at),
        }
    }
    block
}

#[tokio::test]
async fn h2_makes_the_same_of_damaged_blocks() {
    let mut random = Random(3);
    let mut counts = [0; 3];
    for _ in 0..1_000 {
        let blocks: Vec<_> = (0..6).map(|_| random_block(&mut random)).collect();
        let mut decoder = Decoder::new(4096);
        for (outcome, block) in theirs(&blocks).await.into_iter().zip(&blocks) {
            assert_eq!(ours(&mut decoder, block), outcome, "{blocks:02x?}");
            counts[match outcome {
                Outcome::Request(_) => 0,
                Outcome::StreamError => 1,
                Outcome::ConnectionError => 2,
            }] += 1;
        }
    }
    assert!(counts.iter().all(|count| *count > 100), "{counts:?}");
}

#[tokio::test]
async fn h2_reads_what_is_written() {
    let mut random = Random(5);
    let mut encoder = Encoder::new();
    let (mut blocks, mut expected) = (Vec::new(), Vec::new());
    for _ in 0..80 {
        let mut head = Request::get(format!("http://host/{}", random.below(9)));
        for name in [
            "accept",
            "x-a",
            "x-b",
            "cookie",
            "authorization",
            "user-agent",
        ] {
            if random.below(3) != 0 {
                head = head.header(name, "v".repeat(random.below(200)));
            }
            if random.below(3) == 0 {
                head = head.header(name, random.below(1 << 20).to_string());
            }
        }
        let head = head.body(()).unwrap();
        let mut out = BytesMut::new();
        write_request(&mut encoder, &head, &mut out).unwrap();
        blocks.push(out.to_vec());
        expected.push(Outcome::Request(show(&head)));
    }
    assert_eq!(theirs(&blocks).await, expected);
}

#[tokio::test]
async fn what_h2_writes_is_read() {
    let (client, mut server) = tokio::io::duplex(1 << 22);
    server.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(client).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut random = Random(9);
    let mut expected = Vec::new();
    for _ in 0..50 {
        let mut secret = HeaderValue::from_static("secret");
        secret.set_sensitive(true);
        let head = Request::post(format!("https://host:80/{}", random.below(9)))
            .header("accept", "v".repeat(random.below(300)))
            .header("x-a", random.below(100).to_string())
            .header("x-secret", secret)
            .body(())
            .unwrap();
        expected.push(Outcome::Request(show(&head)));
        sender = sender.ready().await.unwrap();
        drop(sender.send_request(head, false).unwrap());
        tokio::task::yield_now().await;
    }
    drop(sender);
    let mut written = Vec::new();
    let end = tokio::time::Duration::from_millis(200);
    while let Ok(Ok(1..)) = tokio::time::timeout(end, server.read_buf(&mut written)).await {}
    connection.abort();
    let mut decoder = Decoder::new(4096);
    let read: Vec<_> = frames(written.strip_prefix(PREFACE).unwrap())
        .into_iter()
        .filter(|(kind, _)| *kind == HEADERS)
        .map(|(_, block)| ours(&mut decoder, block))
        .collect();
    assert_eq!(read, expected);
}
