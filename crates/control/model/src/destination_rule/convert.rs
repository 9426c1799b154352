//! Destination rules: from written to valid (FEATURES T11, R1, R4 and S6 in part).

use meltemi_api::{FieldPath, destination_rule as api, virtual_service::PortSelector};

use super::{
    ClientTls, ConnectionPool, DestinationRule, H2UpgradePolicy, HttpPool, LoadBalancer,
    PortPolicy, Subset, TcpKeepalive, TcpPool, TrafficPolicy,
};
use crate::check::{Check, filled, is_dns_label};
use crate::support::{Row, rejected, supported};
use crate::{ExportTo, Hostname, Kind, Metadata, SubsetName, export_to};

const KIND: Kind = Kind::DestinationRule;

/// The state of every field.
pub(crate) const SUPPORT: &[Row] = &[
    supported(KIND, "spec.host"),
    supported(KIND, "spec.exportTo"),
    supported(KIND, "spec.workloadSelector"),
    supported(KIND, "spec.subsets").note("trafficPolicy as below"),
    supported(KIND, "spec.trafficPolicy"),
    supported(KIND, "spec.trafficPolicy.loadBalancer.simple"),
    rejected(KIND, "spec.trafficPolicy.loadBalancer.consistentHash"),
    rejected(KIND, "spec.trafficPolicy.loadBalancer.localityLbSetting"),
    rejected(KIND, "spec.trafficPolicy.loadBalancer.warmup"),
    rejected(KIND, "spec.trafficPolicy.loadBalancer.warmupDurationSecs"),
    rejected(KIND, "spec.trafficPolicy.outlierDetection"),
    rejected(KIND, "spec.trafficPolicy.tunnel"),
    rejected(KIND, "spec.trafficPolicy.proxyProtocol"),
    rejected(KIND, "spec.trafficPolicy.retryBudget"),
    supported(KIND, "spec.trafficPolicy.tls.mode").note("DISABLE, SIMPLE, ISTIO_MUTUAL"),
    rejected(KIND, "spec.trafficPolicy.tls.clientCertificate").note("with MUTUAL"),
    rejected(KIND, "spec.trafficPolicy.tls.privateKey").note("with MUTUAL"),
    rejected(KIND, "spec.trafficPolicy.tls.credentialName"),
    rejected(KIND, "spec.trafficPolicy.tls.caCrl"),
    supported(KIND, "spec.trafficPolicy.portLevelSettings").note("the same fields as above"),
    rejected(
        KIND,
        "spec.trafficPolicy.portLevelSettings[].outlierDetection",
    ),
];

/// Checks a DestinationRule.
pub(crate) fn convert(
    meta: Metadata,
    spec: api::DestinationRuleSpec,
    check: &mut Check<'_>,
) -> DestinationRule {
    let api::DestinationRuleSpec {
        host,
        traffic_policy,
        subsets,
        export_to,
        workload_selector,
    } = spec;
    let at = FieldPath::root().field("spec");
    // A rule with a wrong host is reported and never used.
    let host = check
        .hostname(&at.field("host"), &host)
        .unwrap_or_else(|| Hostname::new(""));
    let policy = convert_policy(traffic_policy, &at.field("trafficPolicy"), check);
    let at_subsets = at.field("subsets");
    let mut converted: Vec<Subset> = Vec::new();
    for (index, written) in subsets.into_iter().enumerate() {
        let at = at_subsets.index(index);
        let subset = convert_subset(written, &at, check);
        if converted.iter().any(|other| other.name == subset.name) {
            let message = format!("another subset is named `{}` already", subset.name);
            check.invalid(&at.field("name"), message);
        }
        converted.push(subset);
    }
    let at_export = at.field("exportTo");
    let export_to = export_to::convert(&export_to, &at_export, false, check);
    let at_selector = at.field("workloadSelector").field("matchLabels");
    let workload_selector = workload_selector
        .map(|api::WorkloadSelector { match_labels }| check.labels(&at_selector, match_labels));
    if let (Some(_), ExportTo::Only(namespaces)) = (&workload_selector, &export_to)
        && namespaces
            .iter()
            .any(|namespace| namespace != check.namespace)
    {
        let what = "a rule with a workloadSelector is for its own namespace; write [\".\"]";
        check.invalid(&at_export, what);
    }
    DestinationRule {
        meta,
        host,
        traffic_policy: policy,
        subsets: converted,
        workload_selector,
        export_to,
    }
}

fn convert_subset(written: api::Subset, at: &FieldPath, check: &mut Check<'_>) -> Subset {
    let api::Subset {
        name,
        labels,
        traffic_policy,
    } = written;
    if name.is_empty() {
        check.invalid(&at.field("name"), "a subset needs a name");
    } else if !is_dns_label(&name) {
        let what = "use at most 63 lower-case letters, digits and inner dashes";
        check.invalid(
            &at.field("name"),
            format!("`{name}` is not a subset's name; {what}"),
        );
    }
    Subset {
        name: SubsetName::new(name),
        labels: check.labels(&at.field("labels"), labels),
        traffic_policy: convert_policy(traffic_policy, &at.field("trafficPolicy"), check),
    }
}

fn convert_policy(
    written: Option<api::TrafficPolicy>,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> TrafficPolicy {
    let Some(written) = written else {
        return TrafficPolicy::default();
    };
    let api::TrafficPolicy {
        load_balancer,
        connection_pool,
        outlier_detection,
        tls,
        port_level_settings,
        tunnel,
        proxy_protocol,
        retry_budget,
    } = written;
    let refused = [outlier_detection, tunnel, proxy_protocol, retry_budget];
    let empty = load_balancer.is_none()
        && connection_pool.is_none()
        && tls.is_none()
        && port_level_settings.is_empty()
        && refused.iter().all(Option::is_none);
    if empty {
        check.invalid(at, "is empty; write at least one setting or leave it out");
    }
    check.unread(at, "outlierDetection", outlier_detection);
    check.unread(at, "tunnel", tunnel);
    check.unread(at, "proxyProtocol", proxy_protocol);
    check.unread(at, "retryBudget", retry_budget);
    let at_ports = at.field("portLevelSettings");
    let mut ports: Vec<PortPolicy> = Vec::new();
    for (index, written) in port_level_settings.into_iter().enumerate() {
        let at = at_ports.index(index);
        let Some(policy) = convert_port_policy(written, &at, check) else {
            continue;
        };
        if ports.iter().any(|other| other.port == policy.port) {
            let message = format!("port {} has settings already", policy.port);
            check.invalid(&at.field("port"), message);
        }
        ports.push(policy);
    }
    TrafficPolicy {
        load_balancer: convert_balancer(load_balancer, at, check),
        connection_pool: convert_pool(connection_pool, at, check),
        tls: convert_tls(tls, at, check),
        ports,
    }
}

fn convert_port_policy(
    written: api::PortTrafficPolicy,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<PortPolicy> {
    let api::PortTrafficPolicy {
        port,
        load_balancer,
        connection_pool,
        outlier_detection,
        tls,
    } = written;
    check.unread(at, "outlierDetection", outlier_detection);
    let load_balancer = convert_balancer(load_balancer, at, check);
    let connection_pool = convert_pool(connection_pool, at, check);
    let tls = convert_tls(tls, at, check);
    let at_number = at.field("port").field("number");
    let number = match port {
        Some(PortSelector {
            number: Some(number),
        }) => number,
        Some(PortSelector { number: None }) | None => {
            check.invalid(&at_number, "a port number is needed");
            return None;
        }
    };
    let port = check.port(&at_number, number)?;
    Some(PortPolicy {
        port,
        load_balancer,
        connection_pool,
        tls,
    })
}

fn convert_balancer(
    written: Option<api::LoadBalancerSettings>,
    policy: &FieldPath,
    check: &mut Check<'_>,
) -> Option<LoadBalancer> {
    let api::LoadBalancerSettings {
        simple,
        consistent_hash,
        locality_lb_setting,
        warmup_duration_secs,
        warmup,
    } = written?;
    let at = policy.field("loadBalancer");
    check.unread(&at, "consistentHash", consistent_hash);
    check.unread(&at, "localityLbSetting", locality_lb_setting);
    check.unread(&at, "warmupDurationSecs", warmup_duration_secs);
    check.unread(&at, "warmup", warmup);
    let choices = [
        ("UNSPECIFIED", LoadBalancer::Unspecified),
        ("ROUND_ROBIN", LoadBalancer::RoundRobin),
        ("RANDOM", LoadBalancer::Random),
        ("LEAST_REQUEST", LoadBalancer::LeastRequest),
        ("LEAST_CONN", LoadBalancer::LeastRequest),
        ("PASSTHROUGH", LoadBalancer::Passthrough),
    ];
    match filled(simple) {
        Some(text) => check.choice(&at.field("simple"), &text, &choices),
        None => Some(LoadBalancer::Unspecified),
    }
}

fn convert_pool(
    written: Option<api::ConnectionPoolSettings>,
    policy: &FieldPath,
    check: &mut Check<'_>,
) -> Option<ConnectionPool> {
    let api::ConnectionPoolSettings { tcp, http } = written?;
    let at = policy.field("connectionPool");
    if tcp.is_none() && http.is_none() {
        check.invalid(&at, "is empty; write tcp or http or leave it out");
    }
    let tcp = tcp.map(|it| convert_tcp(it, &at.field("tcp"), check));
    let http = http.map(|it| convert_http(it, &at.field("http"), check));
    Some(ConnectionPool {
        tcp: tcp.unwrap_or_default(),
        http: http.unwrap_or_default(),
    })
}

fn convert_tcp(written: api::TcpSettings, at: &FieldPath, check: &mut Check<'_>) -> TcpPool {
    let api::TcpSettings {
        max_connections,
        connect_timeout,
        tcp_keepalive,
        max_connection_duration,
        idle_timeout,
    } = written;
    let at_age = at.field("maxConnectionDuration");
    let at_keepalive = at.field("tcpKeepalive");
    TcpPool {
        max_connections: check.count(&at.field("maxConnections"), max_connections),
        connect_timeout: check.duration(&at.field("connectTimeout"), connect_timeout.as_deref()),
        keepalive: tcp_keepalive.map(|it| convert_keepalive(it, &at_keepalive, check)),
        max_connection_duration: check.duration(&at_age, max_connection_duration.as_deref()),
        idle_timeout: check.duration(&at.field("idleTimeout"), idle_timeout.as_deref()),
    }
}

/// Checks TCP keepalive settings.
pub(crate) fn convert_keepalive(
    written: api::TcpKeepalive,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> TcpKeepalive {
    let api::TcpKeepalive {
        probes,
        time,
        interval,
    } = written;
    TcpKeepalive {
        probes: check.count(&at.field("probes"), probes),
        time: check.duration(&at.field("time"), time.as_deref()),
        interval: check.duration(&at.field("interval"), interval.as_deref()),
    }
}

fn convert_http(written: api::HttpSettings, at: &FieldPath, check: &mut Check<'_>) -> HttpPool {
    let api::HttpSettings {
        http1_max_pending_requests,
        http2_max_requests,
        max_requests_per_connection,
        max_retries,
        idle_timeout,
        h2_upgrade_policy,
        use_client_protocol,
        max_concurrent_streams,
    } = written;
    let at_policy = at.field("h2UpgradePolicy");
    let h2_upgrade_policy =
        filled(h2_upgrade_policy).and_then(|text| convert_upgrade(&text, &at_policy, check));
    if use_client_protocol && h2_upgrade_policy == Some(H2UpgradePolicy::Upgrade) {
        check.invalid(
            &at_policy,
            "UPGRADE contradicts useClientProtocol; keep one",
        );
    }
    let mut count = |name: &str, number| check.count(&at.field(name), number);
    HttpPool {
        max_pending_requests: count("http1MaxPendingRequests", http1_max_pending_requests),
        max_requests: count("http2MaxRequests", http2_max_requests),
        max_requests_per_connection: count("maxRequestsPerConnection", max_requests_per_connection),
        max_retries: count("maxRetries", max_retries),
        max_concurrent_streams: count("maxConcurrentStreams", max_concurrent_streams),
        idle_timeout: check.duration(&at.field("idleTimeout"), idle_timeout.as_deref()),
        h2_upgrade_policy: h2_upgrade_policy.unwrap_or_default(),
        use_client_protocol,
    }
}

/// Checks an HTTP/2 upgrade policy.
pub(crate) fn convert_upgrade(
    text: &str,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<H2UpgradePolicy> {
    let choices = [
        ("DEFAULT", H2UpgradePolicy::Default),
        ("DO_NOT_UPGRADE", H2UpgradePolicy::DoNotUpgrade),
        ("UPGRADE", H2UpgradePolicy::Upgrade),
    ];
    check.choice(at, text, &choices)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Disable,
    Simple,
    Mutual,
    IstioMutual,
}

fn convert_tls(
    written: Option<api::ClientTlsSettings>,
    policy: &FieldPath,
    check: &mut Check<'_>,
) -> Option<ClientTls> {
    let api::ClientTlsSettings {
        mode,
        client_certificate,
        private_key,
        ca_certificates,
        credential_name,
        subject_alt_names,
        sni,
        insecure_skip_verify,
        ca_crl,
    } = written?;
    let at = policy.field("tls");
    check.unread(&at, "credentialName", credential_name);
    check.unread(&at, "caCrl", ca_crl);
    let modes = [
        ("DISABLE", Mode::Disable),
        ("SIMPLE", Mode::Simple),
        ("MUTUAL", Mode::Mutual),
        ("ISTIO_MUTUAL", Mode::IstioMutual),
    ];
    let mode = match filled(mode) {
        Some(text) => check.choice(&at.field("mode"), &text, &modes)?,
        None => Mode::Disable,
    };
    let (sni, ca_certificates) = (filled(sni), filled(ca_certificates));
    let not_here = |check: &mut Check<'_>, name: &str, written: bool, mode: &str| {
        if written {
            let message = format!("has no meaning with mode {mode}; remove it");
            check.invalid(&at.field(name), message);
        }
    };
    if mode != Mode::Mutual {
        let written = filled(client_certificate).is_some();
        not_here(check, "clientCertificate", written, "other than MUTUAL");
        not_here(
            check,
            "privateKey",
            filled(private_key).is_some(),
            "other than MUTUAL",
        );
    }
    match mode {
        Mode::Disable => Some(ClientTls::Disable),
        Mode::Mutual => {
            check.unsupported(&at.field("mode"), "TLS mode MUTUAL to a destination");
            None
        }
        Mode::Simple => {
            if insecure_skip_verify && (ca_certificates.is_some() || !subject_alt_names.is_empty())
            {
                let message = "true contradicts caCertificates and subjectAltNames; remove one";
                check.invalid(&at.field("insecureSkipVerify"), message);
            }
            Some(ClientTls::Simple {
                sni,
                subject_alt_names,
                ca_certificates,
                insecure_skip_verify,
            })
        }
        Mode::IstioMutual => {
            not_here(
                check,
                "caCertificates",
                ca_certificates.is_some(),
                "ISTIO_MUTUAL",
            );
            not_here(
                check,
                "insecureSkipVerify",
                insecure_skip_verify,
                "ISTIO_MUTUAL",
            );
            Some(ClientTls::IstioMutual {
                sni,
                subject_alt_names,
            })
        }
    }
}
