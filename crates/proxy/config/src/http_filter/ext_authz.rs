//! Requests about which somebody else is asked.

use http::StatusCode;
use meltemi_ir::{
    AuthzBody, AuthzService, ConnectionAuthz, ExtAuthz, ExtAuthzRoute, GrpcTarget, HeaderMutation,
    HttpAuthz, RouteFilterKind, RouteFilterSetting, StringMatch,
};
use meltemi_xds::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use meltemi_xds::pb::envoy::config::core::v3::{
    ApiVersion, GrpcService, HeaderValue, HeaderValueOption,
};
use meltemi_xds::pb::envoy::extensions::filters::http::ext_authz::v3 as authz_v3;
use meltemi_xds::pb::envoy::extensions::filters::http::ext_authz::v3::ext_authz::Services;
use meltemi_xds::pb::envoy::extensions::filters::http::ext_authz::v3::ext_authz_per_route::Override;
use meltemi_xds::pb::envoy::extensions::filters::network::ext_authz::v3 as network_v3;
use meltemi_xds::pb::envoy::r#type::matcher::v3::ListStringMatcher;

use crate::call::{call_retry, grpc_service, http_uri};
use crate::fields::fields;
use crate::header::{Changes, Side};
use crate::matcher::{metadata_match, string_match};
use crate::network_filter::enabled;
use crate::path::At;
use crate::scalar::{error_status, non_empty, runtime_per_million};

/// The filter's settings.
pub(crate) fn ext_authz(message: &authz_v3::ExtAuthz, at: &At<'_>) -> Option<ExtAuthz> {
    fields!(at, message, authz_v3::ExtAuthz {
        honoured {
            failure_mode_allow, failure_mode_allow_header_add, with_request_body,
            clear_route_cache, status_on_error, metadata_context_namespaces,
            route_metadata_context_namespaces, filter_enabled, filter_enabled_metadata,
            deny_at_disable, include_peer_certificate, stat_prefix, allowed_headers,
            disallowed_headers, include_tls_session, charge_cluster_response_stats,
            encode_raw_headers, enable_dynamic_metadata_ingestion, max_denied_response_body_bytes,
        }
        partly { transport_api_version: "V3" }
        oneof { services { grpc_service: Honoured "", http_service: Honoured "" } }
        refused {
            decoder_header_mutation_rules: "what the service asks for is done, pseudo headers \
                                            and host are never removed",
            validate_mutations: "what is no header is dropped",
            typed_metadata_context_namespaces: "no metadata is typed",
            route_typed_metadata_context_namespaces: "no metadata is typed",
            bootstrap_metadata_labels_key: "no labels are told",
        }
        unsupported { shadow_mode, enforce_response_header_limits }
        ignored {
            filter_metadata: "nothing reads it",
            emit_filter_state_stats: "nothing reads them",
            emit_client_span: "there is no tracing",
        }
    });
    if ApiVersion::try_from(*transport_api_version) != Ok(ApiVersion::V3) {
        at.field("transport_api_version").problem("must be V3");
    }
    let mut allowed = allowed_headers
        .as_ref()
        .map(|message| list(message, &at.field("allowed_headers")));
    let service = match services {
        Some(Services::GrpcService(message)) => {
            let at = &at.field("grpc_service");
            AuthzService::Grpc(required_target(Some(message), at)?)
        }
        Some(Services::HttpService(message)) => {
            let (service, older) = http_service(message, &at.field("http_service"))?;
            allowed = allowed.or(older);
            AuthzService::Http(Box::new(service))
        }
        None => {
            at.problem("needs grpc_service or http_service");
            return None;
        }
    };
    let body = with_request_body
        .as_ref()
        .map(|message| buffer(message, &at.field("with_request_body")));
    let status = status_on_error
        .as_ref()
        .map(|message| error_status(message, StatusCode::FORBIDDEN, &at.field("status_on_error")));
    Some(ExtAuthz {
        service,
        failure_mode_allow: *failure_mode_allow,
        failure_mode_allow_header: *failure_mode_allow_header_add,
        body,
        clear_route_cache: *clear_route_cache,
        status_on_error: status.unwrap_or(StatusCode::FORBIDDEN),
        metadata_namespaces: metadata_context_namespaces.clone(),
        route_metadata_namespaces: route_metadata_context_namespaces.clone(),
        enabled_per_million: filter_enabled
            .as_ref()
            .map(|message| runtime_per_million(message, &at.field("filter_enabled"))),
        enabled_metadata: match filter_enabled_metadata {
            // Without it everybody would be asked about, so that its failure fails the whole.
            Some(message) => Some(metadata_match(
                message,
                &at.field("filter_enabled_metadata"),
            )?),
            None => None,
        },
        deny_at_disable: deny_at_disable
            .as_ref()
            .is_some_and(|message| enabled(Some(message), &at.field("deny_at_disable"))),
        include_peer_certificate: *include_peer_certificate,
        include_tls_session: *include_tls_session,
        stat_prefix: stat_prefix.clone(),
        allowed_headers: allowed,
        disallowed_headers: disallowed_headers
            .as_ref()
            .map_or_else(Vec::new, |message| {
                list(message, &at.field("disallowed_headers"))
            }),
        charge_cluster: charge_cluster_response_stats.unwrap_or(true),
        raw_headers: *encode_raw_headers,
        ingest_metadata: enable_dynamic_metadata_ingestion.unwrap_or(true),
        max_denied_body: usize::try_from(*max_denied_response_body_bytes).unwrap_or(usize::MAX),
    })
}

/// `envoy.filters.network.ext_authz`.
pub(crate) fn connection_authz(
    message: &network_v3::ExtAuthz,
    at: &At<'_>,
) -> Option<ConnectionAuthz> {
    fields!(at, message, network_v3::ExtAuthz {
        honoured {
            stat_prefix, grpc_service, failure_mode_allow, include_peer_certificate,
            filter_enabled_metadata, include_tls_session, metadata_context_namespaces,
        }
        partly { transport_api_version: "V3" }
        refused {
            bootstrap_metadata_labels_key: "no labels are told",
            typed_metadata_context_namespaces: "no metadata is typed",
        }
        unsupported { shadow_mode, send_tls_alert_on_denial }
    });
    if ApiVersion::try_from(*transport_api_version) != Ok(ApiVersion::V3) {
        at.field("transport_api_version").problem("must be V3");
    }
    let at_service = &at.field("grpc_service");
    let service = required_target(grpc_service.as_ref(), at_service)?;
    Some(ConnectionAuthz {
        stat_prefix: non_empty(stat_prefix, &at.field("stat_prefix")).to_owned(),
        service,
        failure_mode_allow: *failure_mode_allow,
        enabled_metadata: match filter_enabled_metadata {
            // As over HTTP: without it everybody would be asked about.
            Some(message) => Some(metadata_match(
                message,
                &at.field("filter_enabled_metadata"),
            )?),
            None => None,
        },
        include_peer_certificate: *include_peer_certificate,
        include_tls_session: *include_tls_session,
        metadata_namespaces: metadata_context_namespaces.clone(),
    })
}

pub(crate) fn required_target(message: Option<&GrpcService>, at: &At<'_>) -> Option<GrpcTarget> {
    let Some(message) = message else {
        at.problem("is required");
        return None;
    };
    grpc_target(grpc_service(message, at)?, at)
}

fn grpc_target(service: crate::call::GrpcService, at: &At<'_>) -> Option<GrpcTarget> {
    let at_metadata = &at.field("initial_metadata");
    let metadata: Vec<_> = service
        .metadata
        .iter()
        .map(|(key, value)| HeaderValueOption {
            header: Some(HeaderValue {
                key: key.clone(),
                value: value.clone(),
                ..HeaderValue::default()
            }),
            append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
            ..HeaderValueOption::default()
        })
        .collect();
    Some(GrpcTarget {
        authority: service.authority.unwrap_or_else(|| service.cluster.clone()),
        cluster: service.cluster,
        timeout: service.timeout,
        metadata: additions(&metadata, at_metadata).add,
    })
}

fn additions(add: &[HeaderValueOption], at: &At<'_>) -> HeaderMutation {
    Changes {
        of: Side::Request,
        add,
        remove: &[],
    }
    .additions(at)
}

fn buffer(message: &authz_v3::BufferSettings, at: &At<'_>) -> AuthzBody {
    fields!(at, message, authz_v3::BufferSettings {
        honoured { max_request_bytes, allow_partial_message, pack_as_bytes }
    });
    if *max_request_bytes == 0 {
        at.field("max_request_bytes").problem("must be at least 1");
    }
    AuthzBody {
        most: usize::try_from(*max_request_bytes).unwrap_or(usize::MAX),
        partial: *allow_partial_message,
        bytes: *pack_as_bytes,
    }
}

/// An HTTP service, and the headers that are told by its older field.
fn http_service(
    message: &authz_v3::HttpService,
    at: &At<'_>,
) -> Option<(HttpAuthz, Option<Vec<StringMatch>>)> {
    fields!(at, message, authz_v3::HttpService {
        honoured {
            server_uri, path_prefix, path_override, authorization_request, authorization_response,
            retry_policy,
        }
    });
    let at_uri = &at.field("server_uri");
    let Some(uri) = server_uri else {
        at_uri.problem("is required");
        return None;
    };
    for (path, field) in [
        (path_prefix, "path_prefix"),
        (path_override, "path_override"),
    ] {
        if !path.is_empty() && !path.starts_with('/') {
            at.field(field).problem("must begin with a slash");
        }
    }
    let (mut added, mut allowed) = (HeaderMutation::default(), None);
    if let Some(message) = authorization_request {
        let at = &at.field("authorization_request");
        fields!(at, message, authz_v3::AuthorizationRequest {
            honoured { allowed_headers, headers_to_add }
        });
        allowed = allowed_headers
            .as_ref()
            .map(|message| list(message, &at.field("allowed_headers")));
        let add: Vec<_> = headers_to_add
            .iter()
            .map(|header| HeaderValueOption {
                header: Some(header.clone()),
                append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
                ..HeaderValueOption::default()
            })
            .collect();
        added = additions(&add, &at.field("headers_to_add"));
    }
    let mut service = HttpAuthz {
        uri: http_uri(uri, at_uri)?,
        path_prefix: path_prefix.clone(),
        path_override: path_override.clone(),
        headers_to_add: added,
        upstream: Vec::new(),
        upstream_append: Vec::new(),
        client: Vec::new(),
        client_on_success: Vec::new(),
        metadata: Vec::new(),
        retry: retry_policy
            .as_ref()
            .map(|message| call_retry(message, &at.field("retry_policy"))),
    };
    if let Some(message) = authorization_response {
        response(message, &mut service, &at.field("authorization_response"));
    }
    Some((service, allowed))
}

fn response(message: &authz_v3::AuthorizationResponse, service: &mut HttpAuthz, at: &At<'_>) {
    fields!(at, message, authz_v3::AuthorizationResponse {
        honoured {
            allowed_upstream_headers, allowed_upstream_headers_to_append, allowed_client_headers,
            allowed_client_headers_on_success, dynamic_metadata_from_headers,
        }
    });
    let list = |message: &Option<ListStringMatcher>, field| match message {
        Some(message) => list(message, &at.field(field)),
        None => Vec::new(),
    };
    service.upstream = list(allowed_upstream_headers, "allowed_upstream_headers");
    service.upstream_append = list(
        allowed_upstream_headers_to_append,
        "allowed_upstream_headers_to_append",
    );
    service.client = list(allowed_client_headers, "allowed_client_headers");
    service.client_on_success = list(
        allowed_client_headers_on_success,
        "allowed_client_headers_on_success",
    );
    service.metadata = list(
        dynamic_metadata_from_headers,
        "dynamic_metadata_from_headers",
    );
}

fn list(message: &ListStringMatcher, at: &At<'_>) -> Vec<StringMatch> {
    fields!(at, message, ListStringMatcher { honoured { patterns } });
    at.field("patterns").each(patterns, string_match)
}

/// What a route says of the filter.
pub(crate) fn per_route(
    message: &authz_v3::ExtAuthzPerRoute,
    at: &At<'_>,
) -> Option<RouteFilterSetting> {
    fields!(at, message, authz_v3::ExtAuthzPerRoute {
        oneof { r#override { disabled: Partly "true", check_settings: Honoured "" } }
    });
    match r#override {
        Some(Override::Disabled(true)) => Some(RouteFilterSetting::Disabled),
        Some(Override::Disabled(false)) => {
            at.field("disabled").problem("must be true");
            None
        }
        Some(Override::CheckSettings(message)) => {
            let at = &at.field("check_settings");
            let route = check_settings(message, at)?;
            Some(RouteFilterSetting::Config(RouteFilterKind::ExtAuthz(
                route.into(),
            )))
        }
        None => {
            at.problem("needs disabled or check_settings");
            None
        }
    }
}

fn check_settings(message: &authz_v3::CheckSettings, at: &At<'_>) -> Option<ExtAuthzRoute> {
    fields!(at, message, authz_v3::CheckSettings {
        honoured { context_extensions, disable_request_body_buffering, with_request_body }
        oneof { service_override { grpc_service: Refused "", http_service: Refused "" } }
        ignored { emit_client_span: "there is no tracing" }
    });
    if service_override.is_some() {
        at.field("service_override").refuse("");
        return None;
    }
    if *disable_request_body_buffering && with_request_body.is_some() {
        at.field("with_request_body")
            .problem("must not be set beside disable_request_body_buffering");
    }
    Some(ExtAuthzRoute {
        context: context_extensions.clone(),
        no_body: *disable_request_body_buffering,
        body: with_request_body
            .as_ref()
            .map(|message| buffer(message, &at.field("with_request_body"))),
    })
}
