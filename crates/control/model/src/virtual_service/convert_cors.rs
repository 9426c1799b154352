//! Cross-origin policies: from written to valid (FEATURES T6).

use meltemi_api::{FieldPath, virtual_service as api};

use super::{CorsPolicy, UnmatchedPreflights};
use crate::check::{Check, filled};
use crate::{StringMatch, string_match};

const METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*",
];

/// Checks a cross-origin policy.
pub(super) fn convert_cors(
    written: api::CorsPolicy,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> CorsPolicy {
    let api::CorsPolicy {
        allow_origin,
        allow_origins,
        allow_methods,
        allow_headers,
        expose_headers,
        max_age,
        allow_credentials,
        unmatched_preflights,
    } = written;
    let at_origins = at.field("allowOrigins");
    let mut origins: Vec<_> = allow_origins
        .iter()
        .enumerate()
        .filter_map(|(index, it)| string_match::required(it, &at_origins.index(index), check))
        .collect();
    for (index, origin) in allow_origins.iter().enumerate() {
        if origin.exact.as_deref() == Some("") {
            let at = at_origins.index(index).field("exact");
            check.invalid(&at, "an origin is needed, such as https://example.com");
        }
    }
    origins.extend(allow_origin.into_iter().map(StringMatch::Exact));
    let at_methods = at.field("allowMethods");
    for (index, method) in allow_methods.iter().enumerate() {
        if !METHODS.contains(&method.as_str()) {
            let known = METHODS.join(", ");
            check.invalid(
                &at_methods.index(index),
                format!("unknown method `{method}`; write {known}"),
            );
        }
    }
    for (field, names) in [
        ("allowHeaders", &allow_headers),
        ("exposeHeaders", &expose_headers),
    ] {
        for (index, name) in names.iter().enumerate() {
            // The name is kept as written; only its form is of interest.
            let _name = check.header_name(&at.field(field).index(index), name);
        }
    }
    let at_age = at.field("maxAge");
    let max_age = check.duration(&at_age, max_age.as_deref());
    if max_age.is_some_and(|age| age.subsec_nanos() != 0) {
        check.invalid(&at_age, "is too exact; write whole seconds");
    }
    let choices = [
        ("UNSPECIFIED", UnmatchedPreflights::Forward),
        ("FORWARD", UnmatchedPreflights::Forward),
        ("IGNORE", UnmatchedPreflights::Ignore),
    ];
    let unmatched_preflights = filled(unmatched_preflights)
        .and_then(|text| check.choice(&at.field("unmatchedPreflights"), &text, &choices))
        .unwrap_or_default();
    CorsPolicy {
        allow_origins: origins,
        allow_methods,
        allow_headers,
        expose_headers,
        max_age,
        allow_credentials,
        unmatched_preflights,
    }
}
