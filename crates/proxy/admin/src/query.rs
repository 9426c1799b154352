//! The query of a request: names and values, decoded.

use std::borrow::Cow;

use regex::Regex;

use crate::reply::Reply;

/// Parameters in the order in which they came.
pub(crate) struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    pub fn parse(query: &'a str) -> Self {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(name, value)| (decode(name), decode(value)))
                .collect(),
        )
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_ref())
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Whether a switch is on: there without a value, or with any but `false`.
    pub fn is_on(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value != "false")
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// The value of `name` as a regular expression, if it is there and not empty.
    pub fn regex(&self, name: &str) -> Result<Option<Regex>, Reply> {
        match self.get(name) {
            None | Some("") => Ok(None),
            Some(text) => Regex::new(text).map(Some).map_err(|error| {
                let reason = complaint(text, &error.to_string());
                Reply::bad_request(format!("Invalid re2 regex: {reason}"))
            }),
        }
    }
}

/// What is wrong with an expression, in the words of RE2, whose users wrote them. `error` ends in
/// a line of carets under the part in question, and a line that names the error.
fn complaint(expression: &str, error: &str) -> String {
    let mut lines = error.lines().rev();
    let kind = lines.next().unwrap_or_default();
    let kind = kind.strip_prefix("error: ").unwrap_or(kind);
    let carets = lines.next().unwrap_or_default();
    let part: String = carets
        .chars()
        .skip(4)
        .zip(expression.chars())
        .filter(|(mark, _)| *mark == '^')
        .map(|(_, letter)| letter)
        .collect();
    match kind {
        "unclosed group" => format!("missing ): {expression}"),
        "unopened group" => format!("unexpected ): {expression}"),
        "unclosed character class" => {
            let from = expression.rfind('[').unwrap_or_default();
            format!("missing ]: {}", &expression[from..])
        }
        "repetition operator missing expression" => {
            format!("no argument for repetition operator: {part}")
        }
        "unrecognized escape sequence" => format!("invalid escape sequence: {part}"),
        kind if kind.starts_with("incomplete escape sequence") => "trailing \\".to_owned(),
        kind if kind.starts_with("invalid character class range") => {
            format!("invalid character class range: {part}")
        }
        kind if kind.starts_with("look-around") => format!("invalid perl operator: {part}"),
        kind => format!("{kind}: {expression}"),
    }
}

/// Undoes percent encoding; what is no encoding stays as it is.
fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => match after.get(..2).and_then(hexadecimal) {
                Some(decoded) => {
                    bytes.push(decoded);
                    rest = &after[2..];
                }
                None => bytes.push(b'%'),
            },
            other => bytes.push(other),
        }
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

fn hexadecimal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn expressions_are_refused_in_the_words_of_their_writers() {
        let cases = [
            ("(", "missing ): ("),
            ("a)", "unexpected ): a)"),
            ("a[b", "missing ]: [b"),
            ("*", "no argument for repetition operator: *"),
            ("a\\yb", "invalid escape sequence: \\y"),
            ("a\\", "trailing \\"),
            ("[z-a]", "invalid character class range: z-a"),
            ("a(?=b)", "invalid perl operator: (?="),
        ];
        for (expression, reason) in cases {
            let error = Regex::new(expression).unwrap_err().to_string();
            assert_eq!(complaint(expression, &error), reason, "{error}");
        }
    }

    #[test]
    fn names_and_values_are_decoded() {
        let query = Query::parse("a=1&usedonly&filter=%5Ecluster%5c.x%&b=x+y&off=false&a=2");
        assert_eq!(query.get("a"), Some("1"));
        assert_eq!(query.get("filter"), Some("^cluster\\.x%"));
        assert_eq!(query.get("b"), Some("x y"));
        assert_eq!(query.get("none"), None);
        assert!(query.is_on("usedonly") && !query.is_on("off") && !query.is_on("none"));
    }
}
