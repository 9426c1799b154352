//! Extension providers: services outside of the proxy that policies name.
//!
//! In: `extensionProviders` of a MeshConfig. Out: [`ExtensionProvider`], whose names are unique
//! (FEATURES S9).

mod convert;

use std::time::Duration;

use crate::{Hostname, NamespaceName};

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
