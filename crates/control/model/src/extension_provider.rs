//! Extension providers: services outside of the proxy that policies name.
//!
//! In: `extensionProviders` of a MeshConfig. Out: [`ExtensionProvider`], whose names are unique
//! (FEATURES S9).

mod convert;
mod convert_log;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{AccessLogFormat, Hostname, NamespaceName};

pub(crate) use convert::convert;

/// A provider of the mesh configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtensionProvider {
    /// `name`, by which policies refer to it.
    pub name: String,
    /// What it is for.
    pub kind: ProviderKind,
}

/// What a provider is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderKind {
    /// `envoyExtAuthzHttp` or `envoyExtAuthzGrpc`.
    ExtAuthz(Box<ExtAuthz>),
    /// `envoyFileAccessLog`.
    FileLog(FileLog),
    /// `envoyHttpAls`.
    HttpLog(Box<GrpcLog>),
    /// `envoyTcpAls`.
    TcpLog(Box<GrpcLog>),
    /// `envoyOtelAls`.
    OtelLog(Box<GrpcLog>),
    /// `prometheus`, whose metrics are there anyway.
    Prometheus,
    /// `sds`: a service that has the credentials of gateways.
    Secrets(ProviderService),
}

/// An access log in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileLog {
    /// `path`, `/dev/stdout`.
    pub path: String,
    /// `logFormat`; `None` is Istio's default line.
    pub format: Option<AccessLogFormat>,
    /// `omitEmptyValues`.
    pub omit_empty_values: bool,
}

/// An access log that a service takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrpcLog {
    /// The service.
    pub service: ProviderService,
    /// `logName`.
    pub log_name: Option<String>,
    /// `filterStateObjectsToLog`.
    pub filter_state: Vec<String>,
    /// `additionalRequestHeadersToLog`.
    pub request_headers: Vec<String>,
    /// `additionalResponseHeadersToLog`.
    pub response_headers: Vec<String>,
    /// `additionalResponseTrailersToLog`.
    pub response_trailers: Vec<String>,
    /// `logFormat.text`.
    pub text: Option<String>,
    /// `logFormat.labels`.
    pub labels: BTreeMap<String, String>,
}

/// A service of the mesh that a provider stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderService {
    /// The namespace of the service, where one is written.
    pub namespace: Option<NamespaceName>,
    /// Its host name.
    pub host: Hostname,
    /// Its port.
    pub port: u16,
}

/// A service that decides about requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtAuthz {
    /// The service.
    pub service: ProviderService,
    /// `timeout`; `None` is Istio's ten minutes.
    pub timeout: Option<Duration>,
    /// `failOpen`: requests pass while it does not answer.
    pub fail_open: bool,
    /// `clearRouteCache`: the route is chosen again after the answer.
    pub clear_route_cache: bool,
    /// `statusOnError`: the answer while it does not answer.
    pub status_on_error: Option<u16>,
    /// `includeRequestBodyInCheck`.
    pub body: Option<CheckedBody>,
    /// How it is asked.
    pub protocol: ExtAuthzProtocol,
}

/// How much of a request's body is part of the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckedBody {
    /// `maxRequestBytes`.
    pub max_bytes: u32,
    /// `allowPartialMessage`: the first bytes will do.
    pub allow_partial: bool,
    /// `packAsBytes`.
    pub as_bytes: bool,
}

/// How an authorization service is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExtAuthzProtocol {
    /// By `envoy.service.auth.v3.Authorization`.
    Grpc,
    /// By a request that is like the one in question.
    Http(ExtAuthzHttp),
}

/// What a question over HTTP holds. Header lists have exact names, `prefix*` and `*suffix`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExtAuthzHttp {
    /// `pathPrefix`: stands before the path of the question.
    pub path_prefix: Option<String>,
    /// `includeRequestHeadersInCheck`, or the older `includeHeadersInCheck` if that is empty.
    pub request_headers: Vec<String>,
    /// `includeAdditionalHeadersInCheck`, by name.
    pub additional_headers: Vec<(String, String)>,
    /// `headersToUpstreamOnAllow`.
    pub to_upstream_on_allow: Vec<String>,
    /// `headersToDownstreamOnDeny`.
    pub to_downstream_on_deny: Vec<String>,
    /// `headersToDownstreamOnAllow`.
    pub to_downstream_on_allow: Vec<String>,
}
