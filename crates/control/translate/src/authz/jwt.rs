//! Tokens (FEATURES S7, S10).
//!
//! In: the RequestAuthentications of the workload and the keys that were fetched for them. Out: the
//! filter that verifies tokens. A request without a token passes, unless a rule asks for one; one with a
//! token that is wrong does not. Keys that could not be had, or that a rule does not say, are stood in for by one that no token
//! fits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use meltemi_model::{Glob, HeaderMatch, JwtRule, KeySource, NamespaceName};
use meltemi_xds::pb::envoy::config::core::v3::{DataSource, data_source::Specifier};
use meltemi_xds::pb::envoy::config::route::v3::{RouteMatch, route_match::PathSpecifier};
use meltemi_xds::pb::envoy::extensions::filters::http::jwt_authn::v3::{
    JwtAuthentication, JwtClaimToHeader, JwtHeader, JwtProvider, JwtRequirement,
    JwtRequirementAndList, JwtRequirementOrList, RequirementRule,
    jwt_provider::{JwksSourceSpecifier, NormalizePayload},
    jwt_requirement::RequiresType,
    requirement_rule::RequirementType,
};
use meltemi_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
use meltemi_xds::pb::envoy::r#type::matcher::v3::{
    MetadataMatcher, ValueMatcher, value_matcher::MatchPattern,
};

use super::matching::{listed, metadata, one_of, text, value};
use crate::ProxyRole;
use crate::filter::http_filter;
use crate::proto::string_match;
use crate::scope::Scope;

const JWT_AUTHN: &str = "envoy.filters.http.jwt_authn";
/// Where the filter's metadata has the payload of the token.
pub(super) const PAYLOAD: &str = "payload";

/// The filter; `None` where no token is asked for.
pub(super) fn filter(
    scope: &Scope<'_>,
    gateways: &[(NamespaceName, Arc<str>)],
) -> Option<HttpFilter> {
    let policies = scope.request_authentications(gateways);
    let mut rules: Vec<_> = policies.flat_map(|it| &it.rules).collect();
    if rules.is_empty() {
        return None;
    }
    rules.sort_by(|a, b| a.issuer.cmp(&b.issuer));
    let names: Vec<_> = (0..rules.len()).map(|it| format!("origins-{it}")).collect();
    let providers: BTreeMap<_, _> = names
        .iter()
        .cloned()
        .zip(rules.iter().map(|it| provider(scope, it)))
        .collect();
    let rule = RequirementRule {
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
            ..Default::default()
        }),
        requirement_type: Some(RequirementType::Requires(requirement(&names, &rules))),
    };
    let config = JwtAuthentication {
        providers,
        rules: vec![rule],
        bypass_cors_preflight: true,
        ..Default::default()
    };
    Some(http_filter(JWT_AUTHN, &config))
}

/// Each token that is there is right; or, since several issuers' tokens can be in the same place, the
/// token is right for one of them. Where a rule asks for its token there is no such choice.
fn requirement(names: &[String], rules: &[&JwtRule]) -> JwtRequirement {
    let or_missing = |name: &String| {
        any_of(vec![
            requires(RequiresType::ProviderName(name.clone())),
            requires(RequiresType::AllowMissing(())),
        ])
    };
    let each = names
        .iter()
        .zip(rules)
        .map(|(name, rule)| match rule.required {
            true => requires(RequiresType::ProviderName(name.clone())),
            false => or_missing(name),
        });
    let mut each: Vec<_> = each.collect();
    match each.len() {
        1 => return each.remove(0),
        _ if rules.iter().any(|it| it.required) => return all_of(each),
        _ => {}
    }
    let one = names.iter().cloned();
    let mut one: Vec<_> = one
        .map(|it| requires(RequiresType::ProviderName(it)))
        .collect();
    one.push(all_of(each));
    any_of(one)
}

fn requires(requirement: RequiresType) -> JwtRequirement {
    JwtRequirement {
        requires_type: Some(requirement),
    }
}

fn all_of(requirements: Vec<JwtRequirement>) -> JwtRequirement {
    requires(RequiresType::RequiresAll(JwtRequirementAndList {
        requirements,
    }))
}

fn any_of(requirements: Vec<JwtRequirement>) -> JwtRequirement {
    requires(RequiresType::RequiresAny(JwtRequirementOrList {
        requirements,
    }))
}

fn provider(scope: &Scope<'_>, rule: &JwtRule) -> JwtProvider {
    let JwtRule {
        issuer,
        audiences,
        keys,
        from_headers,
        from_params,
        from_cookies,
        payload_header,
        forward_token,
        claim_headers,
        timeout: _, // ignored: the control plane fetches
        space_delimited_claims,
        required: _, // ignored: `requirement` reads it
    } = rule;
    let lists: BTreeSet<_> = ["permission", "scope"]
        .into_iter()
        .chain(space_delimited_claims.iter().map(String::as_str))
        .collect();
    let known = match keys {
        KeySource::Inline(text) => text.clone(),
        KeySource::None => unfit_keys(keys),
        KeySource::Uri(_) | KeySource::Discovery(_) => scope
            .keys(keys)
            .map_or_else(|| unfit_keys(keys), ToOwned::to_owned),
    };
    JwtProvider {
        issuer: issuer.clone(),
        audiences: audiences.clone(),
        forward: *forward_token,
        forward_payload_header: payload_header.clone().unwrap_or_default(),
        payload_in_metadata: PAYLOAD.to_owned(),
        normalize_payload_in_metadata: Some(NormalizePayload {
            space_delimited_claims: lists.into_iter().map(str::to_owned).collect(),
        }),
        // Gateways choose routes by claims.
        clear_route_cache: scope.node.role != ProxyRole::Sidecar,
        claim_to_headers: claim_headers
            .iter()
            .map(|(header, claim)| JwtClaimToHeader {
                header_name: header.clone(),
                claim_name: claim.clone(),
                ..Default::default()
            })
            .collect(),
        from_headers: from_headers
            .iter()
            .map(|it| JwtHeader {
                name: it.name.clone(),
                value_prefix: it.prefix.clone(),
            })
            .collect(),
        from_params: from_params.clone(),
        from_cookies: from_cookies.clone(),
        jwks_source_specifier: Some(JwksSourceSpecifier::LocalJwks(DataSource {
            specifier: Some(Specifier::InlineString(known)),
            ..Default::default()
        })),
        ..Default::default()
    }
}

/// The modulus of a key pair whose private half was thrown away when it was made. Envoy refuses a key
/// set without a key that it can read, and with it the listener; a made-up number could be factored.
const LOST_MODULUS: &str = "pWmMgmx_j6vvIHbsjm857h4VknSR6dAAjQS4oLQk3BHyFc8SJ1vTlF_x35m8tnOHO0aP1CgC5VIuqhGT\
    DQ9dANvnuk0h4lYFlooJmOFC3Q-emONgopaNUYbjd9KTskS0IrWJopZyF3llEdJhJ-xLc22p6YZHWbpv\
    EtFfjOg59PR628rzWFThwMn5XqjsStDHcK-HppRM3gA7cw1LHqk2HLjZvTKWJJ2MhCqmyXp7ytGj6WW6\
    jIn60ybULoJPBtoh7njagWcTTnZ5SNaV7wZ9RHrvuPndCuw00KOykzoNhe-djcijU9i8PHF74JRreNmc\
    JF97JU9UyoZpB0FqrMTljQ";

/// A key that no token is signed with, and whose name says whose are missing.
fn unfit_keys(keys: &KeySource) -> String {
    let place = match keys {
        KeySource::Uri(place) | KeySource::Discovery(place) => place.as_str(),
        KeySource::Inline(_) | KeySource::None => "",
    };
    let name = format!(
        "Error-FailedToFetchJwksUri-{}",
        URL_SAFE_NO_PAD.encode(place)
    );
    format!(r#"{{"keys":[{{"e":"AQAB","kid":"{name}","kty":"RSA","n":"{LOST_MODULUS}"}}]}}"#)
}

/// What the token's payload has at `path`, which begins with [`PAYLOAD`].
pub(super) fn payload_matcher(path: &[String], wanted: ValueMatcher) -> MetadataMatcher {
    metadata(JWT_AUTHN, path, wanted)
}

/// A claim that is one of these values, or a list that has one of them.
pub(super) fn claims_matcher(claim: &[String], values: &[Glob]) -> MetadataMatcher {
    let wanted = values.iter().map(|it| value(text(it, ""))).collect();
    payload_matcher(&in_payload(claim), alone_or_listed(one_of(wanted)))
}

/// A claim by which a route is chosen.
pub(crate) fn claim_matcher(claim: &[String], wanted: &HeaderMatch) -> MetadataMatcher {
    let wanted = match wanted {
        HeaderMatch::Value(wanted) => alone_or_listed(value(string_match(wanted))),
        HeaderMatch::Present => ValueMatcher {
            match_pattern: Some(MatchPattern::PresentMatch(true)),
        },
    };
    payload_matcher(&in_payload(claim), wanted)
}

fn in_payload(claim: &[String]) -> Vec<String> {
    std::iter::once(PAYLOAD.to_owned())
        .chain(claim.iter().cloned())
        .collect()
}

fn alone_or_listed(wanted: ValueMatcher) -> ValueMatcher {
    one_of(vec![listed(wanted.clone()), wanted])
}
