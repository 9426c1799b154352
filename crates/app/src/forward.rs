//! Which headers of a request go along to the upstreams it causes to be called.

use http::{HeaderMap, HeaderName, header};

use crate::config::Config;

/// Headers that tie the spans of one trace together, of every common tracing system.
const TRACE_HEADERS: [&str; 14] = [
    "x-request-id",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "b3",
    "traceparent",
    "tracestate",
    "baggage",
    "x-ot-span-context",
    "x-cloud-trace-context",
    "grpc-trace-bin",
    "sw8",
];

/// Headers that speak of one connection or one body, never of the call as a whole.
const OWN_HEADERS: [HeaderName; 15] = [
    header::HOST,
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::EXPECT,
    header::PROXY_AUTHORIZATION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::ACCEPT_ENCODING,
    header::FORWARDED,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// The headers that upstream calls inherit: trace headers and those of `FORWARD_HEADERS` always,
/// all that speak of the call itself with `HTTP_CLIENT_APPEND_REQUEST`.
pub(crate) fn inherited(config: &Config, request: &HeaderMap) -> HeaderMap {
    let mut inherited = HeaderMap::new();
    for (name, value) in request {
        let wanted = is_trace(name)
            || config.forward_headers.contains(name)
            || (config.append_request && !OWN_HEADERS.contains(name) && !is_proxys(name));
        if wanted {
            inherited.append(name, value.clone());
        }
    }
    inherited
}

fn is_trace(name: &HeaderName) -> bool {
    TRACE_HEADERS.contains(&name.as_str()) || name.as_str().starts_with("x-datadog-")
}

/// Headers that a proxy on the way wrote for this hop: repeated, they would steer the next one.
fn is_proxys(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-envoy-") || name.as_str().starts_with("x-forwarded-")
}
