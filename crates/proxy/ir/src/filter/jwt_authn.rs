//! `envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication`.

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderName;

use crate::{CallRetry, HttpUri, RouteMatch, StringMatch};

/// Which requests need which tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct JwtAuthn {
    /// Those whose tokens are known, in the order of their names.
    pub providers: Vec<JwtProvider>,
    /// What requests need; the first rule that matches counts.
    pub rules: Vec<JwtRule>,
    /// Where no rule matches: the name of a piece of filter state, and what requests need by its
    /// value.
    pub filter_state: Option<(String, BTreeMap<String, JwtRequirement>)>,
    /// CORS preflights need nothing.
    pub bypass_cors_preflight: bool,
    /// Requirements that routes refer to by name.
    pub requirements: BTreeMap<String, JwtRequirement>,
    /// Clients are not told why they are refused.
    pub strip_failure_response: bool,
    /// Stands in the statistics' names; empty for nothing.
    pub stat_prefix: String,
}

/// What the requests that match need.
#[derive(Clone, Debug, PartialEq)]
pub struct JwtRule {
    /// Which requests.
    pub matcher: RouteMatch,
    /// What they need.
    pub requirement: Option<JwtRequirement>,
}

/// What a request needs. Providers are positions in [`JwtAuthn::providers`].
#[derive(Clone, Debug, PartialEq)]
pub enum JwtRequirement {
    /// Nothing.
    Nothing,
    /// A token of this provider.
    Provider {
        /// The provider.
        provider: usize,
        /// Audiences in place of the provider's.
        audiences: Option<Vec<String>>,
    },
    /// One of these.
    Any(Vec<JwtRequirement>),
    /// All of these.
    All(Vec<JwtRequirement>),
    /// Tokens of these providers are valid where there are any.
    AllowMissing(Vec<usize>),
    /// Tokens of these providers are looked at, and no more.
    AllowMissingOrFailed(Vec<usize>),
    /// Claims are taken from tokens of these providers without asking who signed them. The header
    /// says so.
    ExtractOnly(Vec<usize>, Option<HeaderName>),
}

/// Somebody who gives out tokens (`JwtProvider`).
#[derive(Clone, Debug, PartialEq)]
pub struct JwtProvider {
    /// The provider's name.
    pub name: String,
    /// `iss`; empty for any.
    pub issuer: String,
    /// `aud` must have one of these; empty for any.
    pub audiences: Vec<String>,
    /// `sub` must match.
    pub subjects: Option<StringMatch>,
    /// There must be an `exp`.
    pub require_expiration: bool,
    /// `exp` must be nearer than this.
    pub max_lifetime: Option<Duration>,
    /// Where the keys are.
    pub keys: JwtKeys,
    /// The token stays in the request.
    pub forward: bool,
    /// Headers that may have a token, with what stands before it.
    pub from_headers: Vec<(HeaderName, String)>,
    /// Query parameters that may have one.
    pub from_params: Vec<String>,
    /// Cookies that may have one.
    pub from_cookies: Vec<String>,
    /// The header that is set to the claims, in base64url.
    pub forward_payload_header: Option<HeaderName>,
    /// With padding.
    pub pad_forward_payload_header: bool,
    /// The key of the metadata that is set to the claims; empty for none.
    pub payload_in_metadata: String,
    /// Claims that become lists there, being texts with spaces.
    pub space_delimited_claims: Vec<String>,
    /// The key of the metadata that is set to the header; empty for none.
    pub header_in_metadata: String,
    /// The key of the metadata that says what was wrong; empty for none.
    pub failed_status_in_metadata: String,
    /// How far off the clock may be, in seconds.
    pub clock_skew: u64,
    /// Tokens that are good are remembered.
    pub cache: Option<JwtCache>,
    /// Headers that are set to claims.
    pub claim_to_headers: Vec<(HeaderName, Vec<String>)>,
    /// The route is looked for again.
    pub clear_route_cache: bool,
}

/// How many tokens are remembered (`JwtCacheConfig`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JwtCache {
    /// How many.
    pub size: usize,
    /// Of at most so many bytes.
    pub max_token_bytes: usize,
}

/// Where a provider's keys are.
#[derive(Clone, Debug, PartialEq)]
pub enum JwtKeys {
    /// Here.
    Local(Vec<u8>),
    /// There.
    Remote(Box<RemoteJwks>),
}

/// `RemoteJwks`.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteJwks {
    /// Where.
    pub uri: HttpUri,
    /// For how long they are good.
    pub cache: Duration,
    /// They are fetched again before that time is over, and after a failure when so much time has
    /// passed.
    pub ahead: Option<Duration>,
    /// Tries after a failure.
    pub retry: Option<CallRetry>,
}

/// What a route says (`PerRouteConfig`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtRoute {
    /// The name of a requirement; nothing is required where there is none.
    pub requirement: Option<String>,
}
