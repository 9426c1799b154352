#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use meltemi_model::{Config, Defaults, Kind, Service, convert};
use meltemi_source::Event;

use super::{AccessLogging, Platform};
use crate::addresses::Loopback;
use crate::pod::{PodName, ProxyKind};

const SHOP: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}]
";

const GATEWAY: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: shop, namespace: shop}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ['*']
";

fn deployment(replicas: u32, version: &str) -> String {
    format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: shop}}
spec:
  replicas: {replicas}
  template:
    metadata: {{labels: {{app: web, version: {version}}}}}
    spec:
      containers:
      - name: web
        image: acme/web:{version}
        ports: [{{containerPort: 8080}}]
"
    )
}

fn configs(yaml: &str) -> Vec<Arc<Config>> {
    let documents = meltemi_api::parse(None, yaml).unwrap();
    let configs = documents
        .iter()
        .map(|it| convert(it, &Defaults::default()).unwrap());
    configs.map(Arc::new).collect()
}

fn apply(platform: &mut Platform, yaml: &str) -> Vec<Event> {
    let configs = configs(yaml).into_iter();
    configs
        .flat_map(|it| platform.on(Event::Apply(it)))
        .collect()
}

fn started(yaml: &[&str]) -> Platform {
    let mut platform = Platform::new(Loopback::default(), AccessLogging::Configured);
    platform.on(Event::Init);
    for text in yaml {
        apply(&mut platform, text);
    }
    platform.on(Event::Ready);
    for pod in platform.pods() {
        platform.set_ready(&pod.name(), true);
    }
    assert!(
        platform.started().is_empty(),
        "nothing changes by the start"
    );
    platform
}

fn names(platform: &Platform) -> Vec<PodName> {
    platform.pods().iter().map(|it| it.name()).collect()
}

fn applied(events: &[Event]) -> Vec<&Config> {
    let configs = events.iter().filter_map(|event| match event {
        Event::Apply(config) => Some(config.as_ref()),
        _ => None,
    });
    configs.collect()
}

#[test]
fn pods_and_services_get_addresses() {
    let mut platform = Platform::new(Loopback::default(), AccessLogging::Configured);
    let events = apply(&mut platform, SHOP);
    let [
        Config::Namespace(_),
        Config::Service(Service { addresses, .. }),
    ] = applied(&events)[..]
    else {
        panic!("{events:?}");
    };
    assert_eq!(format!("{addresses:?}"), "Assigned([127.77.64.1])");
    apply(&mut platform, &deployment(2, "v1"));
    let pods = platform.pods();
    assert_eq!(pods.len(), 2);
    assert_eq!(pods[1].ip().to_string(), "127.77.1.2");
    assert_eq!(pods[1].application_ip().to_string(), "127.77.129.2");
    assert!(pods.iter().all(|it| it.proxy == ProxyKind::Sidecar));
}

#[test]
fn the_same_resource_is_said_once() {
    let mut platform = started(&[SHOP, &deployment(1, "v1")]);
    assert!(apply(&mut platform, &deployment(1, "v1")).is_empty());
}

#[test]
fn a_namespace_that_comes_last_gives_sidecars() {
    let mut platform = Platform::new(Loopback::default(), AccessLogging::Configured);
    apply(&mut platform, &deployment(1, "v1"));
    let [pod] = &platform.pods()[..] else {
        panic!()
    };
    assert_eq!(
        (pod.proxy, pod.ip()),
        (ProxyKind::None, pod.application_ip())
    );
    let events = apply(&mut platform, SHOP);
    let said = applied(&events);
    assert!(
        said.iter().any(|it| it.kind() == Kind::Deployment),
        "{said:?}"
    );
    let [pod] = &platform.pods()[..] else {
        panic!()
    };
    assert_eq!(pod.proxy, ProxyKind::Sidecar);
    assert_ne!(pod.ip(), pod.application_ip());
}

#[test]
fn a_new_template_replaces_pods_when_its_own_are_ready() {
    let mut platform = started(&[SHOP, &deployment(1, "v1")]);
    let old = names(&platform);
    apply(&mut platform, &deployment(1, "v2"));
    let both = names(&platform);
    assert_eq!(both.len(), 2);
    let new = both.iter().find(|it| !old.contains(it)).unwrap();
    let ready: Vec<_> = platform.pods().iter().map(|it| it.workload.ready).collect();
    assert_eq!(ready, [false, true], "the new one first");
    let events = platform.set_ready(new, true);
    let [Config::Deployment(deployment)] = applied(&events)[..] else {
        panic!("{events:?}");
    };
    assert_eq!(deployment.workloads.len(), 1);
    assert!(deployment.workloads[0].ready);
    assert_eq!(names(&platform), std::slice::from_ref(new));
}

#[test]
fn fewer_replicas_leave_the_others_alone() {
    let mut platform = started(&[SHOP, &deployment(3, "v1")]);
    let before = names(&platform);
    apply(&mut platform, &deployment(1, "v1"));
    assert_eq!(names(&platform), before[..1]);
    let id = configs(&deployment(1, "v1"))[0].id();
    assert_eq!(platform.on(Event::Delete(id.clone())), [Event::Delete(id)]);
    assert!(names(&platform).is_empty());
}

#[test]
fn a_pod_whose_process_died_gets_no_requests() {
    let mut platform = started(&[SHOP, &deployment(2, "v1")]);
    let dead = names(&platform)[0].clone();
    let events = platform.set_ready(&dead, false);
    let [Config::Deployment(deployment)] = applied(&events)[..] else {
        panic!("{events:?}");
    };
    let ready: Vec<_> = deployment.workloads.iter().map(|it| it.ready).collect();
    assert_eq!(ready, [false, true]);
}

#[test]
fn a_gateway_is_added_where_one_is_wanted() {
    let mut platform = started(&[SHOP, &deployment(1, "v1")]);
    assert!(platform.gateway_ports().is_empty());
    let events = apply(&mut platform, GATEWAY);
    assert_eq!(
        applied(&events).len(),
        3,
        "gateway, its service and deployment: {events:?}"
    );
    let pods = platform.pods();
    let gateway = pods
        .iter()
        .find(|it| it.proxy == ProxyKind::Router)
        .unwrap();
    assert_eq!(gateway.workload.workload_name(), "istio-ingressgateway");
    let ports = platform.gateway_ports();
    assert_eq!(ports.len(), 1, "nothing is served on 443: {ports:?}");
    assert_eq!((ports[0].port, ports[0].backends.len()), (80, 0));
    platform.set_ready(&gateway.name(), true);
    let backends = platform.gateway_ports().remove(0).backends;
    assert_eq!(backends[0].to_string(), format!("{}:8080", gateway.ip()));

    let id = configs(GATEWAY)[0].id();
    let events = platform.on(Event::Delete(id));
    assert_eq!(events.len(), 3, "they go with it: {events:?}");
    assert_eq!(platform.pods().len(), 1);
}

#[test]
fn a_gateway_of_ones_own_is_enough() {
    let own = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: edge, namespace: shop}
spec:
  template:
    metadata: {labels: {istio: ingressgateway}}
    spec:
      containers: [{name: istio-proxy, image: auto}]
";
    let platform = started(&[SHOP, GATEWAY, own]);
    let pods = platform.pods();
    assert_eq!(pods.len(), 1);
    assert_eq!(pods[0].proxy, ProxyKind::Router);
}

#[test]
fn the_access_log_can_be_forced() {
    let quiet = "
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: 'accessLogFile: \"\"'
";
    let cases = [
        (AccessLogging::Configured, quiet, Some(false)),
        (AccessLogging::On, quiet, Some(true)),
        (AccessLogging::Off, quiet, Some(false)),
        (AccessLogging::Configured, "", None),
        (AccessLogging::Off, "", Some(false)),
    ];
    for (choice, written, expected) in cases {
        let mut platform = Platform::new(Loopback::default(), choice);
        let mut events = apply(&mut platform, written);
        events.extend(platform.on(Event::Ready));
        let mesh = applied(&events)
            .into_iter()
            .find_map(|config| match config {
                Config::MeshConfig(mesh) => Some(mesh.access_log.is_some()),
                _ => None,
            });
        assert_eq!(mesh, expected, "{choice:?} {written}");
    }
}
