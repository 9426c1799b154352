//! The protocol: bytes enter as they come, values leave; and back.
//!
//! What is read is bounded: how long a string is, how many elements an array has, how deep arrays
//! stand in each other, and how much there is in one value. Nothing is set aside for what a peer
//! only announces.

use bytes::{Buf as _, Bytes, BytesMut};

/// The longest string: what Redis allows.
const LONGEST_STRING: usize = 512 << 20;

/// The longest line: what Redis allows a command in one line.
const LONGEST_LINE: usize = 64 << 10;

/// As many elements as a value may have, at all depths: what Redis allows a command.
const MOST_ELEMENTS: usize = 1 << 20;

/// How deep arrays may stand in each other.
const DEEPEST: usize = 64;

/// As much as a value may hold: what Redis allows a client's commands.
const LARGEST: usize = 1 << 30;

/// The longest number, its sign among it.
const LONGEST_NUMBER: usize = 20;

/// How much of a string is set aside at a time.
const STEP: usize = 64 << 10;

/// A value of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `+`
    Simple(Bytes),
    /// `-`
    Error(Bytes),
    /// `:`
    Integer(i64),
    /// `$`
    Bulk(Bytes),
    /// `*`
    Array(Vec<Value>),
    /// `$-1` or `*-1`
    Null,
}

impl Value {
    /// An error with this text, in one line.
    #[must_use]
    pub fn error(text: impl Into<String>) -> Self {
        let text: String = text.into();
        if text.contains(['\r', '\n']) {
            return Self::Error(text.replace(['\r', '\n'], " ").into());
        }
        Self::Error(text.into())
    }

    /// Writes the value.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Simple(text) => line(b'+', text, out),
            Self::Error(text) => line(b'-', text, out),
            Self::Integer(number) => line(b':', number.to_string().as_bytes(), out),
            Self::Bulk(bytes) => encode_bulk(bytes, out),
            Self::Array(values) => {
                line(b'*', values.len().to_string().as_bytes(), out);
                values.iter().for_each(|value| value.encode(out));
            }
            Self::Null => out.extend_from_slice(b"$-1\r\n"),
        }
    }
}

/// Writes a command.
pub(crate) fn encode_command(arguments: &[Bytes], out: &mut BytesMut) {
    line(b'*', arguments.len().to_string().as_bytes(), out);
    arguments.iter().for_each(|bytes| encode_bulk(bytes, out));
}

fn encode_bulk(bytes: &[u8], out: &mut BytesMut) {
    line(b'$', bytes.len().to_string().as_bytes(), out);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

fn line(kind: u8, text: &[u8], out: &mut BytesMut) {
    out.extend_from_slice(&[kind]);
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

/// Bytes that are not of the protocol, or more of them than is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A value begins with something that no value begins with.
    #[error("a value cannot begin with byte {0:#04x}")]
    Kind(u8),
    /// Something else stands in a number's place.
    #[error("expected a number")]
    Number,
    /// A line or a string does not end as it must.
    #[error("expected CR LF")]
    End,
    /// Quotes are not closed.
    #[error("quotes are not closed")]
    Quotes,
    /// A limit is exceeded.
    #[error("too large")]
    Size,
}

/// Reads values, wherever the bytes are cut.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Arrays that are not complete, the innermost last.
    open: Vec<Open>,
    /// The string that comes next.
    string: Option<usize>,
    /// A line without a kind is a command, as people type them.
    takes_lines: bool,
    elements: usize,
    size: usize,
}

/// An array of which `missing` elements have not come.
#[derive(Debug)]
struct Open {
    values: Vec<Value>,
    missing: usize,
}

impl Decoder {
    /// For what servers answer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// For what clients ask: lines are commands too.
    #[must_use]
    pub fn of_commands() -> Self {
        Self {
            takes_lines: true,
            ..Self::default()
        }
    }

    /// Takes a value from the front of `input`; nothing if its end has not come.
    ///
    /// # Errors
    /// When the bytes are none of the protocol's. The decoder is of no use after that.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Value>, Malformed> {
        loop {
            let Some(value) = self.next(input)? else {
                return Ok(None);
            };
            if let Some(complete) = self.add(value) {
                (self.elements, self.size) = (0, 0);
                return Ok(Some(complete));
            }
        }
    }

    /// A value that holds no others.
    fn next(&mut self, input: &mut BytesMut) -> Result<Option<Value>, Malformed> {
        loop {
            if let Some(length) = self.string {
                let value = string(input, length)?;
                if value.is_some() {
                    self.string = None;
                }
                return Ok(value);
            }
            let Some(&kind) = input.first() else {
                return Ok(None);
            };
            match kind {
                b'+' | b'-' => {
                    let Some(text) = self.line(input)? else {
                        return Ok(None);
                    };
                    let text = text.slice(1..);
                    return Ok(Some(match kind {
                        b'+' => Value::Simple(text),
                        _ => Value::Error(text),
                    }));
                }
                b':' => {
                    let number = number(input)?;
                    return Ok(number.map(Value::Integer));
                }
                b'$' => match number(input)? {
                    None => return Ok(None),
                    Some(-1) => return Ok(Some(Value::Null)),
                    Some(length) => {
                        let length = usize::try_from(length).map_err(|_| Malformed::Number)?;
                        if length > LONGEST_STRING {
                            return Err(Malformed::Size);
                        }
                        self.take(length)?;
                        self.string = Some(length);
                    }
                },
                b'*' => match number(input)? {
                    None => return Ok(None),
                    Some(-1) => return Ok(Some(Value::Null)),
                    Some(0) => return Ok(Some(Value::Array(Vec::new()))),
                    Some(length) => self.open(length)?,
                },
                _ if self.takes_lines && self.open.is_empty() && begins_line(kind) => {
                    let Some(text) = self.line(input)? else {
                        return Ok(None);
                    };
                    return Ok(Some(Value::Array(words(&text)?)));
                }
                other => return Err(Malformed::Kind(other)),
            }
        }
    }

    /// Begins an array.
    fn open(&mut self, length: i64) -> Result<(), Malformed> {
        let length = usize::try_from(length).map_err(|_| Malformed::Number)?;
        self.elements = self.elements.saturating_add(length);
        if self.elements > MOST_ELEMENTS || self.open.len() >= DEEPEST {
            return Err(Malformed::Size);
        }
        self.open.push(Open {
            values: Vec::with_capacity(length.min(16)),
            missing: length,
        });
        Ok(())
    }

    /// Puts a value where it belongs; the outermost one, if that is complete now.
    fn add(&mut self, mut value: Value) -> Option<Value> {
        while let Some(open) = self.open.last_mut() {
            open.values.push(value);
            open.missing -= 1;
            if open.missing > 0 {
                return None;
            }
            value = Value::Array(self.open.pop()?.values);
        }
        Some(value)
    }

    /// Takes a line with its kind and without its end.
    fn line(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, Malformed> {
        let Some(end) = input.iter().position(|byte| *byte == b'\r') else {
            return match input.len() > LONGEST_LINE {
                true => Err(Malformed::Size),
                false => Ok(None),
            };
        };
        if end > LONGEST_LINE {
            return Err(Malformed::Size);
        }
        match input.get(end + 1) {
            None => Ok(None),
            Some(b'\n') => {
                self.take(end)?;
                let text = input.split_to(end).freeze();
                input.advance(2);
                Ok(Some(text))
            }
            Some(_) => Err(Malformed::End),
        }
    }

    /// Counts bytes of the value.
    fn take(&mut self, length: usize) -> Result<(), Malformed> {
        self.size = self.size.saturating_add(length);
        if self.size > LARGEST {
            return Err(Malformed::Size);
        }
        Ok(())
    }
}

/// Whether a command in one line can begin so: with a letter, with space before it, or with its end.
fn begins_line(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b'"' | b'\'')
}

/// Takes a string of so many bytes and what ends it.
fn string(input: &mut BytesMut, length: usize) -> Result<Option<Value>, Malformed> {
    let ends = [b'\r', b'\n'];
    let end = input.get(length..).unwrap_or_default();
    if end.iter().zip(ends).any(|(is, must)| *is != must) {
        return Err(Malformed::End);
    }
    let missing = (length + ends.len()).saturating_sub(input.len());
    if missing > 0 {
        input.reserve(missing.min(STEP));
        return Ok(None);
    }
    let bytes = input.split_to(length).freeze();
    input.advance(ends.len());
    Ok(Some(Value::Bulk(bytes)))
}

/// Takes a kind and a number and what ends them.
fn number(input: &mut BytesMut) -> Result<Option<i64>, Malformed> {
    let mut value = 0i64;
    let mut digits = 0;
    let rest = input.get(1..).unwrap_or_default();
    let negative = rest.first() == Some(&b'-');
    for (index, byte) in rest.iter().enumerate().skip(usize::from(negative)) {
        match byte {
            b'0'..=b'9' if index < LONGEST_NUMBER => {
                let digit = i64::from(byte - b'0');
                let digit = if negative { -digit } else { digit };
                let shifted = value.checked_mul(10).ok_or(Malformed::Number)?;
                value = shifted.checked_add(digit).ok_or(Malformed::Number)?;
                digits += 1;
            }
            b'\r' if digits > 0 => {
                return match rest.get(index + 1) {
                    None => Ok(None),
                    Some(b'\n') => {
                        input.advance(index + 3);
                        Ok(Some(value))
                    }
                    Some(_) => Err(Malformed::End),
                };
            }
            _ => return Err(Malformed::Number),
        }
    }
    Ok(None)
}

/// The words of a command in one line. Quotes hold words together; in double ones a backslash takes
/// the next byte as it is.
fn words(line: &[u8]) -> Result<Vec<Value>, Malformed> {
    let mut words = Vec::new();
    let mut rest = line.iter().copied().peekable();
    loop {
        while rest.next_if(|byte| matches!(byte, b' ' | b'\t')).is_some() {}
        let Some(first) = rest.next() else {
            return Ok(words);
        };
        let mut word = Vec::new();
        if matches!(first, b'"' | b'\'') {
            loop {
                match rest.next() {
                    None => return Err(Malformed::Quotes),
                    Some(byte) if byte == first => break,
                    Some(b'\\') if first == b'"' => {
                        word.push(rest.next().ok_or(Malformed::Quotes)?);
                    }
                    Some(byte) => word.push(byte),
                }
            }
        } else {
            word.push(first);
            while let Some(byte) = rest.next_if(|byte| !matches!(byte, b' ' | b'\t')) {
                word.push(byte);
            }
        }
        words.push(Value::Bulk(word.into()));
    }
}

#[cfg(test)]
mod tests;
