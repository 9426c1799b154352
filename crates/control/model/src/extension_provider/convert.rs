//! Extension providers: from written to valid.

use std::collections::BTreeSet;

use meltemi_api::FieldPath;
use meltemi_api::extension_provider as api;

use super::convert_log::{self, Service};
use super::{
    CheckedBody, ExtAuthz, ExtAuthzHttp, ExtAuthzProtocol, ExtensionProvider, ProviderKind,
    ProviderService,
};
use crate::check::{Check, filled, is_dns_label, is_dns_subdomain};
use crate::{Hostname, NamespaceName};

/// The codes that Envoy knows (`envoy.type.v3.StatusCode`).
const STATUS: [u16; 60] = [
    100, 102, 103, 104, 200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304,
    305, 307, 308, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415,
    416, 417, 421, 422, 423, 424, 426, 428, 429, 431, 500, 501, 502, 503, 504, 505, 506, 507, 508,
    509, 510, 511,
];

/// Checks the list.
pub(crate) fn convert(
    written: Vec<api::ExtensionProvider>,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Vec<ExtensionProvider> {
    let mut names = BTreeSet::new();
    let mut providers = Vec::new();
    for (index, provider) in written.into_iter().enumerate() {
        let at = at.index(index);
        let name = provider.name.clone().unwrap_or_default();
        if name.is_empty() {
            check.invalid(
                &at.field("name"),
                "write a name, by which policies refer to it",
            );
        } else if !names.insert(name.clone()) {
            let what = format!("there is another provider named `{name}`");
            check.invalid(&at.field("name"), what);
        }
        if let Some(kind) = convert_kind(provider, &at, check) {
            providers.push(ExtensionProvider { name, kind });
        }
    }
    providers
}

fn convert_kind(
    written: api::ExtensionProvider,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<ProviderKind> {
    let api::ExtensionProvider {
        name: _name,
        envoy_ext_authz_http,
        envoy_ext_authz_grpc,
        zipkin,
        lightstep,
        datadog,
        stackdriver,
        opencensus,
        skywalking,
        opentelemetry,
        prometheus,
        envoy_file_access_log,
        envoy_http_als,
        envoy_tcp_als,
        envoy_otel_als,
        sds,
    } = written;
    let others = [
        ("zipkin", zipkin),
        ("lightstep", lightstep),
        ("datadog", datadog),
        ("stackdriver", stackdriver),
        ("opencensus", opencensus),
        ("skywalking", skywalking),
        ("opentelemetry", opentelemetry),
    ];
    let refused = others.iter().filter(|(_, field)| field.is_some()).count();
    for (name, field) in others {
        check.unread(at, name, field);
    }
    let kinds = [
        envoy_ext_authz_http.is_some(),
        envoy_ext_authz_grpc.is_some(),
        envoy_file_access_log.is_some(),
        envoy_http_als.is_some(),
        envoy_tcp_als.is_some(),
        envoy_otel_als.is_some(),
        prometheus.is_some(),
        sds.is_some(),
    ];
    match refused + kinds.into_iter().filter(|it| *it).count() {
        0 => check.invalid(at, "says nothing but a name; write what it is"),
        1 => {}
        _ => check.invalid(at, "is of more than one kind; keep one"),
    }
    let boxed = |it: ExtAuthz| ProviderKind::ExtAuthz(Box::new(it));
    if let Some(http) = envoy_ext_authz_http {
        return convert_http(http, &at.field("envoyExtAuthzHttp"), check).map(boxed);
    }
    if let Some(grpc) = envoy_ext_authz_grpc {
        return convert_grpc(grpc, &at.field("envoyExtAuthzGrpc"), check).map(boxed);
    }
    if let Some(file) = envoy_file_access_log {
        let at = at.field("envoyFileAccessLog");
        return Some(convert_log::convert_file(file, &at, check));
    }
    let services = [
        ("envoyHttpAls", envoy_http_als, Service::Http),
        ("envoyTcpAls", envoy_tcp_als, Service::Tcp),
        ("envoyOtelAls", envoy_otel_als, Service::OpenTelemetry),
    ];
    for (name, log, to) in services {
        if let Some(log) = log {
            return convert_log::convert_grpc(log, to, &at.field(name), check);
        }
    }
    if let Some(secrets) = sds {
        let api::SecretService {
            // ignored: the provider has a name, and credentials are asked for by their own.
            name: _name,
            service,
            port,
        } = secrets;
        let service = convert_service(service, port, &at.field("sds"), check);
        return service.map(ProviderKind::Secrets);
    }
    prometheus.map(|api::Prometheus {}| ProviderKind::Prometheus)
}

fn convert_http(
    written: api::ExtAuthzHttp,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<ExtAuthz> {
    let api::ExtAuthzHttp {
        service,
        port,
        timeout,
        path_prefix,
        fail_open,
        clear_route_cache,
        status_on_error,
        include_headers_in_check: older,
        include_request_headers_in_check: newer,
        include_additional_headers_in_check: additional,
        include_request_body_in_check: body,
        headers_to_upstream_on_allow,
        headers_to_downstream_on_deny,
        headers_to_downstream_on_allow,
    } = written;
    for (name, list) in [
        ("includeHeadersInCheck", &older),
        ("includeRequestHeadersInCheck", &newer),
        ("headersToUpstreamOnAllow", &headers_to_upstream_on_allow),
        ("headersToDownstreamOnDeny", &headers_to_downstream_on_deny),
        (
            "headersToDownstreamOnAllow",
            &headers_to_downstream_on_allow,
        ),
    ] {
        check_headers(list, &at.field(name), check);
    }
    let at_additional = at.field("includeAdditionalHeadersInCheck");
    for (name, value) in &additional {
        check.header_name(&at_additional.key(name), name);
        check.header_value(&at_additional.key(name), value);
    }
    let path_prefix = filled(path_prefix);
    if path_prefix.as_ref().is_some_and(|it| !it.starts_with('/')) {
        check.invalid(&at.field("pathPrefix"), "begin it with `/`");
    }
    let protocol = ExtAuthzProtocol::Http(ExtAuthzHttp {
        path_prefix,
        request_headers: if newer.is_empty() { older } else { newer },
        additional_headers: additional.into_iter().collect(),
        to_upstream_on_allow: headers_to_upstream_on_allow,
        to_downstream_on_deny: headers_to_downstream_on_deny,
        to_downstream_on_allow: headers_to_downstream_on_allow,
    });
    let common = Common {
        service,
        port,
        timeout,
        fail_open,
        clear_route_cache,
        status_on_error,
        body,
    };
    common.convert(protocol, at, check)
}

fn convert_grpc(
    written: api::ExtAuthzGrpc,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<ExtAuthz> {
    let api::ExtAuthzGrpc {
        service,
        port,
        timeout,
        fail_open,
        clear_route_cache,
        status_on_error,
        include_request_body_in_check: body,
    } = written;
    let common = Common {
        service,
        port,
        timeout,
        fail_open,
        clear_route_cache,
        status_on_error,
        body,
    };
    common.convert(ExtAuthzProtocol::Grpc, at, check)
}

/// What is written of an authorization service however it is asked.
struct Common {
    service: Option<String>,
    port: Option<i64>,
    timeout: Option<String>,
    fail_open: bool,
    clear_route_cache: bool,
    status_on_error: Option<String>,
    body: Option<api::RequestBody>,
}

impl Common {
    fn convert(
        self,
        protocol: ExtAuthzProtocol,
        at: &FieldPath,
        check: &mut Check<'_>,
    ) -> Option<ExtAuthz> {
        let Self {
            service,
            port,
            timeout,
            fail_open,
            clear_route_cache,
            status_on_error,
            body,
        } = self;
        let status = convert_status(status_on_error, &at.field("statusOnError"), check);
        let timeout = check.duration(&at.field("timeout"), timeout.as_deref());
        Some(ExtAuthz {
            body: convert_body(body, &at.field("includeRequestBodyInCheck"), check),
            service: convert_service(service, port, at, check)?,
            timeout,
            fail_open,
            clear_route_cache,
            status_on_error: status,
            protocol,
        })
    }
}

/// The service `[namespace/]host` and its port.
pub(super) fn convert_service(
    service: Option<String>,
    port: Option<i64>,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<ProviderService> {
    let at_service = at.field("service");
    let port = check.port(&at.field("port"), port.unwrap_or_default());
    let Some(service) = filled(service) else {
        check.invalid(&at_service, "write the service, as [namespace/]host");
        return None;
    };
    let (namespace, host) = match service.split_once('/') {
        Some((namespace, host)) => (Some(namespace), host),
        None => (None, service.as_str()),
    };
    if namespace.is_some_and(|it| !is_dns_label(it)) {
        check.invalid(
            &at_service,
            format!("`{service}` names no namespace before `/`"),
        );
        return None;
    }
    if !is_dns_subdomain(host) {
        check.invalid(
            &at_service,
            format!("`{host}` is not the host name of a service"),
        );
        return None;
    }
    Some(ProviderService {
        namespace: namespace.map(NamespaceName::new),
        host: Hostname::new(host),
        port: port?,
    })
}

fn convert_status(text: Option<String>, at: &FieldPath, check: &mut Check<'_>) -> Option<u16> {
    let text = filled(text)?;
    let status = text.parse().ok().filter(|it| STATUS.contains(it));
    if status.is_none() {
        check.invalid(
            at,
            format!("`{text}` is not an HTTP status that Envoy knows"),
        );
    }
    status
}

fn convert_body(
    written: Option<api::RequestBody>,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<CheckedBody> {
    let api::RequestBody {
        max_request_bytes,
        allow_partial_message,
        pack_as_bytes,
    } = written?;
    let at_max = at.field("maxRequestBytes");
    let max_bytes = check.count(&at_max, max_request_bytes).unwrap_or_default();
    if max_bytes == 0 {
        check.invalid(&at_max, "write how many bytes of the body are sent, from 1");
    }
    Some(CheckedBody {
        max_bytes,
        allow_partial: allow_partial_message,
        as_bytes: pack_as_bytes,
    })
}

fn check_headers(list: &[String], at: &FieldPath, check: &mut Check<'_>) {
    for (index, header) in list.iter().enumerate() {
        let part = header
            .strip_prefix('*')
            .or_else(|| header.strip_suffix('*'))
            .unwrap_or(header);
        if part.is_empty() || part.contains('*') {
            let what = "write a name, or the beginning or the end of one with `*`";
            check.invalid(&at.index(index), what);
        }
    }
}
