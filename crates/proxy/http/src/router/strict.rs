//! Requests whose `x-envoy-*` headers mean nothing, where the router is strict about them
//! (`strict_check_headers`).

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use meltemi_ir::RetryOn;
use meltemi_telemetry::ResponseFlags;

use super::reply::LocalReply;
use crate::headers::names;

/// The answer to a request of which one of these headers is wrong.
pub(super) fn refusal(strict: &[HeaderName], headers: &HeaderMap) -> Option<Box<LocalReply>> {
    let wrong = |name: &&HeaderName| headers.get(*name).is_some_and(|value| !means(name, value));
    let name = strict.iter().find(wrong)?;
    let value = String::from_utf8_lossy(headers.get(name)?.as_bytes()).into_owned();
    let mut reply = LocalReply::new(
        StatusCode::BAD_REQUEST,
        "",
        "",
        ResponseFlags::INVALID_ENVOY_REQUEST_HEADERS,
    );
    reply.body = format!("invalid header '{name}' with value '{value}'").into();
    reply.details = format!("request_headers_failed_strict_check{{{name}}}").into();
    Some(reply.closing())
}

/// Whether a header has a value of its kind.
fn means(name: &HeaderName, value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else {
        return false;
    };
    let of_grpc = match name {
        _ if *name == names::RETRY_ON => false,
        _ if *name == names::RETRY_GRPC_ON => true,
        _ => return text.parse::<u64>().is_ok(),
    };
    let (known, unknown) = RetryOn::parse(text);
    unknown.is_empty() && known.of_grpc(of_grpc) == known
}
