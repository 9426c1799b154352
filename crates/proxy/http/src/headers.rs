//! What the connection manager does to headers before filters see a request and after they
//! have seen a response: names, the one scan over a request's headers, forwarding headers,
//! client certificates, request ids, hop-by-hop headers.

pub(crate) mod client_cert;
pub(crate) mod cookie;
pub(crate) mod forwarded;
pub(crate) mod names;
pub(crate) mod pool;
pub(crate) mod request_id;
pub(crate) mod response;
pub(crate) mod scan;

use std::cell::RefCell;

use http::HeaderValue;

thread_local! {
    /// The larger number that was written last, such as a route's timeout.
    static LAST: RefCell<Option<(u64, HeaderValue)>> = const { RefCell::new(None) };
}

/// A number as a header's value; small ones, and one like the last, cost no allocation.
pub(crate) fn number(value: u64) -> HeaderValue {
    const SMALL: [&str; 32] = [
        "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16",
        "17", "18", "19", "20", "21", "22", "23", "24", "25", "26", "27", "28", "29", "30", "31",
    ];
    match usize::try_from(value).ok().and_then(|at| SMALL.get(at)) {
        Some(text) => HeaderValue::from_static(text),
        None => LAST.with_borrow_mut(|last| match last {
            Some((known, text)) if *known == value => text.clone(),
            last => last.insert((value, HeaderValue::from(value))).1.clone(),
        }),
    }
}

/// An unsigned number in a header, if it is one.
pub(crate) fn parse_number(value: Option<&HeaderValue>) -> Option<u64> {
    value?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests;
