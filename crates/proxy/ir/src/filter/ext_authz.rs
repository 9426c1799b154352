//! `envoy.extensions.filters.http.ext_authz.v3.ExtAuthz`.

use std::collections::BTreeMap;

use http::StatusCode;

use crate::{CallRetry, GrpcTarget, HeaderMutation, HttpUri, MetadataMatch, StringMatch};

/// Who is asked whether a request may pass, and what of it is told.
#[derive(Clone, Debug, PartialEq)]
pub struct ExtAuthz {
    /// Who is asked.
    pub service: AuthzService,
    /// Requests pass while nobody answers.
    pub failure_mode_allow: bool,
    /// The upstream is told so.
    pub failure_mode_allow_header: bool,
    /// The body is told too.
    pub body: Option<AuthzBody>,
    /// The route is looked for again after changes.
    pub clear_route_cache: bool,
    /// What clients get while nobody answers.
    pub status_on_error: StatusCode,
    /// Metadata that is told, by namespace.
    pub metadata_namespaces: Vec<String>,
    /// The route's metadata that is told, by namespace.
    pub route_metadata_namespaces: Vec<String>,
    /// The share of requests that are asked about.
    pub enabled_per_million: Option<u32>,
    /// Only requests with such metadata are asked about.
    pub enabled_metadata: Option<MetadataMatch>,
    /// The others are refused.
    pub deny_at_disable: bool,
    /// The client's certificate is told.
    pub include_peer_certificate: bool,
    /// The server name of the TLS session is told.
    pub include_tls_session: bool,
    /// Stands in the statistics' names; empty for nothing.
    pub stat_prefix: String,
    /// Headers that are told; all to a gRPC service unless set.
    pub allowed_headers: Option<Vec<StringMatch>>,
    /// Headers that are not.
    pub disallowed_headers: Vec<StringMatch>,
    /// Refusals count among the cluster's answers.
    pub charge_cluster: bool,
    /// Headers are told as bytes, each value alone.
    pub raw_headers: bool,
    /// Metadata of answers is kept.
    pub ingest_metadata: bool,
    /// The most bytes of a refusal's body; 0 for no limit.
    pub max_denied_body: usize,
}

/// Who is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum AuthzService {
    /// `envoy.service.auth.v3.Authorization`.
    Grpc(GrpcTarget),
    /// A server that answers 200 where a request may pass.
    Http(Box<HttpAuthz>),
}

/// An HTTP service that is asked (`HttpService`).
#[derive(Clone, Debug, PartialEq)]
pub struct HttpAuthz {
    /// Where it is; the path is the request's.
    pub uri: HttpUri,
    /// Stands before the request's path.
    pub path_prefix: String,
    /// Stands in its place.
    pub path_override: String,
    /// Headers of the request to it.
    pub headers_to_add: HeaderMutation,
    /// Headers of its answer that replace the request's.
    pub upstream: Vec<StringMatch>,
    /// Headers of its answer that are added to the request's.
    pub upstream_append: Vec<StringMatch>,
    /// Headers of its refusal that the client gets; all unless set.
    pub client: Vec<StringMatch>,
    /// Headers of its consent that the client gets.
    pub client_on_success: Vec<StringMatch>,
    /// Headers of its answer that become metadata.
    pub metadata: Vec<StringMatch>,
    /// How often it is asked again.
    pub retry: Option<CallRetry>,
}

/// What of bodies is told (`BufferSettings`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthzBody {
    /// The most bytes.
    pub most: usize,
    /// Larger bodies are told in part, else refused.
    pub partial: bool,
    /// As bytes, not as text.
    pub bytes: bool,
}

/// What a route says (`ExtAuthzPerRoute`), beside turning the filter off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtAuthzRoute {
    /// Told beside the request.
    pub context: BTreeMap<String, String>,
    /// Bodies are not told.
    pub no_body: bool,
    /// What of bodies is told in place of the filter's.
    pub body: Option<AuthzBody>,
}
