//! Tests of indexes, joins and what commits say of themselves.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_model::{
    Config, Defaults, EndpointAddress, GatewayName, GatewayRef, Kind, Labels, NamespaceName,
    ResourceId,
};

use crate::{Served, Snapshot, Store};

const SHOP: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Service
metadata: {name: catalog, namespace: shop}
spec:
  selector: {app: catalog}
  ports:
  - {name: http, port: 80, targetPort: web}
  - {name: dns, port: 53, protocol: UDP}
---
apiVersion: v1
kind: Service
metadata: {name: nothing, namespace: shop}
spec:
  ports: [{port: 80}]
---
apiVersion: v1
kind: Pod
metadata: {name: catalog-1, namespace: shop, labels: {app: catalog}}
spec:
  serviceAccountName: catalog
  containers: [{name: catalog, image: catalog, ports: [{name: web, containerPort: 8080}]}]
status: {podIP: 10.0.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: catalog-2, namespace: shop, labels: {app: catalog}}
spec:
  containers: [{name: catalog, image: catalog}]
status: {podIP: 10.0.0.2}
";

fn configs(yaml: &str) -> Vec<Config> {
    meltemi_api::parse(None, yaml)
        .unwrap()
        .iter()
        .map(|document| meltemi_model::convert(document, &Defaults::default()).unwrap())
        .collect()
}

fn store(yaml: &str) -> Store {
    let mut store = Store::default();
    apply(&mut store, yaml);
    store.commit();
    store
}

fn apply(store: &mut Store, yaml: &str) {
    for config in configs(yaml) {
        store.apply(config);
    }
}

fn id(kind: Kind, namespace: &str, name: &str) -> ResourceId {
    ResourceId {
        kind,
        namespace: namespace.into(),
        name: name.into(),
    }
}

/// The addresses of the endpoints of `shop/catalog`, and whether they take mutual TLS.
fn catalog(snapshot: &Snapshot) -> Vec<(String, bool)> {
    let service = snapshot.services().get(&"shop".into(), "catalog").unwrap();
    let endpoints = snapshot.endpoints(service).unwrap();
    endpoints
        .port(80)
        .iter()
        .map(|it| match &it.address {
            EndpointAddress::Ip(ip) => (format!("{ip}:{}", it.port), it.mtls),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn endpoints_are_the_selected_workloads_that_have_the_port() {
    let store = store(SHOP);
    let snapshot = store.snapshot();
    // The second has no port named `web`.
    assert_eq!(catalog(snapshot), [("10.0.0.1:8080".to_owned(), true)]);
    let nothing = snapshot.services().get(&"shop".into(), "nothing").unwrap();
    let endpoints = snapshot.endpoints(nothing).unwrap();
    assert!(endpoints.port(80).is_empty() && endpoints.accounts.is_empty());
}

#[test]
fn a_commit_says_what_changed_and_shares_the_rest() {
    let mut store = store(SHOP);
    let before = store.snapshot().clone();
    let unchanged = store.commit();
    assert!(unchanged.delta.is_empty());
    assert!(Arc::ptr_eq(&unchanged.snapshot, &before));

    apply(&mut store, SHOP);
    assert!(store.commit().delta.is_empty(), "the same again");

    store.delete(&id(Kind::Pod, "shop", "catalog-1"));
    let commit = store.commit();
    let changed = BTreeSet::from([id(Kind::Pod, "shop", "catalog-1")]);
    assert_eq!(commit.delta.changed, changed);
    let hosts: Vec<_> = commit
        .delta
        .endpoints
        .iter()
        .map(|(_, host)| host.to_string())
        .collect();
    assert_eq!(hosts, ["catalog.shop.svc.cluster.local"]);
    assert!(commit.delta.only_endpoints());
    assert_eq!(commit.snapshot.version(), before.version() + 1);
    assert_eq!(catalog(&commit.snapshot), []);
    assert_eq!(catalog(&before).len(), 1, "an old snapshot does not change");
    assert!(std::ptr::eq(commit.snapshot.services(), before.services()));
    let nothing = before.services().get(&"shop".into(), "nothing").unwrap();
    assert!(Arc::ptr_eq(
        commit.snapshot.endpoints(nothing).unwrap(),
        before.endpoints(nothing).unwrap()
    ));
}

#[test]
fn injection_joins_namespace_and_workload() {
    let mut store = store(SHOP);
    apply(
        &mut store,
        "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}",
    );
    let commit = store.commit();
    assert_eq!(
        catalog(&commit.snapshot),
        [("10.0.0.1:8080".to_owned(), false)]
    );
    assert!(!commit.delta.only_endpoints());
    let pod = commit.snapshot.workloads().get(&"shop".into(), "catalog-1");
    assert!(!commit.snapshot.is_injected(pod.unwrap()));

    apply(
        &mut store,
        "
apiVersion: v1
kind: Pod
metadata:
  name: catalog-1
  namespace: shop
  labels: {app: catalog, security.istio.io/tlsMode: istio}
spec:
  containers: [{name: catalog, image: catalog, ports: [{name: web, containerPort: 81}]}]
status: {podIP: 10.0.0.3}
",
    );
    let commit = store.commit();
    assert_eq!(
        catalog(&commit.snapshot),
        [("10.0.0.3:81".to_owned(), true)]
    );
    let workloads = commit.snapshot.workloads();
    assert!(workloads.by_address("10.0.0.1".parse().unwrap()).is_none());
    assert!(workloads.by_address("10.0.0.3".parse().unwrap()).is_some());
}

#[test]
fn the_mesh_configuration_comes_and_goes() {
    let mut store = store(
        "
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: 'enableAutoMtls: false'}
",
    );
    assert!(!store.snapshot().mesh().enable_auto_mtls);
    store.delete(&id(Kind::MeshConfig, "istio-system", "istio"));
    assert!(store.commit().delta.has(Kind::MeshConfig));
    assert!(store.snapshot().mesh().enable_auto_mtls);
}

const RULES: &str = "
apiVersion: v1
kind: Service
metadata: {name: catalog, namespace: shop}
spec: {ports: [{port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: in-root, namespace: istio-system}
spec: {host: '*.local'}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: of-service1, namespace: shop}
spec:
  host: catalog
  subsets: [{name: v1, labels: {version: v1}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: of-service2, namespace: shop}
spec:
  host: catalog
  trafficPolicy: {loadBalancer: {simple: RANDOM}}
  subsets: [{name: v1, labels: {version: other}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: private-of-service, namespace: shop}
spec:
  host: catalog
  exportTo: [private]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: of-client, namespace: web}
spec: {host: '*.shop.svc.cluster.local'}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: of-batch, namespace: web}
spec:
  host: '*.shop.svc.cluster.local'
  workloadSelector: {matchLabels: {app: batch}}
";

#[test]
fn the_rule_is_the_clients_then_the_services_then_the_roots() {
    let mut store = store(RULES);
    let lookup = |store: &Store, client: &str, app: &str| {
        let snapshot = store.snapshot();
        let service = snapshot.services().get(&"shop".into(), "catalog").unwrap();
        let labels = Labels::from_iter([("app", app)]);
        let rule = snapshot.destination_rule(&client.into(), &labels, service);
        rule.map(|it| it.meta.name.to_string())
    };
    assert_eq!(lookup(&store, "web", "web").unwrap(), "of-client");
    assert_eq!(lookup(&store, "web", "batch").unwrap(), "of-batch");
    assert_eq!(lookup(&store, "other", "batch").unwrap(), "of-service1");
    assert_eq!(lookup(&store, "private", "web").unwrap(), "of-service1");
    assert_eq!(
        store.snapshot().selecting_keys().iter().collect::<Vec<_>>(),
        ["app"]
    );

    for name in ["of-service1", "of-service2"] {
        store.delete(&id(Kind::DestinationRule, "shop", name));
    }
    store.commit();
    assert_eq!(
        lookup(&store, "private", "web").unwrap(),
        "private-of-service"
    );
    assert_eq!(lookup(&store, "other", "web").unwrap(), "in-root");
}

#[test]
fn rules_for_the_same_host_become_one() {
    let store = store(RULES);
    let snapshot = store.snapshot();
    let service = snapshot.services().get(&"shop".into(), "catalog").unwrap();
    let rule = snapshot.destination_rule(&"other".into(), &Labels::default(), service);
    let rule = rule.unwrap();
    let names: Vec<_> = rule.subsets.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["v1", "v2"]);
    assert_eq!(rule.subsets[0].labels.get("version"), Some("v1"));
    assert!(rule.traffic_policy.settings.load_balancer.is_some());
}

#[test]
fn virtual_services_apply_where_they_say_to_whom_they_say_oldest_first() {
    let store = store(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: b, namespace: shop, creationTimestamp: '2024-01-02T00:00:00Z'}
spec: &spec
  hosts: [catalog]
  gateways: [mesh, ingress]
  http: [{directResponse: {status: 200}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a, namespace: shop, creationTimestamp: '2024-01-01T00:00:00Z'}
spec:
  hosts: [catalog]
  exportTo: [shop]
  http: [{directResponse: {status: 200}}]
",
    );
    let index = store.snapshot().virtual_services();
    let at = |gateway: &GatewayRef, namespace: &str| -> Vec<String> {
        let namespace = NamespaceName::from(namespace);
        let found = index.at(gateway, &namespace);
        found.map(|it| it.meta.name.to_string()).collect()
    };
    assert_eq!(at(&GatewayRef::Mesh, "shop"), ["a", "b"]);
    assert_eq!(at(&GatewayRef::Mesh, "other"), ["b"]);
    let ingress = GatewayRef::Gateway(GatewayName {
        namespace: "shop".into(),
        name: "ingress".into(),
    });
    assert_eq!(at(&ingress, "shop"), ["b"]);
}

#[test]
fn targets_are_what_a_workload_serves() {
    let store = store(SHOP);
    let snapshot = store.snapshot();
    let pod = snapshot
        .workloads()
        .get(&"shop".into(), "catalog-1")
        .unwrap();
    let targets = |workload| {
        let found = snapshot.targets(&Served {
            namespace: &"shop".into(),
            labels: &pod.meta.labels,
            addresses: &[],
            workload,
        });
        found
            .into_iter()
            .map(|it| (it.service.meta.name.to_string(), it.port.number, it.target))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        targets(Some(pod.as_ref())),
        [("catalog".to_owned(), 80, 8080)]
    );
    assert_eq!(targets(None), [], "nobody knows the port named `web`");
}

#[test]
fn who_sees_what_does_not_say_it_is_decided_by_the_mesh() {
    let mut store = store(
        "
apiVersion: v1
kind: Service
metadata: {name: silent, namespace: shop}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: open, namespace: shop, annotations: {networking.istio.io/exportTo: '*'}}
spec: {ports: [{port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: root, namespace: web}
spec:
  hosts: [silent.shop.svc.cluster.local]
  http: [{delegate: {name: leaf, namespace: shop}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: leaf, namespace: shop}
spec: {http: [{route: [{destination: {host: silent.shop.svc.cluster.local}}]}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: silent, namespace: shop}
spec: {host: silent.shop.svc.cluster.local}
",
    );
    let seen = |store: &Store, from: &str| {
        let (snapshot, from) = (store.snapshot(), NamespaceName::from(from));
        let host = |name: &str| format!("{name}.shop.svc.cluster.local");
        let services = ["silent", "open"].map(|name| {
            let host = host(name);
            let mut all = snapshot.services().all_by_host(&host);
            all.any(|it| it.export_to.is_visible_in(&from))
        });
        let silent = snapshot.services().by_host(&host("silent")).unwrap();
        let routes = snapshot.virtual_services().at(&GatewayRef::Mesh, &from);
        let routes: usize = routes.map(|it| it.http.len()).sum();
        let rule = snapshot.destination_rule(&from, &Labels::default(), silent);
        (services, routes, rule.is_some())
    };
    assert_eq!(seen(&store, "web"), ([true, true], 1, true));
    apply(
        &mut store,
        "
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    defaultServiceExportTo: [., istio-system]
    defaultVirtualServiceExportTo: [.]
    defaultDestinationRuleExportTo: [.]
",
    );
    store.commit();
    assert_eq!(seen(&store, "web"), ([false, true], 0, false));
    // The delegating one is of web, so that shop does not see it.
    assert_eq!(seen(&store, "shop"), ([true, true], 0, true));
    assert_eq!(seen(&store, "istio-system").0, [true, true]);
    store.delete(&id(Kind::MeshConfig, "istio-system", "istio"));
    store.commit();
    assert_eq!(seen(&store, "web"), ([true, true], 1, true));
}

#[test]
fn an_entry_that_is_not_healthy_is_no_endpoint_and_its_identity_is_known() {
    let entry = |status: &str| {
        format!(
            "
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: vm
  namespace: shop
  annotations: {{proxy.istio.io/health-checks-enabled: 'true'}}
spec: {{address: 10.0.0.9, labels: {{app: catalog}}, serviceAccount: vm}}
status: {{conditions: [{{type: Ready, status: 'True'}}, {{type: Healthy, status: '{status}'}}]}}
"
        )
    };
    let mut store = store(SHOP);
    let of_shop = |snapshot: &Snapshot| {
        let service = snapshot.services().get(&"shop".into(), "catalog").unwrap();
        let found = snapshot.endpoints(service).unwrap();
        let accounts = found.accounts.iter().map(|it| it.name.to_string());
        (found.port(80).len(), accounts.collect::<Vec<_>>())
    };
    let mut accounts = Vec::new();
    for (status, endpoints) in [("False", 1), ("True", 2), ("Unknown", 1)] {
        apply(&mut store, &entry(status));
        let (found, of) = of_shop(&store.commit().snapshot);
        assert_eq!(found, endpoints, "{status}");
        accounts.push(of);
    }
    assert!(accounts[0].contains(&"vm".to_owned()));
    assert!(accounts.iter().all(|it| *it == accounts[0]), "{accounts:?}");
}
