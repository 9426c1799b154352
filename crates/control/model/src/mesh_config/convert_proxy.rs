//! A proxy's settings: from written to valid.

use meltemi_api::FieldPath;
use meltemi_api::mesh_config as api;

use super::{
    ClientCertificateDetails, ForwardedClientCertificate, GatewayTopology, InterceptionMode,
    ProxyConfigPatch, ProxyHeaders, StartSettingsPatch,
};
use crate::check::{Check, filled};
use crate::workload_group::convert_probe;

/// Checks a proxy's settings.
pub(crate) fn convert(
    written: api::ProxyConfig,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> ProxyConfigPatch {
    let api::ProxyConfig {
        discovery_address,
        concurrency,
        // ignored: connections drain for as long as at the end.
        drain_duration: _drain_duration,
        // ignored: there is no hot restart.
        parent_shutdown_duration: _parent_shutdown_duration,
        termination_drain_duration,
        proxy_admin_port,
        status_port,
        proxy_metadata,
        // ignored: the proxy is this program.
        binary_path: _binary_path,
        // ignored: the proxy is this program.
        config_path: _config_path,
        // ignored: it comes from the workload's labels.
        service_cluster: _service_cluster,
        // ignored: Istio has deprecated it.
        control_plane_auth_policy: _control_plane_auth_policy,
        // ignored: it always does.
        hold_application_until_proxy_starts: _hold_application_until_proxy_starts,
        tracing,
        zipkin_address,
        tracing_service_name,
        proxy_stats_matcher,
        extra_stat_tags,
        gateway_topology,
        interception_mode,
        envoy_access_log_service,
        envoy_metrics_service,
        custom_config_file,
        proxy_bootstrap_template_path,
        proxy_headers,
        private_key_provider,
        readiness_probe,
        runtime_values,
        // ignored: there is no limit.
        stat_name_length: _stat_name_length,
        statsd_udp_address,
        ca_certificates_pem,
        // ignored: the proxy is this program.
        image: _image,
        // ignored: there is one mesh.
        mesh_id: _mesh_id,
    } = written;
    for (name, field) in [
        ("tracing", tracing),
        ("zipkinAddress", zipkin_address),
        ("tracingServiceName", tracing_service_name),
        ("envoyAccessLogService", envoy_access_log_service),
        ("envoyMetricsService", envoy_metrics_service),
        ("customConfigFile", custom_config_file),
        ("proxyBootstrapTemplatePath", proxy_bootstrap_template_path),
        ("privateKeyProvider", private_key_provider),
        ("statsdUdpAddress", statsd_udp_address),
    ] {
        check.unread(at, name, field);
    }
    let at_termination = at.field("terminationDrainDuration");
    let termination = check.duration(&at_termination, termination_drain_duration.as_deref());
    let mut port = |name: &str, number: Option<i64>| {
        number.and_then(|number| check.port(&at.field(name), number))
    };
    let proxy_admin_port = port("proxyAdminPort", proxy_admin_port);
    let status_port = port("statusPort", status_port);
    let concurrency = check.count(&at.field("concurrency"), concurrency);
    let start = StartSettingsPatch {
        extra_stat_tags: extra_stat_tags.map(|it| tags(it, &at.field("extraStatTags"), check)),
        runtime_values,
        ca_certificates: ca_certificates_pem
            .map(|it| certificates(it, &at.field("caCertificatesPem"), check)),
        ..statistics(proxy_stats_matcher, &at.field("proxyStatsMatcher"), check)
    };
    let at_interception = at.field("interceptionMode");
    let interception_mode = filled(interception_mode)
        .and_then(|text| check.choice(&at_interception, &text, &INTERCEPTION));
    let at_topology = at.field("gatewayTopology");
    let at_headers = at.field("proxyHeaders");
    ProxyConfigPatch {
        discovery_address: filled(discovery_address),
        proxy_admin_port,
        status_port,
        concurrency,
        termination_drain_duration: termination,
        proxy_metadata,
        gateway_topology: gateway_topology.map(|it| topology(it, &at_topology, check)),
        proxy_headers: proxy_headers.map(|it| headers(it, &at_headers, check)),
        interception_mode,
        readiness_probe: readiness_probe
            .and_then(|it| convert_probe(it, &at.field("readinessProbe"), check)),
        start,
    }
}

const INTERCEPTION: [(&str, InterceptionMode); 3] = [
    ("REDIRECT", InterceptionMode::Redirect),
    ("TPROXY", InterceptionMode::Tproxy),
    ("NONE", InterceptionMode::None),
];

/// Which statistics there are beside those that there always are.
fn statistics(
    written: Option<api::ProxyStatsMatcher>,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> StartSettingsPatch {
    let Some(api::ProxyStatsMatcher {
        inclusion_prefixes,
        inclusion_suffixes,
        inclusion_regexps,
    }) = written
    else {
        return StartSettingsPatch::default();
    };
    let at_regexps = at.field("inclusionRegexps");
    for (index, pattern) in inclusion_regexps.iter().enumerate() {
        check.regex(&at_regexps.index(index), pattern);
    }
    StartSettingsPatch {
        stats_prefixes: Some(inclusion_prefixes),
        stats_suffixes: Some(inclusion_suffixes),
        stats_regexps: Some(inclusion_regexps),
        ..StartSettingsPatch::default()
    }
}

fn tags(written: Vec<String>, at: &FieldPath, check: &mut Check<'_>) -> Vec<String> {
    for (index, tag) in written.iter().enumerate() {
        if tag.is_empty() {
            check.invalid(&at.index(index), "a tag needs a name");
        }
    }
    written
}

fn certificates(written: Vec<String>, at: &FieldPath, check: &mut Check<'_>) -> Vec<String> {
    for (index, pem) in written.iter().enumerate() {
        if !pem.contains("-----BEGIN CERTIFICATE-----") {
            check.invalid(&at.index(index), "is no certificate in PEM");
        }
    }
    written
}

/// The names of what happens to `x-forwarded-client-cert`.
const FORWARDING: [(&str, Option<ForwardedClientCertificate>); 6] = [
    ("UNDEFINED", None),
    ("SANITIZE", Some(ForwardedClientCertificate::Sanitize)),
    (
        "FORWARD_ONLY",
        Some(ForwardedClientCertificate::ForwardOnly),
    ),
    (
        "APPEND_FORWARD",
        Some(ForwardedClientCertificate::AppendForward),
    ),
    (
        "SANITIZE_SET",
        Some(ForwardedClientCertificate::SanitizeSet),
    ),
    (
        "ALWAYS_FORWARD_ONLY",
        Some(ForwardedClientCertificate::AlwaysForwardOnly),
    ),
];

fn forwarding(
    text: Option<String>,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<ForwardedClientCertificate> {
    check.choice(at, &filled(text)?, &FORWARDING)?
}

fn topology(
    written: api::GatewayTopology,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> GatewayTopology {
    let api::GatewayTopology {
        num_trusted_proxies,
        forward_client_cert_details,
        proxy_protocol,
    } = written;
    GatewayTopology {
        trusted_proxies: check
            .count(&at.field("numTrustedProxies"), num_trusted_proxies)
            .unwrap_or(0),
        client_certificate: forwarding(
            forward_client_cert_details,
            &at.field("forwardClientCertDetails"),
            check,
        ),
        proxy_protocol: proxy_protocol.is_some(),
    }
}

fn headers(written: api::ProxyHeaders, at: &FieldPath, check: &mut Check<'_>) -> ProxyHeaders {
    let api::ProxyHeaders {
        forwarded_client_cert,
        set_current_client_cert_details,
        request_id,
        server,
        attempt_count,
        envoy_debug_headers,
        metadata_exchange_headers,
        preserve_http1_header_case,
        x_forwarded_host,
        x_forwarded_port,
    } = written;
    let is_on = |header: Option<api::ForwardedHeader>| {
        let api::ForwardedHeader { enabled } = header.unwrap_or_default();
        enabled.unwrap_or(false)
    };
    let api::MetadataExchangeHeaders { mode } = metadata_exchange_headers.unwrap_or_default();
    let at_mode = at.field("metadataExchangeHeaders").field("mode");
    let modes = [("UNDEFINED", false), ("IN_MESH", true)];
    let in_mesh = filled(mode).and_then(|text| check.choice(&at_mode, &text, &modes));
    let is_off = |header: Option<api::ProxyHeader>| {
        let api::ProxyHeader { disabled } = header.unwrap_or_default();
        disabled.unwrap_or(false)
    };
    let api::ServerHeader { disabled, value } = server.unwrap_or_default();
    ProxyHeaders {
        client_certificate: forwarding(
            forwarded_client_cert,
            &at.field("forwardedClientCert"),
            check,
        ),
        client_certificate_details: set_current_client_cert_details.map(|it| {
            let api::ClientCertDetails {
                subject,
                cert,
                chain,
                dns,
                uri,
            } = it;
            ClientCertificateDetails {
                subject: subject.unwrap_or(true),
                certificate: cert.unwrap_or(false),
                chain: chain.unwrap_or(false),
                dns: dns.unwrap_or(true),
                uri: uri.unwrap_or(true),
            }
        }),
        no_request_id: is_off(request_id),
        no_server: disabled.unwrap_or(false),
        server: filled(value),
        no_attempt_count: is_off(attempt_count),
        no_envoy_headers: is_off(envoy_debug_headers),
        preserve_case: preserve_http1_header_case.unwrap_or(false),
        x_forwarded_host: is_on(x_forwarded_host),
        x_forwarded_port: is_on(x_forwarded_port),
        metadata_in_mesh: in_mesh.unwrap_or(false),
    }
}
