//! IST0101 and IST0132: gateways that are not there, or that have none of the hosts.

use meltemi_model::{GatewayName, GatewayRef, VirtualService};

use crate::context::{Context, Found, list, spec};
use crate::{Analyzer, Code};

pub(crate) const ANALYZER: Analyzer = Analyzer {
    name: "virtualservice.GatewayAnalyzer",
    description: "Checks the gateways associated with each virtual service",
    run,
};

fn run(context: &Context) {
    for found in context.virtual_services() {
        for (at, gateway) in found.spec.gateways.iter().enumerate() {
            if let GatewayRef::Gateway(name) = gateway {
                check(context, &found, at, name);
            }
        }
    }
}

fn check(context: &Context, found: &Found<'_, VirtualService>, at: usize, name: &GatewayName) {
    let path = spec("gateways").index(at);
    let gateway = context.snapshot().gateways().get(name);
    if gateway.is_none() {
        let text = format!(
            "Referenced gateway not found: {:?}",
            match found.written(&path) {
                "" => &*name.name,
                written => written,
            }
        );
        context.report(Code::ReferencedResourceNotFound, found, &path, text);
    }
    let hosts = &found.spec.hosts;
    let shared = gateway.is_some_and(|it| {
        let mut entries = it.servers.iter().flat_map(|server| &server.hosts);
        entries.any(|entry| {
            entry.admits(found.namespace()) && hosts.iter().any(|host| entry.host.overlaps(host))
        })
    });
    // A delegate has no hosts of its own.
    if !shared && !hosts.is_empty() {
        let written: Vec<_> = (0..hosts.len())
            .map(|at| found.written(&spec("hosts").index(at)))
            .collect();
        let text = format!(
            "one or more host {} defined in VirtualService {} not found in Gateway {name}.",
            list(written),
            found.full_name(),
        );
        let code = Code::VirtualServiceHostNotFoundInGateway;
        context.report(code, found, &path, text);
    }
}
