//! The forms of names: DNS names, wildcards, labels.
//!
//! In: text. Out: whether it has the form, and what to write otherwise.

use std::net::IpAddr;

/// Checks a host name: a DNS name, `*`, `*.suffix` (or `*suffix`, `*-suffix`), or an IP address.
pub(super) fn check_wildcard(name: &str) -> Result<(), String> {
    if name == "*" || name.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    if name.is_empty() {
        return Err("a host name is needed".to_owned());
    }
    if name.len() > 255 {
        return Err(format!("`{name}` is longer than 255 bytes"));
    }
    let mut labels = name.split('.');
    let first = labels.next().unwrap_or_default();
    let first_ok = first == "*" || {
        let rest = first
            .strip_prefix("*-")
            .or_else(|| first.strip_prefix('*'))
            .unwrap_or(first);
        is_mixed_label(rest)
    };
    if first_ok && first == "*" && labels.clone().next().is_none() {
        return Ok(());
    }
    if !first_ok || !labels.all(is_mixed_label) {
        return Err(format!(
            "`{name}` is not a host name; write one such as reviews.default.svc.cluster.local, *.example.com or *"
        ));
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!(
            "`{name}` is not a host name: its last part is a number"
        ));
    }
    Ok(())
}

/// Whether `text` is a DNS-1123 label: at most 63 lower-case letters, digits and inner dashes.
pub(crate) fn is_dns_label(text: &str) -> bool {
    is_mixed_label(text) && !text.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// Whether `text` is a DNS-1123 subdomain: labels between dots, at most 253 bytes.
pub(crate) fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}

/// Whether `key` is the name of a label: `[prefix/]name`.
pub(super) fn is_label_key(key: &str) -> bool {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    prefix.is_none_or(is_dns_subdomain) && !name.is_empty() && is_label_value(name)
}

/// Whether `value` is the value of a label; empty is.
pub(super) fn is_label_value(value: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let bytes = value.as_bytes();
    bytes.len() <= 63
        && bytes.iter().copied().all(inner)
        && [bytes.first(), bytes.last()]
            .into_iter()
            .flatten()
            .all(u8::is_ascii_alphanumeric)
}

fn is_mixed_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}
