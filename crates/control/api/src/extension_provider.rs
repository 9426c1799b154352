//! Extension providers as written: the list `extensionProviders` of a MeshConfig.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::virtual_service::Unread;

/// ExtensionProvider: a name and one of the kinds.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExtensionProvider {
    /// `name`.
    pub name: Option<String>,
    /// `envoyExtAuthzHttp`.
    pub envoy_ext_authz_http: Option<ExtAuthzHttp>,
    /// `envoyExtAuthzGrpc`.
    pub envoy_ext_authz_grpc: Option<ExtAuthzGrpc>,
    /// `zipkin`.
    pub zipkin: Unread,
    /// `lightstep`, deprecated.
    pub lightstep: Unread,
    /// `datadog`.
    pub datadog: Unread,
    /// `stackdriver`.
    pub stackdriver: Unread,
    /// `opencensus`, deprecated.
    pub opencensus: Unread,
    /// `skywalking`.
    pub skywalking: Unread,
    /// `opentelemetry`.
    pub opentelemetry: Unread,
    /// `prometheus`.
    pub prometheus: Unread,
    /// `envoyFileAccessLog`.
    pub envoy_file_access_log: Unread,
    /// `envoyHttpAls`.
    pub envoy_http_als: Unread,
    /// `envoyTcpAls`.
    pub envoy_tcp_als: Unread,
    /// `envoyOtelAls`.
    pub envoy_otel_als: Unread,
    /// `sds`.
    pub sds: Unread,
}

/// EnvoyExternalAuthorizationHttpProvider.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExtAuthzHttp {
    /// `service`: `[namespace/]host`.
    pub service: Option<String>,
    /// `port`.
    pub port: Option<i64>,
    /// `timeout`.
    pub timeout: Option<String>,
    /// `pathPrefix`.
    pub path_prefix: Option<String>,
    /// `failOpen`.
    pub fail_open: bool,
    /// `clearRouteCache`.
    pub clear_route_cache: bool,
    /// `statusOnError`.
    pub status_on_error: Option<String>,
    /// `includeHeadersInCheck`, deprecated.
    pub include_headers_in_check: Vec<String>,
    /// `includeRequestHeadersInCheck`.
    pub include_request_headers_in_check: Vec<String>,
    /// `includeAdditionalHeadersInCheck`.
    pub include_additional_headers_in_check: BTreeMap<String, String>,
    /// `includeRequestBodyInCheck`.
    pub include_request_body_in_check: Option<RequestBody>,
    /// `headersToUpstreamOnAllow`.
    pub headers_to_upstream_on_allow: Vec<String>,
    /// `headersToDownstreamOnDeny`.
    pub headers_to_downstream_on_deny: Vec<String>,
    /// `headersToDownstreamOnAllow`.
    pub headers_to_downstream_on_allow: Vec<String>,
}

/// EnvoyExternalAuthorizationGrpcProvider.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExtAuthzGrpc {
    /// `service`: `[namespace/]host`.
    pub service: Option<String>,
    /// `port`.
    pub port: Option<i64>,
    /// `timeout`.
    pub timeout: Option<String>,
    /// `failOpen`.
    pub fail_open: bool,
    /// `clearRouteCache`.
    pub clear_route_cache: bool,
    /// `statusOnError`.
    pub status_on_error: Option<String>,
    /// `includeRequestBodyInCheck`.
    pub include_request_body_in_check: Option<RequestBody>,
}

/// EnvoyExternalAuthorizationRequestBody.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RequestBody {
    /// `maxRequestBytes`.
    pub max_request_bytes: Option<i64>,
    /// `allowPartialMessage`.
    pub allow_partial_message: bool,
    /// `packAsBytes`.
    pub pack_as_bytes: bool,
}
