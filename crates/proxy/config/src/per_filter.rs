//! What routes, virtual hosts, weighted clusters and route tables say of single filters
//! (`typed_per_filter_config`).

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_ir::{RouteFilter, RouteFilterKind, RouteFilterSetting};
use meltemi_xds::any;
use meltemi_xds::pb::envoy::config::route::v3 as route_v3;
use meltemi_xds::pb::envoy::extensions::filters::http::buffer::v3 as buffer_v3;
use meltemi_xds::pb::envoy::extensions::filters::http::buffer::v3::buffer_per_route::Override;
use prost_types::Any;

use crate::cors::cors_policy;
use crate::extension::{Known, inner_type, unpack};
use crate::fields::fields;
use crate::forward_proxy;
use crate::http_filter::{
    buffer, compression, ext_authz, fault, header_mutation, jwt_authn, local_ratelimit, metadata,
    on_demand_per_route,
};
use crate::path::At;
use crate::rbac::http_rbac_per_route;

/// Converts what is said of a filter.
pub(crate) type Convert = fn(&Any, &At<'_>) -> Option<RouteFilterSetting>;

/// The settings that a route may have for a filter.
pub(crate) static ROUTE_FILTERS: &[Known<Convert>] = &[
    Known {
        name: "envoy.filters.http.cors",
        type_name: "envoy.extensions.filters.http.cors.v3.CorsPolicy",
        convert: |config, at| {
            let policy = cors_policy(&unpack(Some(config), at)?, at)?;
            Some(with(RouteFilterKind::Cors(Arc::new(policy))))
        },
    },
    Known {
        name: "envoy.filters.http.fault",
        type_name: "envoy.extensions.filters.http.fault.v3.HTTPFault",
        convert: |config, at| {
            let settings = fault::fault(&unpack(Some(config), at)?, at)?;
            Some(with(RouteFilterKind::Fault(Arc::new(settings))))
        },
    },
    Known {
        name: "envoy.filters.http.header_mutation",
        type_name: "envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute",
        convert: |config, at| {
            let settings = header_mutation::per_route(&unpack(Some(config), at)?, at)?;
            Some(with(RouteFilterKind::HeaderMutation(Arc::new(settings))))
        },
    },
    Known {
        name: "envoy.filters.http.local_ratelimit",
        type_name: "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        convert: |config, at| {
            let message = unpack(Some(config), at)?;
            let settings = local_ratelimit::local_rate_limit(&message, true, at)?;
            Some(with(RouteFilterKind::LocalRateLimit(Arc::new(settings))))
        },
    },
    Known {
        name: "envoy.filters.http.buffer",
        type_name: "envoy.extensions.filters.http.buffer.v3.BufferPerRoute",
        convert: |config, at| buffer_per_route(&unpack(Some(config), at)?, at),
    },
    Known {
        name: "envoy.filters.http.header_to_metadata",
        type_name: "envoy.extensions.filters.http.header_to_metadata.v3.Config",
        convert: |config, at| {
            let settings = metadata::header_to_metadata(&unpack(Some(config), at)?, at)?;
            Some(with(RouteFilterKind::HeaderToMetadata(Arc::new(settings))))
        },
    },
    Known {
        name: "envoy.filters.http.rbac",
        type_name: "envoy.extensions.filters.http.rbac.v3.RBACPerRoute",
        convert: |config, at| {
            let settings = http_rbac_per_route(&unpack(Some(config), at)?, at)?;
            Some(with(RouteFilterKind::Rbac(Arc::new(settings))))
        },
    },
    Known {
        name: "envoy.filters.http.set_filter_state",
        type_name: "envoy.extensions.filters.http.set_filter_state.v3.Config",
        convert: |config, at| {
            let settings = metadata::set_filter_state(&unpack(Some(config), at)?, at)?;
            Some(with(RouteFilterKind::SetFilterState(Arc::new(settings))))
        },
    },
    Known {
        name: "envoy.filters.http.compressor",
        type_name: "envoy.extensions.filters.http.compressor.v3.CompressorPerRoute",
        convert: |config, at| {
            let message = unpack(Some(config), at)?;
            Some(match compression::compressor_per_route(&message, at)? {
                Some(overrides) => with(RouteFilterKind::Compressor(overrides)),
                None => RouteFilterSetting::Disabled,
            })
        },
    },
    Known {
        name: "envoy.filters.http.on_demand",
        type_name: "envoy.extensions.filters.http.on_demand.v3.PerRouteConfig",
        convert: |config, at| on_demand_per_route(&unpack(Some(config), at)?, at),
    },
    Known {
        name: "envoy.filters.http.jwt_authn",
        type_name: "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig",
        convert: |config, at| jwt_authn::per_route(&unpack(Some(config), at)?, at),
    },
    Known {
        name: "envoy.filters.http.ext_authz",
        type_name: "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
        convert: |config, at| ext_authz::per_route(&unpack(Some(config), at)?, at),
    },
    Known {
        name: "envoy.filters.http.dynamic_forward_proxy",
        type_name: "envoy.extensions.filters.http.dynamic_forward_proxy.v3.PerRouteConfig",
        convert: |config, at| forward_proxy::per_route(&unpack(Some(config), at)?, at),
    },
];

fn with(kind: RouteFilterKind) -> RouteFilterSetting {
    RouteFilterSetting::Config(kind)
}

/// `typed_per_filter_config` of the message at `at`.
pub(crate) fn per_filter(configs: &BTreeMap<String, Any>, at: &At<'_>) -> Vec<RouteFilter> {
    let at = &at.field("typed_per_filter_config");
    configs
        .iter()
        .filter_map(|(name, config)| {
            Some(RouteFilter {
                name: name.clone(),
                setting: setting(config, &at.key(name), false)?,
            })
        })
        .collect()
}

fn setting(config: &Any, at: &At<'_>, optional: bool) -> Option<RouteFilterSetting> {
    if any::is::<route_v3::FilterConfig>(config) {
        let message: route_v3::FilterConfig = unpack(Some(config), at)?;
        return filter_config(&message, at);
    }
    let name = inner_type(config);
    let known = ROUTE_FILTERS.iter().find(|known| known.type_name == name);
    match known {
        Some(known) => (known.convert)(config, at),
        None if optional => None,
        None => {
            at.problem(format_args!("type {name} is not supported"));
            None
        }
    }
}

fn filter_config(message: &route_v3::FilterConfig, at: &At<'_>) -> Option<RouteFilterSetting> {
    fields!(at, message, route_v3::FilterConfig { honoured { config, is_optional, disabled } });
    if *disabled {
        return Some(RouteFilterSetting::Disabled);
    }
    match config {
        Some(config) if !config.type_url.is_empty() => {
            setting(config, &at.field("config"), *is_optional)
        }
        _ => Some(RouteFilterSetting::Enabled),
    }
}

fn buffer_per_route(
    message: &buffer_v3::BufferPerRoute,
    at: &At<'_>,
) -> Option<RouteFilterSetting> {
    fields!(at, message, buffer_v3::BufferPerRoute {
        oneof { r#override { disabled: Honoured "", buffer: Honoured "" } }
    });
    match r#override {
        Some(Override::Disabled(_)) => Some(RouteFilterSetting::Disabled),
        Some(Override::Buffer(message)) => {
            let most = buffer(message, &at.field("buffer"))?;
            Some(with(RouteFilterKind::Buffer(most)))
        }
        None => {
            at.problem("needs disabled or buffer");
            None
        }
    }
}
