//! Workloads that register themselves.

use std::time::Duration;

use meltemi_xds::pb::envoy::config::core::v3::Node;
use meltemi_xds::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use meltemi_xds_server::Kind;
use prost_types::value::Kind as ValueKind;
use prost_types::{Struct, Value};
use serde_json::Value as Json;
use tonic::Code;

use crate::client::{Delta, plaintext, sidecar};
use crate::harness::{Plane, SERVICES, eventually};
use crate::tls::secure;

const CATALOG: &str = "outbound|80||catalog.shop.svc.cluster.local";

const GROUP: &str = "
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: { name: catalog-vms, namespace: shop }
spec:
  metadata: { labels: { app: catalog } }
  template: { serviceAccount: catalog, ports: { http: 8080 } }
";

const WRITTEN: &str = "
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: written
  namespace: shop
  annotations: { proxy.istio.io/health-checks-enabled: 'true' }
spec: { address: 10.1.0.9, labels: { app: catalog } }
status: { conditions: [{ type: Healthy, status: 'True' }] }
";

fn text(text: &str) -> Value {
    Value {
        kind: Some(ValueKind::StringValue(text.to_owned())),
    }
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let fields = fields.map(|(key, value)| (key.to_owned(), value));
    Value {
        kind: Some(ValueKind::StructValue(Struct {
            fields: fields.into_iter().collect(),
        })),
    }
}

/// The node of a machine with this in its metadata.
fn machine(account: &str, key: &str, value: &str, probed: bool) -> Node {
    let mut node = sidecar("vm", "shop", account);
    let fields = &mut node.metadata.as_mut().unwrap().fields;
    fields.insert(key.to_owned(), text(value));
    if probed {
        let probe = object([("tcpSocket", object([]))]);
        fields.insert(
            "PROXY_CONFIG".to_owned(),
            object([("readinessProbe", probe)]),
        );
    }
    node
}

struct Shop {
    plane: Plane,
    client: Delta,
}

impl Shop {
    async fn open(files: &[(&str, &str)]) -> Self {
        let mut all = vec![("services.yaml", SERVICES)];
        all.extend(files);
        let grace = Duration::from_millis(300);
        let plane = Plane::with(&all, |it| it.registration_grace = grace).await;
        let plane = plane.unwrap();
        let mut node = sidecar("web", "shop", "web");
        node.id = node.id.replace("10.1.0.9", "10.1.0.8");
        let mut client = Delta::open(plaintext(&plane).await, node, None).await;
        client.subscribe(Kind::Cluster, &[]).await;
        client.take(Kind::Cluster).await;
        client.subscribe(Kind::Endpoint, &[CATALOG]).await;
        client.take(Kind::Endpoint).await;
        Self { plane, client }
    }

    /// A stream of a machine over TLS.
    async fn register(&self, node: Node, account: &str) -> Delta {
        let mut stream = self.reporter(node, account).await;
        stream.subscribe(Kind::Cluster, &[]).await;
        stream
    }

    /// A stream of the machine's agent that has asked for nothing.
    async fn reporter(&self, node: Node, account: &str) -> Delta {
        let hour = Duration::from_secs(3600);
        let token = self.plane.control.tokens();
        let token = token.issue("shop", account, hour).unwrap();
        Delta::open(secure(&self.plane, None).await, node, Some(&token)).await
    }

    /// The endpoints that the client has.
    fn has(&self) -> Vec<String> {
        let found: ClusterLoadAssignment = self.client.resource(Kind::Endpoint, CATALOG);
        let endpoints = found.endpoints.iter().flat_map(|it| &it.lb_endpoints);
        let mut found: Vec<_> = endpoints
            .map(|it| format!("{:?}", it.host_identifier))
            .collect();
        for text in &mut found {
            let known = ["10.1.0.5", "10.1.0.9"]
                .iter()
                .find(|it| text.contains(**it));
            *text = (*known.unwrap()).to_owned();
        }
        found.sort();
        found
    }

    /// The endpoints after the next push, which is of endpoints alone.
    async fn next(&mut self) -> Vec<String> {
        let (kind, message) = self.client.next().await.unwrap();
        assert_eq!(kind, Kind::Endpoint, "and nothing else");
        self.client.take_in(kind, &message).await;
        self.has()
    }

    async fn entries(&self) -> Vec<Json> {
        let rows = self.plane.json("/debug/configz").await;
        let rows = rows.as_array().unwrap().iter();
        let entries = rows.filter(|it| it["kind"] == "WorkloadEntry");
        entries.cloned().collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_an_endpoint_while_it_is_connected_and_healthy() {
    let mut shop = Shop::open(&[("group.yaml", GROUP)]).await;
    assert_eq!(shop.has(), ["10.1.0.5"]);
    let node = machine("catalog", "AUTO_REGISTER_GROUP", "catalog-vms", true);
    let mut vm = shop.register(node.clone(), "catalog").await;
    vm.take(Kind::Cluster).await;
    let entries = eventually("the entry is there", async || {
        let entries = shop.entries().await;
        (!entries.is_empty()).then_some(entries)
    })
    .await;
    let metadata = &entries[0]["metadata"];
    assert_eq!(metadata["name"], "catalog-vms-10.1.0.9");
    assert_eq!(metadata["labels"]["app"], "catalog");
    let annotation = &metadata["annotations"]["istio.io/autoRegistrationGroup"];
    assert_eq!(annotation, "catalog-vms");

    let both = ["10.1.0.5", "10.1.0.9"];
    vm.report(None).await;
    assert_eq!(shop.next().await, both);
    vm.report(Some("it does not answer")).await;
    assert_eq!(shop.next().await, ["10.1.0.5"]);

    // A stream for reports alone is no proxy's.
    let mut reporter = shop.reporter(node.clone(), "catalog").await;
    reporter.report(None).await;
    assert_eq!(shop.next().await, both);
    let rows = shop.plane.json("/debug/syncz").await;
    let of_vm = rows.as_array().unwrap().iter();
    let of_vm = of_vm.filter(|it| it["proxy"] == "vm.shop");
    assert_eq!(of_vm.count(), 1, "{rows}");

    // One of its streams is enough, and who comes back in time keeps the entry.
    drop(vm);
    drop(reporter);
    let vm = shop.register(node, "catalog").await;
    eventually("it is back", async || {
        let entries = shop.entries().await;
        let annotations = &entries[0]["metadata"]["annotations"];
        annotations["istio.io/connectedAt"]
            .is_string()
            .then_some(())
    })
    .await;
    drop(vm);
    assert_eq!(shop.next().await, ["10.1.0.5"], "after the grace");
    assert_eq!(shop.entries().await, Vec::<Json>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_register_is_refused_with_the_reason() {
    let shop = Shop::open(&[("group.yaml", GROUP)]).await;
    let node = |group| machine("catalog", "AUTO_REGISTER_GROUP", group, false);
    let other = machine("web", "AUTO_REGISTER_GROUP", "catalog-vms", false);
    let open = plaintext(&shop.plane).await;
    let mut unproven = Delta::open(open, node("catalog-vms"), None).await;
    unproven.subscribe(Kind::Cluster, &[]).await;
    let cases = [
        (unproven, Code::PermissionDenied, "takes a proven identity"),
        (
            shop.register(other, "web").await,
            Code::PermissionDenied,
            "for the service account catalog",
        ),
        (
            shop.register(node("no-vms"), "catalog").await,
            Code::FailedPrecondition,
            "create the WorkloadGroup no-vms in the namespace shop",
        ),
    ];
    for (mut stream, code, part) in cases {
        let refused = stream.next().await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert!(refused.message().contains(part), "{refused}");
    }
    assert_eq!(shop.entries().await, Vec::<Json>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_written_entry_goes_by_its_status_until_somebody_reports() {
    let mut shop = Shop::open(&[("entry.yaml", WRITTEN)]).await;
    let both = ["10.1.0.5", "10.1.0.9"];
    assert_eq!(shop.has(), both);
    let unknown = WRITTEN.replace("status: 'True'", "status: 'False'");
    shop.plane.write("entry.yaml", &unknown);
    assert_eq!(shop.next().await, ["10.1.0.5"]);
    let node = machine("catalog", "WORKLOAD_ENTRY", "written", false);
    let mut vm = shop.register(node, "catalog").await;
    vm.report(None).await;
    assert_eq!(shop.next().await, both);
    drop(vm);
    assert_eq!(shop.next().await, ["10.1.0.5"], "nobody knows any more");
}
