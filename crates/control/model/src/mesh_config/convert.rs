//! The mesh configuration: from written to valid.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use meltemi_api::FieldPath;
use meltemi_api::destination_rule::{LocalityLbSetting, TcpKeepalive};
use meltemi_api::extension_provider::ExtensionProvider;
use meltemi_api::mesh_config as api;
use meltemi_api::virtual_service::HttpRetry;
use meltemi_spiffe::TrustDomain;
use serde::de::IgnoredAny;

use super::{
    AccessLog, AccessLogFormat, DefaultExports, IngressDefaults, MeshConfig, OutboundTrafficPolicy,
    PathNormalization, ProxyConfig, TlsDefaults, convert_proxy, selector,
};
use crate::check::{Check, filled, is_dns_label, parse_duration};
use crate::destination_rule::{convert_keepalive, convert_locality_setting, convert_upgrade};
use crate::gateway::convert_versions;
use crate::virtual_service::convert_retry;
use crate::{
    H2UpgradePolicy, LocalitySetting, Metadata, NamespaceName, TlsVersion, TlsVersions, export_to,
    extension_provider,
};

/// Checks a MeshConfig.
pub(crate) fn convert(
    meta: Metadata,
    written: api::MeshConfig,
    check: &mut Check<'_>,
) -> MeshConfig {
    let defaults = MeshConfig::default();
    let at = FieldPath::root();
    let it = split(written, &at, check);
    let (root_namespace, trust_domain, aliases) = it.trust;
    let (connect_timeout, detection, dns_refresh) = it.timeouts;
    let root_namespace = convert_root(root_namespace, &at, check);
    let trust_domain =
        filled(trust_domain).and_then(|text| domain(&text, &at.field("trustDomain"), check));
    let at_aliases = at.field("trustDomainAliases");
    let trust_domain_aliases = aliases
        .iter()
        .enumerate()
        .filter_map(|(index, text)| domain(text, &at_aliases.index(index), check))
        .collect();
    let mut port = |name: &str, number: Option<i64>| {
        number
            .filter(|port| *port != 0)
            .and_then(|number| check.port(&at.field(name), number))
    };
    let outbound_port = port("proxyListenPort", it.ports.0);
    let inbound_port = port("proxyInboundListenPort", it.ports.1);
    let proxy_http_port = port("proxyHttpPort", it.ports.2);
    let at_retry = at.field("defaultHttpRetryPolicy");
    let retry = it.retry.map(|it| convert_retry(it, &at_retry, check));
    let at_upgrade = at.field("h2UpgradePolicy");
    let upgrade = filled(it.upgrade).and_then(|text| convert_upgrade(&text, &at_upgrade, check));
    let at_detection = at.field("protocolDetectionTimeout");
    // Zero has a meaning here: no limit.
    let detection = detection
        .filter(|text| parse_duration(text) != Ok(Duration::ZERO))
        .and_then(|text| check.duration(&at_detection, Some(&text)));
    let connect_timeout = check.duration(&at.field("connectTimeout"), connect_timeout.as_deref());
    let dns_refresh = check.duration(&at.field("dnsRefreshRate"), dns_refresh.as_deref());
    let at_locality = at.field("localityLbSetting");
    let locality = it
        .locality
        .map(|it| convert_locality_setting(it, &at_locality, check))
        .map(on_unless_off);
    let at_keepalive = at.field("tcpKeepalive");
    let at_providers = at.field("extensionProviders");
    let mtls = mesh_mtls(it.mesh_mtls, &at, check);
    MeshConfig {
        meta,
        root_namespace: root_namespace.unwrap_or(defaults.root_namespace),
        trust_domain: trust_domain.unwrap_or(defaults.trust_domain),
        trust_domain_aliases,
        domain: check.defaults.domain.clone(),
        outbound_traffic_policy: outbound(it.outbound, &at, check),
        inbound_to_localhost: to_localhost(it.inbound, &at, check),
        headless_by_range: false,
        access_log: access_log(it.log, &at, check),
        enable_auto_mtls: it.auto_mtls.unwrap_or(true),
        proxy_listen_port: outbound_port.unwrap_or(defaults.proxy_listen_port),
        proxy_inbound_listen_port: inbound_port.unwrap_or(defaults.proxy_inbound_listen_port),
        proxy_http_port,
        connect_timeout: connect_timeout.unwrap_or(defaults.connect_timeout),
        protocol_detection_timeout: detection.unwrap_or(Duration::ZERO),
        tcp_keepalive: it
            .keepalive
            .map(|it| convert_keepalive(it, &at_keepalive, check)),
        h2_upgrade_policy: upgrade
            .filter(|policy| *policy != H2UpgradePolicy::Default)
            .unwrap_or(H2UpgradePolicy::DoNotUpgrade),
        default_http_retry_policy: retry.unwrap_or_default(),
        locality: locality.unwrap_or(defaults.locality),
        dns_refresh_rate: dns_refresh.unwrap_or(defaults.dns_refresh_rate),
        ingress: ingress(it.ingress),
        default_config: ProxyConfig::default().with(convert_proxy::convert(
            it.proxy.unwrap_or_default(),
            &at.field("defaultConfig"),
            check,
        )),

        mtls_min_version: mtls.min.unwrap_or(TlsVersion::V1_2),
        mtls_cipher_suites: mtls.cipher_suites,
        tls_defaults: tls_defaults(it.tls_defaults, &at, check),
        discovery_selectors: selector::convert(
            it.discovery_selectors,
            &at.field("discoverySelectors"),
            check,
        ),
        default_logs: default_logs(it.default_providers, &at, check),
        extension_providers: extension_provider::convert(it.providers, &at_providers, check),
        path_normalization: normalization(it.normalization, &at, check),
        default_export_to: exports(it.exports, &at, check),
        inbound_stat_name: filled(it.stat_names.0),
        outbound_stat_name: filled(it.stat_names.1),
    }
}

fn convert_root(name: Text, at: &FieldPath, check: &mut Check<'_>) -> Option<NamespaceName> {
    let name = filled(name)?;
    if !is_dns_label(&name) {
        check.invalid(
            &at.field("rootNamespace"),
            format!("`{name}` is not a namespace"),
        );
    }
    Some(NamespaceName::new(name))
}

fn on_unless_off(setting: LocalitySetting) -> LocalitySetting {
    LocalitySetting {
        enabled: setting.enabled.or(Some(true)),
        ..setting
    }
}

fn ingress((class, service, selector): (Text, Text, Text)) -> IngressDefaults {
    let default = IngressDefaults::default();
    IngressDefaults {
        class: filled(class).unwrap_or(default.class),
        service: filled(service).unwrap_or(default.service),
        selector: filled(selector).unwrap_or(default.selector),
    }
}

fn exports(
    (services, routes, rules): (Texts, Texts, Texts),
    at: &FieldPath,
    check: &mut Check<'_>,
) -> DefaultExports {
    let mut convert = |name: &str, written: Texts, nobody_allowed| {
        export_to::convert_default(written.as_deref(), &at.field(name), nobody_allowed, check)
    };
    DefaultExports {
        services: convert("defaultServiceExportTo", services, true),
        virtual_services: convert("defaultVirtualServiceExportTo", routes, false),
        destination_rules: convert("defaultDestinationRuleExportTo", rules, false),
    }
}

fn normalization(
    written: Option<api::ProxyPathNormalization>,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> PathNormalization {
    let Some(api::ProxyPathNormalization { normalization }) = written else {
        return PathNormalization::default();
    };
    let choices = [
        ("DEFAULT", PathNormalization::Base),
        ("NONE", PathNormalization::None),
        ("BASE", PathNormalization::Base),
        ("MERGE_SLASHES", PathNormalization::MergeSlashes),
        (
            "DECODE_AND_MERGE_SLASHES",
            PathNormalization::DecodeAndMergeSlashes,
        ),
    ];
    let at = at.field("pathNormalization").field("normalization");
    filled(normalization)
        .and_then(|text| check.choice(&at, &text, &choices))
        .unwrap_or_default()
}

fn outbound(
    written: Option<api::TrafficPolicyMode>,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> OutboundTrafficPolicy {
    let Some(api::TrafficPolicyMode { mode }) = written else {
        return OutboundTrafficPolicy::AllowAny;
    };
    let choices = [
        ("ALLOW_ANY", OutboundTrafficPolicy::AllowAny),
        ("REGISTRY_ONLY", OutboundTrafficPolicy::RegistryOnly),
        (
            "ALLOW_ANY_DYNAMIC_DNS",
            OutboundTrafficPolicy::AllowAnyDynamicDns,
        ),
    ];
    let at = at.field("outboundTrafficPolicy").field("mode");
    // REGISTRY_ONLY is the first value of the enumeration, so it is meant where none is written.
    filled(mode)
        .and_then(|text| check.choice(&at, &text, &choices))
        .unwrap_or(OutboundTrafficPolicy::RegistryOnly)
}

fn to_localhost(
    written: Option<api::TrafficPolicyMode>,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> bool {
    let Some(api::TrafficPolicyMode { mode }) = written else {
        return false;
    };
    let at = at.field("inboundTrafficPolicy").field("mode");
    let choices = [("PASSTHROUGH", false), ("LOCALHOST", true)];
    filled(mode)
        .and_then(|text| check.choice(&at, &text, &choices))
        .unwrap_or(false)
}

fn domain(text: &str, at: &FieldPath, check: &mut Check<'_>) -> Option<TrustDomain> {
    TrustDomain::from_str(text)
        .map_err(|error| check.invalid(at, error.to_string()))
        .ok()
}

type WrittenLog = (Option<String>, Option<String>, Option<String>);

fn access_log(
    (file, format, encoding): WrittenLog,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<AccessLog> {
    let default = AccessLog::default();
    let is_json = filled(encoding).and_then(|text| {
        check.choice(
            &at.field("accessLogEncoding"),
            &text,
            &[("TEXT", false), ("JSON", true)],
        )
    });
    let format = filled(format);
    let format = match (is_json.unwrap_or(false), format) {
        (false, format) => AccessLogFormat::Text(format),
        (true, None) => AccessLogFormat::Json(None),
        (true, Some(text)) => AccessLogFormat::Json(Some(json_format(&text, at, check))),
    };
    // An empty file, where one is written, turns the log off.
    match file {
        Some(path) if path.is_empty() => None,
        Some(path) => Some(AccessLog { path, format }),
        None => Some(AccessLog { format, ..default }),
    }
}

fn json_format(text: &str, at: &FieldPath, check: &mut Check<'_>) -> BTreeMap<String, String> {
    let at = at.field("accessLogFormat");
    let what = "with encoding JSON write an object of names and formats";
    let parsed = meltemi_api::parse(None, text).ok();
    let fields = parsed
        .as_ref()
        .and_then(|documents| match documents.first()?.root().value {
            meltemi_api::Value::Map(ref entries) => entries
                .iter()
                .map(|entry| Some((entry.key.clone(), entry.node.as_text()?.to_owned())))
                .collect(),
            _ => None,
        });
    if fields.is_none() {
        check.invalid(&at, what);
    }
    fields.unwrap_or_default()
}

/// `meshMTLS`.
fn mesh_mtls(written: Option<api::MeshTls>, at: &FieldPath, check: &mut Check<'_>) -> TlsVersions {
    let api::MeshTls {
        min_protocol_version,
        ecdh_curves,
        cipher_suites,
    } = written.unwrap_or_default();
    let at = at.field("meshMTLS");
    if !ecdh_curves.is_empty() {
        let what = "the mesh's own TLS takes no curves; write them in tlsDefaults";
        check.invalid(&at.field("ecdhCurves"), what);
    }
    convert_versions((min_protocol_version, None, cipher_suites), &at, check)
}

/// Curves that Envoy's library knows.
const CURVES: [&str; 6] = [
    "P-256",
    "P-384",
    "P-521",
    "X25519",
    "X25519Kyber768Draft00",
    "X25519MLKEM768",
];

fn tls_defaults(
    written: Option<api::MeshTls>,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> TlsDefaults {
    let api::MeshTls {
        min_protocol_version,
        ecdh_curves,
        cipher_suites,
    } = written.unwrap_or_default();
    let at = at.field("tlsDefaults");
    for (index, curve) in ecdh_curves.iter().enumerate() {
        let at = at.field("ecdhCurves").index(index);
        if !CURVES.contains(&curve.as_str()) {
            let known = CURVES.join(", ");
            check.invalid(&at, format!("unknown curve `{curve}`; known: {known}"));
        } else if ecdh_curves[..index].contains(curve) {
            check.invalid(&at, format!("`{curve}` is there twice"));
        }
    }
    let versions = convert_versions((min_protocol_version, None, cipher_suites), &at, check);
    TlsDefaults {
        min_version: versions.min,
        cipher_suites: versions.cipher_suites,
        ecdh_curves,
    }
}

/// The names of the providers of access logs; metrics are Prometheus' anyway.
fn default_logs(
    written: Option<api::DefaultProviders>,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Vec<String> {
    let api::DefaultProviders {
        access_logging,
        metrics,
        tracing,
    } = written.unwrap_or_default();
    let at = at.field("defaultProviders");
    if metrics.iter().any(|it| it != "prometheus") {
        check.unsupported(&at.field("metrics"), "a provider other than prometheus");
    }
    if !tracing.is_empty() {
        check.unsupported(&at.field("tracing"), "`tracing`");
    }
    access_logging
}

type Text = Option<String>;
type Texts = Option<Vec<String>>;

/// The fields that are honoured, in the groups in which they are converted.
struct Honoured {
    trust: (Text, Text, Vec<String>),
    log: (Text, Text, Text),
    ports: (Option<i64>, Option<i64>, Option<i64>),
    timeouts: (Text, Text, Text),
    locality: Option<LocalityLbSetting>,
    ingress: (Text, Text, Text),
    outbound: Option<api::TrafficPolicyMode>,
    inbound: Option<api::TrafficPolicyMode>,
    auto_mtls: Option<bool>,
    keepalive: Option<TcpKeepalive>,
    upgrade: Text,
    retry: Option<HttpRetry>,
    proxy: Option<api::ProxyConfig>,
    mesh_mtls: Option<api::MeshTls>,
    tls_defaults: Option<api::MeshTls>,
    discovery_selectors: Vec<api::NamespaceSelector>,
    default_providers: Option<api::DefaultProviders>,
    providers: Vec<ExtensionProvider>,
    normalization: Option<api::ProxyPathNormalization>,
    exports: (Texts, Texts, Texts),
    stat_names: (Text, Text),
}

/// Refuses what is known and not honoured, and hands on the rest.
fn split(written: api::MeshConfig, at: &FieldPath, check: &mut Check<'_>) -> Honoured {
    let api::MeshConfig {
        root_namespace,
        trust_domain,
        trust_domain_aliases,
        outbound_traffic_policy: policy,
        inbound_traffic_policy,
        access_log_file,
        access_log_format,
        access_log_encoding,
        enable_envoy_access_log_service: log_service,
        // ignored: there is no listener log.
        disable_envoy_listener_log: _disable_envoy_listener_log,
        enable_auto_mtls,
        enable_tracing,
        // ignored: the agent's affair.
        enable_prometheus_merge: _enable_prometheus_merge,
        proxy_listen_port: outbound,
        proxy_inbound_listen_port: inbound,
        proxy_http_port: http,
        connect_timeout,
        protocol_detection_timeout,
        tcp_keepalive,
        h2_upgrade_policy,
        default_http_retry_policy,
        ingress_class,
        ingress_service,
        ingress_selector,
        // ignored: Ingress resources are not taken yet.
        ingress_controller_mode: _ingress_controller_mode,
        default_config,
        default_service_export_to: services,
        default_virtual_service_export_to: routes,
        default_destination_rule_export_to: rules,
        default_providers,
        extension_providers,
        discovery_selectors,
        locality_lb_setting,
        path_normalization,
        // ignored: there is one cluster, to which every service is local.
        service_settings: _service_settings,
        service_scope_configs,
        config_sources,
        ca,
        ca_certificates,
        certificates,
        dns_refresh_rate,
        inbound_cluster_stat_name,
        outbound_cluster_stat_name,
        mesh_mtls,
        tls_defaults,
        hbone_idle_timeout,
        // ignored: certificates are always verified.
        verify_certificate_at_client: _verify_certificate_at_client,
    } = written;
    let tracing = enable_tracing.filter(|on| *on).map(|_| IgnoredAny);
    let log_service = log_service.then_some(IgnoredAny);
    for (name, field) in [
        ("enableTracing", tracing),
        ("enableEnvoyAccessLogService", log_service),
        ("serviceScopeConfigs", service_scope_configs),
        ("configSources", config_sources),
        ("ca", ca),
        ("caCertificates", ca_certificates),
        ("certificates", certificates),
        ("hboneIdleTimeout", hbone_idle_timeout),
    ] {
        check.unread(at, name, field);
    }
    Honoured {
        trust: (root_namespace, trust_domain, trust_domain_aliases),
        log: (access_log_file, access_log_format, access_log_encoding),
        ports: (outbound, inbound, http),
        timeouts: (
            connect_timeout,
            protocol_detection_timeout,
            dns_refresh_rate,
        ),
        locality: locality_lb_setting,
        ingress: (ingress_class, ingress_service, ingress_selector),
        outbound: policy,
        inbound: inbound_traffic_policy,
        auto_mtls: enable_auto_mtls,
        keepalive: tcp_keepalive,
        upgrade: h2_upgrade_policy,
        retry: default_http_retry_policy,
        proxy: default_config,
        mesh_mtls,
        tls_defaults,
        discovery_selectors,
        default_providers,
        providers: extension_providers,
        normalization: path_normalization,
        exports: (services, routes, rules),
        stat_names: (inbound_cluster_stat_name, outbound_cluster_stat_name),
    }
}
