//! Istio VirtualService as written (`networking.istio.io`).
//!
//! Fields that the mesh does not honour yet are [`Unread`]: known, so that they are not reported as
//! unknown, and refused by `model`. Durations and enumerations are text here.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Whether a field is written; its content is not read.
pub type Unread = Option<IgnoredAny>;

/// `spec` of a VirtualService.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VirtualServiceSpec {
    /// `hosts`.
    pub hosts: Vec<String>,
    /// `gateways`.
    pub gateways: Vec<String>,
    /// `http`.
    pub http: Vec<HttpRoute>,
    /// `tls`.
    pub tls: Vec<TlsRoute>,
    /// `tcp`.
    pub tcp: Vec<TcpRoute>,
    /// `exportTo`.
    pub export_to: Vec<String>,
}

/// HTTPRoute.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRoute {
    /// `name`.
    pub name: Option<String>,
    /// `match`.
    pub r#match: Vec<HttpMatchRequest>,
    /// `route`.
    pub route: Vec<HttpRouteDestination>,
    /// `redirect`.
    pub redirect: Option<HttpRedirect>,
    /// `directResponse`.
    pub direct_response: Option<HttpDirectResponse>,
    /// `delegate`.
    pub delegate: Option<Delegate>,
    /// `rewrite`.
    pub rewrite: Option<HttpRewrite>,
    /// `timeout`.
    pub timeout: Option<String>,
    /// `retries`.
    pub retries: Option<HttpRetry>,
    /// `fault`.
    pub fault: Option<HttpFaultInjection>,
    /// `mirror`.
    pub mirror: Option<Destination>,
    /// `mirrors`.
    pub mirrors: Vec<HttpMirrorPolicy>,
    /// `mirrorPercent`, deprecated.
    pub mirror_percent: Option<i64>,
    /// `mirrorPercentage`.
    pub mirror_percentage: Option<Percent>,
    /// `corsPolicy`.
    pub cors_policy: Option<CorsPolicy>,
    /// `headers`.
    pub headers: Option<Headers>,
}

/// HTTPMatchRequest.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpMatchRequest {
    /// `name`.
    pub name: Option<String>,
    /// `uri`.
    pub uri: Option<StringMatch>,
    /// `scheme`.
    pub scheme: Option<StringMatch>,
    /// `method`.
    pub method: Option<StringMatch>,
    /// `authority`.
    pub authority: Option<StringMatch>,
    /// `headers`.
    pub headers: IndexMap<String, StringMatch>,
    /// `port`.
    pub port: Option<i64>,
    /// `sourceLabels`.
    pub source_labels: BTreeMap<String, String>,
    /// `gateways`.
    pub gateways: Vec<String>,
    /// `queryParams`.
    pub query_params: IndexMap<String, StringMatch>,
    /// `ignoreUriCase`.
    pub ignore_uri_case: bool,
    /// `withoutHeaders`.
    pub without_headers: IndexMap<String, StringMatch>,
    /// `sourceNamespace`.
    pub source_namespace: Option<String>,
    /// `statPrefix`.
    pub stat_prefix: Option<String>,
}

/// StringMatch.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StringMatch {
    /// `exact`.
    pub exact: Option<String>,
    /// `prefix`.
    pub prefix: Option<String>,
    /// `regex`.
    pub regex: Option<String>,
}

/// HTTPRouteDestination.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRouteDestination {
    /// `destination`.
    pub destination: Option<Destination>,
    /// `weight`.
    pub weight: Option<i64>,
    /// `headers`.
    pub headers: Option<Headers>,
}

/// Destination.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Destination {
    /// `host`.
    pub host: String,
    /// `subset`.
    pub subset: Option<String>,
    /// `port`.
    pub port: Option<PortSelector>,
}

/// PortSelector.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PortSelector {
    /// `number`.
    pub number: Option<i64>,
}

/// Headers.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Headers {
    /// `request`.
    pub request: Option<HeaderOperations>,
    /// `response`.
    pub response: Option<HeaderOperations>,
}

/// HeaderOperations.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HeaderOperations {
    /// `set`.
    pub set: IndexMap<String, String>,
    /// `add`.
    pub add: IndexMap<String, String>,
    /// `remove`.
    pub remove: Vec<String>,
}

/// HTTPRedirect.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRedirect {
    /// `uri`.
    pub uri: Option<String>,
    /// `authority`.
    pub authority: Option<String>,
    /// `port`.
    pub port: Option<i64>,
    /// `derivePort`.
    pub derive_port: Option<String>,
    /// `scheme`.
    pub scheme: Option<String>,
    /// `redirectCode`.
    pub redirect_code: Option<i64>,
}

/// HTTPDirectResponse.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpDirectResponse {
    /// `status`.
    pub status: Option<i64>,
    /// `body`.
    pub body: Option<HttpBody>,
}

/// HTTPBody.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpBody {
    /// `string`.
    pub string: Option<String>,
    /// `bytes`, base64.
    pub bytes: Option<String>,
}

/// HTTPRewrite.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRewrite {
    /// `uri`.
    pub uri: Option<String>,
    /// `authority`.
    pub authority: Option<String>,
    /// `uriRegexRewrite`.
    pub uri_regex_rewrite: Option<RegexRewrite>,
}

/// RegexRewrite.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RegexRewrite {
    /// `match`.
    pub r#match: String,
    /// `rewrite`.
    pub rewrite: String,
}

/// HTTPRetry.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRetry {
    /// `attempts`.
    pub attempts: i64,
    /// `perTryTimeout`.
    pub per_try_timeout: Option<String>,
    /// `retryOn`.
    pub retry_on: Option<String>,
    /// `retryRemoteLocalities`.
    pub retry_remote_localities: Option<bool>,
    /// `retryIgnorePreviousHosts`.
    pub retry_ignore_previous_hosts: Option<bool>,
    /// `backoff`.
    pub backoff: Option<String>,
}

/// CorsPolicy.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CorsPolicy {
    /// `allowOrigin`, deprecated.
    pub allow_origin: Vec<String>,
    /// `allowOrigins`.
    pub allow_origins: Vec<StringMatch>,
    /// `allowMethods`.
    pub allow_methods: Vec<String>,
    /// `allowHeaders`.
    pub allow_headers: Vec<String>,
    /// `exposeHeaders`.
    pub expose_headers: Vec<String>,
    /// `maxAge`.
    pub max_age: Option<String>,
    /// `allowCredentials`.
    pub allow_credentials: Option<bool>,
    /// `unmatchedPreflights`.
    pub unmatched_preflights: Option<String>,
}

/// Delegate.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Delegate {
    /// `name`.
    pub name: Option<String>,
    /// `namespace`.
    pub namespace: Option<String>,
}

/// HTTPFaultInjection.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpFaultInjection {
    /// `delay`.
    pub delay: Option<Delay>,
    /// `abort`.
    pub abort: Option<Abort>,
}

/// Delay.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Delay {
    /// `percent`.
    pub percent: Option<i64>,
    /// `fixedDelay`.
    pub fixed_delay: Option<String>,
    /// `exponentialDelay`.
    pub exponential_delay: Unread,
    /// `percentage`.
    pub percentage: Option<Percent>,
}

/// Abort.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Abort {
    /// `httpStatus`.
    pub http_status: Option<i64>,
    /// `grpcStatus`.
    pub grpc_status: Option<String>,
    /// `http2Error`.
    pub http2_error: Unread,
    /// `percentage`.
    pub percentage: Option<Percent>,
}

/// Percent.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Percent {
    /// `value`.
    pub value: f64,
}

/// HTTPMirrorPolicy.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpMirrorPolicy {
    /// `destination`.
    pub destination: Option<Destination>,
    /// `percentage`.
    pub percentage: Option<Percent>,
}

/// TLSRoute.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TlsRoute {
    /// `match`.
    pub r#match: Vec<TlsMatchAttributes>,
    /// `route`.
    pub route: Vec<RouteDestination>,
}

/// TLSMatchAttributes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TlsMatchAttributes {
    /// `sniHosts`.
    pub sni_hosts: Vec<String>,
    /// `destinationSubnets`.
    pub destination_subnets: Vec<String>,
    /// `port`.
    pub port: Option<i64>,
    /// `sourceLabels`.
    pub source_labels: BTreeMap<String, String>,
    /// `gateways`.
    pub gateways: Vec<String>,
    /// `sourceNamespace`.
    pub source_namespace: Option<String>,
}

/// TCPRoute.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpRoute {
    /// `name`.
    pub name: Option<String>,
    /// `match`.
    pub r#match: Vec<L4MatchAttributes>,
    /// `route`.
    pub route: Vec<RouteDestination>,
}

/// L4MatchAttributes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct L4MatchAttributes {
    /// `destinationSubnets`.
    pub destination_subnets: Vec<String>,
    /// `port`.
    pub port: Option<i64>,
    /// `sourceSubnet`.
    pub source_subnet: Unread,
    /// `sourceLabels`.
    pub source_labels: BTreeMap<String, String>,
    /// `gateways`.
    pub gateways: Vec<String>,
    /// `sourceNamespace`.
    pub source_namespace: Option<String>,
}

/// RouteDestination.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteDestination {
    /// `destination`.
    pub destination: Option<Destination>,
    /// `weight`.
    pub weight: Option<i64>,
}
