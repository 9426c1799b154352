//! `envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit`, and the rules by which
//! requests are described to rate limiters.

use std::time::Duration;

use http::{HeaderName, StatusCode};

use crate::{HeaderMatch, HeaderMutation, QueryMatch};

/// A limit on requests that this proxy keeps alone.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalRateLimit {
    /// The prefix of its statistics.
    pub stat_prefix: String,
    /// The status of an answer to a request too many, 429 unless set.
    pub status: StatusCode,
    /// The limit on all requests.
    pub bucket: Option<TokenBucket>,
    /// How many requests are counted, in parts of a million; none unless set.
    pub enabled_per_million: u32,
    /// How many requests too many are refused, in parts of a million; none unless set.
    pub enforced_per_million: u32,
    /// Headers for a request too many that is not refused.
    pub request_headers: HeaderMutation,
    /// Headers for the answer to a request too many.
    pub response_headers: HeaderMutation,
    /// Limits on requests so described.
    pub descriptors: Vec<LocalDescriptor>,
    /// Which of the route's rules describe requests to this filter.
    pub stage: u32,
    /// Each connection has its own limit.
    pub per_connection: bool,
    /// Responses say what is left.
    pub ratelimit_headers: bool,
    /// The limit on all requests counts those that a descriptor's limit let pass too.
    pub always_consume_default: bool,
    /// A gRPC client is told `RESOURCE_EXHAUSTED`.
    pub resource_exhausted: bool,
    /// Rules that take the place of the route's.
    pub rules: Vec<RateLimitRule>,
    /// The answer says when to come again.
    pub retry_after: bool,
    /// Virtual host's rules are added to the route's.
    pub include_virtual_host: bool,
    /// Virtual host's rules are never used.
    pub ignore_virtual_host: bool,
    /// Most values of a wildcard that have a limit of their own at a time, 20 unless set.
    pub max_dynamic: u32,
}

/// A bucket of tokens, of which each request takes one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenBucket {
    /// What it holds at most, and at first.
    pub max: u32,
    /// How many are filled in at a time.
    pub per_fill: u32,
    /// How often.
    pub interval: Duration,
}

/// A limit on requests so described.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalDescriptor {
    /// The description: key and value; an empty value stands for any, each with a limit of its
    /// own.
    pub entries: Vec<(String, String)>,
    /// The limit.
    pub bucket: TokenBucket,
    /// Requests too many are counted, not refused.
    pub shadow: bool,
}

/// `envoy.config.route.v3.RateLimit`: one description of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimitRule {
    /// Which filter it is for.
    pub stage: u32,
    /// What it is made of; where one part is missing there is no description.
    pub actions: Vec<RateLimitEntry>,
}

/// One part of a description.
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimitEntry {
    /// Its key.
    pub key: String,
    /// Where its value comes from.
    pub action: RateLimitAction,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum RateLimitAction {
    /// This proxy's cluster.
    SourceCluster,
    /// The route's cluster.
    DestinationCluster,
    /// A header.
    Header {
        /// Which.
        name: HeaderName,
        /// Without it the description goes without this part.
        skip_if_absent: bool,
    },
    /// A query parameter.
    Query {
        /// Which.
        name: String,
        /// Without it the description goes without this part.
        skip_if_absent: bool,
    },
    /// The client's address.
    RemoteAddress,
    /// The client's network.
    MaskedRemoteAddress {
        /// Bits of an IPv4 address.
        v4: u8,
        /// Bits of an IPv6 address.
        v6: u8,
    },
    /// Always this.
    Literal(String),
    /// This where the headers fit, or where they do not.
    HeadersMatch {
        /// The value.
        value: String,
        /// Whether they must fit.
        expect: bool,
        /// The headers.
        headers: Vec<HeaderMatch>,
    },
    /// This where the query parameters fit, or where they do not.
    QueryMatches {
        /// The value.
        value: String,
        /// Whether they must fit.
        expect: bool,
        /// The parameters.
        query: Vec<QueryMatch>,
    },
    /// A text in metadata.
    Metadata {
        /// The route's, instead of what filters wrote.
        of_route: bool,
        /// Namespace and keys.
        path: Vec<String>,
        /// What stands for a missing one.
        default: String,
        /// Without it the description goes without this part.
        skip_if_absent: bool,
    },
}
