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
            Some(text) => Regex::new(text)
                .map(Some)
                .map_err(|error| Reply::bad_request(format!("{name}: {error}\n"))),
        }
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
    use super::*;

    #[test]
    fn names_and_values_are_decoded() {
        let query = Query::parse("a=1&usedonly&filter=%5Ecluster%5c.x%&b=x+y&off=false&a=2");
        assert_eq!(query.get("a"), Some("1"));
        assert_eq!(query.get("filter"), Some("^cluster\\.x%"));
        assert_eq!(query.get("b"), Some("x y"));
        assert!(query.is_on("usedonly") && !query.is_on("off") && !query.is_on("none"));
    }
}
