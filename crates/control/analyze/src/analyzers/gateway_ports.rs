//! IST0101 and IST0162: Gateways that select no workload, or whose port no service of it offers.

use std::collections::BTreeSet;

use meltemi_model::{Config, Defaults, Labels, Protocol, Workload, convert};

use super::gateway_conflicts::selector;
use crate::context::{Context, Resource, spec};
use crate::{Analyzer, Code};

pub(crate) const ANALYZER: Analyzer = Analyzer {
    name: "gateway.IngressGatewayPortAnalyzer",
    description: "Checks a gateway's ports against the gateway's Kubernetes service ports",
    run,
};

/// The ingress gateway as it is installed by default: its files are seldom among those at hand.
const DEFAULT_GATEWAY: &str = "
apiVersion: v1
kind: Pod
metadata: { name: istio-ingressgateway, namespace: istio-system, labels: { app: istio-ingressgateway, istio: ingressgateway } }
spec: { containers: [{ name: istio-proxy, image: auto }] }
---
apiVersion: v1
kind: Service
metadata: { name: istio-ingressgateway, namespace: istio-system }
spec:
  selector: { istio: ingressgateway }
  ports:
  - { name: status-port, port: 15021 }
  - { name: http2, port: 80 }
  - { name: https, port: 443 }
  - { name: tcp, port: 31400 }
  - { name: tls, port: 15443 }
";

/// The default ingress gateway, unless the resources have one of their own.
pub(crate) fn default_gateway(resources: &[Resource]) -> Vec<Config> {
    let mut workloads = resources.iter().flat_map(|it| it.config.workloads());
    let label = |it: &Workload| it.meta.labels.get("istio") == Some("ingressgateway");
    if workloads.any(label) {
        return Vec::new();
    }
    let documents = meltemi_api::parse(None, DEFAULT_GATEWAY).unwrap_or_default();
    (documents.iter())
        .filter_map(|it| convert(it, &Defaults::default()).ok())
        .collect()
}

fn run(context: &Context) {
    for found in context.gateways() {
        let labels = &found.spec.selector;
        let name = selector(labels);
        let at = match labels.iter().next() {
            Some((key, _)) => spec("selector").key(key),
            None => spec("selector"),
        };
        let workloads: Vec<_> = (context.workloads())
            .filter(|it| labels.selects(&it.meta.labels))
            .collect();
        if workloads.is_empty() {
            let text = format!("Referenced selector not found: {name:?}");
            context.report(Code::ReferencedResourceNotFound, &found, &at, text);
            continue;
        }
        let offered = offered(context, &workloads);
        for server in &found.spec.servers {
            let number = server.port.number;
            if !offered.contains(&number) {
                let text = format!(
                    "The gateway is listening on a target port (port {number}) that is not defined in the Service associated with its workload instances (Pod selector {name}). If you need to access the gateway port through the gateway Service, it will not be available."
                );
                let code = Code::GatewayPortNotDefinedOnService;
                context.report(code, &found, &at, text);
            }
        }
    }
}

/// The TCP ports of all services that select one of the workloads.
fn offered(context: &Context, workloads: &[&Workload]) -> BTreeSet<u16> {
    let services = context.snapshot().services().iter();
    let selecting = services.filter(|service| {
        let selects = |it: &Labels, workload: &Workload| {
            workload.meta.namespace == service.meta.namespace && it.selects(&workload.meta.labels)
        };
        (service.selector.as_ref())
            .is_some_and(|labels| workloads.iter().any(|it| selects(labels, it)))
    });
    let ports = selecting.flat_map(|it| &it.ports);
    ports
        .filter(|it| it.protocol != Protocol::Udp)
        .map(|it| it.number)
        .collect()
}
