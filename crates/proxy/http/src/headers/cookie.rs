//! Cookies in requests.

use http::{HeaderMap, header};

/// The value of the first cookie of this name, without quotes round it.
pub(crate) fn value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(known, _)| *known == name)
        .map(|(_, value)| {
            let inner = value.strip_prefix('"');
            inner
                .and_then(|inner| inner.strip_suffix('"'))
                .unwrap_or(value)
        })
}
