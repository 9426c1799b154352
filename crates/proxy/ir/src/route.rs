//! Routes (`envoy.config.route.v3`).

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::{
    HeaderMatch, HeaderMutation, LocalReplyBody, Metadata, PathMatch, Priority, QueryMatch,
    RegexMatch, RetryPolicy, StringMatch,
};

/// A route table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteConfiguration {
    /// The name by which a listener asks for it.
    pub name: String,
    /// The hosts, of which at most one is chosen by the request's authority.
    pub virtual_hosts: Vec<Arc<VirtualHost>>,
    /// Changes to every request's headers.
    pub request_headers: HeaderMutation,
    /// Changes to every response's headers.
    pub response_headers: HeaderMutation,
    /// The authority's port is no part of the comparison with domains.
    pub ignore_port_in_host_matching: bool,
    /// Header changes of the widest scope win over those of the narrowest.
    pub most_specific_header_mutations_wins: bool,
}

/// A host and its routes.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualHost {
    /// Its name.
    pub name: String,
    /// Exact names, `*.suffix`, `prefix.*`, or `*`.
    pub domains: Vec<String>,
    /// Tried in order; the first that matches is taken.
    pub routes: Vec<Arc<Route>>,
    /// Plain HTTP is redirected for everything (`require_tls: ALL`).
    pub require_tls: bool,
    /// Changes to every request's headers.
    pub request_headers: HeaderMutation,
    /// Changes to every response's headers.
    pub response_headers: HeaderMutation,
    /// For routes that have no retry policy of their own.
    pub retry: Option<Arc<RetryPolicy>>,
    /// For routes that have no CORS policy of their own.
    pub cors: Option<Arc<Cors>>,
    /// `include_request_attempt_count`: the upstream sees `x-envoy-attempt-count`.
    pub include_request_attempt_count: bool,
    /// `include_attempt_count_in_response`: the downstream sees it too.
    pub include_attempt_count_in_response: bool,
}

/// One route.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Its name, for logs.
    pub name: String,
    /// Which requests it takes.
    pub matcher: RouteMatch,
    /// What it does with them.
    pub action: RouteAction,
    /// Changes to the request's headers.
    pub request_headers: HeaderMutation,
    /// Changes to the response's headers.
    pub response_headers: HeaderMutation,
    /// Free-form, such as `istio.config`.
    pub metadata: Metadata,
}

/// Which requests a route takes: everything set must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteMatch {
    /// The path.
    pub path: PathMatch,
    /// ASCII case of the path counts (true unless set otherwise).
    pub case_sensitive: bool,
    /// The headers.
    pub headers: Vec<HeaderMatch>,
    /// The query parameters.
    pub query: Vec<QueryMatch>,
    /// Only gRPC requests.
    pub grpc: bool,
    /// Only this share of requests, in parts of a million (`runtime_fraction`).
    pub fraction_per_million: Option<u32>,
}

/// What a route does.
#[derive(Clone, Debug, PartialEq)]
pub enum RouteAction {
    /// Sends the request to a cluster.
    Forward(Box<RouteTarget>),
    /// Answers with a redirection.
    Redirect(Redirect),
    /// Answers at once.
    Direct(DirectResponse),
    /// `non_forwarding_action`: answers 404 as no route does.
    NonForwarding,
}

/// `RouteAction` of Envoy: a cluster and how to reach it.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteTarget {
    /// The choices; one element when there is a single cluster.
    pub clusters: Vec<WeightedCluster>,
    /// The status when the cluster does not exist, 503 unless set.
    pub cluster_not_found: StatusCode,
    /// Whole-request limit, from the end of the request to the end of the response;
    /// none when turned off. 15 s unless set.
    pub timeout: Option<Duration>,
    /// Stream idle limit of this route: `Some(None)` turns it off.
    pub idle_timeout: Option<Option<Duration>>,
    /// `max_stream_duration.max_stream_duration`: `Some(None)` turns the connection manager's
    /// limit off.
    pub max_stream_duration: Option<Option<Duration>>,
    /// `max_stream_duration.grpc_timeout_header_max`: a request's `grpc-timeout` header takes the
    /// place of `max_stream_duration`, at most this, zero being no limit; none ignores the header.
    pub grpc_timeout_max: Option<Duration>,
    /// When to try again.
    pub retry: Option<Arc<RetryPolicy>>,
    /// How the authority is rewritten.
    pub host_rewrite: HostRewrite,
    /// `append_x_forwarded_host`.
    pub append_x_forwarded_host: bool,
    /// How the path is rewritten.
    pub path_rewrite: PathRewrite,
    /// Answers to cross-origin requests.
    pub cors: Option<Arc<Cors>>,
    /// Upgrades allowed (true) or refused (false) here, by protocol in lower case.
    pub upgrades: Vec<(String, bool)>,
    /// Which circuit breakers count the request.
    pub priority: Priority,
}

/// A cluster among several.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightedCluster {
    /// The cluster's name.
    pub name: Arc<str>,
    /// Its share of the total of all weights.
    pub weight: u32,
    /// Changes to the request's headers.
    pub request_headers: HeaderMutation,
    /// Changes to the response's headers.
    pub response_headers: HeaderMutation,
    /// Replaces the authority for this cluster.
    pub host_rewrite: Option<String>,
}

/// How the authority is rewritten.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum HostRewrite {
    /// It is not.
    #[default]
    None,
    /// To this.
    Literal(String),
    /// To the chosen endpoint's host name (`auto_host_rewrite`).
    Endpoint,
    /// To the value of this header, where it is there.
    Header(http::HeaderName),
    /// By an expression over the path.
    PathRegex {
        /// What is looked for.
        regex: RegexMatch,
        /// What it becomes, with `\1` for the first group.
        substitution: String,
    },
}

/// How the path is rewritten; the query stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum PathRewrite {
    /// It is not.
    #[default]
    None,
    /// The matched prefix (or the whole exact path) becomes this.
    Prefix(String),
    /// Each match of the expression becomes this.
    Regex {
        /// What is looked for.
        regex: RegexMatch,
        /// What it becomes, with `\1` for the first group.
        substitution: String,
    },
}

/// `RedirectAction`.
#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    /// The scheme to go to; none keeps the request's.
    pub scheme: Option<String>,
    /// The scheme becomes https.
    pub https: bool,
    /// The host to go to; none keeps the request's.
    pub host: Option<String>,
    /// The port to go to; none keeps the request's.
    pub port: Option<u16>,
    /// The path to go to.
    pub path: RedirectPath,
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// The query is dropped.
    pub strip_query: bool,
}

/// The path of a redirection.
#[derive(Clone, Debug, PartialEq)]
pub enum RedirectPath {
    /// As requested.
    Keep,
    /// This path (which may bring a query of its own).
    Full(String),
    /// The matched prefix becomes this.
    Prefix(String),
    /// By an expression.
    Regex {
        /// What is looked for.
        regex: RegexMatch,
        /// What it becomes.
        substitution: String,
    },
}

/// `DirectResponseAction`.
#[derive(Clone, Debug, PartialEq)]
pub struct DirectResponse {
    /// The status.
    pub status: StatusCode,
    /// The body, perhaps empty.
    pub body: LocalReplyBody,
}

/// `CorsPolicy` (the cors filter's per-route configuration).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cors {
    /// Origins that are allowed.
    pub allow_origins: Vec<StringMatch>,
    /// `access-control-allow-methods`, as sent.
    pub allow_methods: String,
    /// `access-control-allow-headers`, as sent.
    pub allow_headers: String,
    /// `access-control-expose-headers`, as sent.
    pub expose_headers: String,
    /// `access-control-max-age`, as sent.
    pub max_age: String,
    /// `access-control-allow-credentials: true`.
    pub allow_credentials: bool,
    /// Preflight requests that match no origin go to the upstream
    /// (`forward_not_matching_preflights`, true unless set).
    pub forward_not_matching_preflights: bool,
}
