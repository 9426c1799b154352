//! Gateways: the one that `up` adds, and which of their ports are to be published.
//!
//! In: the resources. Out: an ingress gateway where the manifests need one and have none; the service
//! ports that some Gateway resource serves.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use meltemi_model::{
    Config, Defaults, Gateway, Protocol, ResourceId, Service, TargetPort, Workload, WorkloadRole,
    convert,
};

use crate::pod::PodName;

/// A port of a gateway's service that some Gateway resource serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GatewayPort {
    /// `NAME.NAMESPACE` of the service.
    pub service: String,
    /// The service's port.
    pub port: u16,
    /// Whether TLS is served on it.
    pub tls: bool,
    /// Where the gateway's pods that take requests listen.
    pub backends: Vec<SocketAddr>,
}

/// The ingress gateway that is added, as Istio's installation has it.
const INGRESS_GATEWAY: &str = "
apiVersion: v1
kind: Service
metadata:
  name: istio-ingressgateway
  namespace: istio-system
  labels: {app: istio-ingressgateway, istio: ingressgateway}
spec:
  type: LoadBalancer
  selector: {app: istio-ingressgateway, istio: ingressgateway}
  ports:
  - {name: http2, port: 80, targetPort: 8080}
  - {name: https, port: 443, targetPort: 8443}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: istio-ingressgateway
  namespace: istio-system
  labels: {app: istio-ingressgateway, istio: ingressgateway}
spec:
  template:
    metadata:
      labels: {app: istio-ingressgateway, istio: ingressgateway}
      annotations: {inject.istio.io/templates: gateway}
    spec:
      serviceAccountName: istio-ingressgateway
      containers:
      - name: istio-proxy
        image: auto
";

/// Whether a workload is a gateway: it says so, or it is written as one that the injector completes.
pub(super) fn is_gateway(workload: &Workload) -> bool {
    let named = workload.meta.labels.get("istio");
    // a container `istio-proxy` is the injector's, and no container of the workload
    let completed = workload.containers.iter().all(|it| it.image == "auto");
    workload.role == WorkloadRole::Gateway
        || completed && named.is_some_and(|it| it.ends_with("gateway"))
}

/// The ingress gateway, if a Gateway resource wants the usual one and no workload is it.
pub(super) fn complement(written: &BTreeMap<ResourceId, Arc<Config>>) -> Vec<Config> {
    let added: Vec<_> = meltemi_api::parse(None, INGRESS_GATEWAY)
        .expect("the text is YAML")
        .iter()
        .map(|document| convert(document, &Defaults::default()).expect("the resources are valid"))
        .collect();
    let ours = added.iter().find_map(|config| config.workloads().first());
    let labels = &ours.expect("a workload is among them").meta.labels;
    let wanting: Vec<_> = gateways(written)
        .filter(|gateway| !gateway.selector.is_empty() && gateway.selector.selects(labels))
        .collect();
    let is_served = |gateway: &&&Gateway| {
        let workloads = written.values().flat_map(|config| config.workloads());
        let mut gateways = workloads.filter(|it| is_gateway(it));
        gateways.any(|it| gateway.selector.selects(&it.meta.labels))
    };
    let unserved = !wanting.is_empty() && !wanting.iter().any(|it| is_served(&it));
    let mut added = added;
    // a service of the same name that is written holds
    added.retain(|config| unserved && !written.contains_key(&config.id()));
    added
}

/// The ports of gateways that some Gateway resource serves.
pub(super) fn ports(told: &BTreeMap<ResourceId, Arc<Config>>) -> Vec<GatewayPort> {
    let mut ports = Vec::new();
    for service in services(told) {
        let Some(selector) = &service.selector else {
            continue;
        };
        let workloads = told.values().flat_map(|config| config.workloads());
        let pods: Vec<_> = workloads
            .filter(|it| it.role == WorkloadRole::Gateway)
            .filter(|it| it.meta.namespace == service.meta.namespace)
            .filter(|it| selector.selects(&it.meta.labels))
            .collect();
        let tcp = service
            .ports
            .iter()
            .filter(|it| it.protocol != Protocol::Udp);
        for port in tcp {
            let target = |pod: &Workload| match &port.target {
                TargetPort::Number(number) => Some(*number),
                TargetPort::Name(name) => pod.named_port(name),
            };
            let servers = gateways(told)
                .filter(|gateway| {
                    pods.iter()
                        .any(|it| gateway.selector.selects(&it.meta.labels))
                })
                .flat_map(|gateway| &gateway.servers);
            let numbers: Vec<_> = pods.iter().filter_map(|it| target(it)).collect();
            let mut serving = servers.filter(|server| {
                server.port.number == port.number || numbers.contains(&server.port.number)
            });
            let Some(server) = serving.next() else {
                continue;
            };
            let tls = server.tls.is_some();
            let ready = pods.iter().filter(|it| it.ready);
            let backends = ready.filter_map(|it| {
                let ip = it.addresses.first()?;
                Some(SocketAddr::new(*ip, target(it)?))
            });
            ports.push(GatewayPort {
                service: service_name(service),
                port: port.number,
                tls,
                backends: backends.collect(),
            });
        }
    }
    ports
}

fn service_name(service: &Service) -> String {
    let name = PodName {
        namespace: service.meta.namespace.as_str().to_owned(),
        name: service.meta.name.to_string(),
    };
    name.to_string()
}

fn gateways(configs: &BTreeMap<ResourceId, Arc<Config>>) -> impl Iterator<Item = &Gateway> {
    configs.values().filter_map(|config| match config.as_ref() {
        Config::Gateway(it) => Some(it),
        _ => None,
    })
}

fn services(configs: &BTreeMap<ResourceId, Arc<Config>>) -> impl Iterator<Item = &Service> {
    configs.values().filter_map(|config| match config.as_ref() {
        Config::Service(it) => Some(it),
        _ => None,
    })
}
