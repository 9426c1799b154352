//! Where tokens stand in requests: found, and taken away.

use std::borrow::Cow;
use std::collections::BTreeMap;

use http::HeaderName;

use super::provider::Provider;
use crate::head::RequestHead;

/// A token as it stands in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) text: String,
    /// Who looks for tokens there, by issuer; empty for any issuer.
    issuers: Vec<String>,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Header(HeaderName),
    Parameter(String),
    Cookie,
}

impl Found {
    /// Whether a token of this issuer may stand there.
    pub(super) fn allows(&self, issuer: &str) -> bool {
        self.issuers
            .iter()
            .any(|known| known.is_empty() || known == issuer)
    }

    /// Takes the token away; a cookie stays.
    pub(super) fn remove(&self, head: &mut RequestHead) {
        match &self.place {
            Place::Header(name) => {
                head.headers.remove(name);
            }
            Place::Parameter(name) => {
                let path = without_parameter(head.path(), name);
                head.set_path(path);
            }
            Place::Cookie => {}
        }
    }
}

/// All tokens that stand where these providers look: in headers, then in parameters, then in
/// cookies.
pub(super) fn extract<'a>(
    providers: impl Iterator<Item = &'a Provider> + Clone,
    head: &RequestHead,
) -> Vec<Found> {
    let mut headers: BTreeMap<(&str, &str), (&HeaderName, Vec<String>)> = BTreeMap::new();
    let mut parameters: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut cookies: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for provider in providers {
        let config = &provider.config;
        for (name, prefix) in &config.from_headers {
            let key = (name.as_str(), prefix.as_str());
            let entry = headers.entry(key).or_insert((name, Vec::new()));
            entry.1.push(config.issuer.clone());
        }
        for name in &config.from_params {
            parameters
                .entry(name)
                .or_default()
                .push(config.issuer.clone());
        }
        for name in &config.from_cookies {
            cookies.entry(name).or_default().push(config.issuer.clone());
        }
    }
    let mut all = Vec::new();
    for ((_, prefix), (name, issuers)) in headers {
        for value in values(head, name) {
            let Some(text) = after(&value, prefix) else {
                continue;
            };
            all.push(Found {
                text: text.to_owned(),
                issuers: issuers.clone(),
                place: Place::Header(name.clone()),
            });
        }
    }
    if !parameters.is_empty() && head.path.is_some() {
        for (name, issuers) in parameters {
            if let Some(text) = parameter(head.path(), name) {
                all.push(Found {
                    text,
                    issuers,
                    place: Place::Parameter(name.to_owned()),
                });
            }
        }
    }
    for (name, issuers) in cookies {
        if let Some(text) = cookie(head, name) {
            all.push(Found {
                text,
                issuers,
                place: Place::Cookie,
            });
        }
    }
    all
}

/// What follows the prefix in a header's value, from the first character that a token can begin
/// with; the whole value where there is none.
fn after<'a>(value: &'a str, prefix: &str) -> Option<&'a str> {
    if prefix.is_empty() {
        return Some(value);
    }
    let rest = &value[value.find(prefix)? + prefix.len()..];
    let is_token = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    Some(rest.find(is_token).map_or(value, |start| &rest[start..]))
}

/// A header's values; those of `authorization` are one, since there is only one.
fn values(head: &RequestHead, name: &HeaderName) -> Vec<String> {
    // What is no text is no token, but it must not pass for a missing one.
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let all: Vec<_> = head.headers.get_all(name).iter().map(text).collect();
    if *name == http::header::AUTHORIZATION && all.len() > 1 {
        vec![all.join(",")]
    } else {
        all
    }
}

/// The first cookie of this name, without quotes round it.
fn cookie(head: &RequestHead, name: &str) -> Option<String> {
    let lines = head.headers.get_all(http::header::COOKIE).iter();
    lines
        .map(|line| String::from_utf8_lossy(line.as_bytes()))
        .find_map(|line| {
            let pairs = line
                .split(';')
                .filter_map(|pair| pair.trim().split_once('='));
            let (_, value) = pairs.into_iter().find(|(known, _)| *known == name)?;
            let quoted = value.strip_prefix('"');
            let bare = quoted.and_then(|inner| inner.strip_suffix('"'));
            Some(bare.unwrap_or(value).to_owned())
        })
}

/// The first value of a query parameter, decoded.
fn parameter(path: &str, name: &str) -> Option<String> {
    pairs(path)
        .find(|(known, _)| known.as_ref() == name)
        .map(|(_, value)| value.into_owned())
}

/// The parameters of a query, decoded.
fn pairs(path: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let query = path.split_once('?').map_or("", |(_, query)| query);
    let query = query.split('#').next().unwrap_or_default();
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
}

/// Percent-decoding. What is no UTF-8 when decoded, or no escape, stays.
pub(super) fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 3).filter(|_| *byte == b'%');
        let code = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(code.unwrap_or(*byte));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8(decoded).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// The path without a query parameter; the others are put in the order of their names, as Envoy
/// does.
fn without_parameter(path: &str, name: &str) -> String {
    let (bare, fragment) = match path.split_once('#') {
        Some((before, fragment)) => (before, Some(fragment)),
        None => (path, None),
    };
    let mut left: Vec<(Cow<'_, str>, Cow<'_, str>)> = pairs(path)
        .filter(|(known, _)| known.as_ref() != name)
        .collect();
    left.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut made = bare.split('?').next().unwrap_or_default().to_owned();
    for (index, (name, value)) in left.iter().enumerate() {
        made.push(if index == 0 { '?' } else { '&' });
        encode(name, &mut made);
        made.push('=');
        encode(value, &mut made);
    }
    if let Some(fragment) = fragment {
        made.push('#');
        made.push_str(fragment);
    }
    made
}

/// Percent-encoding of all but unreserved characters.
fn encode(text: &str, into: &mut String) {
    use std::fmt::Write as _;
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            into.push(char::from(byte));
        } else {
            // Writing into a String cannot fail.
            let _ = write!(into, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests;
