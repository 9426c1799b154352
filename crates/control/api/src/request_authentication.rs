//! Istio RequestAuthentication as written (`security.istio.io`).

use serde::Deserialize;

use crate::authorization_policy::PolicyTargetReference;
use crate::destination_rule::WorkloadSelector;

/// `spec` of a RequestAuthentication.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RequestAuthenticationSpec {
    /// `selector`.
    pub selector: Option<WorkloadSelector>,
    /// `targetRef`.
    pub target_ref: Option<PolicyTargetReference>,
    /// `targetRefs`.
    pub target_refs: Vec<PolicyTargetReference>,
    /// `jwtRules`.
    pub jwt_rules: Vec<JwtRule>,
}

/// JWTRule.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JwtRule {
    /// `issuer`.
    pub issuer: Option<String>,
    /// `audiences`.
    pub audiences: Vec<String>,
    /// `jwksUri`.
    pub jwks_uri: Option<String>,
    /// `jwks`.
    pub jwks: Option<String>,
    /// `fromHeaders`.
    pub from_headers: Vec<JwtHeader>,
    /// `fromParams`.
    pub from_params: Vec<String>,
    /// `fromCookies`.
    pub from_cookies: Vec<String>,
    /// `outputPayloadToHeader`.
    pub output_payload_to_header: Option<String>,
    /// `forwardOriginalToken`.
    pub forward_original_token: bool,
    /// `outputClaimToHeaders`.
    pub output_claim_to_headers: Vec<ClaimToHeader>,
    /// `timeout`.
    pub timeout: Option<String>,
    /// `spaceDelimitedClaims`.
    pub space_delimited_claims: Vec<String>,
    /// `presence`.
    pub presence: Option<String>,
}

/// JWTHeader.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JwtHeader {
    /// `name`.
    pub name: Option<String>,
    /// `prefix`.
    pub prefix: Option<String>,
}

/// ClaimToHeader.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimToHeader {
    /// `header`.
    pub header: Option<String>,
    /// `claim`.
    pub claim: Option<String>,
}
