//! Routes (`envoy.config.route.v3`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::{
    DiscoveryService, HeaderEdit, HeaderMatch, HeaderMutation, LocalReplyBody, Metadata,
    MetadataMatch, PathMatch, Priority, ProxyHeader, QueryMatch, RateLimitRule, RegexMatch,
    RetryPolicy, RouteFilter, StringMatch, Value,
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
    /// The header that chooses the virtual host, in the place of the authority.
    pub virtual_host_header: Option<http::HeaderName>,
    /// Paths are compared as far as their first semicolon.
    pub ignore_path_parameters: bool,
    /// Headers that only requests from inside may have.
    pub internal_only_headers: Vec<http::HeaderName>,
    /// Virtual hosts that it lacks come one by one from this service (VHDS).
    pub vhds: Option<DiscoveryService>,
    /// Header changes of the widest scope win over those of the narrowest.
    pub most_specific_header_mutations_wins: bool,
    /// What it says of single filters.
    pub filters: Vec<RouteFilter>,
}

/// A host and its routes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VirtualHost {
    /// Its name.
    pub name: String,
    /// Exact names, `*.suffix`, `prefix.*`, or `*`.
    pub domains: Vec<String>,
    /// Tried in order; the first that matches is taken.
    pub routes: Vec<Arc<Route>>,
    /// Whether plain HTTP is redirected.
    pub require_tls: RequireTls,
    /// Changes to every request's headers.
    pub request_headers: HeaderMutation,
    /// Changes to every response's headers.
    pub response_headers: HeaderMutation,
    /// Free-form.
    pub metadata: Metadata,
    /// For routes that have no retry policy of their own.
    pub retry: Option<Arc<RetryPolicy>>,
    /// For routes that have no CORS policy of their own.
    pub cors: Option<Arc<Cors>>,
    /// For routes that have no hedge policy of their own.
    pub hedge_on_per_try_timeout: bool,
    /// Requests that are tried again say whether that is because of a timeout.
    pub include_is_timeout_retry: bool,
    /// `include_request_attempt_count`: the upstream sees `x-envoy-attempt-count`.
    pub include_request_attempt_count: bool,
    /// `include_attempt_count_in_response`: the downstream sees it too.
    pub include_attempt_count_in_response: bool,
    /// What it says of single filters.
    pub filters: Vec<RouteFilter>,
    /// How requests are described to rate limiters.
    pub rate_limits: Vec<RateLimitRule>,
    /// Requests that are counted by name; the first that matches.
    pub virtual_clusters: Vec<VirtualCluster>,
    /// How much of a request is kept for a retry, where it is not the listener's limit.
    pub body_buffer_limit: Option<u64>,
}

/// Whether plain HTTP is redirected to HTTPS (`require_tls`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequireTls {
    /// Never.
    #[default]
    None,
    /// Where the request is external.
    External,
    /// Always.
    All,
}

/// Requests that are counted by name.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualCluster {
    /// The name.
    pub name: String,
    /// All must fit.
    pub headers: Vec<HeaderMatch>,
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
    /// What it says of single filters.
    pub filters: Vec<RouteFilter>,
    /// How much of a request is kept for a retry, where it is not the listener's limit.
    pub body_buffer_limit: Option<u64>,
    /// The name under which its requests are counted.
    pub stat_prefix: String,
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
    /// The cookies.
    pub cookies: Vec<CookieMatch>,
    /// Only gRPC requests.
    pub grpc: bool,
    /// Only this share of requests, in parts of a million (`runtime_fraction`).
    pub fraction_per_million: Option<u32>,
    /// The client's certificate was presented, or not.
    pub tls_presented: Option<bool>,
    /// The client's certificate was verified, or not.
    pub tls_validated: Option<bool>,
    /// Metadata that filters wrote.
    pub metadata: Vec<MetadataMatch>,
}

/// A cookie's value.
#[derive(Clone, Debug, PartialEq)]
pub struct CookieMatch {
    /// The cookie.
    pub name: String,
    /// What its value is; a cookie that is not there has none.
    pub value: StringMatch,
    /// It is to be something else, or not to be there.
    pub invert: bool,
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
    /// `CONNECT` ends here: what follows goes on over a TCP connection (`connect_config`).
    pub terminates_connect: bool,
    /// The PROXY protocol header that such a connection begins with.
    pub connect_header: Option<Box<ProxyHeader>>,
    /// A try that takes too long goes on beside the next one; none takes the virtual host's.
    pub hedge_on_per_try_timeout: Option<bool>,
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
    /// Where copies of requests go.
    pub mirrors: Vec<Mirror>,
    /// What the hash of a request is made of, for clusters that balance by it.
    pub hash: Vec<HashPolicy>,
    /// Redirections of the upstream that the proxy follows itself.
    pub internal_redirect: Option<Arc<InternalRedirect>>,
    /// How requests are described to rate limiters.
    pub rate_limits: Vec<RateLimitRule>,
    /// The virtual host's rules apply too, though the route has its own.
    pub include_virtual_host_rate_limits: bool,
    /// Only hosts with this metadata (`envoy.lb`).
    pub metadata_match: BTreeMap<String, Value>,
    /// A `grpc-timeout` is shortened by this.
    pub grpc_timeout_offset: Option<Duration>,
    /// What the choice among several clusters follows.
    pub weighted_by: WeightedBy,
}

/// What a choice among weighted clusters follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WeightedBy {
    /// Chance.
    #[default]
    Random,
    /// A number in a request header.
    Header(http::HeaderName),
    /// The hash of the request.
    Hash,
}

/// Copies of requests (`RequestMirrorPolicy`).
#[derive(Clone, Debug, PartialEq)]
pub struct Mirror {
    /// Where they go.
    pub cluster: ClusterName,
    /// How many, in parts of a million.
    pub per_million: u32,
    /// Their authority does not get `-shadow`.
    pub keep_host: bool,
    /// Their authority is this.
    pub host: Option<String>,
    /// Changes to their headers.
    pub headers: Vec<HeaderEdit>,
}

/// The name of a cluster, or the header that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterName {
    /// This one.
    Named(Arc<str>),
    /// What this request header says.
    Header(http::HeaderName),
}

/// One source of a request's hash (`HashPolicy`).
#[derive(Clone, Debug, PartialEq)]
pub struct HashPolicy {
    /// What is hashed.
    pub source: HashSource,
    /// Where this gives a hash, no later one counts.
    pub terminal: bool,
}

/// What is hashed.
#[derive(Clone, Debug, PartialEq)]
pub enum HashSource {
    /// A header's values.
    Header {
        /// Which.
        name: http::HeaderName,
        /// What the value becomes before.
        rewrite: Option<(RegexMatch, String)>,
    },
    /// A cookie's value; where there is none, and a lifetime, one is made.
    Cookie {
        /// Which.
        name: String,
        /// The lifetime of one that is made; zero is that of the browser's session.
        ttl: Option<Duration>,
        /// The path of one that is made.
        path: String,
        /// More attributes.
        attributes: Vec<(String, String)>,
    },
    /// The client's address.
    SourceIp,
    /// A query parameter.
    Query(String),
    /// A value of filter state.
    FilterState(String),
}

/// `InternalRedirectPolicy`.
#[derive(Clone, Debug, PartialEq)]
pub struct InternalRedirect {
    /// How many are followed, 1 unless set.
    pub most: u32,
    /// Which statuses, 302 unless set.
    pub codes: Vec<StatusCode>,
    /// From plain HTTP to HTTPS and back.
    pub cross_scheme: bool,
    /// Further conditions.
    pub predicates: Vec<RedirectPredicate>,
    /// Headers of the redirection that the next request gets.
    pub headers_to_copy: Vec<http::HeaderName>,
}

/// A condition on following a redirection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedirectPredicate {
    /// Only to these routes.
    AllowListedRoutes(Vec<String>),
    /// No route twice.
    PreviousRoutes,
    /// Not from HTTPS to plain HTTP.
    SafeCrossScheme,
}

/// A cluster among several.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightedCluster {
    /// The cluster's name.
    pub name: ClusterName,
    /// Its share of the total of all weights.
    pub weight: u32,
    /// Changes to the request's headers.
    pub request_headers: HeaderMutation,
    /// Changes to the response's headers.
    pub response_headers: HeaderMutation,
    /// Replaces the authority for this cluster.
    pub host_rewrite: Option<String>,
    /// What it says of single filters.
    pub filters: Vec<RouteFilter>,
    /// Only hosts with this metadata (`envoy.lb`), with the route's.
    pub metadata_match: BTreeMap<String, Value>,
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
    /// The policy is in force; that of the narrowest scope decides.
    pub enabled: bool,
    /// Origins that are allowed.
    pub allow_origins: Vec<StringMatch>,
    /// `access-control-allow-methods`, as sent; `*` is what the request asks for.
    pub allow_methods: String,
    /// `access-control-allow-headers`, as sent; `*` is what the request asks for.
    pub allow_headers: String,
    /// `access-control-expose-headers`, as sent.
    pub expose_headers: String,
    /// `access-control-max-age`, as sent.
    pub max_age: String,
    /// `access-control-allow-credentials: true`.
    pub allow_credentials: Option<bool>,
    /// Preflight requests that match no origin go to the upstream
    /// (`forward_not_matching_preflights`, true unless set).
    pub forward_not_matching_preflights: Option<bool>,
    /// Pages of public networks may ask hosts of private ones.
    pub allow_private_network_access: Option<bool>,
}
