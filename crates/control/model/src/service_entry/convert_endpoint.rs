//! Endpoints of service entries: from written to valid (FEATURES T12, T13).

use std::collections::BTreeMap;

use meltemi_api::{FieldPath, service_entry as api};

use super::{EndpointAddress, EntryEndpoint};
use crate::check::{Check, filled};
use crate::{Hostname, Locality};

/// Checks an endpoint of a ServiceEntry, or the spec of a WorkloadEntry.
pub(crate) fn convert_endpoint(
    written: api::WorkloadEntrySpec,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<EntryEndpoint> {
    let api::WorkloadEntrySpec {
        address,
        ports,
        labels,
        network,
        locality,
        weight,
        service_account,
    } = written;
    let network = filled(network);
    let address = match (&network, address.as_str()) {
        (Some(network), "") => {
            let what = format!("is missing; workloads of {network} alone could be reached");
            check.warn(&at.field("address"), what);
            Some(EndpointAddress::Absent)
        }
        (_, text) => convert_address(text, at, check),
    };
    let at_ports = at.field("ports");
    if matches!(address, Some(EndpointAddress::Unix(_))) && !ports.is_empty() {
        check.invalid(&at_ports, "a Unix socket has no ports; remove them");
    }
    let mut converted = BTreeMap::new();
    for (name, number) in ports {
        let at = at_ports.key(&name);
        if !is_port_name(&name) {
            let what = "is no name of a port; write letters, digits and hyphens between them";
            check.invalid(&at, format!("`{name}` {what}"));
        }
        if let Some(number) = check.port(&at, number) {
            converted.insert(name, number);
        }
    }
    let weight = check.count(&at.field("weight"), weight);
    Some(EntryEndpoint {
        address: address?,
        ports: converted,
        labels: check.labels(&at.field("labels"), labels),
        network,
        locality: filled(locality).map(|text| convert_locality(&text)),
        weight: weight.filter(|it| *it > 0).unwrap_or(1),
        service_account: filled(service_account).map(Into::into),
    })
}

fn is_port_name(name: &str) -> bool {
    let plain = |it: char| it.is_ascii_alphanumeric();
    (1..=63).contains(&name.len())
        && name.chars().all(|it| plain(it) || it == '-')
        && name.starts_with(plain)
        && name.ends_with(plain)
}

/// A locality, `REGION/ZONE/SUBZONE`.
pub(crate) fn convert_locality(text: &str) -> Locality {
    let mut parts = text.splitn(3, '/').map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    Locality {
        region: next(),
        zone: next(),
        subzone: next(),
    }
}

fn convert_address(text: &str, at: &FieldPath, check: &mut Check<'_>) -> Option<EndpointAddress> {
    let at = at.field("address");
    if let Some(path) = text.strip_prefix("unix://") {
        let absolute = path.starts_with('/') || path.starts_with('@');
        if !absolute {
            check.invalid(&at, "the path of a Unix socket begins with / or @");
        }
        if path.ends_with('/') {
            check.invalid(&at, "is a directory; write the path of a Unix socket");
        }
        return Some(EndpointAddress::Unix(path.to_owned()));
    }
    if text.is_empty() {
        check.invalid(&at, "an address is needed");
        return None;
    }
    if let Ok(ip) = text.parse() {
        return Some(EndpointAddress::Ip(ip));
    }
    if text.contains('*') {
        check.invalid(&at, "an endpoint's name has no wildcard");
        return None;
    }
    check.hostname(&at, text)?;
    Some(EndpointAddress::Name(Hostname::new(text)))
}
