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
    pub prometheus: Option<Prometheus>,
    /// `envoyFileAccessLog`.
    pub envoy_file_access_log: Option<FileLog>,
    /// `envoyHttpAls`.
    pub envoy_http_als: Option<GrpcLog>,
    /// `envoyTcpAls`.
    pub envoy_tcp_als: Option<GrpcLog>,
    /// `envoyOtelAls`.
    pub envoy_otel_als: Option<GrpcLog>,
    /// `sds`.
    pub sds: Option<SecretService>,
}

/// SecretDiscoveryServiceProvider.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecretService {
    /// `name`.
    pub name: Option<String>,
    /// `service`.
    pub service: Option<String>,
    /// `port`.
    pub port: Option<i64>,
}

/// PrometheusMetricsProvider.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Prometheus {}

/// EnvoyFileAccessLogProvider.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FileLog {
    /// `path`.
    pub path: Option<String>,
    /// `logFormat`.
    pub log_format: Option<LogFormat>,
    /// `omitEmptyValues`.
    pub omit_empty_values: bool,
}

/// LogFormat of the providers of access logs.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogFormat {
    /// `text`.
    pub text: Option<String>,
    /// `labels`.
    pub labels: Option<BTreeMap<String, String>>,
}

/// EnvoyHttpGrpcV3LogProvider, EnvoyTcpGrpcV3LogProvider and EnvoyOpenTelemetryLogProvider.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GrpcLog {
    /// `service`: `[namespace/]host`.
    pub service: Option<String>,
    /// `port`.
    pub port: Option<i64>,
    /// `logName`.
    pub log_name: Option<String>,
    /// `filterStateObjectsToLog`; not of OpenTelemetry.
    pub filter_state_objects_to_log: Vec<String>,
    /// `additionalRequestHeadersToLog`; of HTTP only.
    pub additional_request_headers_to_log: Vec<String>,
    /// `additionalResponseHeadersToLog`; of HTTP only.
    pub additional_response_headers_to_log: Vec<String>,
    /// `additionalResponseTrailersToLog`; of HTTP only.
    pub additional_response_trailers_to_log: Vec<String>,
    /// `logFormat`; of OpenTelemetry only.
    pub log_format: Option<LogFormat>,
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
