//! What an HTTP route does with a request (FEATURES T5, T6).
//!
//! In: HTTPRoute as written. Out: [`HttpAction`] and the operations beside it.

use std::sync::Arc;
use std::time::Duration;

use crate::{HeaderName, Hostname, NamespaceName, StringMatch, SubsetName};

/// What is done with a request: exactly one of `route`, `redirect`, `directResponse`, `delegate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpAction {
    /// `route`: forward to one of these, at least one, by weight.
    Forward(Vec<WeightedDestination>),
    /// `redirect`.
    Redirect(Redirect),
    /// `directResponse`.
    Respond(DirectResponse),
    /// `delegate`: what the routes of another virtual service do.
    Delegate(DelegateName),
}

/// The name of a virtual service that has no hosts of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DelegateName {
    /// Its namespace, the delegating one's own unless written.
    pub namespace: NamespaceName,
    /// Its name.
    pub name: Arc<str>,
}

/// A destination and its share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightedDestination {
    /// Where to.
    pub destination: Destination,
    /// Its share of the sum of all weights of the route. A single destination always has 100; of
    /// several, those with 0 get no requests, and not all are 0.
    pub weight: u32,
    /// Header operations for this destination only.
    pub headers: HeaderOperations,
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Destination {
    /// The service's fully qualified host.
    pub host: Hostname,
    /// The subset.
    pub subset: Option<SubsetName>,
    /// `port.number`; `None` means the service's only port, or the port that the client addressed.
    pub port: Option<u16>,
}

/// `headers`: operations on request and response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderOperations {
    /// On the request before it is forwarded.
    pub request: MessageHeaderOperations,
    /// On the response before it is returned.
    pub response: MessageHeaderOperations,
}

/// Header operations on one message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessageHeaderOperations {
    /// Overwrite. A request's `:authority` or `host` here rewrites the host.
    pub set: Vec<(HeaderName, String)>,
    /// Append.
    pub add: Vec<(HeaderName, String)>,
    /// Remove.
    pub remove: Vec<HeaderName>,
}

/// `redirect`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// Replaces the path; `%PREFIX()%` keeps what follows a matched prefix.
    pub uri: Option<String>,
    /// Replaces the host.
    pub authority: Option<String>,
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// The port in the new location.
    pub port: Option<RedirectPort>,
    /// 301 (the default), 302, 303, 307 or 308.
    pub code: u16,
}

/// The port of a redirect's location.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RedirectPort {
    /// `port`.
    Number(u16),
    /// `derivePort: FROM_PROTOCOL_DEFAULT`: 80 or 443 by the scheme.
    FromProtocolDefault,
    /// `derivePort: FROM_REQUEST_PORT`: the port of the request.
    FromRequestPort,
}

/// `directResponse`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectResponse {
    /// 200 to 599.
    pub status: u16,
    /// The body.
    pub body: Option<ResponseBody>,
}

/// A fixed body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResponseBody {
    /// `string`.
    Text(String),
    /// `bytes`, decoded.
    Bytes(Arc<[u8]>),
}

/// `rewrite`; at least one part is present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    /// What happens to the path.
    pub uri: Option<UriRewrite>,
    /// The new Host header.
    pub authority: Option<String>,
}

/// How the path is rewritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UriRewrite {
    /// `uri`: replaces the matched prefix, or the whole path of an exact or regex match.
    Replace(String),
    /// `uriRegexRewrite`: replaces what the expression matches; `\1` to `\9` are its groups.
    Regex {
        /// RE2 expression.
        pattern: String,
        /// Replacement.
        substitution: String,
    },
}

/// `corsPolicy`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CorsPolicy {
    /// `allowOrigins`, and the deprecated `allowOrigin` as exact matches.
    pub allow_origins: Vec<StringMatch>,
    /// `allowMethods`.
    pub allow_methods: Vec<String>,
    /// `allowHeaders`.
    pub allow_headers: Vec<String>,
    /// `exposeHeaders`.
    pub expose_headers: Vec<String>,
    /// `maxAge`.
    pub max_age: Option<Duration>,
    /// `allowCredentials`.
    pub allow_credentials: Option<bool>,
    /// `unmatchedPreflights`.
    pub unmatched_preflights: UnmatchedPreflights,
}

/// What is done with a preflight request from an origin that is not allowed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum UnmatchedPreflights {
    /// `FORWARD`, and the default: the destination answers it.
    #[default]
    Forward,
    /// `IGNORE`: answered with no CORS headers.
    Ignore,
}
