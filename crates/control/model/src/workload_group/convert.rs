//! Workload groups: from written to valid (FEATURES T13).

use std::time::Duration;

use meltemi_api::{FieldPath, service_entry as api};

use super::{Probe, ProbeMethod, WorkloadGroup};
use crate::check::{Check, filled};
use crate::service_entry::convert_locality;
use crate::support::{Row, harmless, supported};
use crate::{Kind, Labels, Metadata};

/// The state of every field.
pub(crate) const SUPPORT: &[Row] = &[
    supported(Kind::WorkloadGroup, "spec")
        .note("proxies register themselves: docs/virtual-machines.md"),
    harmless(Kind::WorkloadGroup, "spec.probe")
        .note("checked; agents go by the readinessProbe of their PROXY_CONFIG, as Istio's do"),
];

/// Checks a WorkloadGroup.
pub(crate) fn convert(
    meta: Metadata,
    spec: api::WorkloadGroupSpec,
    check: &mut Check<'_>,
) -> WorkloadGroup {
    let api::WorkloadGroupSpec {
        metadata,
        template,
        probe,
    } = spec;
    let at = FieldPath::root().field("spec");
    let at_template = at.field("template");
    if template.is_none() {
        check.invalid(&at_template, "a template is needed");
    }
    let api::WorkloadEntrySpec {
        address,
        ports,
        labels,
        network,
        locality,
        weight,
        service_account,
    } = template.unwrap_or_default();
    if !address.is_empty() {
        let what = "each workload of the group brings its own; remove it";
        check.invalid(&at_template.field("address"), what);
    }
    let at_ports = at_template.field("ports");
    let ports = ports
        .into_iter()
        .filter_map(|(name, number)| {
            Some((name.clone(), check.port(&at_ports.key(&name), number)?))
        })
        .collect();
    let metadata = metadata.unwrap_or_default();
    let own = check.labels(&at.field("metadata").field("labels"), metadata.labels);
    let of_template = check.labels(&at_template.field("labels"), labels);
    let labels: Labels = of_template
        .iter()
        .chain(own.iter())
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    WorkloadGroup {
        meta,
        labels,
        annotations: metadata.annotations,
        ports,
        network: filled(network),
        locality: filled(locality).map(|text| convert_locality(&text)),
        weight: check.count(&at_template.field("weight"), weight),
        service_account: filled(service_account).map(Into::into),
        probe: probe.and_then(|it| convert_probe(it, &at.field("probe"), check)),
    }
}

/// Checks a probe, of a WorkloadGroup or of a proxy's settings.
pub(crate) fn convert_probe(
    written: api::ReadinessProbe,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<Probe> {
    let api::ReadinessProbe {
        initial_delay_seconds,
        timeout_seconds,
        period_seconds,
        success_threshold,
        failure_threshold,
        http_get,
        tcp_socket,
        exec,
        grpc,
    } = written;
    let mut count = |name: &str, number: Option<i64>, default: u32| {
        let written = check.count(&at.field(name), number.filter(|it| *it != 0));
        written.unwrap_or(default)
    };
    let seconds = |count: u32| Duration::from_secs(u64::from(count));
    let initial_delay = seconds(count("initialDelaySeconds", initial_delay_seconds, 0));
    let timeout = seconds(count("timeoutSeconds", timeout_seconds, 1));
    let period = seconds(count("periodSeconds", period_seconds, 10));
    let success_threshold = count("successThreshold", success_threshold, 1);
    let failure_threshold = count("failureThreshold", failure_threshold, 3);
    let written = [
        http_get.is_some(),
        tcp_socket.is_some(),
        exec.is_some(),
        grpc.is_some(),
    ];
    if written.into_iter().filter(|it| *it).count() != 1 {
        check.invalid(at, "write one of httpGet, tcpSocket, exec, grpc");
        return None;
    }
    let mut port = |name: &str, number: Option<i64>| {
        check.port(&at.field(name).field("port"), number.unwrap_or_default())
    };
    let method = if let Some(it) = http_get {
        let port = port("httpGet", it.port)?;
        let at = at.field("httpGet");
        let schemes = [("http", false), ("https", true)];
        let scheme = filled(it.scheme);
        for (index, header) in it.http_headers.iter().enumerate() {
            let at = at.field("httpHeaders").index(index).field("name");
            let plain = |it: char| it.is_ascii_alphanumeric() || it == '-' || it == '_';
            if header.name.is_empty() || !header.name.chars().all(plain) {
                check.invalid(&at, format!("`{}` is not a header name", header.name));
            }
        }
        ProbeMethod::Http {
            path: filled(it.path).unwrap_or_else(|| "/".to_owned()),
            port,
            host: filled(it.host),
            tls: scheme
                .and_then(|text| check.choice(&at.field("scheme"), &text, &schemes))
                .unwrap_or(false),
            headers: it
                .http_headers
                .into_iter()
                .map(|api::HttpHeader { name, value }| (name, value))
                .collect(),
        }
    } else if let Some(api::TcpHealthCheck { host, port: number }) = tcp_socket {
        ProbeMethod::Tcp {
            host: filled(host),
            port: port("tcpSocket", number)?,
        }
    } else if let Some(api::GrpcHealthCheck {
        port: number,
        service,
    }) = grpc
    {
        ProbeMethod::Grpc {
            port: port("grpc", number)?,
            service: filled(service),
        }
    } else {
        let api::ExecHealthCheck { command } = exec.unwrap_or_default();
        if command.is_empty() {
            check.invalid(&at.field("exec").field("command"), "a command is needed");
        }
        ProbeMethod::Exec(command)
    };
    Some(Probe {
        initial_delay,
        timeout,
        period,
        success_threshold,
        failure_threshold,
        method,
    })
}
