#![allow(clippy::unwrap_used)]
use super::*;

fn peer() -> PeerInfo {
    PeerInfo {
        instance: "web-1".to_owned(),
        workload: "web".to_owned(),
        namespace: "shop".to_owned(),
        owner: "kubernetes://apis/apps/v1/namespaces/shop/deployments/web".to_owned(),
        cluster: "Kubernetes".to_owned(),
        app: "web".to_owned(),
        version: "v1".to_owned(),
        canonical_name: "web".to_owned(),
        canonical_revision: "v1".to_owned(),
        service_account: "web".to_owned(),
    }
}

#[test]
fn a_header_says_the_same_at_the_other_end() {
    let header = peer().encode();
    assert_eq!(PeerInfo::decode(header.as_bytes()), Ok(peer()));
    let cache = PeerCache::default();
    let first = cache.get(header.as_bytes()).unwrap();
    assert!(Arc::ptr_eq(&first, &cache.get(header.as_bytes()).unwrap()));
    assert_eq!(cache.get(b"?"), None);
}

#[test]
fn node_metadata_describes_the_workload() {
    let text = |text: &str| Value::String(text.to_owned());
    let labels = [
        ("app", "web"),
        ("version", "v1"),
        ("service.istio.io/canonical-name", "web"),
        ("service.istio.io/canonical-revision", "v1"),
    ];
    let labels = labels.map(|(name, value)| (name.to_owned(), text(value)));
    let metadata = [
        ("NAME", text("web-1")),
        ("WORKLOAD_NAME", text("web")),
        ("NAMESPACE", text("shop")),
        ("OWNER", text(&peer().owner)),
        ("CLUSTER_ID", text("Kubernetes")),
        ("SERVICE_ACCOUNT", text("web")),
        ("LABELS", Value::Struct(labels.into())),
        ("APP_CONTAINERS", Value::Bool(true)),
    ];
    let node = Node {
        metadata: metadata
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
        ..Node::default()
    };
    assert_eq!(PeerInfo::from_node(&node), peer());
}

#[test]
fn endpoint_metadata_describes_the_workload_in_short() {
    let workload = Value::String("web;shop;web;v1;Kubernetes".to_owned());
    let istio = [("workload".to_owned(), workload)].into();
    let found = PeerInfo::from_endpoint(&Metadata([("istio".to_owned(), istio)].into())).unwrap();
    let expected = PeerInfo {
        workload: "web".to_owned(),
        namespace: "shop".to_owned(),
        canonical_name: "web".to_owned(),
        canonical_revision: "v1".to_owned(),
        cluster: "Kubernetes".to_owned(),
        ..PeerInfo::default()
    };
    assert_eq!(found, expected);
    assert_eq!(PeerInfo::from_endpoint(&Metadata::default()), None);
}
