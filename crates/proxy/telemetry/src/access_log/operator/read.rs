//! What operators read of a record.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::{FORWARDED_CLIENT_CERT, ORIGINAL_PATH, PathSource, Peer, Validity, get};
use crate::StreamRecord;
use crate::access_log::field::{Field, FieldKind};

/// A moment of the validity of a peer's certificate, since the Unix epoch.
pub(super) fn validity(record: &StreamRecord<'_>, peer: Peer, which: Validity) -> Option<Duration> {
    let tls = match peer {
        Peer::Downstream => record.connection.tls.as_ref(),
        Peer::Upstream => record.upstream.as_ref()?.tls,
    };
    let (start, end) = tls?.peer_validity?;
    let seconds = match which {
        Validity::Start => start,
        Validity::End => end,
    };
    u64::try_from(seconds).ok().map(Duration::from_secs)
}

/// The network that an address is in, in CIDR notation.
pub(super) fn masked(field: Field, bits: u8, record: &StreamRecord<'_>) -> Option<String> {
    let FieldKind::Ip(get) = field.0 else {
        return None;
    };
    let network = match get(record)?.ip() {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32_u32.checked_sub(bits.into())?);
            IpAddr::from(Ipv4Addr::from_bits(address.to_bits() & mask.unwrap_or(0)))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128_u32.checked_sub(bits.into())?);
            IpAddr::from(Ipv6Addr::from_bits(address.to_bits() & mask.unwrap_or(0)))
        }
    };
    Some(format!("{network}/{bits}"))
}

/// The first value of `key` in `x-forwarded-client-cert`: elements stand between commas, their pairs
/// between semicolons, and what is in quotes is taken as it is.
pub(super) fn client_certificate(record: &StreamRecord<'_>, key: &str) -> Option<String> {
    let headers = record.request.as_ref().map(|request| request.headers);
    let header = get(headers, &FORWARDED_CLIENT_CERT);
    let header = header.and_then(|header| std::str::from_utf8(header).ok())?;
    let mut quoted = false;
    let mut escaped = false;
    let pairs = header.split(|character| {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = quoted,
            '"' => quoted = !quoted,
            ',' | ';' => return !quoted,
            _ => {}
        }
        false
    });
    for pair in pairs {
        let Some((name, value)) = pair.split_once('=') else {
            continue;
        };
        if name.trim().eq_ignore_ascii_case(key) {
            let value = value.trim();
            let inner = value.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
            return Some(inner.map_or(value.to_owned(), |inner| inner.replace("\\\"", "\"")));
        }
    }
    None
}

pub(super) fn path_of<'a>(
    record: &StreamRecord<'a>,
    query: bool,
    source: PathSource,
) -> Option<&'a [u8]> {
    let request = record.request.as_ref()?;
    let original = || get(Some(request.headers), &ORIGINAL_PATH);
    let current = || Some(request.path.as_bytes());
    let whole = match source {
        PathSource::Current => current(),
        PathSource::Original => original(),
        PathSource::OriginalOrCurrent => original().or_else(current),
    }?;
    if query {
        return Some(whole);
    }
    whole.split(|byte| *byte == b'?').next()
}

pub(super) fn query<'a>(record: &StreamRecord<'a>) -> Option<&'a str> {
    let (_, query) = record.request.as_ref()?.path.split_once('?')?;
    Some(query)
}

pub(super) fn query_parameter<'a>(record: &StreamRecord<'a>, name: &str) -> Option<Cow<'a, [u8]>> {
    query(record)?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then(|| percent_decoded(value, |_| true))
    })
}

/// `%41` as `A`, where such a byte is wanted; a percent sign before anything else stands for itself.
pub(super) fn percent_decoded(text: &str, wanted: fn(u8) -> bool) -> Cow<'_, [u8]> {
    if !text.contains('%') {
        return Cow::Borrowed(text.as_bytes());
    }
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let pair = || Some(digit(bytes.get(at + 1))? << 4 | digit(bytes.get(at + 2))?);
        let value = (byte == &b'%').then(pair).flatten();
        let value = value.and_then(|value| u8::try_from(value).ok());
        match value.filter(|value| wanted(*value)) {
            Some(value) => {
                decoded.push(value);
                at += 3;
            }
            None => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    Cow::Owned(decoded)
}
