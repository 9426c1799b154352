//! Services: from written to valid.

use std::net::IpAddr;

use meltemi_api::FieldPath;
use meltemi_api::kubernetes::{self, IntOrText, ServiceSpec};

use super::{Service, ServiceAddresses, ServicePort, TargetPort, TrafficDistribution};
use crate::check::{Check, filled};
use crate::metadata::annotation;
use crate::{ExportTo, Hostname, Labels, Metadata, Protocol, export_to};

const EXPORT_TO: &str = "networking.istio.io/exportTo";

const DISTRIBUTION: &str = "networking.istio.io/traffic-distribution";

const DISTRIBUTIONS: [(&str, TrafficDistribution); 3] = [
    ("PreferClose", TrafficDistribution::Near),
    ("PreferSameZone", TrafficDistribution::Near),
    ("PreferSameNode", TrafficDistribution::SameNode),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum ServiceType {
    WithAddress,
    ExternalName,
}

/// Checks a Service.
pub(crate) fn convert(meta: Metadata, spec: ServiceSpec, check: &mut Check<'_>) -> Service {
    let ServiceSpec {
        r#type,
        cluster_ip,
        cluster_ips,
        external_name,
        selector,
        ports,
        publish_not_ready_addresses,
        traffic_distribution,
    } = spec;
    let at = FieldPath::root().field("spec");
    let choices = [
        ("ClusterIP", ServiceType::WithAddress),
        ("NodePort", ServiceType::WithAddress),
        ("LoadBalancer", ServiceType::WithAddress),
        ("ExternalName", ServiceType::ExternalName),
    ];
    let service_type = filled(r#type)
        .and_then(|text| check.choice(&at.field("type"), &text, &choices))
        .unwrap_or(ServiceType::WithAddress);
    let addresses = addresses(cluster_ip, cluster_ips, &at, check);
    let external_name = match service_type {
        ServiceType::ExternalName => {
            let at = at.field("externalName");
            check.hostname(&at, external_name.as_deref().unwrap_or_default())
        }
        // ignored: Kubernetes reads externalName only for that type.
        ServiceType::WithAddress => None,
    };
    let may_have_no_ports =
        addresses == ServiceAddresses::Headless || service_type == ServiceType::ExternalName;
    let at_ports = at.field("ports");
    if ports.is_empty() && !may_have_no_ports {
        check.invalid(&at_ports, "at least one port is needed");
    }
    let ports = convert_ports(ports, &at_ports, check);
    let selector = (!selector.is_empty()).then(|| check.labels(&at.field("selector"), selector));
    let hostname =
        Hostname::of_service(&meta.name, meta.namespace.as_str(), &check.defaults.domain);
    let export_to = exported(&meta, check);
    let distribution = filled(traffic_distribution).and_then(|text| {
        let at = at.field("trafficDistribution");
        check.choice(&at, &text, &DISTRIBUTIONS)
    });
    Service {
        hostname,
        addresses,
        external_name,
        selector: selector.filter(|it: &Labels| !it.is_empty()),
        ports,
        export_to,
        publish_not_ready: publish_not_ready_addresses,
        distribution: distribution.unwrap_or_else(|| annotated_distribution(&meta)),
        entry: None,
        meta,
    }
}

/// What the annotation says; as in Istio, another value says nothing.
pub(crate) fn annotated_distribution(meta: &Metadata) -> TrafficDistribution {
    let written = annotation(&meta.annotations, DISTRIBUTION).unwrap_or_default();
    let mut known = DISTRIBUTIONS.iter();
    let known = known.find(|(name, _)| name.eq_ignore_ascii_case(written));
    known.map_or(TrafficDistribution::Any, |(_, it)| *it)
}

fn addresses(
    cluster_ip: Option<String>,
    cluster_ips: Vec<String>,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> ServiceAddresses {
    let mut written = Vec::new();
    if let Some(ip) = filled(cluster_ip) {
        written.push((at.field("clusterIP"), ip));
    }
    let at_list = at.field("clusterIPs");
    written.extend(
        cluster_ips
            .into_iter()
            .enumerate()
            .map(|(i, ip)| (at_list.index(i), ip)),
    );
    if written.iter().any(|(_, ip)| ip == "None") {
        return ServiceAddresses::Headless;
    }
    let mut ips: Vec<IpAddr> = Vec::new();
    for (at, text) in written {
        match text.parse() {
            Ok(ip) if ips.contains(&ip) => {}
            Ok(ip) => ips.push(ip),
            Err(_) => check.invalid(&at, format!("`{text}` is not an IP address, nor None")),
        }
    }
    if ips.is_empty() {
        ServiceAddresses::Unassigned
    } else {
        ServiceAddresses::Assigned(ips)
    }
}

fn convert_ports(
    written: Vec<kubernetes::ServicePort>,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Vec<ServicePort> {
    let several = written.len() > 1;
    let mut ports: Vec<ServicePort> = Vec::new();
    for (index, port) in written.into_iter().enumerate() {
        let kubernetes::ServicePort {
            name,
            port,
            target_port,
            protocol,
            app_protocol,
        } = port;
        let at = at.index(index);
        let name = name.unwrap_or_default();
        if several && name.is_empty() {
            check.invalid(
                &at.field("name"),
                "a service with several ports needs their names",
            );
        }
        // Names that repeat are the API server's affair: nothing here is looked up by them.
        let udp = match protocol.as_deref() {
            None | Some("" | "TCP" | "SCTP") => false,
            Some("UDP") => true,
            Some(other) => {
                check.invalid(
                    &at.field("protocol"),
                    format!("`{other}` is not TCP, UDP or SCTP"),
                );
                false
            }
        };
        let Some(number) = check.port(&at.field("port"), port.unwrap_or_default()) else {
            continue;
        };
        let protocol = Protocol::of_port(number, &name, filled(app_protocol).as_deref(), udp);
        let is_udp = |port: &ServicePort| port.protocol == Protocol::Udp;
        if ports
            .iter()
            .any(|other| other.number == number && is_udp(other) == udp)
        {
            check.invalid(&at.field("port"), format!("port {number} is there already"));
        }
        let target = match target_port {
            None => TargetPort::Number(number),
            Some(IntOrText::Text(name)) if name.is_empty() => TargetPort::Number(number),
            Some(IntOrText::Text(text)) => match text.parse::<i64>() {
                Ok(digits) => target_number(digits, number, &at, check),
                Err(_) => TargetPort::Name(text),
            },
            Some(IntOrText::Int(target)) => target_number(target, number, &at, check),
        };
        ports.push(ServicePort {
            name,
            number,
            target,
            protocol,
        });
    }
    ports
}

fn target_number(target: i64, number: u16, at: &FieldPath, check: &mut Check<'_>) -> TargetPort {
    let target = match target {
        0 => Some(number),
        _ => check.port(&at.field("targetPort"), target),
    };
    TargetPort::Number(target.unwrap_or(number))
}

fn exported(meta: &Metadata, check: &mut Check<'_>) -> ExportTo {
    let Some(text) = annotation(&meta.annotations, EXPORT_TO) else {
        return ExportTo::Unwritten;
    };
    let list: Vec<_> = text
        .split(',')
        .map(|entry| entry.trim().to_owned())
        .collect();
    let at = FieldPath::root()
        .field("metadata")
        .field("annotations")
        .key(EXPORT_TO);
    export_to::convert(&list, &at, true, check)
}
