//! Path normalization: what a request's path is before anything looks at it. Pure; the
//! connection manager calls it for every request whose settings ask for it.

use std::borrow::Cow;

use meltemi_ir::{EscapedSlashes, PathNormalization};

/// What became of a path.
#[derive(Debug, PartialEq, Eq)]
pub enum NormalPath {
    /// It is served as it came.
    Unchanged,
    /// It is served as this.
    Changed(String),
    /// The client is sent there (307).
    Redirect(String),
    /// 400.
    Reject,
}

/// Normalizes a path with its query, which stays as it is.
pub fn normalize(path_and_query: &str, settings: &PathNormalization) -> NormalPath {
    if *settings == PathNormalization::default() || !needs_work(path_and_query) {
        return NormalPath::Unchanged;
    }
    let end = path_and_query.find('?').unwrap_or(path_and_query.len());
    let (path, query) = path_and_query.split_at(end);
    let mut current = Cow::Borrowed(path);
    let mut redirect = false;
    if settings.escaped_slashes != EscapedSlashes::Keep
        && let Some(unescaped) = unescape_slashes(path)
    {
        match settings.escaped_slashes {
            EscapedSlashes::Keep => {}
            EscapedSlashes::Reject => return NormalPath::Reject,
            EscapedSlashes::UnescapeAndRedirect => redirect = true,
            EscapedSlashes::UnescapeAndForward => {}
        }
        current = Cow::Owned(unescaped);
    }
    if settings.normalize {
        match canonical(&current) {
            Some(path) if path != *current => current = Cow::Owned(path),
            Some(_) => {}
            None => return NormalPath::Reject,
        }
    }
    if settings.merge_slashes && current.contains("//") {
        current = Cow::Owned(merge_slashes(&current));
    }
    match current {
        Cow::Borrowed(_) => NormalPath::Unchanged,
        Cow::Owned(mut path) => {
            path.push_str(query);
            if redirect {
                NormalPath::Redirect(path)
            } else {
                NormalPath::Changed(path)
            }
        }
    }
}

/// Whether the path has anything that a setting could change; errs on the side of yes.
fn needs_work(path_and_query: &str) -> bool {
    let mut before = 0;
    for byte in path_and_query.bytes() {
        match byte {
            b'?' => return false,
            b'%' | b'\\' => return true,
            b'.' | b'/' if before == b'/' => return true,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {}
            _ if must_escape(byte) => return true,
            _ => {}
        }
        before = byte;
    }
    false
}

/// The path with `%2F` and `%5C` unescaped, if it has any.
fn unescape_slashes(path: &str) -> Option<String> {
    let mut unescaped = String::new();
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (head, tail) = rest.split_at(at);
        unescaped.push_str(head);
        let slash = match tail.get(1..3) {
            Some(code) if code.eq_ignore_ascii_case("2f") => Some('/'),
            Some(code) if code.eq_ignore_ascii_case("5c") => Some('\\'),
            _ => None,
        };
        match slash {
            Some(slash) => {
                unescaped.push(slash);
                rest = &tail[3..];
            }
            None => {
                unescaped.push('%');
                rest = &tail[1..];
            }
        }
    }
    unescaped.push_str(rest);
    (unescaped != path).then_some(unescaped)
}

/// RFC 3986 normalization as browsers do it: dot segments resolved, backslashes taken as
/// slashes, needless escapes undone and needed ones made. None where the path holds `%00`.
fn canonical(path: &str) -> Option<String> {
    let mut plain = Vec::with_capacity(path.len());
    let bytes = path.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => plain.push(b'/'),
            b'%' => match bytes.get(at + 1..at + 3).and_then(hex_pair) {
                Some(0) => return None,
                Some(byte) if is_unreserved(byte) => {
                    plain.push(byte);
                    at += 2;
                }
                _ => plain.push(b'%'),
            },
            byte if must_escape(byte) => {
                plain.extend_from_slice(&[b'%', hex_digit(byte >> 4), hex_digit(byte & 15)]);
            }
            byte => plain.push(byte),
        }
        at += 1;
    }
    let plain = String::from_utf8(plain).expect("escaped bytes are ASCII, the others came as text");
    Some(resolve_dots(&plain))
}

fn resolve_dots(path: &str) -> String {
    if !path.contains("/.") {
        return path.to_owned();
    }
    let mut out: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    let mut ends_open = false;
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." => ends_open = last,
            ".." => {
                out.pop();
                ends_open = last;
            }
            other => out.push(other),
        }
    }
    let mut resolved = String::with_capacity(path.len());
    for segment in &out {
        resolved.push('/');
        resolved.push_str(segment);
    }
    if ends_open || resolved.is_empty() {
        resolved.push('/');
    }
    resolved
}

fn merge_slashes(path: &str) -> String {
    let mut merged = String::with_capacity(path.len());
    let mut slash = false;
    for next in path.chars() {
        if next != '/' || !slash {
            merged.push(next);
        }
        slash = next == '/';
    }
    merged
}

fn hex_pair(pair: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    Some(digit(pair[0])? << 4 | digit(pair[1])?)
}

fn hex_digit(value: u8) -> u8 {
    b"0123456789ABCDEF"[usize::from(value)]
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn must_escape(byte: u8) -> bool {
    !byte.is_ascii_graphic()
        || matches!(byte, b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'}' | b'|')
}

#[cfg(test)]
mod tests;
