#![allow(clippy::unwrap_used)]

use std::path::Path;

use meltemi_model::{Config, Defaults, convert};
use meltemi_snapshot::Store;

use super::*;

const SHOP: &str = "
apiVersion: v1
kind: Namespace
metadata: { name: shop }
---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec:
  clusterIP: 10.0.0.1
  selector: { app: web }
  ports: [{ name: http, port: 80, targetPort: 8080 }]
---
apiVersion: v1
kind: Service
metadata: { name: db, namespace: shop }
spec:
  clusterIP: 10.0.0.2
  selector: { app: db }
  ports: [{ name: tcp, port: 5432 }]
";

const DB: &str = "
apiVersion: v1
kind: Pod
metadata: { name: db-0, namespace: shop, labels: { app: db } }
spec: { containers: [{ name: db, image: db }] }
status: { podIP: 10.1.0.7 }
";

/// Nobody is sent anything that is made of it.
const ELSEWHERE: &str = "
apiVersion: v1
kind: Pod
metadata: { name: alone, namespace: elsewhere }
spec: { containers: [{ name: alone, image: alone }] }
status: { podIP: 10.1.0.8 }
";

fn configs(text: &str) -> Vec<Config> {
    let file: Arc<Path> = Path::new("shop.yaml").into();
    meltemi_api::parse(Some(file), text)
        .unwrap()
        .iter()
        .map(|document| convert(document, &Defaults::default()).unwrap())
        .collect()
}

fn node(pod: &str, ip: &str, namespace: &str) -> Arc<Node> {
    Arc::new(Node {
        id: format!("sidecar~{ip}~{pod}.{namespace}~{namespace}.svc.cluster.local"),
        ..Node::default()
    })
}

fn by_name(resources: &[Resource], name: &str) -> Resource {
    let found = resources.iter().find(|it| it.name.as_ref() == name);
    let names: Vec<_> = resources.iter().map(|it| &it.name).collect();
    found
        .unwrap_or_else(|| panic!("{name} in {names:?}"))
        .clone()
}

#[test]
fn a_group_shares_bytes_and_a_change_changes_what_it_must() {
    let mut store = Store::default();
    for config in configs(SHOP) {
        store.apply(config);
    }
    let view = Arc::new(MeshView::new(Arc::default()));
    let push = |store: &mut Store| {
        let commit = store.commit();
        view.publish(&commit.snapshot, &commit.delta);
    };
    push(&mut store);
    let (one, two) = (
        node("a", "10.1.0.1", "other"),
        node("b", "10.1.0.2", "other"),
    );
    let viewers = [&one, &two].map(|it| view.clone().viewer(it));
    let mut told = viewers.each_ref().map(|it| it.changes());
    let sees = viewers.each_ref().map(|it| it.look());
    let all = |seen: &Arc<dyn ProxyView>, kind| seen.resources(kind, &Wanted::All);
    for kind in Kind::ALL {
        let (left, right) = (all(&sees[0], kind), all(&sees[1], kind));
        assert_eq!(left.len(), right.len(), "{kind}");
        for (left, right) in left.iter().zip(&right) {
            assert!(Arc::ptr_eq(&left.body, &right.body), "{}", left.name);
        }
        assert!(left.is_sorted_by_key(|it| &it.name), "{kind}");
    }
    assert_eq!(view.groups(), 1);

    const CLUSTER: &str = "outbound|5432||db.shop.svc.cluster.local";
    let cluster = by_name(&all(&sees[0], Kind::Cluster), CLUSTER);
    assert!(cluster.needs_endpoints);
    let before = sees[0].resources(Kind::Endpoint, &Wanted::Names(vec![CLUSTER]));
    let listeners = all(&sees[0], Kind::Listener);
    let mark = sees[0].mark().unwrap();

    for config in configs(DB) {
        store.apply(config);
    }
    push(&mut store);
    for told in &mut told {
        assert!(told.has_changed().unwrap());
        told.mark_unchanged();
    }
    let now = viewers[0].look();
    assert!(now.version() > sees[0].version());
    let changed = |kind| now.changed_since(kind, mark).unwrap();
    assert_eq!(changed(Kind::Endpoint), [CLUSTER.into()]);
    assert_eq!(changed(Kind::Listener), []);
    assert_eq!(changed(Kind::Route), []);
    let after = now.resources(Kind::Endpoint, &Wanted::Names(vec![CLUSTER]));
    assert_ne!(before[0].version, after[0].version);
    for (old, new) in listeners.iter().zip(&all(&now, Kind::Listener)) {
        assert_eq!(old.version, new.version, "{}", old.name);
        assert!(Arc::ptr_eq(&old.body, &new.body), "{}", old.name);
    }
    let (version, work) = view.work().remove(0);
    assert_eq!(version, now.version());
    // The endpoints, and the cluster because its certificate has another name now.
    assert_eq!(work.made, 2, "{work:?}");

    let stranger = Arc::new(Node {
        id: "nobody".to_owned(),
        ..Node::default()
    });
    let nothing = view.clone().viewer(&stranger).look();
    assert!(all(&nothing, Kind::Cluster).is_empty());
    drop((sees, now, before, after, cluster, listeners));

    store.apply(configs(ELSEWHERE).remove(0));
    push(&mut store);
    assert!(told.iter().all(|it| !it.has_changed().unwrap()));
    assert_eq!(view.groups(), 1);
    drop(viewers);
    store.delete(&configs(DB)[0].id());
    push(&mut store);
    assert_eq!(view.groups(), 0, "nobody holds them any more");
}
