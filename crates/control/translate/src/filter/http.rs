//! The HTTP connection manager and its filters.
//!
//! In: where the manager stands and where its routes come from. Out: the network filter, with
//! Istio's settings.

use meltemi_model::{
    ClientCertificateDetails, ForwardedClientCertificate, GatewayTopology, PathNormalization,
    ProxyHeaders,
};
use meltemi_xds::pb::envoy::config::core::v3::{Http1ProtocolOptions, Http2ProtocolOptions};
use meltemi_xds::pb::envoy::config::listener::v3::Filter;
use meltemi_xds::pb::envoy::config::route::v3::RouteConfiguration;
use meltemi_xds::pb::envoy::extensions::filters::http::{
    cors::v3::Cors,
    fault::v3::HttpFault,
    grpc_stats::v3::{FilterConfig as GrpcStats, filter_config::PerMethodStatSpecifier},
    grpc_web::v3::GrpcWeb,
    router::v3::Router,
};
use meltemi_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds,
    http_connection_manager::{
        CodecType, ForwardClientCertDetails, PathWithEscapedSlashesAction, RouteSpecifier,
        ServerHeaderTransformation, SetCurrentClientCertDetails, UpgradeConfig,
    },
    http_filter::ConfigType,
};
use meltemi_xds::pb::io::istio::http::peer_metadata::{
    self,
    config::{
        DiscoveryMethod, IstioHeaders, PropagationMethod, discovery_method, propagation_method,
    },
};
use meltemi_xds::pb::istio::envoy::config::filter::http::alpn::v2alpha1::{
    FilterConfig as Alpn,
    filter_config::{AlpnOverride, Protocol},
};
use meltemi_xds::pb::stats::PluginConfig;
use prost::{Message, Name};

use super::access_log::request_log;
use super::{Class, METADATA_EXCHANGE, network_filter};
use crate::dynamic_dns;
use crate::proto::{ads, pack, preserve_case, zero};
use crate::scope::Scope;

/// What sets one connection manager apart from another.
pub(crate) struct HttpFilters {
    /// Which way its traffic goes.
    pub class: Class,
    /// The prefix of its statistics.
    pub stat_prefix: String,
    /// Where its routes come from.
    pub routes: Routes,
    /// The workload's port speaks HTTP/2.
    pub http2: bool,
    /// It speaks gRPC-Web with browsers.
    pub grpc_web: bool,
    /// It is an explicit proxy, whose requests name absolute URLs.
    pub explicit_proxy: bool,
}

/// Where routes come from.
pub(crate) enum Routes {
    /// Over RDS, by this name.
    Discovered(String),
    /// Written in place.
    Inline(Box<RouteConfiguration>),
}

/// The network filter that handles HTTP.
pub(crate) fn connection_manager(scope: &Scope<'_>, options: HttpFilters) -> Filter {
    let class = options.class;
    let http_filters = filters(scope, &options);
    let inbound = class == Class::Inbound;
    let normalization = scope.mesh().path_normalization;
    let headers = scope.proxy_headers();
    let headers = headers.as_ref();
    let topology = match class {
        Class::Gateway => scope.gateway_topology(),
        Class::Inbound | Class::Outbound => GatewayTopology::default(),
    };
    let mut manager = HttpConnectionManager {
        codec_type: CodecType::Auto.into(),
        stat_prefix: options.stat_prefix,
        http_filters,
        access_log: request_log(scope, class),
        use_remote_address: Some(class == Class::Gateway),
        xff_num_trusted_hops: topology.trusted_proxies,
        generate_request_id: headers.no_request_id.then_some(false),
        append_x_forwarded_port: headers.x_forwarded_port,
        stream_idle_timeout: Some(zero()),
        normalize_path: Some(normalization != PathNormalization::None),
        merge_slashes: matches!(
            normalization,
            PathNormalization::MergeSlashes | PathNormalization::DecodeAndMergeSlashes
        ),
        path_with_escaped_slashes_action: match normalization {
            PathNormalization::DecodeAndMergeSlashes => {
                PathWithEscapedSlashesAction::UnescapeAndForward
            }
            PathNormalization::None | PathNormalization::Base | PathNormalization::MergeSlashes => {
                PathWithEscapedSlashesAction::KeepUnchanged
            }
        }
        .into(),
        upgrade_configs: vec![UpgradeConfig {
            upgrade_type: "websocket".to_owned(),
            ..Default::default()
        }],
        // Istio leaves Envoy's own name on the client's side.
        server_name: match &headers.server {
            Some(name) => name.clone(),
            None if class == Class::Outbound => String::new(),
            None => "istio-envoy".to_owned(),
        },
        server_header_transformation: if headers.no_server {
            ServerHeaderTransformation::PassThrough
        } else {
            ServerHeaderTransformation::Overwrite
        }
        .into(),
        http_protocol_options: http1(scope, class, options.explicit_proxy, headers),
        http2_protocol_options: (inbound && options.http2).then(Http2ProtocolOptions::default),
        route_specifier: Some(match options.routes {
            Routes::Discovered(name) => RouteSpecifier::Rds(Rds {
                config_source: Some(ads()),
                route_config_name: name,
            }),
            Routes::Inline(routes) => RouteSpecifier::RouteConfig(*routes),
        }),
        ..Default::default()
    };
    let (forward, current) = client_certificate(class, topology, headers);
    manager.forward_client_cert_details = forward.into();
    manager.set_current_client_cert_details = current;
    network_filter("envoy.filters.network.http_connection_manager", &manager)
}

/// What happens to `x-forwarded-client-cert`.
fn client_certificate(
    class: Class,
    topology: GatewayTopology,
    headers: &ProxyHeaders,
) -> (
    ForwardClientCertDetails,
    Option<SetCurrentClientCertDetails>,
) {
    let written = match class {
        Class::Inbound => headers.client_certificate,
        Class::Outbound => return (ForwardClientCertDetails::Sanitize, None),
        Class::Gateway => topology.client_certificate,
    };
    let forward = match written {
        None if class == Class::Gateway => ForwardClientCertDetails::SanitizeSet,
        None => ForwardClientCertDetails::AppendForward,
        Some(ForwardedClientCertificate::Sanitize) => ForwardClientCertDetails::Sanitize,
        Some(ForwardedClientCertificate::ForwardOnly) => ForwardClientCertDetails::ForwardOnly,
        Some(ForwardedClientCertificate::AppendForward) => ForwardClientCertDetails::AppendForward,
        Some(ForwardedClientCertificate::SanitizeSet) => ForwardClientCertDetails::SanitizeSet,
        Some(ForwardedClientCertificate::AlwaysForwardOnly) => {
            ForwardClientCertDetails::AlwaysForwardOnly
        }
    };
    let said = headers.client_certificate_details;
    let details = match said.filter(|_| class == Class::Inbound) {
        None => SetCurrentClientCertDetails {
            subject: Some(true),
            cert: class == Class::Gateway,
            uri: true,
            dns: true,
            ..Default::default()
        },
        Some(ClientCertificateDetails {
            subject,
            certificate,
            chain,
            dns,
            uri,
        }) => SetCurrentClientCertDetails {
            subject: Some(subject),
            cert: certificate,
            chain,
            dns,
            uri,
            ..Default::default()
        },
    };
    (forward, Some(details))
}

fn http1(
    scope: &Scope<'_>,
    class: Class,
    explicit_proxy: bool,
    headers: &ProxyHeaders,
) -> Option<Http1ProtocolOptions> {
    let always = class == Class::Gateway || explicit_proxy;
    let needed = always || scope.node.http10 || headers.preserve_case;
    needed.then(|| Http1ProtocolOptions {
        accept_http_10: scope.node.http10,
        allow_absolute_url: explicit_proxy.then_some(true),
        header_key_format: headers.preserve_case.then(preserve_case),
        ..Default::default()
    })
}

/// The HTTP filters in Istio's order.
fn filters(scope: &Scope<'_>, options: &HttpFilters) -> Vec<HttpFilter> {
    let class = options.class;
    let has = &scope.node.filters;
    let mut filters = Vec::new();
    if has.peer_metadata {
        let in_mesh = scope.proxy_headers().metadata_in_mesh;
        filters.push(http_filter(
            METADATA_EXCHANGE,
            &peer_metadata(class, in_mesh),
        ));
    }
    if class != Class::Outbound {
        filters.extend(scope.guards().http.iter().cloned());
    }
    if options.grpc_web {
        filters.push(http_filter(
            "envoy.filters.http.grpc_web",
            &GrpcWeb::default(),
        ));
    }
    let grpc_stats = GrpcStats {
        emit_filter_state: true,
        per_method_stat_specifier: Some(PerMethodStatSpecifier::StatsForAllMethods(false)),
        ..Default::default()
    };
    filters.push(http_filter("envoy.filters.http.grpc_stats", &grpc_stats));
    if has.alpn && class != Class::Inbound {
        filters.push(http_filter("istio.alpn", &alpn()));
    }
    if !scope.node.lacks.fault {
        filters.push(http_filter(
            "envoy.filters.http.fault",
            &HttpFault::default(),
        ));
    }
    filters.push(http_filter("envoy.filters.http.cors", &Cors::default()));
    if has.stats {
        filters.push(http_filter("istio.stats", &stats_config(class)));
    }
    if class == Class::Outbound && dynamic_dns::is_used(scope) {
        let name = "envoy.filters.http.dynamic_forward_proxy";
        filters.push(http_filter(name, &dynamic_dns::filter(scope)));
    }
    let router = Router {
        suppress_envoy_headers: scope.proxy_headers().no_envoy_headers,
        ..Default::default()
    };
    filters.push(http_filter("envoy.filters.http.router", &router));
    filters
}

/// An HTTP filter.
pub(crate) fn http_filter<M: Message + Name>(name: &str, config: &M) -> HttpFilter {
    HttpFilter {
        name: name.to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack(config))),
        ..Default::default()
    }
}

/// What the standard metrics need to be told: whether the `host` header may name the destination of a
/// request whose service is not known, which only the client's own sidecar may believe.
pub(super) fn stats_config(class: Class) -> PluginConfig {
    PluginConfig {
        disable_host_header_fallback: class != Class::Outbound,
        ..Default::default()
    }
}

/// Who exchanges metadata with whom: a server with its clients, everybody else with servers, or with
/// those of the mesh alone.
fn peer_metadata(class: Class, in_mesh: bool) -> peer_metadata::Config {
    let discovery = vec![DiscoveryMethod {
        method_specifier: Some(discovery_method::MethodSpecifier::IstioHeaders(
            IstioHeaders::default(),
        )),
    }];
    let propagation = vec![PropagationMethod {
        method_specifier: Some(propagation_method::MethodSpecifier::IstioHeaders(
            IstioHeaders {
                skip_external_clusters: in_mesh && class != Class::Inbound,
            },
        )),
    }];
    if class == Class::Inbound {
        peer_metadata::Config {
            downstream_discovery: discovery,
            downstream_propagation: propagation,
            ..Default::default()
        }
    } else {
        peer_metadata::Config {
            upstream_discovery: discovery,
            upstream_propagation: propagation,
            ..Default::default()
        }
    }
}

/// Which ALPN says what protocol a request has, inside the mesh's mutual TLS.
fn alpn() -> Alpn {
    let entry = |protocol: Protocol, names: [&str; 3]| AlpnOverride {
        upstream_protocol: protocol.into(),
        alpn_override: names.map(str::to_owned).to_vec(),
    };
    Alpn {
        alpn_override: vec![
            entry(Protocol::Http10, ["istio-http/1.0", "istio", "http/1.0"]),
            entry(Protocol::Http11, ["istio-http/1.1", "istio", "http/1.1"]),
            entry(Protocol::Http2, ["istio-h2", "istio", "h2"]),
        ],
    }
}
