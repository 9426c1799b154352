//! Routes of TLS and of bytes: from written to valid (FEATURES T10).

use std::collections::BTreeMap;

use meltemi_api::{FieldPath, virtual_service as api};

use super::convert::convert_gateways;
use super::convert_action::convert_destination;
use super::{L4Destination, L4Match, TcpRoute, TlsRoute};
use crate::check::{Check, filled, is_dns_label};
use crate::{AddressRange, Hostname, NamespaceName};

/// Checks an entry of `tls`; `hosts` are those of the virtual service.
pub(super) fn convert_tls(
    written: api::TlsRoute,
    hosts: &[Hostname],
    at: &FieldPath,
    check: &mut Check<'_>,
) -> TlsRoute {
    let api::TlsRoute {
        r#match: matches,
        route,
    } = written;
    let at_match = at.field("match");
    if matches.is_empty() {
        check.invalid(&at_match, "at least one match with sniHosts is needed");
    }
    let mut converted = Vec::new();
    for (index, it) in matches.into_iter().enumerate() {
        let api::TlsMatchAttributes {
            sni_hosts,
            destination_subnets,
            port,
            source_labels,
            gateways,
            source_namespace,
        } = it;
        let at = at_match.index(index);
        let names = convert_names(&sni_hosts, hosts, &at.field("sniHosts"), check);
        let parts = Parts {
            subnets: destination_subnets,
            port,
            source_labels,
            gateways,
            source_namespace,
        };
        converted.push((names, convert_match(parts, &at, check)));
    }
    TlsRoute {
        matches: converted,
        destinations: convert_destinations(route, &at.field("route"), check),
    }
}

/// Checks an entry of `tcp`.
pub(super) fn convert_tcp(
    written: api::TcpRoute,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> TcpRoute {
    let api::TcpRoute {
        name,
        r#match: matches,
        route,
    } = written;
    let at_match = at.field("match");
    let mut converted = Vec::new();
    for (index, it) in matches.into_iter().enumerate() {
        let api::L4MatchAttributes {
            destination_subnets,
            port,
            source_subnet,
            source_labels,
            gateways,
            source_namespace,
        } = it;
        let at = at_match.index(index);
        if source_subnet.is_some() {
            check.invalid(&at.field("sourceSubnet"), "has no effect; remove it");
        }
        let parts = Parts {
            subnets: destination_subnets,
            port,
            source_labels,
            gateways,
            source_namespace,
        };
        converted.push(convert_match(parts, &at, check));
    }
    TcpRoute {
        name: filled(name),
        matches: converted,
        destinations: convert_destinations(route, &at.field("route"), check),
    }
}

/// What both kinds of match have.
struct Parts {
    subnets: Vec<String>,
    port: Option<i64>,
    source_labels: BTreeMap<String, String>,
    gateways: Vec<String>,
    source_namespace: Option<String>,
}

fn convert_match(parts: Parts, at: &FieldPath, check: &mut Check<'_>) -> L4Match {
    let Parts {
        subnets,
        port,
        source_labels,
        gateways,
        source_namespace,
    } = parts;
    let at_subnets = at.field("destinationSubnets");
    let mut ranges = Vec::new();
    for (index, text) in subnets.iter().enumerate() {
        match text.parse::<AddressRange>() {
            Ok(range) => ranges.push(range),
            Err(_) => check.invalid(
                &at_subnets.index(index),
                format!("`{text}` is not an IP address, nor IP/BITS"),
            ),
        }
    }
    let source_namespace = filled(source_namespace);
    if let Some(name) = source_namespace.as_deref().filter(|it| !is_dns_label(it)) {
        check.invalid(
            &at.field("sourceNamespace"),
            format!("`{name}` is not a namespace"),
        );
    }
    let port = port.filter(|it| *it != 0);
    L4Match {
        subnets: ranges,
        port: port.and_then(|it| check.port(&at.field("port"), it)),
        source_labels: check.labels(&at.field("sourceLabels"), source_labels),
        source_namespace: source_namespace.map(NamespaceName::new),
        gateways: convert_gateways(&gateways, &at.field("gateways"), check),
    }
}

/// The server names of a match, each within one of the hosts.
fn convert_names(
    names: &[String],
    hosts: &[Hostname],
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Vec<Hostname> {
    if names.is_empty() {
        check.invalid(at, "at least one server name is needed");
    }
    let mut converted = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let at = at.index(index);
        if check.hostname(&at, name).is_none() {
            continue;
        }
        let host = Hostname::new(name);
        // Hosts are as they were qualified, names as they are written.
        let within = |it: &Hostname| it.contains(&host) || *it == check.qualified(name);
        if !hosts.iter().any(within) {
            let what = "is not within one of the hosts; no connection would match";
            check.invalid(&at, format!("`{name}` {what}"));
        }
        converted.push(host);
    }
    converted
}

fn convert_destinations(
    route: Vec<api::RouteDestination>,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Vec<L4Destination> {
    if route.is_empty() {
        check.invalid(at, "at least one destination is needed");
    }
    let single = route.len() == 1;
    let mut converted: Vec<L4Destination> = Vec::new();
    for (index, it) in route.into_iter().enumerate() {
        let api::RouteDestination {
            destination,
            weight,
        } = it;
        let at = at.index(index);
        let weight = check.count(&at.field("weight"), weight).unwrap_or_default();
        let at_destination = at.field("destination");
        let Some(destination) = destination else {
            check.invalid(&at_destination, "a destination is needed");
            continue;
        };
        if let Some(destination) = convert_destination(destination, &at_destination, check) {
            converted.push(L4Destination {
                destination,
                weight: if single { 100 } else { weight },
            });
        }
    }
    if !single && !converted.is_empty() && converted.iter().all(|it| it.weight == 0) {
        check.invalid(
            at,
            "all weights are 0; give at least one destination a weight",
        );
    }
    converted
}
