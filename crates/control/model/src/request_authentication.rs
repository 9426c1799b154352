//! Which tokens a workload's callers show.
//!
//! In: Istio RequestAuthentication (`security.istio.io`). Out: [`RequestAuthentication`] (FEATURES
//! S7).

mod convert;

use std::time::Duration;

use crate::{Metadata, PolicyTarget};

pub(crate) use convert::{SUPPORT, convert, verify_nothing};

/// A valid Istio RequestAuthentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestAuthentication {
    /// Its metadata.
    pub meta: Metadata,
    /// What it is attached to.
    pub target: PolicyTarget,
    /// `jwtRules`: the issuers whose tokens are taken.
    pub rules: Vec<JwtRule>,
}

/// Whose tokens are taken, and where they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtRule {
    /// `issuer`; empty only in a stand-in, for any.
    pub issuer: String,
    /// `audiences`: one of these; any if there are none.
    pub audiences: Vec<String>,
    /// The keys that tokens are signed with.
    pub keys: KeySource,
    /// `fromHeaders`; with all three places empty, `Authorization: Bearer` and `access_token`.
    pub from_headers: Vec<JwtHeader>,
    /// `fromParams`.
    pub from_params: Vec<String>,
    /// `fromCookies`.
    pub from_cookies: Vec<String>,
    /// `outputPayloadToHeader`.
    pub payload_header: Option<String>,
    /// `forwardOriginalToken`.
    pub forward_token: bool,
    /// `outputClaimToHeaders`, header and claim.
    pub claim_headers: Vec<(String, String)>,
    /// `timeout` of fetching the keys, 5 s.
    pub timeout: Duration,
    /// `spaceDelimitedClaims`; `scope` and `permission` are lists in any case.
    pub space_delimited_claims: Vec<String>,
    /// `presence`: whether a request without such a token is refused.
    pub required: bool,
}

/// Where an issuer's keys are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeySource {
    /// `jwks`: here.
    Inline(String),
    /// `jwksUri`: at this address.
    Uri(String),
    /// Where the issuer's OpenID configuration says, whose address this is.
    Discovery(String),
    /// Nowhere: no token is right. In the place of a rule that is wrong.
    None,
}

/// A header that has a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtHeader {
    /// Its name.
    pub name: String,
    /// What stands before the token.
    pub prefix: String,
}
