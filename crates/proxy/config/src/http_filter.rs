//! HTTP filters.

pub(crate) mod compression;
pub(crate) mod ext_authz;
pub(crate) mod fault;
pub(crate) mod header_mutation;
pub(crate) mod jwt_authn;
pub(crate) mod local_ratelimit;
pub(crate) mod metadata;

use std::sync::Arc;

use meltemi_ir::{
    AlpnOverride, GrpcMethods, GrpcStats, HealthCheckFilter, HttpFilter, HttpFilterKind, PeerMetadata, RouteFilterSetting, RouterSettings,
};
use meltemi_xds::pb::envoy::config::core::v3::{GrpcMethodList, grpc_method_list};
use meltemi_xds::pb::envoy::extensions::filters::http::buffer::v3::Buffer;
use meltemi_xds::pb::envoy::extensions::filters::http::cors::v3::Cors;
use meltemi_xds::pb::envoy::extensions::filters::http::grpc_stats::v3 as grpc_stats_v3;
use meltemi_xds::pb::envoy::extensions::filters::http::grpc_stats::v3::filter_config::PerMethodStatSpecifier;
use meltemi_xds::pb::envoy::extensions::filters::http::grpc_web::v3::GrpcWeb;
use meltemi_xds::pb::envoy::extensions::filters::http::health_check::v3::HealthCheck;
use meltemi_xds::pb::envoy::extensions::filters::http::on_demand::v3 as on_demand_v3;
use meltemi_xds::pb::envoy::extensions::filters::http::router::v3::Router;
use meltemi_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm_v3;
use meltemi_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_filter::ConfigType;
use meltemi_xds::pb::io::istio::http::peer_metadata::config as peer_v1;
use meltemi_xds::pb::io::istio::http::peer_metadata::config::discovery_method::MethodSpecifier as Discovery;
use meltemi_xds::pb::io::istio::http::peer_metadata::config::propagation_method::MethodSpecifier as Propagation;
use meltemi_xds::pb::io::istio::http::peer_metadata::Config as PeerMetadataConfig;
use meltemi_xds::pb::istio::envoy::config::filter::http::alpn::v2alpha1::filter_config::{AlpnOverride as AlpnConfigOverride, Protocol};
use meltemi_xds::pb::istio::envoy::config::filter::http::alpn::v2alpha1::FilterConfig as AlpnConfig;
use prost_types::Any;

use crate::discovery;
use crate::extension::{Extension, Known, empty_message, unpack};
use crate::fields::fields;
use crate::forward_proxy;
use crate::header::header_name;
use crate::istio_stats::istio_stats;
use crate::matcher::header_match;
use crate::path::At;
use crate::rbac::http_rbac;
use crate::scalar::{duration, non_empty, percent};

/// The HTTP filters.
pub(crate) static HTTP_FILTERS: &[Known<Convert>] = &[
    Known {
        name: "envoy.filters.http.router",
        type_name: "envoy.extensions.filters.http.router.v3.Router",
        convert: |config, at| router(&unpack(config, at)?, at),
    },
    Known {
        name: "envoy.filters.http.cors",
        type_name: "envoy.extensions.filters.http.cors.v3.Cors",
        convert: |config, at| cors(config, at).map(|()| HttpFilterKind::Cors),
    },
    Known {
        name: "envoy.filters.http.fault",
        type_name: "envoy.extensions.filters.http.fault.v3.HTTPFault",
        convert: |config, at| {
            let settings = fault::fault(&unpack(config, at)?, at)?;
            Some(HttpFilterKind::Fault(Arc::new(settings)))
        },
    },
    Known {
        name: "envoy.filters.http.header_mutation",
        type_name: "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
        convert: |config, at| {
            let (mutations, most_specific_wins) =
                header_mutation::header_mutation(&unpack(config, at)?, at)?;
            Some(HttpFilterKind::HeaderMutation {
                mutations: Arc::new(mutations),
                most_specific_wins,
            })
        },
    },
    Known {
        name: "envoy.filters.http.local_ratelimit",
        type_name: "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        convert: |config, at| {
            let message = unpack(config, at)?;
            let settings = local_ratelimit::local_rate_limit(&message, false, at)?;
            Some(HttpFilterKind::LocalRateLimit(Arc::new(settings)))
        },
    },
    Known {
        name: "envoy.filters.http.buffer",
        type_name: "envoy.extensions.filters.http.buffer.v3.Buffer",
        convert: |config, at| buffer(&unpack(config, at)?, at).map(HttpFilterKind::Buffer),
    },
    Known {
        name: "envoy.filters.http.header_to_metadata",
        type_name: "envoy.extensions.filters.http.header_to_metadata.v3.Config",
        convert: |config, at| {
            let settings = metadata::header_to_metadata(&unpack(config, at)?, at)?;
            Some(HttpFilterKind::HeaderToMetadata(Arc::new(settings)))
        },
    },
    Known {
        name: "envoy.filters.http.set_filter_state",
        type_name: "envoy.extensions.filters.http.set_filter_state.v3.Config",
        convert: |config, at| {
            let settings = metadata::set_filter_state(&unpack(config, at)?, at)?;
            Some(HttpFilterKind::SetFilterState(Arc::new(settings)))
        },
    },
    Known {
        name: "envoy.filters.http.set_metadata",
        type_name: "envoy.extensions.filters.http.set_metadata.v3.Config",
        convert: |config, at| {
            let settings = metadata::set_metadata(&unpack(config, at)?, at)?;
            Some(HttpFilterKind::SetMetadata(Arc::new(settings)))
        },
    },
    Known {
        name: "envoy.filters.http.health_check",
        type_name: "envoy.extensions.filters.http.health_check.v3.HealthCheck",
        convert: |config, at| health_check(&unpack(config, at)?, at),
    },
    Known {
        name: "envoy.filters.http.compressor",
        type_name: "envoy.extensions.filters.http.compressor.v3.Compressor",
        convert: |config, at| {
            let settings = compression::compressor(&unpack(config, at)?, at)?;
            Some(HttpFilterKind::Compressor(Arc::new(settings)))
        },
    },
    Known {
        name: "envoy.filters.http.decompressor",
        type_name: "envoy.extensions.filters.http.decompressor.v3.Decompressor",
        convert: |config, at| {
            let settings = compression::decompressor(&unpack(config, at)?, at)?;
            Some(HttpFilterKind::Decompressor(Arc::new(settings)))
        },
    },
    Known {
        name: "envoy.filters.http.rbac",
        type_name: "envoy.extensions.filters.http.rbac.v3.RBAC",
        convert: |config, at| {
            let settings = http_rbac(&unpack(config, at)?, at)?;
            Some(HttpFilterKind::Rbac(Arc::new(settings)))
        },
    },
    Known {
        name: "envoy.filters.http.grpc_web",
        type_name: "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb",
        convert: |config, at| grpc_web(config, at).map(|()| HttpFilterKind::GrpcWeb),
    },
    Known {
        name: "envoy.filters.http.grpc_stats",
        type_name: "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
        convert: |config, at| grpc_stats(&unpack(config, at)?, at),
    },
    Known {
        name: "envoy.filters.http.on_demand",
        type_name: "envoy.extensions.filters.http.on_demand.v3.OnDemand",
        convert: |config, at| on_demand(&unpack(config, at)?, at),
    },
    Known {
        name: "istio.stats",
        type_name: "stats.PluginConfig",
        convert: |config, at| istio_stats(&unpack(config, at)?, at).map(HttpFilterKind::IstioStats),
    },
    Known {
        name: "envoy.filters.http.jwt_authn",
        type_name: "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        convert: |config, at| {
            let settings = jwt_authn::jwt_authn(&unpack(config, at)?, at)?;
            Some(HttpFilterKind::JwtAuthn(Arc::new(settings)))
        },
    },
    Known {
        name: "envoy.filters.http.ext_authz",
        type_name: "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        convert: |config, at| {
            let settings = ext_authz::ext_authz(&unpack(config, at)?, at)?;
            Some(HttpFilterKind::ExtAuthz(Arc::new(settings)))
        },
    },
    Known {
        name: "envoy.filters.http.dynamic_forward_proxy",
        type_name: "envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig",
        convert: |config, at| forward_proxy::filter(&unpack(config, at)?, at),
    },
    Known {
        name: "envoy.filters.http.peer_metadata",
        type_name: "io.istio.http.peer_metadata.Config",
        convert: |config, at| peer_metadata(&unpack(config, at)?, at),
    },
    Known {
        name: "istio.alpn",
        type_name: "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
        convert: |config, at| alpn(&unpack(config, at)?, at),
    },
];

/// Converts the configuration of a filter.
pub(crate) type Convert = fn(Option<&Any>, &At<'_>) -> Option<HttpFilterKind>;

empty_message!(cors, Cors);
empty_message!(grpc_web, GrpcWeb);

/// The filters of a connection manager; the router must be the last.
pub(crate) fn http_filters(messages: &[hcm_v3::HttpFilter], at: &At<'_>) -> Vec<HttpFilter> {
    let filters = at.each(messages, http_filter);
    let router = |filter: &HttpFilter| matches!(filter.kind, HttpFilterKind::Router(_));
    // With filters missing, their own problems have been reported.
    if filters.len() == messages.len() {
        match filters.iter().position(router) {
            Some(index) if index + 1 < filters.len() => at
                .index(index)
                .problem("the router must be the last filter"),
            Some(_) => {}
            None => at.problem("must end in the router"),
        }
    }
    filters
}

/// One filter; an unknown one that is optional is left out.
fn http_filter(message: &hcm_v3::HttpFilter, at: &At<'_>) -> Option<HttpFilter> {
    fields!(at, message, hcm_v3::HttpFilter {
        honoured { name, is_optional, disabled }
        oneof { config_type {
            typed_config: Partly "the extensions listed below",
            config_discovery: Honoured "",
        } }
    });
    let config = match config_type {
        Some(ConfigType::TypedConfig(config)) => Some(config),
        // What has come is in its place already.
        Some(ConfigType::ConfigDiscovery(source)) => {
            discovery::source(source, &at.field("config_discovery"))?;
            return Some(HttpFilter {
                name: non_empty(name, &at.field("name")).to_owned(),
                kind: HttpFilterKind::Missing,
                disabled: *disabled,
            });
        }
        None => None,
    };
    let name = non_empty(name, &at.field("name"));
    let extension = Extension { name, config };
    let inert = || HttpFilter {
        name: name.to_owned(),
        kind: HttpFilterKind::Inert,
        disabled: *disabled,
    };
    if *is_optional && !extension.is_among(HTTP_FILTERS) {
        return Some(inert());
    }
    let known = extension.find(HTTP_FILTERS, at)?;
    let kind = (known.convert)(config, &at.field("typed_config"))?;
    if *disabled && matches!(kind, HttpFilterKind::Router(_)) {
        at.field("disabled")
            .problem("the router cannot be disabled");
    }
    Some(HttpFilter {
        name: name.to_owned(),
        kind,
        disabled: *disabled,
    })
}

fn on_demand(message: &on_demand_v3::OnDemand, at: &At<'_>) -> Option<HttpFilterKind> {
    fields!(at, message, on_demand_v3::OnDemand {
        refused { odcds: "clusters come before the routes that name them" }
    });
    Some(HttpFilterKind::OnDemand)
}

/// What a route says of the filter of virtual hosts on demand.
pub(crate) fn on_demand_per_route(
    message: &on_demand_v3::PerRouteConfig,
    at: &At<'_>,
) -> Option<RouteFilterSetting> {
    fields!(at, message, on_demand_v3::PerRouteConfig {
        refused { odcds: "clusters come before the routes that name them" }
    });
    Some(RouteFilterSetting::Enabled)
}

/// The headers that a router may be strict about.
const STRICT_HEADERS: [&str; 5] = [
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-max-retries",
    "x-envoy-retry-grpc-on",
    "x-envoy-retry-on",
];

fn router(message: &Router, at: &At<'_>) -> Option<HttpFilterKind> {
    fields!(at, message, Router {
        honoured { suppress_envoy_headers, strict_check_headers, respect_expected_rq_timeout }
        partly { reject_connect_request_early_data: "false" }
        unsupported {
            upstream_log, upstream_log_options, upstream_http_filters,
        }
        ignored {
            dynamic_stats: "statistics are always kept",
            start_child_span: "there is no tracing",
            suppress_grpc_request_failure_code_stats: "it adds statistics only",
        }
    });
    if *reject_connect_request_early_data == Some(true) {
        at.field("reject_connect_request_early_data").refuse("");
    }
    let strict = |name: &String, at: &At<'_>| {
        if !STRICT_HEADERS.contains(&name.as_str()) {
            at.problem(format_args!("must be one of {}", STRICT_HEADERS.join(", ")));
            return None;
        }
        header_name(name, at)
    };
    Some(HttpFilterKind::Router(RouterSettings {
        suppress_envoy_headers: *suppress_envoy_headers,
        respect_expected_timeout: *respect_expected_rq_timeout,
        strict_headers: at
            .field("strict_check_headers")
            .each(strict_check_headers, strict),
    }))
}

/// Most bytes of a request that is forwarded whole.
pub(crate) fn buffer(message: &Buffer, at: &At<'_>) -> Option<u32> {
    fields!(at, message, Buffer { honoured { max_request_bytes } });
    let at = &at.field("max_request_bytes");
    match max_request_bytes {
        Some(most) if *most > 0 => Some(*most),
        _ => {
            at.problem("must be at least 1");
            None
        }
    }
}

fn health_check(message: &HealthCheck, at: &At<'_>) -> Option<HttpFilterKind> {
    fields!(at, message, HealthCheck {
        honoured { pass_through_mode, cache_time, cluster_min_healthy_percentages, headers }
    });
    let at_mode = &at.field("pass_through_mode");
    let Some(pass_through) = *pass_through_mode else {
        at_mode.problem("is required");
        return None;
    };
    let cache = duration(cache_time.as_ref(), &at.field("cache_time"));
    if !pass_through && cache.is_some_and(|cache| !cache.is_zero()) {
        at.field("cache_time")
            .problem("must not be set without pass_through_mode");
    }
    if pass_through && !cluster_min_healthy_percentages.is_empty() {
        at.field("cluster_min_healthy_percentages")
            .problem("must not be set with pass_through_mode");
    }
    let at_clusters = &at.field("cluster_min_healthy_percentages");
    let clusters = cluster_min_healthy_percentages
        .iter()
        .filter_map(|(name, share)| Some((name.clone(), percent(share, &at_clusters.key(name))?)))
        .collect();
    Some(HttpFilterKind::HealthCheck(Arc::new(HealthCheckFilter {
        pass_through,
        cache: cache.filter(|cache| !cache.is_zero()),
        clusters,
        headers: at.field("headers").each(headers, header_match),
    })))
}

fn grpc_stats(message: &grpc_stats_v3::FilterConfig, at: &At<'_>) -> Option<HttpFilterKind> {
    fields!(at, message, grpc_stats_v3::FilterConfig {
        honoured { emit_filter_state, enable_upstream_stats, replace_dots_in_grpc_service_name }
        oneof { per_method_stat_specifier {
            individual_method_stats_allowlist: Honoured "",
            stats_for_all_methods: Honoured "",
        } }
    });
    let methods = match per_method_stat_specifier {
        Some(PerMethodStatSpecifier::StatsForAllMethods(true)) => GrpcMethods::All,
        Some(PerMethodStatSpecifier::StatsForAllMethods(false)) | None => GrpcMethods::None,
        Some(PerMethodStatSpecifier::IndividualMethodStatsAllowlist(message)) => {
            let at = &at.field("individual_method_stats_allowlist");
            GrpcMethods::Listed(grpc_methods(message, at))
        }
    };
    Some(HttpFilterKind::GrpcStats(GrpcStats {
        methods,
        emit_filter_state: *emit_filter_state,
        upstream_stats: *enable_upstream_stats,
        replace_dots: *replace_dots_in_grpc_service_name,
    }))
}

fn grpc_methods(message: &GrpcMethodList, at: &At<'_>) -> Vec<(String, String)> {
    fields!(at, message, GrpcMethodList { honoured { services } });
    let mut all = Vec::new();
    at.field("services").each(services, |message, at| {
        fields!(at, message, grpc_method_list::Service { honoured { name, method_names } });
        let service = non_empty(name, &at.field("name"));
        let pair = |method: &String| (service.to_owned(), method.clone());
        all.extend(method_names.iter().map(pair));
        Some(())
    });
    all
}

fn alpn(message: &AlpnConfig, at: &At<'_>) -> Option<HttpFilterKind> {
    fields!(at, message, AlpnConfig { honoured { alpn_override } });
    let mut overrides = AlpnOverride::default();
    let at = at.field("alpn_override");
    for (index, message) in alpn_override.iter().enumerate() {
        alpn_of_version(message, &mut overrides, &at.index(index));
    }
    Some(HttpFilterKind::Alpn(Arc::new(overrides)))
}

/// One protocol's ALPN. HTTP/1.0 goes upstream as HTTP/1.1, with its ALPN.
fn alpn_of_version(message: &AlpnConfigOverride, overrides: &mut AlpnOverride, at: &At<'_>) {
    fields!(at, message, AlpnConfigOverride { honoured { upstream_protocol, alpn_override } });
    let protocols = alpn_override.iter().map(|name| name.clone().into_bytes());
    let protocols = Some(protocols.collect());
    match Protocol::try_from(*upstream_protocol) {
        Ok(Protocol::Http10) => {}
        Ok(Protocol::Http11) => overrides.http1 = protocols,
        Ok(Protocol::Http2) => overrides.http2 = protocols,
        Err(_) => at.field("upstream_protocol").problem("no such protocol"),
    }
}

fn peer_metadata(message: &PeerMetadataConfig, at: &At<'_>) -> Option<HttpFilterKind> {
    fields!(at, message, PeerMetadataConfig {
        honoured {
            downstream_discovery, upstream_discovery, downstream_propagation,
            upstream_propagation,
        }
        unsupported { additional_labels }
        ignored { shared_with_upstream: "no upstream filter reads it" }
    });
    let discovered = |methods: &[peer_v1::DiscoveryMethod], field| {
        at.field(field).each(methods, discovery).contains(&true)
    };
    let propagated =
        |methods: &[peer_v1::PropagationMethod], field| at.field(field).each(methods, propagation);
    let upstream = propagated(upstream_propagation, "upstream_propagation");
    Some(HttpFilterKind::PeerMetadata(PeerMetadata {
        downstream_discovery: discovered(downstream_discovery, "downstream_discovery"),
        upstream_discovery: discovered(upstream_discovery, "upstream_discovery"),
        downstream_propagation: !propagated(downstream_propagation, "downstream_propagation")
            .is_empty(),
        upstream_propagation: !upstream.is_empty(),
        skip_external: upstream.contains(&true),
    }))
}

/// Whether the method is the headers.
fn discovery(message: &peer_v1::DiscoveryMethod, at: &At<'_>) -> Option<bool> {
    fields!(at, message, peer_v1::DiscoveryMethod {
        oneof { method_specifier {
            istio_headers: Honoured "",
            workload_discovery: Ignored "there is no workload discovery; the headers say it",
            baggage: Refused "",
        } }
    });
    match method_specifier {
        Some(Discovery::IstioHeaders(message)) => {
            headers(message, &at.field("istio_headers"));
            Some(true)
        }
        // ignored: there is no workload discovery; the headers say it.
        Some(Discovery::WorkloadDiscovery(_)) => Some(false),
        Some(Discovery::Baggage(_)) => {
            at.field("baggage").refuse("");
            None
        }
        None => {
            at.problem("needs a method");
            None
        }
    }
}

/// Whether clusters outside the mesh are left out.
fn propagation(message: &peer_v1::PropagationMethod, at: &At<'_>) -> Option<bool> {
    fields!(at, message, peer_v1::PropagationMethod {
        oneof { method_specifier { istio_headers: Honoured "" } }
    });
    match method_specifier {
        Some(Propagation::IstioHeaders(message)) => {
            Some(headers(message, &at.field("istio_headers")))
        }
        None => {
            at.problem("needs a method");
            None
        }
    }
}

fn headers(message: &peer_v1::IstioHeaders, at: &At<'_>) -> bool {
    fields!(at, message, peer_v1::IstioHeaders {
        honoured { skip_external_clusters }
    });
    *skip_external_clusters
}
