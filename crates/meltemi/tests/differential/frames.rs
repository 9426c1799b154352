//! HTTP/2 by hand: frames as texts, and what comes back as texts.
//!
//! In: `HEADERS 1 END_HEADERS END_STREAM | :method=GET | :path=/`, and bytes that were received.
//! Out: bytes, and lines of which two HTTP/2 implementations would write the same. Called by
//! `connection`.

use std::fmt::Write as _;

/// What a client says first; frames follow.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const KINDS: [&str; 10] = [
    "DATA",
    "HEADERS",
    "PRIORITY",
    "RST_STREAM",
    "SETTINGS",
    "PUSH_PROMISE",
    "PING",
    "GOAWAY",
    "WINDOW_UPDATE",
    "CONTINUATION",
];

const ERRORS: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

/// A frame of a text: kind, stream, flags, then its parts after bars. Parts of `HEADERS` are
/// `name=value`; of `SETTINGS` `number=value`; of others what stands in them, numbers as numbers.
/// `FILL n` among the parts stands for so many letters.
pub fn frame(text: &str) -> Vec<u8> {
    let mut parts = text.split(" | ");
    let mut words = parts.next().expect("a kind").split_whitespace();
    let name = words.next().expect("a kind");
    let kind = KINDS.iter().position(|it| *it == name);
    let kind = kind.unwrap_or_else(|| panic!("{name} is no frame"));
    let stream: u32 = words.next().expect("a stream").parse().expect("a number");
    let flags = words.fold(0, |flags, word| {
        flags
            | match word {
                "END_STREAM" | "ACK" => 1,
                "END_HEADERS" => 4,
                "PADDED" => 8,
                "PRIORITY" => 0x20,
                other => panic!("{other} is no flag"),
            }
    });
    let mut payload = Vec::new();
    for part in parts {
        match (name, part.split_once('=')) {
            ("HEADERS" | "CONTINUATION", _) => {
                let at = part[1..].find('=').expect("name=value") + 1;
                literal(&mut payload, &part[..at], &filled(&part[at + 1..]));
            }
            ("SETTINGS", Some((number, value))) => {
                let number: u16 = number.parse().expect("a number");
                let value: u32 = value.parse().expect("a number");
                payload.extend(number.to_be_bytes());
                payload.extend(value.to_be_bytes());
            }
            ("RST_STREAM" | "WINDOW_UPDATE" | "GOAWAY", None) => {
                let value: u32 = part.parse().expect("a number");
                payload.extend(value.to_be_bytes());
            }
            _ => payload.extend(filled(part).bytes()),
        }
    }
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind as u8, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn filled(text: &str) -> String {
    match text.strip_prefix("FILL ") {
        Some(count) => "x".repeat(count.parse().expect("a number")),
        None => text.to_owned(),
    }
}

/// A field that no table knows, its name as it is.
fn literal(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        let mut rest = text.len();
        if rest < 127 {
            block.push(rest as u8);
        } else {
            block.push(127);
            rest -= 127;
            while rest >= 128 {
                block.push(rest as u8 | 128);
                rest >>= 7;
            }
            block.push(rest as u8);
        }
        block.extend(text.bytes());
    }
}

/// What was received, frame by frame; what follows from the protocol alone (settings, windows,
/// acknowledgements) is left out, and so is how a body is cut into frames.
pub fn shown(mut bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut body: Option<(u32, Vec<u8>)> = None;
    while let [l0, l1, l2, kind, flags, rest @ ..] = bytes {
        let length = u32::from_be_bytes([0, *l0, *l1, *l2]) as usize;
        let Some((stream, rest)) = rest.split_first_chunk::<4>() else {
            break;
        };
        let Some((payload, rest)) = rest.split_at_checked(length) else {
            break;
        };
        bytes = rest;
        let stream = u32::from_be_bytes(*stream) & 0x7fff_ffff;
        let name = KINDS.get(usize::from(*kind)).copied().unwrap_or("?");
        if name == "DATA" && body.as_ref().is_none_or(|(of, _)| *of == stream) {
            let (_, data) = body.get_or_insert((stream, Vec::new()));
            data.extend_from_slice(payload);
        } else if let Some((of, data)) = body.take() {
            say_body(&mut text, of, &data);
        }
        match name {
            "HEADERS" => _ = write!(text, "[{stream} {}] ", status(payload)),
            "RST_STREAM" => _ = write!(text, "[{stream} RST_STREAM {}] ", error(payload)),
            "GOAWAY" => _ = write!(text, "[GOAWAY {}] ", error(&payload[4..])),
            "PING" if flags & 1 != 0 => _ = write!(text, "[PING] "),
            _ => {}
        }
        if matches!(name, "DATA" | "HEADERS") && flags & 1 != 0 {
            if let Some((of, data)) = body.take() {
                say_body(&mut text, of, &data);
            }
            _ = write!(text, "[{stream} end] ");
        }
    }
    if let Some((of, data)) = body {
        say_body(&mut text, of, &data);
    }
    text.trim_end().to_owned()
}

fn say_body(text: &mut String, stream: u32, data: &[u8]) {
    if data.len() > 60 {
        _ = write!(text, "[{stream} {} bytes] ", data.len());
    } else if !data.is_empty() {
        _ = write!(text, "[{stream} {:?}] ", String::from_utf8_lossy(data));
    }
}

fn error(payload: &[u8]) -> &'static str {
    let code = payload.first_chunk::<4>().map(|it| u32::from_be_bytes(*it));
    let known = code.and_then(|code| ERRORS.get(code as usize));
    known.copied().unwrap_or("?")
}

/// The status, which comes first in a block; trailers have none.
fn status(block: &[u8]) -> String {
    // what may stand before the first field: a change of the table's size
    let mut block = block;
    while let [first, rest @ ..] = block
        && first & 0xe0 == 0x20
    {
        block = rest;
    }
    match block {
        [first @ 0x88..=0x8e, ..] => {
            const KNOWN: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
            format!("status {}", KNOWN[usize::from(first - 0x88)])
        }
        [first, length, digits @ ..] if matches!(first & 0x3f, 8..=14) && first & 0x80 == 0 => {
            let count = usize::from(length & 0x7f);
            let digits = digits.get(..count).unwrap_or_default();
            let text = if length & 0x80 == 0 {
                String::from_utf8_lossy(digits).into_owned()
            } else {
                huffman_digits(digits)
            };
            format!("status {text}")
        }
        _ => "trailers".to_owned(),
    }
}

/// Digits in HPACK's Huffman code: the first three have five bits, the others six.
fn huffman_digits(bytes: &[u8]) -> String {
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let mut rest = bits.as_str();
    let mut text = String::new();
    loop {
        let code = |count: usize| {
            let bits = rest.get(..count)?;
            u8::from_str_radix(bits, 2).ok()
        };
        if let Some(digit @ 0..=2) = code(5) {
            text.push(char::from(b'0' + digit));
            rest = &rest[5..];
        } else if let Some(digit @ 0x19..=0x1f) = code(6) {
            text.push(char::from(b'3' + digit - 0x19));
            rest = &rest[6..];
        } else {
            return text;
        }
    }
}
