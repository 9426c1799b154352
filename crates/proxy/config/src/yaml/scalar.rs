//! Single values: plain, in single and in double quotes.

use std::borrow::Cow;

use super::{Event, NotPlain};

/// The longest decimal integer that surely fits.
const MAX_DIGITS: usize = 18;

/// Words that some version of YAML takes for something else than text, in lower case.
const WORDS: [&str; 12] = [
    "null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf", "infinity",
];

/// What a plain scalar means. Only what every version of YAML agrees on is taken.
pub(super) fn plain(text: &str) -> Result<Event<'_>, NotPlain> {
    let first = *text.as_bytes().first().ok_or(NotPlain)?;
    match text {
        "null" => return Ok(Event::Null),
        "true" => return Ok(Event::Bool(true)),
        "false" => return Ok(Event::Bool(false)),
        _ => {}
    }
    match first {
        b'a'..=b'z' | b'A'..=b'Z' => {
            if text.len() <= 8 && WORDS.iter().any(|word| word.eq_ignore_ascii_case(text)) {
                return Err(NotPlain);
            }
            Ok(Event::Text(Cow::Borrowed(text)))
        }
        b'_' | b'/' | b'$' | b'(' | b'^' | b'\\' => Ok(Event::Text(Cow::Borrowed(text))),
        b'0'..=b'9' => number(text, text),
        b'-' => match number(text, &text[1..])? {
            // what looks like a number and is none is left to others, and so is a negative zero
            Event::Text(_) | Event::Integer(0) => Err(NotPlain),
            event => Ok(event),
        },
        _ => Err(NotPlain),
    }
}

/// What begins with a digit; `digits` is `text` without its sign.
fn number<'t>(text: &'t str, digits: &str) -> Result<Event<'t>, NotPlain> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    if is_number(digits) {
        let is_octal = digits.len() > 1 && digits.starts_with('0');
        if is_octal || digits.len() > MAX_DIGITS {
            return Err(NotPlain);
        }
        return text.parse().map(Event::Integer).map_err(|_| NotPlain);
    }
    if let Some((whole, fraction)) = digits.split_once('.')
        && is_number(whole)
        && is_number(fraction)
    {
        return text.parse().map(Event::Float).map_err(|_| NotPlain);
    }
    let is_part_of_no_number =
        |byte: u8| matches!(byte, b'g'..=b'm' | b'p'..=b'w' | b'y' | b'z' | b'/' | b'*');
    let is_address = text.bytes().all(|it| it.is_ascii_digit() || it == b'.')
        && text.bytes().filter(|it| *it == b'.').count() > 1;
    if is_address || text.bytes().any(is_part_of_no_number) {
        return Ok(Event::Text(Cow::Borrowed(text)));
    }
    Err(NotPlain)
}

/// A scalar in quotes, at the start of `text`; and the text behind it.
pub(super) fn quoted(text: &str) -> Result<(Cow<'_, str>, &str), NotPlain> {
    let quote = *text.as_bytes().first().ok_or(NotPlain)?;
    let inside = &text[1..];
    match quote {
        b'\'' => {
            let end = inside.find(['\'', '\n']).ok_or(NotPlain)?;
            let (value, rest) = inside.split_at(end);
            match rest.as_bytes() {
                // an apostrophe in the text, or a second line
                [b'\'', b'\'', ..] | [b'\n', ..] => Err(NotPlain),
                _ => Ok((Cow::Borrowed(value), &rest[1..])),
            }
        }
        b'"' => {
            let end = inside.find(['"', '\\', '\n']).ok_or(NotPlain)?;
            let (value, rest) = inside.split_at(end);
            match rest.as_bytes()[0] {
                b'"' => Ok((Cow::Borrowed(value), &rest[1..])),
                b'\\' => escaped(inside),
                _ => Err(NotPlain),
            }
        }
        _ => Err(NotPlain),
    }
}

/// The inside of double quotes, with escapes, and the text behind them.
fn escaped(inside: &str) -> Result<(Cow<'_, str>, &str), NotPlain> {
    let mut value = String::new();
    let mut rest = inside;
    loop {
        let end = rest.find(['"', '\\', '\n']).ok_or(NotPlain)?;
        value.push_str(&rest[..end]);
        let found = &rest.as_bytes()[end..];
        match found {
            [b'"', ..] => return Ok((Cow::Owned(value), &rest[end + 1..])),
            [b'\\', escape, ..] => {
                value.push(match escape {
                    b'"' => '"',
                    b'\\' => '\\',
                    b'/' => '/',
                    b'n' => '\n',
                    b't' => '\t',
                    b'r' => '\r',
                    _ => return Err(NotPlain),
                });
                rest = &rest[end + 2..];
            }
            _ => return Err(NotPlain),
        }
    }
}
