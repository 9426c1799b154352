//! Requests that need tokens.

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderName;
use meltemi_ir::{
    JwtAuthn, JwtCache, JwtKeys, JwtProvider, JwtRequirement, JwtRoute, JwtRule, RemoteJwks,
    RouteFilterKind, RouteFilterSetting,
};
use meltemi_jwt::KeySet;
use meltemi_xds::pb::envoy::extensions::filters::http::jwt_authn::v3 as jwt_v3;
use meltemi_xds::pb::envoy::extensions::filters::http::jwt_authn::v3::jwt_provider::{
    JwksSourceSpecifier, NormalizePayload,
};
use meltemi_xds::pb::envoy::extensions::filters::http::jwt_authn::v3::jwt_requirement::RequiresType;
use meltemi_xds::pb::envoy::extensions::filters::http::jwt_authn::v3::per_route_config::RequirementSpecifier;
use meltemi_xds::pb::envoy::extensions::filters::http::jwt_authn::v3::requirement_rule::RequirementType;
use meltemi_xds::pb::envoy::extensions::filters::http::jwt_authn::v3::{
    JwtCacheConfig, JwtClaimToHeader, JwtHeader, JwtRequirementAndList, JwtRequirementOrList,
    ProviderWithAudiences, jwt_claim_to_header,
};

use crate::call::{call_retry, http_uri};
use crate::data_source;
use crate::fields::fields;
use crate::header::header_name;
use crate::matcher::string_match;
use crate::path::At;
use crate::route_match::route_match;
use crate::scalar::{duration, non_empty, positive};

/// The filter's settings.
pub(crate) fn jwt_authn(message: &jwt_v3::JwtAuthentication, at: &At<'_>) -> Option<JwtAuthn> {
    fields!(at, message, jwt_v3::JwtAuthentication {
        honoured {
            providers, rules, filter_state_rules, bypass_cors_preflight, requirement_map,
            strip_failure_response, stat_prefix,
        }
    });
    let at_providers = &at.field("providers");
    let names: Vec<&str> = providers.keys().map(String::as_str).collect();
    let known = Known(&names);
    let providers = providers
        .iter()
        .filter_map(|(name, message)| provider(name, message, &at_providers.key(name)))
        .collect();
    let requirements = known.map(requirement_map, &at.field("requirement_map"));
    Some(JwtAuthn {
        providers,
        rules: at
            .field("rules")
            .each(rules, |message, at| known.rule(message, &requirements, at)),
        filter_state: filter_state_rules.as_ref().map(|message| {
            let at = &at.field("filter_state_rules");
            fields!(at, message, jwt_v3::FilterStateRule { honoured { name, requires } });
            let name = non_empty(name, &at.field("name")).to_owned();
            (name, known.map(requires, &at.field("requires")))
        }),
        bypass_cors_preflight: *bypass_cors_preflight,
        requirements,
        strip_failure_response: *strip_failure_response,
        stat_prefix: stat_prefix.clone(),
    })
}

/// What a route says of the filter.
pub(crate) fn per_route(
    message: &jwt_v3::PerRouteConfig,
    at: &At<'_>,
) -> Option<RouteFilterSetting> {
    fields!(at, message, jwt_v3::PerRouteConfig {
        oneof { requirement_specifier {
            disabled: Partly "true",
            requirement_name: Honoured "",
        } }
    });
    match requirement_specifier {
        Some(RequirementSpecifier::Disabled(true)) => Some(route(None)),
        Some(RequirementSpecifier::RequirementName(name)) => {
            let name = non_empty(name, &at.field("requirement_name"));
            Some(route(Some(name.to_owned())))
        }
        Some(RequirementSpecifier::Disabled(false)) => {
            at.field("disabled").problem("must be true");
            None
        }
        None => {
            at.problem("needs disabled or requirement_name");
            None
        }
    }
}

fn route(requirement: Option<String>) -> RouteFilterSetting {
    let route = JwtRoute { requirement };
    RouteFilterSetting::Config(RouteFilterKind::JwtAuthn(route.into()))
}

/// The names of the providers, in their order.
struct Known<'a>(&'a [&'a str]);

impl Known<'_> {
    fn provider(&self, name: &str, at: &At<'_>) -> Option<usize> {
        let found = self.0.iter().position(|known| *known == name);
        if found.is_none() {
            at.problem(format_args!("there is no provider {name:?}"));
        }
        found
    }

    fn map(
        &self,
        messages: &BTreeMap<String, jwt_v3::JwtRequirement>,
        at: &At<'_>,
    ) -> BTreeMap<String, JwtRequirement> {
        messages
            .iter()
            .filter_map(|(name, message)| {
                let requirement = self.requirement(message, &[], &at.key(name))?;
                Some((name.clone(), requirement))
            })
            .collect()
    }

    fn rule(
        &self,
        message: &jwt_v3::RequirementRule,
        by_name: &BTreeMap<String, JwtRequirement>,
        at: &At<'_>,
    ) -> Option<JwtRule> {
        fields!(at, message, jwt_v3::RequirementRule {
            honoured { r#match }
            oneof { requirement_type {
                requires: Honoured "",
                requirement_name: Honoured "",
            } }
        });
        let requirement = match requirement_type {
            None => None,
            Some(RequirementType::Requires(message)) => {
                Some(self.requirement(message, &[], &at.field("requires"))?)
            }
            Some(RequirementType::RequirementName(name)) => {
                let found = by_name.get(name).cloned();
                if found.is_none() {
                    at.field("requirement_name")
                        .problem(format_args!("there is no requirement {name:?}"));
                }
                Some(found?)
            }
        };
        let at_match = &at.field("match");
        let Some(message) = r#match else {
            at_match.problem("is required");
            return None;
        };
        Some(JwtRule {
            matcher: route_match(message, at_match)?,
            requirement,
        })
    }

    /// A requirement. `beside` are the providers of the list that it stands in.
    fn requirement(
        &self,
        message: &jwt_v3::JwtRequirement,
        beside: &[usize],
        at: &At<'_>,
    ) -> Option<JwtRequirement> {
        fields!(at, message, jwt_v3::JwtRequirement {
            oneof { requires_type {
                provider_name: Honoured "",
                provider_and_audiences: Honoured "",
                requires_any: Honoured "",
                requires_all: Honoured "",
                allow_missing_or_failed: Honoured "",
                allow_missing: Honoured "",
                extract_only_without_validation: Honoured "",
            } }
        });
        Some(match requires_type {
            None => JwtRequirement::Nothing,
            Some(RequiresType::ProviderName(name)) => JwtRequirement::Provider {
                provider: self.provider(name, &at.field("provider_name"))?,
                audiences: None,
            },
            Some(RequiresType::ProviderAndAudiences(message)) => {
                let at = &at.field("provider_and_audiences");
                fields!(at, message, ProviderWithAudiences {
                    honoured { provider_name, audiences }
                });
                JwtRequirement::Provider {
                    provider: self.provider(provider_name, &at.field("provider_name"))?,
                    audiences: (!audiences.is_empty()).then(|| audiences.clone()),
                }
            }
            Some(RequiresType::RequiresAny(message)) => {
                let at = &at.field("requires_any");
                fields!(at, message, JwtRequirementOrList { honoured { requirements } });
                self.any(requirements, &at.field("requirements"))
            }
            Some(RequiresType::RequiresAll(message)) => {
                let at = &at.field("requires_all");
                fields!(at, message, JwtRequirementAndList { honoured { requirements } });
                let at = &at.field("requirements");
                two_or_more(requirements, at);
                JwtRequirement::All(at.each(requirements, |message, at| {
                    self.requirement(message, &[], at)
                }))
            }
            // Alone they look at tokens of all providers.
            Some(RequiresType::AllowMissingOrFailed(_)) => {
                JwtRequirement::AllowMissingOrFailed(self.or_all(beside))
            }
            Some(RequiresType::AllowMissing(_)) => {
                JwtRequirement::AllowMissing(self.or_all(beside))
            }
            Some(RequiresType::ExtractOnlyWithoutValidation(message)) => {
                let at = &at.field("extract_only_without_validation");
                let header = extract_only(message, at);
                JwtRequirement::ExtractOnly(self.or_all(beside), header)
            }
        })
    }

    fn or_all(&self, beside: &[usize]) -> Vec<usize> {
        if beside.is_empty() {
            (0..self.0.len()).collect()
        } else {
            beside.to_vec()
        }
    }

    /// One of several. What lets everybody pass comes last, and of those the widest alone.
    fn any(&self, messages: &[jwt_v3::JwtRequirement], at: &At<'_>) -> JwtRequirement {
        two_or_more(messages, at);
        let lets_pass = |message: &jwt_v3::JwtRequirement| {
            matches!(
                message.requires_type,
                Some(RequiresType::AllowMissing(_) | RequiresType::AllowMissingOrFailed(_))
            )
        };
        let is_widest = |message: &jwt_v3::JwtRequirement| {
            matches!(
                message.requires_type,
                Some(RequiresType::AllowMissingOrFailed(_))
            )
        };
        let mut all: Vec<_> = messages
            .iter()
            .enumerate()
            .filter(|(_, message)| !lets_pass(message))
            .filter_map(|(index, message)| self.requirement(message, &[], &at.index(index)))
            .collect();
        let beside: Vec<usize> = all
            .iter()
            .filter_map(|requirement| match requirement {
                JwtRequirement::Provider { provider, .. } => Some(*provider),
                _ => None,
            })
            .collect();
        let passing = messages.iter().enumerate();
        let passing = passing.filter(|(_, message)| lets_pass(message));
        let last = passing.max_by_key(|(_, message)| is_widest(message));
        if let Some((index, message)) = last {
            all.extend(self.requirement(message, &beside, &at.index(index)));
        }
        JwtRequirement::Any(all)
    }
}

fn two_or_more(messages: &[jwt_v3::JwtRequirement], at: &At<'_>) {
    if messages.len() < 2 {
        at.problem("must have two or more");
    }
}

fn extract_only(message: &jwt_v3::ExtractOnlyWithoutValidation, at: &At<'_>) -> Option<HeaderName> {
    const USUAL: HeaderName = HeaderName::from_static("x-jwt-signature-verified");
    fields!(at, message, jwt_v3::ExtractOnlyWithoutValidation {
        honoured { verification_status_header }
    });
    match verification_status_header.as_str() {
        "" => Some(USUAL),
        "-" => None,
        name => header_name(name, &at.field("verification_status_header")),
    }
}

fn provider(name: &str, message: &jwt_v3::JwtProvider, at: &At<'_>) -> Option<JwtProvider> {
    const BEARER: &str = "Bearer ";
    const PARAMETER: &str = "access_token";
    fields!(at, message, jwt_v3::JwtProvider {
        honoured {
            issuer, audiences, subjects, require_expiration, max_lifetime, forward, from_headers,
            from_params, from_cookies, forward_payload_header, pad_forward_payload_header,
            payload_in_metadata, normalize_payload_in_metadata, header_in_metadata,
            failed_status_in_metadata, clock_skew_seconds, jwt_cache_config, claim_to_headers,
            clear_route_cache,
        }
        oneof { jwks_source_specifier {
            remote_jwks: Honoured "",
            local_jwks: Honoured "",
        } }
    });
    let optional = |name: &String, field| match name.as_str() {
        "" => None,
        name => header_name(name, &at.field(field)),
    };
    let mut headers = at.field("from_headers").each(from_headers, from_header);
    let mut params = from_params.clone();
    if from_headers.is_empty() && from_params.is_empty() && from_cookies.is_empty() {
        headers.push((http::header::AUTHORIZATION, BEARER.to_owned()));
        params.push(PARAMETER.to_owned());
    }
    let subjects = match subjects {
        Some(message) => Some(string_match(message, &at.field("subjects"))?),
        None => None,
    };
    Some(JwtProvider {
        name: name.to_owned(),
        issuer: issuer.clone(),
        audiences: audiences.clone(),
        subjects,
        require_expiration: *require_expiration,
        max_lifetime: duration(max_lifetime.as_ref(), &at.field("max_lifetime")),
        keys: keys(jwks_source_specifier.as_ref(), at)?,
        forward: *forward,
        from_headers: headers,
        from_params: params,
        from_cookies: from_cookies.clone(),
        forward_payload_header: optional(forward_payload_header, "forward_payload_header"),
        pad_forward_payload_header: *pad_forward_payload_header,
        payload_in_metadata: payload_in_metadata.clone(),
        space_delimited_claims: normalize_payload_in_metadata.as_ref().map_or_else(
            Vec::new,
            |message| {
                let at = &at.field("normalize_payload_in_metadata");
                fields!(at, message, NormalizePayload { honoured { space_delimited_claims } });
                space_delimited_claims.clone()
            },
        ),
        header_in_metadata: header_in_metadata.clone(),
        failed_status_in_metadata: failed_status_in_metadata.clone(),
        clock_skew: match *clock_skew_seconds {
            0 => 60,
            seconds => u64::from(seconds),
        },
        cache: jwt_cache_config
            .as_ref()
            .map(|message| cache(message, &at.field("jwt_cache_config"))),
        claim_to_headers: at
            .field("claim_to_headers")
            .each(claim_to_headers, claim_to_header),
        clear_route_cache: *clear_route_cache,
    })
}

fn from_header(message: &JwtHeader, at: &At<'_>) -> Option<(HeaderName, String)> {
    fields!(at, message, JwtHeader { honoured { name, value_prefix } });
    let name = header_name(name, &at.field("name"))?;
    Some((name, value_prefix.clone()))
}

fn claim_to_header(message: &JwtClaimToHeader, at: &At<'_>) -> Option<(HeaderName, Vec<String>)> {
    fields!(at, message, JwtClaimToHeader { honoured { header_name, claim_name, claim_path } });
    let header = self::header_name(header_name, &at.field("header_name"))?;
    let path = at.field("claim_path").each(claim_path, |message, at| {
        fields!(at, message, jwt_claim_to_header::PathSegment { honoured { key } });
        Some(key.clone())
    });
    if !path.is_empty() {
        if !claim_name.is_empty() {
            at.field("claim_path")
                .problem("must not be set beside claim_name");
        }
        return Some((header, path));
    }
    let path = non_empty(claim_name, &at.field("claim_name")).split('.');
    Some((header, path.map(str::to_owned).collect()))
}

fn cache(message: &JwtCacheConfig, at: &At<'_>) -> JwtCache {
    fields!(at, message, JwtCacheConfig { honoured { jwt_cache_size, jwt_max_token_size } });
    let or = |value: u32, usual: usize| match value {
        0 => usual,
        value => usize::try_from(value).unwrap_or(usize::MAX),
    };
    JwtCache {
        size: or(*jwt_cache_size, 100),
        max_token_bytes: or(*jwt_max_token_size, 4096),
    }
}

fn keys(source: Option<&JwksSourceSpecifier>, at: &At<'_>) -> Option<JwtKeys> {
    match source {
        Some(JwksSourceSpecifier::LocalJwks(message)) => {
            let at = &at.field("local_jwks");
            let bytes = data_source::bytes(message, at)?;
            if let Err(failure) = KeySet::parse(&bytes) {
                at.problem(failure);
                return None;
            }
            Some(JwtKeys::Local(bytes))
        }
        Some(JwksSourceSpecifier::RemoteJwks(message)) => {
            let remote = remote_jwks(message, &at.field("remote_jwks"))?;
            Some(JwtKeys::Remote(Box::new(remote)))
        }
        None => {
            at.problem("needs remote_jwks or local_jwks");
            None
        }
    }
}

fn remote_jwks(message: &jwt_v3::RemoteJwks, at: &At<'_>) -> Option<RemoteJwks> {
    const USUAL: Duration = Duration::from_secs(600);
    fields!(at, message, jwt_v3::RemoteJwks {
        honoured { http_uri, cache_duration, retry_policy }
        partly { async_fetch: "with the first request that needs them, then ahead of time" }
    });
    let at_uri = &at.field("http_uri");
    let Some(uri) = http_uri else {
        at_uri.problem("is required");
        return None;
    };
    let cache = duration(cache_duration.as_ref(), &at.field("cache_duration"));
    Some(RemoteJwks {
        uri: self::http_uri(uri, at_uri)?,
        cache: cache.unwrap_or(USUAL),
        ahead: async_fetch
            .as_ref()
            .map(|message| async_fetch_of(message, &at.field("async_fetch"))),
        retry: retry_policy
            .as_ref()
            .map(|message| call_retry(message, &at.field("retry_policy"))),
    })
}

/// How soon a fetch that failed is made again.
fn async_fetch_of(message: &jwt_v3::JwksAsyncFetch, at: &At<'_>) -> Duration {
    fields!(at, message, jwt_v3::JwksAsyncFetch {
        honoured { failed_refetch_duration }
        ignored { fast_listener: "no listener waits for keys; the first request does" }
    });
    let at = &at.field("failed_refetch_duration");
    positive(failed_refetch_duration.as_ref(), at).unwrap_or(Duration::from_secs(1))
}
