//! The hash of a request, by which some clusters balance: what the route's policies make of
//! headers, cookies, addresses and so on, as Envoy does it (xxHash64).

use http::HeaderValue;
use meltemi_ir::HashSource;
use twox_hash::XxHash64;

use crate::head::RequestHead;
use crate::headers::cookie;
use crate::route::{HashPlan, query_value};
use crate::stream::{Facts, Stream};

/// What a hash depends on besides the request's head.
pub(crate) struct Hashed<'a> {
    client: std::net::SocketAddr,
    local: std::net::SocketAddr,
    state: Option<&'a std::collections::BTreeMap<String, String>>,
}

/// A hash, and the cookies that it made.
#[derive(Debug, Default)]
pub(crate) struct Hash {
    pub(crate) hash: Option<u64>,
    pub(crate) set_cookies: Vec<HeaderValue>,
}

impl<'a> Hashed<'a> {
    pub(crate) fn new(stream: &Stream, facts: &'a Facts) -> Self {
        let info = &stream.connection.info;
        Self {
            client: facts.client.unwrap_or(info.remote),
            local: info.local,
            state: facts.notes.shared().map(|shared| &shared.state),
        }
    }
}

/// The hash of a request.
pub(crate) fn of_request(plans: &[HashPlan], head: &RequestHead, around: &Hashed<'_>) -> Hash {
    let mut result = Hash::default();
    for plan in plans {
        let more = one(plan, head, around, &mut result.set_cookies);
        if let Some(more) = more {
            // turned, so that the same policy twice does not undo itself
            let before = result.hash.map_or(0, |hash| hash.rotate_left(1));
            result.hash = Some(before ^ more);
        }
        if plan.policy.terminal && result.hash.is_some() {
            break;
        }
    }
    result
}

fn one(
    plan: &HashPlan,
    head: &RequestHead,
    around: &Hashed<'_>,
    set_cookies: &mut Vec<HeaderValue>,
) -> Option<u64> {
    match &plan.policy.source {
        HashSource::Header { name, .. } => header(plan, name, head),
        HashSource::Cookie {
            name,
            ttl,
            path,
            attributes,
        } => match (cookie::value(&head.headers, name), ttl) {
            (Some(value), _) if !value.is_empty() => Some(xxh64(value.as_bytes(), 0)),
            (_, Some(ttl)) => {
                let value = made_value(around);
                set_cookies.extend(set_cookie(name, &value, ttl.as_secs(), path, attributes));
                Some(xxh64(value.as_bytes(), 0))
            }
            (_, None) => None,
        },
        HashSource::SourceIp => {
            let ip = around.client.ip().to_string();
            Some(xxh64(ip.as_bytes(), 0))
        }
        HashSource::Query(name) => {
            let path = head.path();
            let (_, query) = path.split_once('?')?;
            query_value(query, name).map(|value| xxh64(value.as_bytes(), 0))
        }
        HashSource::FilterState(key) => {
            let value = around.state?.get(key)?;
            Some(xxh64(value.as_bytes(), 0))
        }
    }
}

/// The hash of a header's values, each continuing that of the one before, in their order as text.
fn header(plan: &HashPlan, name: &http::HeaderName, head: &RequestHead) -> Option<u64> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut values: Vec<String> = if *name == http::header::HOST {
        vec![head.authority().to_owned()]
    } else {
        let all = head.headers.get_all(name).iter();
        all.map(|value| text(value.as_bytes())).collect()
    };
    if values.is_empty() {
        return None;
    }
    if let Some(rewrite) = &plan.rewrite {
        for value in &mut values {
            *value = rewrite.apply(value);
        }
    }
    values.sort();
    Some(
        values
            .iter()
            .fold(0, |seed, value| xxh64(value.as_bytes(), seed)),
    )
}

/// The same for all requests of a connection, so that those that come at once get the same.
fn made_value(around: &Hashed<'_>) -> String {
    let text = format!("{}{}", around.client, around.local);
    format!("{:016x}", xxh64(text.as_bytes(), 0))
}

fn set_cookie(
    name: &str,
    value: &str,
    max_age: u64,
    path: &str,
    attributes: &[(String, String)],
) -> Option<HeaderValue> {
    let mut text = format!("{name}=\"{value}\"");
    if max_age > 0 {
        text.push_str(&format!("; Max-Age={max_age}"));
    }
    if !path.is_empty() {
        text.push_str(&format!("; Path={path}"));
    }
    for (name, value) in attributes {
        text.push_str("; ");
        text.push_str(name);
        if !value.is_empty() {
            text.push('=');
            text.push_str(value);
        }
    }
    text.push_str("; HttpOnly");
    HeaderValue::from_str(&text).ok()
}

fn xxh64(bytes: &[u8], seed: u64) -> u64 {
    XxHash64::oneshot(seed, bytes)
}

#[cfg(test)]
mod tests {
    #[test]
    fn hashes_are_those_of_envoy() {
        for (text, hash) in [
            ("", 0xef46_db37_51d8_e999),
            ("foo", 3_728_699_739_546_630_719_u64),
        ] {
            assert_eq!(super::xxh64(text.as_bytes(), 0), hash, "{text}");
        }
    }
}
