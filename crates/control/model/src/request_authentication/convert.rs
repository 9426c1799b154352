//! RequestAuthentication: from written to valid (FEATURES S7).

use std::time::Duration;

use meltemi_api::{FieldPath, request_authentication as api};
use meltemi_jwt::KeySet;

use super::{JwtHeader, JwtRule, KeySource, RequestAuthentication};
use crate::check::{Check, filled};
use crate::support::{Row, supported};
use crate::{Kind, Labels, Metadata, PolicyTarget, policy_target};

const KIND: Kind = Kind::RequestAuthentication;

/// How long fetching an issuer's keys may take where nothing is written.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// The `presence` of a token that has to be there.
const REQUIRED: &str = "REQUIRED";

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

/// What stands in the place of one that is wrong: for the same workloads as far as they can be told, and
/// otherwise for all of the namespace, no token of the issuers that it names is right, and where a rule
/// names none, no token at all that another rule does not take. What its claims were to become in headers
/// is kept from clients in the same way.
pub(crate) fn verify_nothing(
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
    let target = policy_target::convert(selector, target_ref, target_refs, &at, check);
    let readable = match &target {
        PolicyTarget::Workloads(_) => check.is_clean(),
        PolicyTarget::Gateways(targets) => check.is_clean() && !targets.is_empty(),
    };
    let mut rules: Vec<_> = jwt_rules.into_iter().map(unverifiable_rule).collect();
    if rules.is_empty() {
        rules.push(unverifiable_rule(api::JwtRule::default()));
    }
    RequestAuthentication {
        meta,
        target: if readable {
            target
        } else {
            PolicyTarget::Workloads(Labels::default())
        },
        rules,
    }
}

/// A rule by which no token is right, with what of it is fit to be used.
fn unverifiable_rule(written: api::JwtRule) -> JwtRule {
    let api::JwtRule {
        issuer,
        audiences: _, // ignored: no token is right, whomever it is for
        jwks_uri: _,  // ignored: no key is
        jwks: _,      // ignored: likewise
        from_headers,
        from_params,
        from_cookies,
        output_payload_to_header,
        forward_original_token: _, // ignored: no token gets so far
        output_claim_to_headers,
        timeout: _,                // ignored: nothing is fetched
        space_delimited_claims: _, // ignored: no claim is read
        presence,
    } = written;
    let is_header = |name: &str| name.parse::<http::HeaderName>().is_ok();
    let filled_only = |list: Vec<String>| list.into_iter().filter(|it| !it.is_empty()).collect();
    let headers = from_headers.into_iter().map(|it| JwtHeader {
        name: it.name.unwrap_or_default(),
        prefix: it.prefix.unwrap_or_default(),
    });
    let claims = output_claim_to_headers
        .into_iter()
        .map(|it| (it.header.unwrap_or_default(), it.claim.unwrap_or_default()));
    JwtRule {
        issuer: issuer.unwrap_or_default(),
        audiences: Vec::new(),
        keys: KeySource::None,
        from_headers: headers.filter(|it| is_header(&it.name)).collect(),
        from_params: filled_only(from_params),
        from_cookies: filled_only(from_cookies),
        payload_header: output_payload_to_header.filter(|it| is_header(it)),
        forward_token: false,
        claim_headers: claims
            .filter(|(header, claim)| is_header(header) && !claim.is_empty())
            .collect(),
        timeout: FETCH_TIMEOUT,
        space_delimited_claims: Vec::new(),
        required: presence.is_some_and(|it| it == REQUIRED),
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
        presence,
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
            let at_header = at.field("header");
            if header.starts_with(':') {
                let what = "belongs to HTTP itself; write another header";
                check.invalid(&at_header, format!("`{header}` {what}"));
            }
            check.header_name(&at_header, &header);
            if claim.is_empty() {
                check.invalid(&at.field("claim"), "write which claim goes into the header");
            }
            (header, claim)
        })
        .collect();
    let timeout = check.duration(&at.field("timeout"), timeout.as_deref());
    let presences = [("OPTIONAL", false), (REQUIRED, true)];
    let required = filled(presence)
        .and_then(|text| check.choice(&at.field("presence"), &text, &presences))
        .unwrap_or_default();
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
        required,
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
            // A proxy that is given no key that it can use refuses all that comes with it.
            if let Err(reason) = KeySet::parse(jwks.as_bytes()) {
                let what = "is not a JSON Web Key Set, an object with a key in the list `keys`";
                check.invalid(&at.field("jwks"), format!("{what}: {reason}"));
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
