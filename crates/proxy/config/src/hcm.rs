//! The HTTP connection manager.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use meltemi_ir::{
    Codec, EscapedSlashes, ForwardClientCert, HttpConnectionManager, LogMoments, PathNormalization, Prefix,
    RouteSource, ServerHeader, SetCurrentClientCert, StripPort,
};
use meltemi_xds::any;
use meltemi_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm_v3;
use meltemi_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    CodecType, ForwardClientCertDetails, InternalAddressConfig, PathWithEscapedSlashesAction,
    RouteSpecifier, ServerHeaderTransformation, SetCurrentClientCertDetails, StripPortMode,
    Tracing, UpgradeConfig,
};
use meltemi_xds::pb::envoy::extensions::request_id::uuid::v3::UuidRequestIdConfig;
use prost::Message as _;
use prost_types::Any;

use crate::access_log::{access_log, log_interval, log_moments};
use crate::address::prefix;
use crate::config_source::required_source;
use crate::extension::{Extension, Known, unpack};
use crate::fields::fields;
use crate::hcm_extension::{early_mutations, local_reply, original_ip, scheme};
use crate::header::header_value;
use crate::http_filter::http_filters;
use crate::http_options::{common, http1, http2};
use crate::path::At;
use crate::pieces::Pieces;
use crate::route::{VIRTUAL_HOSTS, route_configuration};
use crate::scalar::{duration, enumeration, limit, non_empty, within};

/// The ways of making request ids.
pub(crate) static REQUEST_IDS: &[Known<RequestId>] = &[Known {
    name: "envoy.request_id.uuid",
    type_name: "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig",
    convert: |config, at| uuid(&unpack(config, at)?, at),
}];

/// Checks the configuration of a way of making request ids.
pub(crate) type RequestId = fn(Option<&Any>, &At<'_>) -> Option<()>;

/// The field of a connection manager that holds its route table.
const ROUTE_CONFIG: u64 = 4;

/// A connection manager as a filter's configuration.
pub(crate) fn filter(config: Option<&Any>, at: &At<'_>) -> Option<HttpConnectionManager> {
    let plain = config.filter(|config| any::is::<hcm_v3::HttpConnectionManager>(config));
    let path = [ROUTE_CONFIG, VIRTUAL_HOSTS];
    if let Some(Pieces { rest, taken }) =
        plain.and_then(|config| Pieces::take_out(&config.value, &path))
        && let Ok(message) = hcm_v3::HttpConnectionManager::decode(rest.as_slice())
    {
        return connection_manager(&message, &taken, at);
    }
    connection_manager(&unpack(config, at)?, &[], at)
}

/// Converts a connection manager; `hosts` are the virtual hosts that were taken out of it.
#[expect(clippy::too_many_lines, reason = "one declaration of eighty fields")]
fn connection_manager(
    message: &hcm_v3::HttpConnectionManager,
    hosts: &[&[u8]],
    at: &At<'_>,
) -> Option<HttpConnectionManager> {
    fields!(at, message, hcm_v3::HttpConnectionManager {
        honoured {
            stat_prefix, http_filters, common_http_protocol_options, http_protocol_options,
            http2_protocol_options, server_name, server_header_transformation,
            max_request_headers_kb, stream_idle_timeout, request_timeout,
            request_headers_timeout, drain_timeout, delayed_close_timeout, access_log,
            access_log_flush_interval, flush_access_log_on_new_request, access_log_options,
            use_remote_address, xff_num_trusted_hops, internal_address_config, skip_xff_append,
            via, generate_request_id, preserve_external_request_id,
            always_set_request_id_in_response, forward_client_cert_details,
            set_current_client_cert_details, upgrade_configs, normalize_path, merge_slashes,
            path_with_escaped_slashes_action, strip_matching_host_port, local_reply_config,
            original_ip_detection_extensions, early_header_mutation_extensions,
            strip_trailing_host_dot, append_x_forwarded_port,
        }
        partly {
            codec_type: "AUTO, HTTP1 and HTTP2",
            tracing: "without a provider, which means no tracing",
            request_id_extension: "UUIDs",
            add_user_agent: "false",
            scheme_header_transformation: "without match_upstream",
        }
        oneof {
            route_specifier {
                rds: Honoured "",
                route_config: Honoured "",
                scoped_routes: Refused "",
            },
            strip_port_mode { strip_any_host_port: Honoured "" },
        }
        refused {
            path_normalization_options: "use normalize_path and merge_slashes",
        }
        unsupported {
            http1_safe_max_connection_duration, stream_flush_timeout,
            drain_timeout_jitter, forward_client_cert_matcher, represent_ipv4_remote_address_as_ipv4_mapped_ipv6,
            proxy_status_config, typed_header_validation_config,
            forward_proto_config,
        }
        ignored {
            http3_protocol_options: "HTTP/3 is refused by codec_type",
            proxy_100_continue: "a client is told to continue when the upstream takes its body",
            stream_error_on_invalid_http_message: "a malformed request ends an HTTP/1 connection or an HTTP/2 stream",
            append_local_overload: "there is no overload manager",
            add_proxy_protocol_connection_state: "there is no PROXY protocol",
        }
    });
    if *add_user_agent == Some(true) {
        at.field("add_user_agent").refuse("");
    }
    if let Some(message) = tracing {
        check_tracing(message, &at.field("tracing"));
    }
    if let Some(message) = request_id_extension {
        check_request_id(message, &at.field("request_id_extension"));
    }
    let common = common(
        common_http_protocol_options.as_ref(),
        &at.field("common_http_protocol_options"),
    );
    let strip_port = strip_port(*strip_matching_host_port, strip_port_mode.as_ref(), at);
    let off = |value: &Option<prost_types::Duration>, default, field| {
        limit(value.as_ref(), default, &at.field(field))
    };
    let kilobytes = within(
        *max_request_headers_kb,
        60,
        1..=8192,
        &at.field("max_request_headers_kb"),
    );
    let five_minutes = Duration::from_secs(300);
    let routes = routes(route_specifier.as_ref(), hosts, at);
    let original_ip = original_ip(original_ip_detection_extensions, at);
    if !original_ip.is_empty() && (*use_remote_address == Some(true) || *xff_num_trusted_hops > 0) {
        at.field("original_ip_detection_extensions")
            .problem("cannot be set together with use_remote_address or xff_num_trusted_hops");
    }
    let mut moments = LogMoments {
        on_request: *flush_access_log_on_new_request,
        every: log_interval(
            access_log_flush_interval.as_ref(),
            &at.field("access_log_flush_interval"),
        ),
        on_tunnel: false,
    };
    if let Some(message) = access_log_options {
        let at = &at.field("access_log_options");
        if moments != LogMoments::default() {
            at.problem("excludes access_log_flush_interval and flush_access_log_on_new_request");
        }
        moments = log_moments(message, at);
    }
    Some(HttpConnectionManager {
        append_x_forwarded_port: *append_x_forwarded_port,
        stat_prefix: non_empty(stat_prefix, &at.field("stat_prefix")).to_owned(),
        codec: codec(*codec_type, &at.field("codec_type")),
        filters: self::http_filters(http_filters, &at.field("http_filters")),
        access_log: at.field("access_log").each(access_log, self::access_log),
        log_moments: moments,
        server_name: server_name_value(server_name, &at.field("server_name")),
        server_header: server_header(
            *server_header_transformation,
            &at.field("server_header_transformation"),
        ),
        via: (!via.is_empty())
            .then(|| header_value(via, &at.field("via")))
            .flatten(),
        use_remote_address: use_remote_address.unwrap_or(false),
        xff_num_trusted_hops: *xff_num_trusted_hops,
        internal_addresses: internal_address_config
            .as_ref()
            .map(|message| internal(message, &at.field("internal_address_config")))
            .unwrap_or_default(),
        skip_xff_append: *skip_xff_append,
        generate_request_id: generate_request_id.unwrap_or(true),
        preserve_external_request_id: *preserve_external_request_id,
        always_set_request_id_in_response: *always_set_request_id_in_response,
        forward_client_cert: forward_client_cert(
            *forward_client_cert_details,
            &at.field("forward_client_cert_details"),
        ),
        set_current_client_cert: set_current_client_cert_details
            .as_ref()
            .map(|message| client_cert(message, &at.field("set_current_client_cert_details")))
            .unwrap_or_default(),
        upgrades: at.field("upgrade_configs").each(upgrade_configs, upgrade),
        path: PathNormalization {
            normalize: normalize_path.unwrap_or(false),
            merge_slashes: *merge_slashes,
            escaped_slashes: escaped_slashes(
                *path_with_escaped_slashes_action,
                &at.field("path_with_escaped_slashes_action"),
            ),
        },
        strip_port,
        stream_idle_timeout: off(
            stream_idle_timeout,
            Some(five_minutes),
            "stream_idle_timeout",
        ),
        request_timeout: off(request_timeout, None, "request_timeout"),
        request_headers_timeout: off(request_headers_timeout, None, "request_headers_timeout"),
        idle_timeout: common.idle_timeout,
        max_connection_duration: common.max_connection_duration,
        max_stream_duration: common.max_stream_duration,
        max_requests_per_connection: common.max_requests_per_connection.unwrap_or(0),
        drain_timeout: duration(drain_timeout.as_ref(), &at.field("drain_timeout"))
            .unwrap_or(Duration::from_secs(5)),
        delayed_close_timeout: off(
            delayed_close_timeout,
            Some(Duration::from_secs(1)),
            "delayed_close_timeout",
        ),
        max_request_headers_bytes: kilobytes * 1024,
        max_headers_count: common.max_headers_count,
        http1: http1(
            http_protocol_options.as_ref(),
            &at.field("http_protocol_options"),
        ),
        http2: http2(
            http2_protocol_options.as_ref(),
            &at.field("http2_protocol_options"),
        ),
        underscores: common.underscores,
        strip_trailing_host_dot: *strip_trailing_host_dot,
        scheme: scheme_header_transformation
            .as_ref()
            .map(|message| scheme(message, &at.field("scheme_header_transformation")))
            .unwrap_or_default(),
        original_ip,
        early_mutations: early_mutations(early_header_mutation_extensions, at),
        local_reply: local_reply_config.as_ref().and_then(|message| {
            local_reply(message, &at.field("local_reply_config")).map(Arc::new)
        }),
        routes: routes?,
    })
}

fn routes(specifier: Option<&RouteSpecifier>, hosts: &[&[u8]], at: &At<'_>) -> Option<RouteSource> {
    match specifier {
        Some(RouteSpecifier::RouteConfig(message)) => {
            let at = &at.field("route_config");
            let table = route_configuration(message, hosts, at)?;
            if table.vhds.is_some() {
                at.field("vhds")
                    .refuse("only in a table that comes over RDS");
            }
            Some(RouteSource::Inline(Arc::new(table)))
        }
        Some(RouteSpecifier::Rds(message)) => rds(message, &at.field("rds")),
        Some(RouteSpecifier::ScopedRoutes(_)) => {
            at.field("scoped_routes").refuse("");
            None
        }
        None => {
            at.problem("needs route_config or rds");
            None
        }
    }
}

fn rds(message: &hcm_v3::Rds, at: &At<'_>) -> Option<RouteSource> {
    fields!(at, message, hcm_v3::Rds {
        honoured { route_config_name, config_source }
    });
    let source = required_source(config_source.as_ref(), &at.field("config_source"))?;
    let name = non_empty(route_config_name, &at.field("route_config_name"));
    Some(RouteSource::Rds {
        name: name.to_owned(),
        source,
    })
}

fn codec(value: i32, at: &At<'_>) -> Codec {
    match enumeration(value, at) {
        Some(CodecType::Http1) => Codec::Http1,
        Some(CodecType::Http2) => Codec::Http2,
        Some(CodecType::Http3) => {
            at.refuse("HTTP/3");
            Codec::Auto
        }
        Some(CodecType::Auto) | None => Codec::Auto,
    }
}

fn server_name_value(name: &str, at: &At<'_>) -> HeaderValue {
    let default = HeaderValue::from_static("envoy");
    if name.is_empty() {
        return default;
    }
    header_value(name, at).unwrap_or(default)
}

fn server_header(value: i32, at: &At<'_>) -> ServerHeader {
    match enumeration(value, at) {
        Some(ServerHeaderTransformation::AppendIfAbsent) => ServerHeader::AppendIfAbsent,
        Some(ServerHeaderTransformation::PassThrough) => ServerHeader::PassThrough,
        Some(ServerHeaderTransformation::Overwrite) | None => ServerHeader::Overwrite,
    }
}

fn internal(message: &InternalAddressConfig, at: &At<'_>) -> Vec<Prefix> {
    fields!(at, message, InternalAddressConfig {
        honoured { cidr_ranges }
        ignored { unix_sockets: "nothing listens on a Unix socket" }
    });
    at.field("cidr_ranges").each(cidr_ranges, prefix)
}

fn forward_client_cert(value: i32, at: &At<'_>) -> ForwardClientCert {
    match enumeration(value, at) {
        Some(ForwardClientCertDetails::ForwardOnly) => ForwardClientCert::ForwardOnly,
        Some(ForwardClientCertDetails::AppendForward) => ForwardClientCert::AppendForward,
        Some(ForwardClientCertDetails::SanitizeSet) => ForwardClientCert::SanitizeSet,
        Some(ForwardClientCertDetails::AlwaysForwardOnly) => ForwardClientCert::AlwaysForwardOnly,
        Some(ForwardClientCertDetails::Sanitize) | None => ForwardClientCert::Sanitize,
    }
}

fn client_cert(message: &SetCurrentClientCertDetails, at: &At<'_>) -> SetCurrentClientCert {
    fields!(at, message, SetCurrentClientCertDetails {
        honoured { subject, cert, chain, dns, uri }
        partly { format: "TEXT" }
        unsupported { issuer }
    });
    if *format != 0 {
        at.field("format").refuse("only TEXT is");
    }
    SetCurrentClientCert {
        subject: subject.unwrap_or(false),
        uri: *uri,
        dns: *dns,
        cert: *cert,
        chain: *chain,
    }
}

/// The upgrade's protocol, where it is enabled.
fn upgrade(message: &UpgradeConfig, at: &At<'_>) -> Option<String> {
    fields!(at, message, UpgradeConfig {
        honoured { upgrade_type, enabled }
        refused { filters: "upgraded streams go through the same filters" }
    });
    enabled
        .unwrap_or(true)
        .then(|| upgrade_type.to_ascii_lowercase())
}

fn escaped_slashes(value: i32, at: &At<'_>) -> EscapedSlashes {
    match enumeration(value, at) {
        Some(PathWithEscapedSlashesAction::RejectRequest) => EscapedSlashes::Reject,
        Some(PathWithEscapedSlashesAction::UnescapeAndRedirect) => {
            EscapedSlashes::UnescapeAndRedirect
        }
        Some(PathWithEscapedSlashesAction::UnescapeAndForward) => {
            EscapedSlashes::UnescapeAndForward
        }
        Some(
            PathWithEscapedSlashesAction::ImplementationSpecificDefault
            | PathWithEscapedSlashesAction::KeepUnchanged,
        )
        | None => EscapedSlashes::Keep,
    }
}

fn strip_port(matching: bool, mode: Option<&StripPortMode>, at: &At<'_>) -> StripPort {
    match (matching, mode) {
        (true, Some(StripPortMode::StripAnyHostPort(true))) => {
            at.field("strip_any_host_port")
                .problem("cannot be set together with strip_matching_host_port");
            StripPort::Any
        }
        (false, Some(StripPortMode::StripAnyHostPort(true))) => StripPort::Any,
        (true, _) => StripPort::Matching,
        (false, _) => StripPort::No,
    }
}

fn check_tracing(message: &Tracing, at: &At<'_>) {
    fields!(at, message, Tracing {
        refused { provider: "tracing" }
        ignored {
            client_sampling: "there is no tracing",
            random_sampling: "there is no tracing",
            overall_sampling: "there is no tracing",
            verbose: "there is no tracing",
            max_path_tag_length: "there is no tracing",
            custom_tags: "there is no tracing",
            spawn_upstream_span: "there is no tracing",
            operation: "there is no tracing",
            upstream_operation: "there is no tracing",
            no_context_propagation: "there is no tracing",
        }
    });
}

fn check_request_id(message: &hcm_v3::RequestIdExtension, at: &At<'_>) {
    fields!(at, message, hcm_v3::RequestIdExtension { partly { typed_config: "UUIDs" } });
    let Some(config) = typed_config else {
        at.field("typed_config").problem("is required");
        return;
    };
    let extension = Extension {
        name: "",
        config: Some(config),
    };
    if let Some(known) = extension.find(REQUEST_IDS, at) {
        (known.convert)(Some(config), &at.field("typed_config"));
    }
}

fn uuid(message: &UuidRequestIdConfig, at: &At<'_>) -> Option<()> {
    fields!(at, message, UuidRequestIdConfig {
        ignored {
            pack_trace_reason: "there is no tracing",
            use_request_id_for_trace_sampling: "there is no tracing",
        }
    });
    Some(())
}
