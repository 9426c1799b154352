//! CORS policies.

use std::sync::Arc;

use meltemi_ir::Cors;
use meltemi_xds::pb::envoy::config::core::v3::RuntimeFractionalPercent;
use meltemi_xds::pb::envoy::config::route::v3 as route_v3;
use meltemi_xds::pb::envoy::config::route::v3::cors_policy::EnabledSpecifier;
use meltemi_xds::pb::envoy::extensions::filters::http::cors::v3 as filter_v3;

use crate::fields::fields;
use crate::matcher::string_match;
use crate::path::At;
use crate::scalar::runtime_per_million;

const ALL: u32 = 1_000_000;

/// Whether a switch is on; one that is on for some requests only is refused.
fn switch(message: Option<&RuntimeFractionalPercent>, default: bool, at: &At<'_>) -> bool {
    match message.map(|message| runtime_per_million(message, at)) {
        None => default,
        Some(0) => false,
        Some(share) => {
            if share < ALL {
                at.refuse("it must be 0 or 100 percent");
            }
            true
        }
    }
}

/// A policy.
pub(crate) fn cors_policy(message: &filter_v3::CorsPolicy, at: &At<'_>) -> Option<Cors> {
    fields!(at, message, filter_v3::CorsPolicy {
        honoured {
            allow_origin_string_match, allow_methods, allow_headers, expose_headers, max_age,
            allow_credentials, forward_not_matching_preflights, allow_private_network_access,
        }
        partly {
            filter_enabled: "0 or 100 percent",
            shadow_enabled: "0 percent",
        }
    });
    let enabled = switch(filter_enabled.as_ref(), true, &at.field("filter_enabled"));
    let at_shadow = &at.field("shadow_enabled");
    if switch(shadow_enabled.as_ref(), false, at_shadow) {
        at_shadow.refuse("it must be 0 percent");
    }
    Some(Cors {
        enabled,
        allow_origins: at
            .field("allow_origin_string_match")
            .each(allow_origin_string_match, string_match),
        allow_methods: allow_methods.clone(),
        allow_headers: allow_headers.clone(),
        expose_headers: expose_headers.clone(),
        max_age: max_age.clone(),
        allow_credentials: *allow_credentials,
        forward_not_matching_preflights: *forward_not_matching_preflights,
        allow_private_network_access: *allow_private_network_access,
    })
}

/// The older `cors` field of routes and virtual hosts.
pub(crate) fn old_cors_policy(message: &route_v3::CorsPolicy, at: &At<'_>) -> Option<Arc<Cors>> {
    fields!(at, message, route_v3::CorsPolicy {
        honoured {
            allow_origin_string_match, allow_methods, allow_headers, expose_headers, max_age,
            allow_credentials, forward_not_matching_preflights, allow_private_network_access,
        }
        partly { shadow_enabled: "0 percent" }
        oneof { enabled_specifier { filter_enabled: Partly "0 or 100 percent" } }
    });
    let filter_enabled = enabled_specifier
        .as_ref()
        .map(|EnabledSpecifier::FilterEnabled(share)| share.clone());
    let message = filter_v3::CorsPolicy {
        allow_origin_string_match: allow_origin_string_match.clone(),
        allow_methods: allow_methods.clone(),
        allow_headers: allow_headers.clone(),
        expose_headers: expose_headers.clone(),
        max_age: max_age.clone(),
        allow_credentials: *allow_credentials,
        filter_enabled,
        shadow_enabled: shadow_enabled.clone(),
        allow_private_network_access: *allow_private_network_access,
        forward_not_matching_preflights: *forward_not_matching_preflights,
    };
    cors_policy(&message, at).map(Arc::new)
}
