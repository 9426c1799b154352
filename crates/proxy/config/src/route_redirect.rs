//! Redirections of upstreams that the proxy follows itself.

use http::StatusCode;
use meltemi_ir::{InternalRedirect, RedirectPredicate};
use meltemi_xds::pb::envoy::config::route::v3::InternalRedirectPolicy;
use meltemi_xds::pb::envoy::extensions::internal_redirect::allow_listed_routes::v3::AllowListedRoutesConfig;
use meltemi_xds::pb::envoy::extensions::internal_redirect::previous_routes::v3::PreviousRoutesConfig;
use meltemi_xds::pb::envoy::extensions::internal_redirect::safe_cross_scheme::v3::SafeCrossSchemeConfig;
use prost_types::Any;

use crate::extension::{Known, empty_message, unpack};
use crate::fields::fields;
use crate::header::header_name;
use crate::http_options::typed_extension;
use crate::path::At;

/// Converts the configuration of a condition.
pub(crate) type Predicate = fn(Option<&Any>, &At<'_>) -> Option<RedirectPredicate>;

/// The conditions on following a redirection.
pub(crate) static PREDICATES: &[Known<Predicate>] = &[
    Known {
        name: "envoy.internal_redirect_predicates.allow_listed_routes",
        type_name: "envoy.extensions.internal_redirect.allow_listed_routes.v3.AllowListedRoutesConfig",
        convert: |config, at| allow_listed(&unpack(config, at)?, at),
    },
    Known {
        name: "envoy.internal_redirect_predicates.previous_routes",
        type_name: "envoy.extensions.internal_redirect.previous_routes.v3.PreviousRoutesConfig",
        convert: |config, at| previous(config, at).map(|()| RedirectPredicate::PreviousRoutes),
    },
    Known {
        name: "envoy.internal_redirect_predicates.safe_cross_scheme",
        type_name: "envoy.extensions.internal_redirect.safe_cross_scheme.v3.SafeCrossSchemeConfig",
        convert: |config, at| cross_scheme(config, at).map(|()| RedirectPredicate::SafeCrossScheme),
    },
];

empty_message!(previous, PreviousRoutesConfig);
empty_message!(cross_scheme, SafeCrossSchemeConfig);

fn allow_listed(message: &AllowListedRoutesConfig, at: &At<'_>) -> Option<RedirectPredicate> {
    fields!(at, message, AllowListedRoutesConfig { honoured { allowed_route_names } });
    Some(RedirectPredicate::AllowListedRoutes(
        allowed_route_names.clone(),
    ))
}

/// Which redirections are followed.
pub(crate) fn internal_redirect(message: &InternalRedirectPolicy, at: &At<'_>) -> InternalRedirect {
    fields!(at, message, InternalRedirectPolicy {
        honoured {
            max_internal_redirects, redirect_response_codes, predicates,
            allow_cross_scheme_redirect, response_headers_to_copy,
        }
    });
    let at_codes = &at.field("redirect_response_codes");
    let mut codes = at_codes.each(redirect_response_codes, |code, at| {
        let known = [301, 302, 303, 307, 308].contains(code);
        if !known {
            at.problem(format_args!("{code} is not a redirection"));
        }
        u16::try_from(*code)
            .ok()
            .and_then(|code| StatusCode::from_u16(code).ok())
    });
    if codes.is_empty() {
        codes.push(StatusCode::FOUND);
    }
    InternalRedirect {
        most: max_internal_redirects.unwrap_or(1),
        codes,
        cross_scheme: *allow_cross_scheme_redirect,
        predicates: at.field("predicates").each(predicates, |message, at| {
            let (known, config) = typed_extension(message, PREDICATES, at)?;
            (known.convert)(config, &at.field("typed_config"))
        }),
        headers_to_copy: at
            .field("response_headers_to_copy")
            .each(response_headers_to_copy, |name, at| header_name(name, at)),
    }
}
