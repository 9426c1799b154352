//! HTTP filters.

use meltemi_ir::{HttpFilter, HttpFilterKind, PeerMetadata};
use meltemi_xds::pb::envoy::extensions::filters::http::cors::v3::Cors;
use meltemi_xds::pb::envoy::extensions::filters::http::fault::v3::HttpFault;
use meltemi_xds::pb::envoy::extensions::filters::http::grpc_stats::v3 as grpc_stats_v3;
use meltemi_xds::pb::envoy::extensions::filters::http::router::v3::Router;
use meltemi_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm_v3;
use meltemi_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_filter::ConfigType;
use meltemi_xds::pb::io::istio::http::peer_metadata::config as peer_v1;
use meltemi_xds::pb::io::istio::http::peer_metadata::config::discovery_method::MethodSpecifier as Discovery;
use meltemi_xds::pb::io::istio::http::peer_metadata::config::propagation_method::MethodSpecifier as Propagation;
use meltemi_xds::pb::io::istio::http::peer_metadata::Config as PeerMetadataConfig;
use meltemi_xds::pb::istio::envoy::config::filter::http::alpn::v2alpha1::FilterConfig as AlpnConfig;
use prost_types::Any;

use crate::extension::{Extension, Known, empty_message, unpack};
use crate::fields::fields;
use crate::istio_stats::istio_stats;
use crate::path::At;
use crate::scalar::non_empty;

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
        convert: |config, at| fault(&unpack(config, at)?, at),
    },
    Known {
        name: "envoy.filters.http.grpc_stats",
        type_name: "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
        convert: |config, at| grpc_stats(&unpack(config, at)?, at),
    },
    Known {
        name: "istio.stats",
        type_name: "stats.PluginConfig",
        convert: |config, at| istio_stats(&unpack(config, at)?, at).map(HttpFilterKind::IstioStats),
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

/// The filters of a connection manager; the router must be the last.
pub(crate) fn http_filters(messages: &[hcm_v3::HttpFilter], at: &At<'_>) -> Vec<HttpFilter> {
    let filters = at.each(messages, http_filter);
    let router = |filter: &HttpFilter| matches!(filter.kind, HttpFilterKind::Router { .. });
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
        honoured { name, is_optional }
        oneof { config_type {
            typed_config: Partly "the extensions listed below",
            config_discovery: Refused "",
        } }
        refused { disabled: "leave the filter out" }
    });
    let config = match config_type {
        Some(ConfigType::TypedConfig(config)) => Some(config),
        Some(ConfigType::ConfigDiscovery(_)) => {
            at.field("config_discovery").refuse("");
            return None;
        }
        None => None,
    };
    let name = non_empty(name, &at.field("name"));
    let extension = Extension { name, config };
    let inert = || HttpFilter {
        name: name.to_owned(),
        kind: HttpFilterKind::Inert,
    };
    if *is_optional && !extension.is_among(HTTP_FILTERS) {
        return Some(inert());
    }
    let known = extension.find(HTTP_FILTERS, at)?;
    let kind = (known.convert)(config, &at.field("typed_config"))?;
    let name = name.to_owned();
    Some(HttpFilter { name, kind })
}

fn router(message: &Router, at: &At<'_>) -> Option<HttpFilterKind> {
    fields!(at, message, Router {
        honoured { suppress_envoy_headers }
        partly { reject_connect_request_early_data: "false" }
        unsupported {
            upstream_log, upstream_log_options, strict_check_headers, respect_expected_rq_timeout,
            upstream_http_filters,
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
    Some(HttpFilterKind::Router {
        suppress_envoy_headers: *suppress_envoy_headers,
    })
}

fn fault(message: &HttpFault, at: &At<'_>) -> Option<HttpFilterKind> {
    fields!(at, message, HttpFault {
        refused {
            delay: "fault injection",
            abort: "fault injection",
            response_rate_limit: "fault injection",
        }
        ignored {
            upstream_cluster: "faults are refused",
            headers: "faults are refused",
            downstream_nodes: "faults are refused",
            max_active_faults: "faults are refused",
            delay_percent_runtime: "faults are refused",
            abort_percent_runtime: "faults are refused",
            delay_duration_runtime: "faults are refused",
            abort_http_status_runtime: "faults are refused",
            max_active_faults_runtime: "faults are refused",
            response_rate_limit_percent_runtime: "faults are refused",
            abort_grpc_status_runtime: "faults are refused",
            disable_downstream_cluster_stats: "it removes statistics only",
            filter_metadata: "faults are refused",
        }
    });
    Some(HttpFilterKind::Inert)
}

fn grpc_stats(message: &grpc_stats_v3::FilterConfig, at: &At<'_>) -> Option<HttpFilterKind> {
    fields!(at, message, grpc_stats_v3::FilterConfig {
        oneof { per_method_stat_specifier {
            individual_method_stats_allowlist: Ignored "it adds statistics only",
            stats_for_all_methods: Ignored "it adds statistics only",
        } }
        ignored {
            emit_filter_state: "it adds statistics only",
            enable_upstream_stats: "it adds statistics only",
            replace_dots_in_grpc_service_name: "it adds statistics only",
        }
    });
    // ignored: statistics by gRPC method, which the proxy does not keep.
    let _ = per_method_stat_specifier;
    Some(HttpFilterKind::Inert)
}

fn alpn(message: &AlpnConfig, at: &At<'_>) -> Option<HttpFilterKind> {
    fields!(at, message, AlpnConfig {
        ignored { alpn_override: "the cluster's ALPN is offered, which peers of the mesh take too" }
    });
    Some(HttpFilterKind::Inert)
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
    let propagated = |methods: &[peer_v1::PropagationMethod], field| {
        !at.field(field).each(methods, propagation).is_empty()
    };
    Some(HttpFilterKind::PeerMetadata(PeerMetadata {
        downstream_discovery: discovered(downstream_discovery, "downstream_discovery"),
        upstream_discovery: discovered(upstream_discovery, "upstream_discovery"),
        downstream_propagation: propagated(downstream_propagation, "downstream_propagation"),
        upstream_propagation: propagated(upstream_propagation, "upstream_propagation"),
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

fn propagation(message: &peer_v1::PropagationMethod, at: &At<'_>) -> Option<()> {
    fields!(at, message, peer_v1::PropagationMethod {
        oneof { method_specifier { istio_headers: Honoured "" } }
    });
    match method_specifier {
        Some(Propagation::IstioHeaders(message)) => {
            headers(message, &at.field("istio_headers"));
            Some(())
        }
        None => {
            at.problem("needs a method");
            None
        }
    }
}

fn headers(message: &peer_v1::IstioHeaders, at: &At<'_>) {
    fields!(at, message, peer_v1::IstioHeaders {
        unsupported { skip_external_clusters }
    });
}
