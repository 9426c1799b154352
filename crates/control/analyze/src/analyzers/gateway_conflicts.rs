//! IST0145: Gateways that select the same workloads and have the same port and host.

use std::collections::BTreeSet;

use meltemi_model::{FieldPath, Gateway, GatewayHost, HostNamespace, Labels, Server};

use crate::context::{Context, Found, list_with_commas, spec};
use crate::{Analyzer, Code};

pub(crate) const ANALYZER: Analyzer = Analyzer {
    name: "gateway.ConflictingGatewayAnalyzer",
    description: "Checks a gateway's selector, port number and hosts",
    run,
};

fn run(context: &Context) {
    let gateways: Vec<_> = context.gateways().collect();
    for found in &gateways {
        for (at, server) in found.spec.servers.iter().enumerate() {
            let others: BTreeSet<_> = (gateways.iter())
                .filter(|other| other.full_name() != found.full_name())
                .filter(|other| select_alike(&found.spec.selector, &other.spec.selector))
                .filter(|other| conflict(server, other))
                .map(Found::full_name)
                .collect();
            if others.is_empty() {
                continue;
            }
            let hosts = (0..server.hosts.len()).map(|inner| {
                let servers = spec("servers").index(at);
                found
                    .written(&servers.field("hosts").index(inner))
                    .to_owned()
            });
            let text = format!(
                "Conflict with gateways {} (workload selector {}, port {}, hosts {}).",
                list_with_commas(others),
                selector(&found.spec.selector),
                server.port.number,
                list_with_commas(hosts),
            );
            let at = FieldPath::root();
            context.report(Code::ConflictingGateways, found, &at, text);
        }
    }
}

/// Whether a workload that one of the selectors selects by all its labels is selected by the other.
fn select_alike(a: &Labels, b: &Labels) -> bool {
    a.selects(b) || b.selects(a)
}

fn conflict(server: &Server, other: &Found<'_, Gateway>) -> bool {
    let mut servers = other.spec.servers.iter();
    servers.any(|it| {
        it.port.number == server.port.number
            && (it.hosts.iter()).any(|a| server.hosts.iter().any(|b| overlap(a, b)))
    })
}

fn overlap(a: &GatewayHost, b: &GatewayHost) -> bool {
    let namespaces = match (&a.namespace, &b.namespace) {
        (HostNamespace::Only(a), HostNamespace::Only(b)) => a == b,
        (HostNamespace::Any, _) | (_, HostNamespace::Any) => true,
    };
    namespaces && a.host.overlaps(&b.host)
}

/// A selector as Kubernetes writes it: `app=a,istio=b`.
pub(super) fn selector(labels: &Labels) -> String {
    list_with_commas(labels.iter().map(|(key, value)| format!("{key}={value}")))
}
