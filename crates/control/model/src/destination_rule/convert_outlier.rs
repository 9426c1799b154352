//! Ejection, tunnels and budgets: from written to valid (FEATURES R3, R4, R7).

use meltemi_api::{FieldPath, destination_rule as api};

use super::{OutlierDetection, ProxyProtocol, RetryBudget, Tunnel};
use crate::check::{Check, filled};

/// Checks `outlierDetection`.
pub(super) fn convert_outlier(
    written: Option<api::OutlierDetection>,
    policy: &FieldPath,
    check: &mut Check<'_>,
) -> Option<OutlierDetection> {
    let api::OutlierDetection {
        consecutive_errors,
        split_external_local_origin_errors,
        consecutive_local_origin_failures,
        consecutive_gateway_errors,
        consecutive5xx_errors,
        interval,
        base_ejection_time,
        max_ejection_percent,
        min_health_percent,
    } = written?;
    let at = policy.field("outlierDetection");
    let mut count = |name: &str, number| check.count(&at.field(name), number);
    let old = count("consecutiveErrors", consecutive_errors).filter(|it| *it != 0);
    let gateway = count("consecutiveGatewayErrors", consecutive_gateway_errors);
    let consecutive_5xx = count("consecutive5xxErrors", consecutive5xx_errors);
    let local = count(
        "consecutiveLocalOriginFailures",
        consecutive_local_origin_failures,
    );
    let mut percent = |name: &str, number: Option<i64>| {
        let number = number.filter(|it| *it != 0)?;
        if !(0..=100).contains(&number) {
            check.invalid(
                &at.field(name),
                format!("{number} is not between 0 and 100"),
            );
        }
        u32::try_from(number).ok()
    };
    let max_ejection_percent = percent("maxEjectionPercent", max_ejection_percent);
    let min_health_percent = percent("minHealthPercent", min_health_percent).unwrap_or(0);
    if !split_external_local_origin_errors && local.is_some_and(|it| it > 0) {
        let what = "counts only with splitExternalLocalOriginErrors; write it too";
        check.invalid(&at.field("consecutiveLocalOriginFailures"), what);
    }
    Some(OutlierDetection {
        consecutive_5xx,
        consecutive_gateway: gateway.or(old),
        split_local_origin: split_external_local_origin_errors,
        consecutive_local_origin: local,
        interval: check.duration(&at.field("interval"), interval.as_deref()),
        base_ejection_time: check
            .duration(&at.field("baseEjectionTime"), base_ejection_time.as_deref()),
        max_ejection_percent,
        min_health_percent,
    })
}

/// Checks `tunnel`.
pub(super) fn convert_tunnel(
    written: Option<api::TunnelSettings>,
    policy: &FieldPath,
    check: &mut Check<'_>,
) -> Option<Tunnel> {
    let api::TunnelSettings {
        protocol,
        target_host,
        target_port,
    } = written?;
    let at = policy.field("tunnel");
    let choices = [("CONNECT", false), ("POST", true)];
    let post = filled(protocol)
        .and_then(|text| check.choice(&at.field("protocol"), &text, &choices))
        .unwrap_or(false);
    let at_host = at.field("targetHost");
    if target_host.is_empty() || target_host.contains('*') {
        check.invalid(
            &at_host,
            "write the host behind the proxy, with no wildcard",
        );
    } else if target_host.parse::<std::net::IpAddr>().is_err() {
        check.hostname(&at_host, &target_host);
    }
    let port = check.port(&at.field("targetPort"), target_port.unwrap_or_default())?;
    Some(Tunnel {
        post,
        host: target_host,
        port,
    })
}

/// Checks `proxyProtocol`.
pub(super) fn convert_proxy_protocol(
    written: Option<api::ProxyProtocol>,
    policy: &FieldPath,
    check: &mut Check<'_>,
) -> Option<ProxyProtocol> {
    let api::ProxyProtocol { version } = written?;
    let choices = [("V1", ProxyProtocol::V1), ("V2", ProxyProtocol::V2)];
    let at = policy.field("proxyProtocol").field("version");
    let chosen = filled(version).and_then(|text| check.choice(&at, &text, &choices));
    Some(chosen.unwrap_or(ProxyProtocol::V1))
}

/// Checks `retryBudget`.
pub(super) fn convert_budget(
    written: Option<api::RetryBudget>,
    policy: &FieldPath,
    check: &mut Check<'_>,
) -> Option<RetryBudget> {
    let api::RetryBudget {
        percent,
        min_retry_concurrency,
    } = written?;
    let at = policy.field("retryBudget");
    let percent = percent.unwrap_or(20.0);
    if !(0.0..=100.0).contains(&percent) {
        check.invalid(
            &at.field("percent"),
            format!("{percent} is not between 0 and 100"),
        );
    }
    let concurrency = check.count(&at.field("minRetryConcurrency"), min_retry_concurrency);
    Some(RetryBudget {
        percent,
        min_concurrency: concurrency.unwrap_or(3),
    })
}
