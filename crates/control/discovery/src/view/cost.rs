//! What a change costs does not grow with what it does not touch: counted, and not timed.
//!
//! Two meshes, in which two namespaces of fifty services have proxies; one mesh has twenty times as many
//! services elsewhere. The same change must make the same work in both.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_model::{Config, Defaults, convert};
use meltemi_snapshot::Store;
use meltemi_xds::json::from_json;
use meltemi_xds_server::{Form, Kind};

use super::MeshView;
use super::model::Model;

/// Services of each namespace.
const SERVICES: usize = 50;
/// Proxies of each of the first two namespaces.
const PROXIES: usize = 6;

/// Everything that is counted of a push.
#[derive(Debug, PartialEq)]
struct Cost {
    remade: usize,
    examined: usize,
    told: usize,
    visited: usize,
    made: usize,
    changed: BTreeMap<Kind, usize>,
    /// Messages that were sent.
    messages: usize,
}

struct Mesh {
    store: Store,
    view: Arc<MeshView>,
    models: Vec<Model>,
}

fn configs(text: &str) -> Vec<Config> {
    let documents = meltemi_api::parse(None, text).unwrap();
    let defaults = Defaults::default();
    let all = documents.iter().map(|it| convert(it, &defaults).unwrap());
    all.collect()
}

/// A resource of a service, in the service's namespace, as one document.
fn resource(kind: &str, number: usize, labels: &str, rest: &str) -> String {
    let namespace = number / SERVICES;
    let version = match kind {
        "Service" | "Pod" => "v1",
        _ => "networking.istio.io/v1",
    };
    format!(
        "---\napiVersion: {version}\nkind: {kind}\n\
         metadata: {{name: svc-{number}, namespace: ns-{namespace}, labels: {{{labels}}}}}\n{rest}\n"
    )
}

fn host(number: usize) -> String {
    format!("svc-{number}.ns-{}.svc.cluster.local", number / SERVICES)
}

fn address(number: usize) -> String {
    format!("{}.{}", number >> 8, number & 255)
}

fn service(number: usize, target: u16) -> String {
    let rest = format!(
        "spec: {{clusterIP: 10.128.{}, selector: {{app: app-{number}}}, \
         ports: [{{name: http, port: 80, targetPort: {target}}}]}}",
        address(number)
    );
    resource("Service", number, "", &rest)
}

/// The pod of a service, with an address of this net.
fn pod(number: usize, net: u8) -> String {
    let rest = format!(
        "spec: {{containers: [{{name: app, image: app}}]}}\nstatus: {{podIP: 10.{net}.{}}}",
        address(number)
    );
    resource("Pod", number, &format!("app: app-{number}"), &rest)
}

fn routes(number: usize, timeout: u8) -> String {
    let host = host(number);
    let rest = format!(
        "spec: {{hosts: [{host}], http: [{{timeout: {timeout}s, route: [{{destination: {{host: {host}}}}}]}}]}}"
    );
    resource("VirtualService", number, "", &rest)
}

fn rule(number: usize, connections: u8) -> String {
    let rest = format!(
        "spec: {{host: {}, trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: {connections}}}}}}}}}",
        host(number)
    );
    resource("DestinationRule", number, "", &rest)
}

/// A service of the outside without addresses, for which some are found.
fn outside(number: usize, endpoint: u8) -> String {
    let rest = format!(
        "spec: {{hosts: [outside-{number}.example.com], resolution: STATIC, \
         ports: [{{number: 80, name: http, protocol: HTTP}}], endpoints: [{{address: 192.0.2.{endpoint}}}]}}"
    );
    resource("ServiceEntry", number, "", &rest)
}

/// Each namespace sees itself alone.
const SIDECAR: &str = "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: istio-system}
spec: {egress: [{hosts: ['./*', 'istio-system/*']}]}
";

impl Mesh {
    fn of(services: usize) -> Self {
        let of_service = |number| {
            let (service, pod) = (service(number, 8080), pod(number, 0));
            let policies = routes(number, 5) + &rule(number, 5);
            configs(&(service + &pod + &policies + &outside(number, 1)))
        };
        let mut store = Store::default();
        for config in configs(SIDECAR)
            .into_iter()
            .chain((0..services).flat_map(of_service))
        {
            store.apply(config);
        }
        let view = Arc::new(MeshView::new(store.commit().snapshot));
        let nodes = (0..2 * PROXIES).map(|place| {
            let (namespace, inside) = (place / PROXIES, place % PROXIES);
            let number = namespace * SERVICES + inside;
            let id = format!(
                "sidecar~10.0.{}~svc-{number}.ns-{namespace}~ns-{namespace}.svc.cluster.local",
                address(number)
            );
            from_json(serde_json::json!({"id": id})).unwrap()
        });
        let models = nodes.map(|node| Model::new(node, Form::Delta, &view));
        let mut models: Vec<_> = models.collect();
        models.iter_mut().for_each(Model::settle);
        Self {
            store,
            view,
            models,
        }
    }

    fn cost(&mut self, change: &str) -> Cost {
        for config in configs(change) {
            self.store.apply(config);
        }
        let commit = self.store.commit();
        self.view.publish(&commit.snapshot, &commit.delta);
        let messages = self.models.iter_mut().map(Model::settle_counting).sum();
        let (_, work) = self.view.work().remove(0);
        Cost {
            remade: commit.remade,
            examined: work.examined,
            told: work.told,
            visited: work.visited,
            made: work.made,
            changed: work.changed,
            messages,
        }
    }
}

#[test]
fn a_change_costs_the_same_however_much_there_is_that_it_does_not_touch() {
    let (mut small, mut large) = (Mesh::of(2 * SERVICES), Mesh::of(40 * SERVICES));
    let mut cost = |name: &str, change: &str| {
        let (small, large) = (small.cost(change), large.cost(change));
        assert_eq!(small, large, "{name}");
        assert_eq!(small.told, PROXIES, "{name}: {small:?}");
        small
    };
    let endpoint = cost("endpoint", &pod(30, 1));
    assert_eq!(endpoint.changed, [(Kind::Endpoint, 1)].into());
    assert_eq!((endpoint.made, endpoint.messages), (1, PROXIES));
    assert_eq!(endpoint.remade, 1);
    let routes = cost("routes", &routes(30, 6));
    assert_eq!(routes.changed, [(Kind::Route, 1)].into(), "{routes:?}");
    assert_eq!(routes.messages, PROXIES);
    let rule = cost("rule", &rule(30, 6));
    assert_eq!(rule.changed, [(Kind::Cluster, 1)].into(), "{rule:?}");
    cost("service", &service(30, 8081));
    let outside = cost("outside", &outside(30, 2));
    assert_eq!(outside.changed, [(Kind::Endpoint, 1)].into(), "{outside:?}");
}
