//! RequestAuthentication: from written to valid (FEATURES S7).

use std::time::Duration;

use meltemi_api::{FieldPath, request_authentication as api};

use super::{JwtHeader, JwtRule, KeySource, RequestAuthentication};
use crate::check::{Check, filled};
use crate::support::{Row, supported};
use crate::{Kind, Metadata, policy_target};

const KIND: Kind = Kind::RequestAuthentication;

/// How long fetching an issuer's keys may take where nothing is written.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// The state of every field.
pub(crate) const SUPPORT: &[Row] = &[
    supported(KIND, "spec"),
    supported(KIND, "spec.targetRef").note("a Gateway"),
    supported(KIND, "spec.targetRefs").note("Gateways; not what waypoints take"),
];

/// Checks a RequestAuthentication.
pub(crate) fn convert(
    meta: Metadata,
    spec: api::RequestAuthenticationSpec,
    check: &mut Check<'_>,
) -> RequestAuthentication {
    let api::RequestAuthenticationSpec {
        selector,
        target_ref,
        target_refs,
        jwt_rules,
    } = spec;
    let at = FieldPath::root().field("spec");
    let at_rules = at.field("jwtRules");
    let rules = jwt_rules
        .into_iter()
        .enumerate()
        .filter_map(|(index, rule)| convert_rule(rule, &at_rules.index(index), check))
        .collect();
    RequestAuthentication {
        meta,
        target: policy_target::convert(selector, target_ref, target_refs, &at, check),
        rules,
    }
}

fn convert_rule(written: api::JwtRule, at: &FieldPath, check: &mut Check<'_>) -> Option<JwtRule> {
    let api::JwtRule {
        issuer,
        audiences,
        jwks_uri,
        jwks,
        from_headers,
        from_params,
        from_cookies,
        output_payload_to_header,
        forward_original_token,
        output_claim_to_headers,
        timeout,
        space_delimited_claims,
    } = written;
    for (name, list) in [
        ("audiences", &audiences),
        ("fromParams", &from_params),
        ("fromCookies", &from_cookies),
        ("spaceDelimitedClaims", &space_delimited_claims),
    ] {
        for (index, _) in list.iter().enumerate().filter(|(_, it)| it.is_empty()) {
            check.invalid(&at.field(name).index(index), "is empty; leave it out");
        }
    }
    let payload_header = filled(output_payload_to_header);
    if let Some(name) = &payload_header {
        check.header_name(&at.field("outputPayloadToHeader"), name);
    }
    let at_headers = at.field("fromHeaders");
    let from_headers = from_headers
        .into_iter()
        .enumerate()
        .map(|(index, api::JwtHeader { name, prefix })| {
            let name = name.unwrap_or_default();
            check.header_name(&at_headers.index(index).field("name"), &name);
            JwtHeader {
                name,
                prefix: prefix.unwrap_or_default(),
            }
        })
        .collect();
    let at_claims = at.field("outputClaimToHeaders");
    let claim_headers = output_claim_to_headers
        .into_iter()
        .enumerate()
        .map(|(index, api::ClaimToHeader { header, claim })| {
            let at = at_claims.index(index);
            let (header, claim) = (header.unwrap_or_default(), claim.unwrap_or_default());
            check.header_name(&at.field("header"), &header);
            if claim.is_empty() {
                check.invalid(&at.field("claim"), "write which claim goes into the header");
            }
            (header, claim)
        })
        .collect();
    let timeout = check.duration(&at.field("timeout"), timeout.as_deref());
    let issuer = filled(issuer);
    if issuer.is_none() {
        check.invalid(&at.field("issuer"), "write whose tokens are taken");
    }
    let issuer = issuer?;
    Some(JwtRule {
        keys: convert_keys(&issuer, filled(jwks), filled(jwks_uri), at, check)?,
        issuer,
        audiences,
        from_headers,
        from_params,
        from_cookies,
        payload_header,
        forward_token: forward_original_token,
        claim_headers,
        timeout: timeout.unwrap_or(FETCH_TIMEOUT),
        space_delimited_claims,
    })
}

fn convert_keys(
    issuer: &str,
    jwks: Option<String>,
    uri: Option<String>,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<KeySource> {
    match (jwks, uri) {
        (Some(_), Some(_)) => {
            check.invalid(
                &at.field("jwksUri"),
                "`jwks` is there too; keep one of the two",
            );
            None
        }
        (Some(jwks), None) => {
            let parsed = meltemi_api::parse(None, &jwks).ok();
            let keys = parsed
                .as_ref()
                .and_then(|it| it.first()?.root().get("keys"));
            let is_list = keys.is_some_and(|it| matches!(it.value, meltemi_api::Value::List(_)));
            if !is_list {
                let what = "is not a JSON Web Key Set: an object with the list `keys`";
                check.invalid(&at.field("jwks"), what);
            }
            Some(KeySource::Inline(jwks))
        }
        (None, Some(uri)) => {
            check_uri(&uri, &at.field("jwksUri"), check);
            Some(KeySource::Uri(uri))
        }
        (None, None) => {
            let document = format!(
                "{}/.well-known/openid-configuration",
                issuer.trim_end_matches('/')
            );
            // Istio looks for the keys at the issuer's; one that is no URL has none that match.
            Some(KeySource::Discovery(document))
        }
    }
}

fn check_uri(uri: &str, at: &FieldPath, check: &mut Check<'_>) {
    let parsed = uri.parse::<http::Uri>().ok();
    let fits = parsed
        .as_ref()
        .is_some_and(|it| matches!(it.scheme_str(), Some("http" | "https")) && it.host().is_some());
    if !fits {
        check.invalid(
            at,
            format!("`{uri}` is not an address; write http:// or https://"),
        );
    }
}
