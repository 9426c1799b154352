//! `/clusters`.

use std::fmt::Write as _;

use meltemi_ir::{Address, HealthStatus, Thresholds};
use meltemi_upstream::{Cluster, ClusterSnapshot, HealthFlags, HostSnapshot};
use meltemi_xds::json;
use meltemi_xds::pb::envoy::admin::v3::{
    ClusterStatus, Clusters, HostHealthStatus, HostStatus, SimpleMetric, simple_metric,
};
use meltemi_xds::pb::envoy::config::cluster::v3::{CircuitBreakers, circuit_breakers};
use meltemi_xds::pb::envoy::config::core::v3::{
    self as core, address::Address as AddressKind, socket_address::PortSpecifier,
};

use meltemi_xds::pb::envoy::r#type::v3::Percent;

use crate::AdminState;
use crate::listeners::socket_address;
use crate::query::Query;
use crate::reply::Reply;

pub(crate) fn clusters(state: &AdminState, query: &Query<'_>) -> Reply {
    let filter = match query.regex("filter") {
        Ok(filter) => filter,
        Err(reply) => return reply,
    };
    let mut clusters = state.clusters.clusters();
    clusters.retain(|cluster| {
        let filter = filter.as_ref();
        filter.is_none_or(|filter| filter.is_match(cluster.name()))
    });
    clusters.sort_by(|left, right| left.name().cmp(right.name()));
    match query.get("format") {
        Some("json") => {
            let cluster_statuses = clusters.iter().map(|cluster| status(cluster)).collect();
            Reply::json(&json::to_json(&Clusters { cluster_statuses }))
        }
        _ => {
            let mut out = String::new();
            for cluster in &clusters {
                write(cluster, &mut out);
            }
            Reply::text(out)
        }
    }
}

/// A cluster's name in statistics.
fn stat_name(cluster: &Cluster) -> &str {
    let config = cluster.config();
    config.alt_stat_name.as_deref().unwrap_or(&config.name)
}

/// Where a host is reached: what its name points to, if it has one.
pub(crate) fn host_address(host: &HostSnapshot) -> Address {
    host.resolved
        .map_or_else(|| host.address.clone(), Address::Socket)
}

fn write(cluster: &Cluster, out: &mut String) {
    let ClusterSnapshot {
        name,
        added_via_api,
        circuit_breakers,
        hosts,
    } = cluster.snapshot();
    let mut line = |rest: &str| {
        let _ = writeln!(out, "{name}::{rest}");
    };
    line(&format!("observability_name::{}", stat_name(cluster)));
    for (priority, limits) in [
        ("default_priority", &circuit_breakers.default),
        ("high_priority", &circuit_breakers.high),
    ] {
        line(&format!(
            "{priority}::max_connections::{}",
            limits.max_connections
        ));
        line(&format!(
            "{priority}::max_pending_requests::{}",
            limits.max_pending_requests
        ));
        line(&format!(
            "{priority}::max_requests::{}",
            limits.max_requests
        ));
        line(&format!("{priority}::max_retries::{}", limits.max_retries));
    }
    line(&format!("added_via_api::{added_via_api}"));
    if let Some(service) = cluster.eds_service() {
        line(&format!("eds_service_name::{service}"));
    }
    for host in &hosts {
        let address = host_address(host);
        for (stat, value) in stats(host) {
            line(&format!("{address}::{stat}::{value}"));
        }
        for (field, value) in facts(host) {
            line(&format!("{address}::{field}::{value}"));
        }
    }
}

/// Counters and gauges, sorted by name.
fn stats(host: &HostSnapshot) -> [(&'static str, u64); 9] {
    [
        ("cx_active", host.cx_active),
        ("cx_connect_fail", host.cx_connect_fail),
        ("cx_total", host.cx_total),
        ("rq_active", host.rq_active),
        ("rq_error", host.rq_error),
        ("rq_pending_active", host.rq_pending_active),
        ("rq_success", host.rq_success),
        ("rq_timeout", host.rq_timeout),
        ("rq_total", host.rq_total),
    ]
}

fn facts(host: &HostSnapshot) -> [(&'static str, String); 10] {
    [
        ("hostname", host.hostname.clone()),
        ("health_flags", host.flags.to_string()),
        ("weight", host.weight.to_string()),
        ("region", host.locality.region.clone()),
        ("zone", host.locality.zone.clone()),
        ("sub_zone", host.locality.sub_zone.clone()),
        ("canary", host.canary.to_string()),
        ("priority", host.priority.to_string()),
        ("success_rate", host.success_rate.to_string()),
        (
            "local_origin_success_rate",
            host.local_origin_success_rate.to_string(),
        ),
    ]
}

fn status(cluster: &Cluster) -> ClusterStatus {
    let ClusterSnapshot {
        name,
        added_via_api,
        circuit_breakers,
        hosts,
    } = cluster.snapshot();
    let breakers = CircuitBreakers {
        thresholds: vec![
            thresholds(core::RoutingPriority::Default, &circuit_breakers.default),
            thresholds(core::RoutingPriority::High, &circuit_breakers.high),
        ],
        ..CircuitBreakers::default()
    };
    ClusterStatus {
        name,
        added_via_api,
        host_statuses: hosts.iter().map(host_status).collect(),
        circuit_breakers: Some(breakers),
        observability_name: stat_name(cluster).to_owned(),
        eds_service_name: cluster.eds_service().unwrap_or_default().to_owned(),
        ..ClusterStatus::default()
    }
}

fn thresholds(
    priority: core::RoutingPriority,
    limits: &Thresholds,
) -> circuit_breakers::Thresholds {
    let Thresholds {
        max_connections,
        max_pending_requests,
        max_requests,
        max_retries,
        retry_budget: _,    // ignored: Envoy shows the four numbers alone
        track_remaining: _, // ignored: Envoy shows the four numbers alone
    } = *limits;
    circuit_breakers::Thresholds {
        priority: priority.into(),
        max_connections: Some(max_connections),
        max_pending_requests: Some(max_pending_requests),
        max_requests: Some(max_requests),
        max_retries: Some(max_retries),
        ..circuit_breakers::Thresholds::default()
    }
}

fn host_status(host: &HostSnapshot) -> HostStatus {
    let metric = |(name, value): (&str, u64)| {
        let kind = if name.ends_with("_active") {
            simple_metric::Type::Gauge
        } else {
            simple_metric::Type::Counter
        };
        SimpleMetric {
            r#type: kind.into(),
            value,
            name: name.to_owned(),
        }
    };
    let (gauges, counters): (Vec<_>, Vec<_>) = stats(host)
        .into_iter()
        .partition(|(name, _)| name.ends_with("_active"));
    HostStatus {
        address: Some(address(&host_address(host))),
        stats: counters.into_iter().chain(gauges).map(metric).collect(),
        health_status: Some(health_status(host)),
        success_rate: percent(host.success_rate),
        local_origin_success_rate: percent(host.local_origin_success_rate),
        weight: host.weight,
        hostname: host.hostname.clone(),
        priority: host.priority,
        locality: Some(locality(&host.locality)),
    }
}

fn health_status(host: &HostSnapshot) -> HostHealthStatus {
    let has = |flag| host.flags.intersects(flag);
    HostHealthStatus {
        failed_active_health_check: has(HealthFlags::FAILED_ACTIVE_HC),
        failed_outlier_check: has(HealthFlags::FAILED_OUTLIER_CHECK),
        failed_active_degraded_check: has(HealthFlags::DEGRADED_ACTIVE_HC),
        pending_dynamic_removal: has(HealthFlags::PENDING_DYNAMIC_REMOVAL),
        pending_active_hc: has(HealthFlags::PENDING_ACTIVE_HC),
        excluded_via_immediate_hc_fail: has(HealthFlags::EXCLUDED_VIA_IMMEDIATE_HC_FAIL),
        active_hc_timeout: has(HealthFlags::ACTIVE_HC_TIMEOUT),
        failed_degraded_outlier_detection: false,
        eds_health_status: eds_health(host.eds_health).into(),
    }
}

/// A success rate, where there is one.
fn percent(value: f64) -> Option<Percent> {
    (value >= 0.0).then_some(Percent { value })
}

pub(crate) fn eds_health(health: HealthStatus) -> core::HealthStatus {
    match health {
        HealthStatus::Healthy => core::HealthStatus::Healthy,
        HealthStatus::Degraded => core::HealthStatus::Degraded,
        HealthStatus::Unhealthy => core::HealthStatus::Unhealthy,
        HealthStatus::Draining => core::HealthStatus::Draining,
    }
}

pub(crate) fn locality(locality: &meltemi_ir::Locality) -> core::Locality {
    let meltemi_ir::Locality {
        region,
        zone,
        sub_zone,
    } = locality.clone();
    core::Locality {
        region,
        zone,
        sub_zone,
    }
}

pub(crate) fn address(address: &Address) -> core::Address {
    let kind = match address {
        Address::Socket(address) => return socket_address(*address),
        Address::Name { host, port } => AddressKind::SocketAddress(core::SocketAddress {
            address: host.clone(),
            port_specifier: Some(PortSpecifier::PortValue((*port).into())),
            ..core::SocketAddress::default()
        }),
        Address::Pipe(path) => AddressKind::Pipe(core::Pipe {
            path: path.display().to_string(),
            ..core::Pipe::default()
        }),
    };
    core::Address {
        address: Some(kind),
    }
}
