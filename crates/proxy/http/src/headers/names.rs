//! Header names and values that the proxy knows.

use http::{HeaderName, HeaderValue};

macro_rules! names {
    ($($constant:ident $name:literal;)*) => {
        $(pub(crate) const $constant: HeaderName = HeaderName::from_static($name);)*
    };
}

names! {
    KEEP_ALIVE "keep-alive";
    X_FORWARDED_PORT "x-forwarded-port";
    PROXY_CONNECTION "proxy-connection";
    HTTP2_SETTINGS "http2-settings";
    X_FORWARDED_FOR "x-forwarded-for";
    X_FORWARDED_PROTO "x-forwarded-proto";
    X_FORWARDED_HOST "x-forwarded-host";
    X_FORWARDED_CLIENT_CERT "x-forwarded-client-cert";
    X_REQUEST_ID "x-request-id";
    ATTEMPT_COUNT "x-envoy-attempt-count";
    DECORATOR_OPERATION "x-envoy-decorator-operation";
    DOWNSTREAM_SERVICE_CLUSTER "x-envoy-downstream-service-cluster";
    DOWNSTREAM_SERVICE_NODE "x-envoy-downstream-service-node";
    EXPECTED_TIMEOUT "x-envoy-expected-rq-timeout-ms";
    EXTERNAL_ADDRESS "x-envoy-external-address";
    FORCE_TRACE "x-envoy-force-trace";
    HEDGE "x-envoy-hedge-on-per-try-timeout";
    IMMEDIATE_HEALTH_CHECK_FAIL "x-envoy-immediate-health-check-fail";
    INTERNAL "x-envoy-internal";
    IP_TAGS "x-envoy-ip-tags";
    IS_TIMEOUT_RETRY "x-envoy-is-timeout-retry";
    MAX_RETRIES "x-envoy-max-retries";
    ORIGINAL_HOST "x-envoy-original-host";
    ORIGINAL_PATH "x-envoy-original-path";
    ORIGINAL_URL "x-envoy-original-url";
    OVERLOADED "x-envoy-overloaded";
    PEER_METADATA "x-envoy-peer-metadata";
    PEER_METADATA_ID "x-envoy-peer-metadata-id";
    RATE_LIMITED "x-envoy-ratelimited";
    RETRIABLE_HEADER_NAMES "x-envoy-retriable-header-names";
    RETRIABLE_STATUS_CODES "x-envoy-retriable-status-codes";
    RETRY_GRPC_ON "x-envoy-retry-grpc-on";
    RETRY_ON "x-envoy-retry-on";
    UPSTREAM_ALT_STAT_NAME "x-envoy-upstream-alt-stat-name";
    UPSTREAM_PER_TRY_TIMEOUT "x-envoy-upstream-rq-per-try-timeout-ms";
    UPSTREAM_SERVICE_TIME "x-envoy-upstream-service-time";
    UPSTREAM_TIMEOUT "x-envoy-upstream-rq-timeout-ms";
    UPSTREAM_TIMEOUT_ALT "x-envoy-upstream-rq-timeout-alt-response";
    GRPC_STATUS "grpc-status";
    GRPC_MESSAGE "grpc-message";
}

pub(crate) const TRUE: HeaderValue = HeaderValue::from_static("true");
pub(crate) const HTTP: HeaderValue = HeaderValue::from_static("http");
pub(crate) const HTTPS: HeaderValue = HeaderValue::from_static("https");
pub(crate) const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");
pub(crate) const CLOSE: HeaderValue = HeaderValue::from_static("close");
pub(crate) const UPGRADE: HeaderValue = HeaderValue::from_static("upgrade");
pub(crate) const TEXT_PLAIN: HeaderValue = HeaderValue::from_static("text/plain");
pub(crate) const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
pub(crate) const ENVOY: HeaderValue = HeaderValue::from_static("envoy");
