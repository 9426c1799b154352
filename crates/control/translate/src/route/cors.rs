//! Cross-origin policies (FEATURES T6).
//!
//! In: `corsPolicy`. Out: what the CORS filter is told on the route.

use meltemi_model::{CorsPolicy as Wanted, UnmatchedPreflights};
use meltemi_xds::pb::envoy::config::core::v3::RuntimeFractionalPercent;
use meltemi_xds::pb::envoy::extensions::filters::http::cors::v3::CorsPolicy;
use meltemi_xds::pb::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};

use crate::proto::string_match;

/// The filter that the policy is for.
pub(super) const FILTER: &str = "envoy.filters.http.cors";

/// The policy of a route.
pub(super) fn policy(wanted: &Wanted) -> CorsPolicy {
    let Wanted {
        allow_origins,
        allow_methods,
        allow_headers,
        expose_headers,
        max_age,
        allow_credentials,
        unmatched_preflights,
    } = wanted;
    CorsPolicy {
        allow_origin_string_match: allow_origins.iter().map(string_match).collect(),
        allow_methods: allow_methods.join(","),
        allow_headers: allow_headers.join(","),
        expose_headers: expose_headers.join(","),
        max_age: max_age.map_or_else(String::new, |it| it.as_secs().to_string()),
        allow_credentials: *allow_credentials,
        forward_not_matching_preflights: Some(
            *unmatched_preflights == UnmatchedPreflights::Forward,
        ),
        filter_enabled: Some(RuntimeFractionalPercent {
            default_value: Some(FractionalPercent {
                numerator: 100,
                denominator: DenominatorType::Hundred.into(),
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}
