//! Destination rules: from written to valid (FEATURES T11, R1 to R4, R7, S6).

use meltemi_api::{FieldPath, destination_rule as api, virtual_service::PortSelector};

use super::convert_balancer::convert_balancer;
use super::convert_outlier::{
    convert_budget, convert_outlier, convert_proxy_protocol, convert_tunnel,
};
use super::convert_tls::convert_tls;
use super::{
    ConnectionPool, DestinationRule, H2UpgradePolicy, Http2Keepalive, HttpPool, PolicySettings,
    PortPolicy, Subset, TcpKeepalive, TcpPool, TrafficPolicy,
};
use crate::check::{Check, filled, is_dns_label};
use crate::support::{Row, supported};
use crate::{ExportTo, Hostname, Kind, Metadata, SubsetName, export_to};

const KIND: Kind = Kind::DestinationRule;

/// The state of every field.
pub(crate) const SUPPORT: &[Row] = &[
    supported(KIND, "spec"),
    supported(KIND, "spec.trafficPolicy.loadBalancer.warmupDurationSecs").note("deprecated"),
    supported(
        KIND,
        "spec.trafficPolicy.outlierDetection.consecutiveErrors",
    )
    .note("deprecated"),
    supported(KIND, "spec.trafficPolicy.tls.credentialName")
        .note("a Secret in the gateway workload's namespace; sidecars have files"),
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
    if workload_selector
        .as_ref()
        .is_some_and(|it| it.match_labels.is_empty())
    {
        let what = "selects every workload of the namespace; write labels, or leave it out";
        check.warn(&at.field("workloadSelector"), what);
    }
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
    let elsewhere = match &export_to {
        ExportTo::Only(namespaces) => namespaces.iter().any(|it| it != check.namespace),
        ExportTo::All => true,
        ExportTo::Unwritten => false,
    };
    if workload_selector.is_some() && elsewhere {
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
    let empty = load_balancer.is_none()
        && connection_pool.is_none()
        && outlier_detection.is_none()
        && tls.is_none()
        && port_level_settings.is_empty()
        && tunnel.is_none()
        && proxy_protocol.is_none()
        && retry_budget.is_none();
    if empty {
        check.invalid(at, "is empty; write at least one setting or leave it out");
    }
    if tunnel.is_some() && proxy_protocol.is_some() {
        check.invalid(at, "has tunnel and proxyProtocol; keep one");
    }
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
        settings: PolicySettings {
            load_balancer: convert_balancer(load_balancer, at, check),
            connection_pool: convert_pool(connection_pool, &at.field("connectionPool"), check),
            outlier_detection: convert_outlier(outlier_detection, at, check),
            tls: convert_tls(tls, at, check),
        },
        ports,
        tunnel: convert_tunnel(tunnel, at, check),
        proxy_protocol: convert_proxy_protocol(proxy_protocol, at, check),
        retry_budget: convert_budget(retry_budget, at, check),
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
    let empty = load_balancer.is_none()
        && connection_pool.is_none()
        && outlier_detection.is_none()
        && tls.is_none();
    if empty {
        check.invalid(
            at,
            "says nothing of its port; write a setting or leave it out",
        );
    }
    let settings = PolicySettings {
        load_balancer: convert_balancer(load_balancer, at, check),
        connection_pool: convert_pool(connection_pool, &at.field("connectionPool"), check),
        outlier_detection: convert_outlier(outlier_detection, at, check),
        tls: convert_tls(tls, at, check),
    };
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
    Some(PortPolicy { port, settings })
}

/// Checks a connection pool.
pub(crate) fn convert_pool(
    written: Option<api::ConnectionPoolSettings>,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<ConnectionPool> {
    let api::ConnectionPoolSettings { tcp, http } = written?;
    if tcp.is_none() && http.is_none() {
        check.invalid(at, "is empty; write tcp or http or leave it out");
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
        http2_keep_alive,
    } = written;
    let at_keepalive = at.field("http2KeepAlive");
    let http2_keepalive =
        http2_keep_alive.and_then(|it| convert_http2_keepalive(it, &at_keepalive, check));
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
        http2_keepalive,
    }
}

fn convert_http2_keepalive(
    written: api::Http2KeepAlive,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<Http2Keepalive> {
    let api::Http2KeepAlive { interval, timeout } = written;
    let mut needed = |name: &str, text: Option<String>| {
        if text.is_none() {
            check.invalid(&at.field(name), "write interval and timeout, both");
        }
        check.duration(&at.field(name), text.as_deref())
    };
    let (interval, timeout) = (needed("interval", interval), needed("timeout", timeout));
    Some(Http2Keepalive {
        interval: interval?,
        timeout: timeout?,
    })
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
