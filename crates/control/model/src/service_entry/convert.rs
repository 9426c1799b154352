//! Service entries: from written to valid (FEATURES T12, T13).

use std::sync::Arc;

use meltemi_api::service_entry::LabelSelector;
use meltemi_api::{FieldPath, gateway::Port, service_entry as api};

use super::{
    EndpointAddress, EntryDetails, EntryEndpoint, EntryResolution, ServiceEntry, WorkloadEntry,
    convert_endpoint,
};
use crate::check::{Check, filled, is_dns_label};
use crate::support::{Row, supported};
use crate::{
    AddressRange, Hostname, Kind, Labels, Metadata, Protocol, ServicePort, TargetPort, export_to,
};

/// The state of every field.
pub(crate) const SUPPORT: &[Row] = &[
    supported(Kind::ServiceEntry, "spec"),
    supported(Kind::WorkloadEntry, "spec").note("network: one network"),
    supported(Kind::WorkloadEntry, "status.conditions")
        .note("Healthy, with the annotation proxy.istio.io/health-checks-enabled: docs/virtual-machines.md"),
];

/// Checks a ServiceEntry.
pub(crate) fn convert(
    meta: Metadata,
    spec: api::ServiceEntrySpec,
    check: &mut Check<'_>,
) -> ServiceEntry {
    let api::ServiceEntrySpec {
        hosts,
        addresses,
        ports,
        location,
        resolution,
        endpoints,
        workload_selector,
        export_to,
        subject_alt_names,
    } = spec;
    let at = FieldPath::root().field("spec");
    let hosts = convert_hosts(&hosts, &at.field("hosts"), check);
    let locations = [("MESH_EXTERNAL", true), ("MESH_INTERNAL", false)];
    let external = filled(location)
        .and_then(|text| check.choice(&at.field("location"), &text, &locations))
        .unwrap_or(true);
    let resolutions = [
        ("NONE", EntryResolution::None),
        ("STATIC", EntryResolution::Static),
        ("DNS", EntryResolution::Dns),
        ("DNS_ROUND_ROBIN", EntryResolution::DnsRoundRobin),
        ("DYNAMIC_DNS", EntryResolution::DynamicDns),
    ];
    let resolution = filled(resolution)
        .and_then(|text| check.choice(&at.field("resolution"), &text, &resolutions))
        .unwrap_or_default();
    let ranges = matches!(resolution, EntryResolution::None | EntryResolution::Static);
    let range = addresses.iter().position(|it| it.contains('/'));
    if let Some(index) = range.filter(|_| !ranges) {
        check.invalid(
            &at.field("addresses").index(index),
            "a range of addresses goes with resolution NONE or STATIC only; write single addresses",
        );
    }
    let addresses = convert_addresses(&addresses, &at.field("addresses"), check);
    let ports = convert_ports(ports, &at.field("ports"), check);
    let at_endpoints = at.field("endpoints");
    let endpoints: Vec<_> = endpoints
        .into_iter()
        .enumerate()
        .filter_map(|(index, it)| convert_endpoint(it, &at_endpoints.index(index), check))
        .collect();
    let workload_selector =
        convert_selector(workload_selector, &at.field("workloadSelector"), check);
    if workload_selector.is_some() && !endpoints.is_empty() {
        check.invalid(&at, "has workloadSelector and endpoints; keep one");
    }
    let details = EntryDetails {
        external,
        resolution,
        addresses,
        endpoints,
        subject_alt_names,
    };
    check_resolution(&details, &hosts, &ports, &at, check);
    let told_apart = |it: &ServicePort| it.protocol.is_http() || it.protocol.is_tls();
    let alike = ports.iter().position(|it| !told_apart(it));
    if let Some(index) = alike.filter(|_| hosts.len() > 1 && resolution != EntryResolution::None) {
        let what = "several hosts are told apart by HTTP or TLS only; write an entry for each";
        check.invalid(&at.field("ports").index(index).field("protocol"), what);
    }
    warn_resolution(&details, &ports, workload_selector.as_ref(), &at, check);
    ServiceEntry {
        meta,
        hosts,
        ports,
        workload_selector,
        export_to: export_to::convert(&export_to, &at.field("exportTo"), true, check),
        details: Arc::new(details),
    }
}

/// Checks a WorkloadEntry.
pub(crate) fn convert_workload_entry(
    mut meta: Metadata,
    spec: api::WorkloadEntrySpec,
    status: api::WorkloadEntryStatus,
    check: &mut Check<'_>,
) -> WorkloadEntry {
    let at = FieldPath::root().field("spec");
    let endpoint = convert_endpoint(spec, &at, check);
    // A workload entry with a wrong address is reported and never used.
    let mut endpoint = endpoint.unwrap_or_else(|| EntryEndpoint {
        address: EndpointAddress::Unix(String::new()),
        ports: Default::default(),
        labels: Labels::default(),
        network: None,
        locality: None,
        weight: 1,
        service_account: None,
    });
    endpoint.labels = meta
        .labels
        .iter()
        .chain(endpoint.labels.iter())
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    meta.labels = endpoint.labels.clone();
    let api::WorkloadEntryStatus { conditions } = status;
    let health = conditions.iter().find(|it| it.r#type == "Healthy");
    WorkloadEntry {
        meta,
        endpoint,
        healthy: health.map(|it| it.status == "True"),
    }
}

/// Checks a `workloadSelector` of `networking.istio.io`.
pub(crate) fn convert_selector(
    written: Option<LabelSelector>,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<Labels> {
    let LabelSelector { labels } = written?;
    let at = at.field("labels");
    for (key, value) in &labels {
        if key.is_empty() || key.contains('*') || value.contains('*') {
            let what = "a label and its value are compared as they are; write no wildcard";
            check.invalid(&at.key(key), what);
        }
    }
    Some(check.labels(&at, labels))
}

fn convert_hosts(names: &[String], at: &FieldPath, check: &mut Check<'_>) -> Vec<Hostname> {
    if names.is_empty() {
        check.invalid(at, "at least one host is needed");
    }
    let mut hosts: Vec<Hostname> = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let at = at.index(index);
        if name == "*" {
            check.invalid(&at, "\"*\" would take the whole mesh; name the hosts");
            continue;
        }
        let Some(host) = check.hostname(&at, name) else {
            continue;
        };
        // A short name stays short here: the hosts are those of the outside.
        let host = if name.contains('.') {
            host
        } else {
            Hostname::new(name)
        };
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts
}

fn convert_addresses(texts: &[String], at: &FieldPath, check: &mut Check<'_>) -> Vec<AddressRange> {
    let mut addresses: Vec<AddressRange> = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let at = at.index(index);
        let Ok(range) = text.parse::<AddressRange>() else {
            check.invalid(&at, format!("`{text}` is not an IP address, nor IP/BITS"));
            continue;
        };
        if !addresses.contains(&range) {
            addresses.push(range);
        }
    }
    addresses
}

fn convert_ports(written: Vec<Port>, at: &FieldPath, check: &mut Check<'_>) -> Vec<ServicePort> {
    let mut ports: Vec<ServicePort> = Vec::new();
    for (index, port) in written.into_iter().enumerate() {
        let Port {
            number,
            protocol,
            name,
            target_port,
        } = port;
        let at = at.index(index);
        if name.is_empty() {
            check.invalid(&at.field("name"), "a port needs a name");
        } else if !is_dns_label(&name.to_ascii_lowercase()) {
            let what = "use at most 63 letters, digits and inner dashes";
            check.invalid(
                &at.field("name"),
                format!("`{name}` is not a port's name; {what}"),
            );
        }
        let Some(number) = check.port(&at.field("number"), number.unwrap_or_default()) else {
            continue;
        };
        if ports.iter().any(|it| it.name == name) {
            check.invalid(
                &at.field("name"),
                format!("another port is named `{name}` already"),
            );
        }
        if ports.iter().any(|it| it.number == number) {
            check.invalid(
                &at.field("number"),
                format!("port {number} is there already"),
            );
        }
        let target = target_port
            .filter(|it| *it != 0)
            .and_then(|it| check.port(&at.field("targetPort"), it));
        ports.push(ServicePort {
            number,
            target: TargetPort::Number(target.unwrap_or(number)),
            protocol: convert_protocol(&protocol, &at.field("protocol"), check),
            name,
        });
    }
    ports
}

/// The protocol of a port by its own field; where that is empty it is looked for in the first bytes.
pub(crate) fn convert_protocol(text: &str, at: &FieldPath, check: &mut Check<'_>) -> Protocol {
    if text.is_empty() {
        return Protocol::Auto;
    }
    let known = Protocol::from_name(text);
    if known.is_none() {
        let names = "HTTP, HTTPS, HTTP2, GRPC, GRPC-WEB, MONGO, MYSQL, REDIS, TCP, TLS, UDP";
        check.invalid(at, format!("unknown protocol `{text}`; write {names}"));
    }
    known.unwrap_or(Protocol::Tcp)
}

/// What has no effect with a resolution.
fn warn_resolution(
    details: &EntryDetails,
    ports: &[ServicePort],
    selector: Option<&Labels>,
    at: &FieldPath,
    check: &mut Check<'_>,
) {
    let name = match details.resolution {
        EntryResolution::Static => None,
        EntryResolution::None => Some("NONE"),
        EntryResolution::Dns => Some("DNS"),
        EntryResolution::DnsRoundRobin => Some("DNS_ROUND_ROBIN"),
        EntryResolution::DynamicDns => Some("DYNAMIC_DNS"),
    };
    let at_selector = at.field("workloadSelector");
    if let Some(name) = name.filter(|_| selector.is_some()) {
        check.warn(
            &at_selector,
            format!("has no effect with resolution {name}"),
        );
    }
    if selector.is_some_and(Labels::is_empty) {
        let what = "selects every workload of the namespace; write labels, or leave it out";
        check.warn(&at_selector, what);
    }
    let retargeted = |it: &ServicePort| it.target != TargetPort::Number(it.number);
    let found = ports.iter().position(retargeted);
    if let Some(index) = found.filter(|_| details.resolution == EntryResolution::None) {
        let at = at.field("ports").index(index).field("targetPort");
        check.warn(&at, "has no effect with resolution NONE");
    }
}

/// What each resolution asks of the rest.
fn check_resolution(
    details: &EntryDetails,
    hosts: &[Hostname],
    ports: &[ServicePort],
    at: &FieldPath,
    check: &mut Check<'_>,
) {
    let EntryDetails {
        external,
        resolution,
        endpoints,
        // ignored: these are judged alone
        addresses: _,
        subject_alt_names: _,
    } = details;
    let wildcard = hosts.iter().any(Hostname::is_wildcard);
    let named = |it: &EntryEndpoint| matches!(it.address, EndpointAddress::Name(_));
    let unix = |it: &EntryEndpoint| matches!(it.address, EndpointAddress::Unix(_));
    let at_endpoints = at.field("endpoints");
    for (index, endpoint) in endpoints.iter().enumerate() {
        for name in endpoint.ports.keys() {
            if !ports.iter().any(|it| it.name == *name) {
                let at = at_endpoints.index(index).field("ports").key(name);
                check.invalid(&at, format!("no port of the entry is named `{name}`"));
            }
        }
    }
    match resolution {
        EntryResolution::None => {
            if !endpoints.is_empty() {
                let what = "write resolution STATIC or DNS, or leave them out";
                check.invalid(
                    &at_endpoints,
                    format!("have no meaning with resolution NONE; {what}"),
                );
            }
        }
        EntryResolution::Static => {
            if let Some(index) = endpoints.iter().position(named) {
                let what = "resolution STATIC needs an IP address; for a name write DNS";
                check.invalid(&at_endpoints.index(index).field("address"), what);
            }
            if endpoints.iter().any(unix) && ports.len() > 1 {
                let what = "a Unix socket serves one port; the entry has more";
                check.invalid(&at_endpoints, what);
            }
        }
        EntryResolution::Dns | EntryResolution::DnsRoundRobin => {
            if endpoints.is_empty() && wildcard {
                let what = "a wildcard cannot be looked up; write endpoints, or DYNAMIC_DNS";
                check.invalid(&at.field("hosts"), what);
            }
            if *resolution == EntryResolution::DnsRoundRobin && endpoints.len() > 1 {
                check.invalid(&at_endpoints, "DNS_ROUND_ROBIN takes one endpoint");
            }
            if endpoints.iter().any(unix) {
                check.invalid(
                    &at_endpoints,
                    "a Unix socket is not looked up; write STATIC",
                );
            }
        }
        EntryResolution::DynamicDns => {
            if !external {
                let what = "DYNAMIC_DNS is for what is outside; write MESH_EXTERNAL";
                check.invalid(&at.field("location"), what);
            }
            if !endpoints.is_empty() {
                check.invalid(&at_endpoints, "DYNAMIC_DNS has no endpoints; remove them");
            }
            for (index, port) in ports.iter().enumerate() {
                let opaque = port.protocol.is_tcp() && !port.protocol.is_tls();
                if opaque || port.protocol == Protocol::Udp {
                    let at = at.field("ports").index(index).field("protocol");
                    let what = "DYNAMIC_DNS needs a name in each request; write HTTP or TLS";
                    check.invalid(&at, what);
                }
            }
        }
    }
}
