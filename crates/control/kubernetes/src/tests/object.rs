//! Objects as an API server writes them.

use meltemi_api::{Document, Node};
use meltemi_model::{Config, Defaults, OwnerKind, convert};
use serde_json::{Value, json};

use crate::kind::KINDS;
use crate::object;

/// The resource that an object is.
fn resource(object: Value) -> Config {
    let kind = KINDS
        .iter()
        .find(|it| Some(it.kind) == object["kind"].as_str())
        .unwrap();
    let short = object::shorten(kind, object).unwrap();
    convert(&Document::of(None, Node::from(short)), &Defaults::default()).unwrap()
}

/// A Pod as `kubectl get -o json` prints one of a Deployment.
fn pod() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": "{\"secret\": 1}",
                "sidecar.istio.io/status": "{}"
            },
            "creationTimestamp": "2024-05-01T10:00:00Z",
            "generateName": "web-7d4b9c6f5-",
            "labels": { "app": "web", "pod-template-hash": "7d4b9c6f5" },
            "managedFields": [{ "manager": "kubelet", "operation": "Update", "fieldsV1": {} }],
            "name": "web-7d4b9c6f5-x2x9k",
            "namespace": "shop",
            "ownerReferences": [{
                "apiVersion": "apps/v1", "blockOwnerDeletion": true, "controller": true,
                "kind": "ReplicaSet", "name": "web-7d4b9c6f5", "uid": "u1"
            }],
            "resourceVersion": "4711",
            "uid": "u2"
        },
        "spec": {
            "containers": [{
                "env": [{ "name": "PASSWORD", "value": "hunter2" }],
                "image": "web:1",
                "imagePullPolicy": "IfNotPresent",
                "name": "web",
                "ports": [{ "containerPort": 8080, "name": "http", "protocol": "TCP" }],
                "resources": {},
                "terminationMessagePath": "/dev/termination-log",
                "volumeMounts": [{ "mountPath": "/x", "name": "x" }]
            }],
            "dnsPolicy": "ClusterFirst",
            "initContainers": [{
                "image": "proxyv2", "name": "istio-proxy", "restartPolicy": "Always"
            }],
            "nodeName": "node-1",
            "priority": 0,
            "restartPolicy": "Always",
            "schedulerName": "default-scheduler",
            "securityContext": {},
            "serviceAccount": "web",
            "serviceAccountName": "web",
            "tolerations": [{ "effect": "NoExecute", "key": "k", "operator": "Exists", "tolerationSeconds": 300 }],
            "volumes": [{ "name": "x", "projected": { "defaultMode": 420, "sources": [] } }]
        },
        "status": {
            "conditions": [
                { "lastProbeTime": null, "lastTransitionTime": "2024-05-01T10:00:01Z", "status": "True", "type": "Initialized" },
                { "lastProbeTime": null, "lastTransitionTime": "2024-05-01T10:00:09Z", "status": "True", "type": "Ready" }
            ],
            "containerStatuses": [{ "ready": true, "restartCount": 0 }],
            "hostIP": "192.168.1.4",
            "phase": "Running",
            "podIP": "10.1.0.5",
            "podIPs": [{ "ip": "10.1.0.5" }, { "ip": "fd00::5" }],
            "qosClass": "BestEffort"
        }
    })
}

fn workload(object: Value) -> meltemi_model::Workload {
    match resource(object) {
        Config::Pod(workload) => *workload,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pod_of_a_deployment() {
    let web = workload(pod());
    assert_eq!(web.workload_name(), "web");
    assert_eq!(web.owner.kind, OwnerKind::Deployment);
    let addresses: Vec<_> = web.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.1.0.5", "fd00::5"]);
    assert_eq!(web.node.as_deref(), Some("node-1"));
    assert_eq!(web.named_port("http"), Some(8080));
    assert!(web.ready && web.meta.created.is_some());
    assert_eq!(
        web.meta.labels.get("security.istio.io/tlsMode"),
        None,
        "it has a sidecar"
    );
    let kept = format!("{web:?}");
    assert!(
        !kept.contains("hunter2") && !kept.contains("secret"),
        "{kept}"
    );
}

#[test]
fn pods_that_take_no_requests() {
    let changed = |change: fn(&mut Value)| {
        let mut pod = pod();
        change(&mut pod);
        workload(pod)
    };
    let pending = changed(|it| it["status"] = json!({ "phase": "Pending" }));
    assert!(pending.addresses.is_empty());
    let unready = changed(|it| it["status"]["conditions"][1]["status"] = "False".into());
    assert!(!unready.ready);
    let leaving = changed(|it| it["metadata"]["deletionTimestamp"] = "2024-05-02T10:00:00Z".into());
    assert!(!leaving.ready && !leaving.addresses.is_empty());
    // Its address may be another's by now.
    let ended = changed(|it| it["status"]["phase"] = "Succeeded".into());
    assert!(!ended.ready && ended.addresses.is_empty());
    let plain = changed(|it| it["spec"]["initContainers"] = json!([]));
    assert_eq!(
        plain.meta.labels.get("security.istio.io/tlsMode"),
        Some("disabled")
    );
    let stateful = changed(|it| {
        it["metadata"]["ownerReferences"][0]["kind"] = "StatefulSet".into();
        it["metadata"]["ownerReferences"][0]["name"] = "db".into();
    });
    assert_eq!(stateful.workload_name(), "db");
    let alone = changed(|it| {
        drop(
            it["metadata"]
                .as_object_mut()
                .unwrap()
                .remove("ownerReferences"),
        )
    });
    assert_eq!(alone.workload_name(), "web-7d4b9c6f5-x2x9k");
}

#[test]
fn services_as_servers_complete_them() {
    let service = |spec: Value| {
        let object = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": "web", "namespace": "shop", "creationTimestamp": "2024-05-01T10:00:00Z",
                "resourceVersion": "1", "uid": "u" },
            "spec": spec, "status": { "loadBalancer": {} }
        });
        match resource(object) {
            Config::Service(service) => format!(
                "{:?} {:?} {:?}",
                service.addresses, service.external_name, service.ports[0].target
            ),
            other => panic!("{other:?}"),
        }
    };
    let ports = json!([{ "name": "http", "nodePort": 30080, "port": 80, "protocol": "TCP", "targetPort": "http" }]);
    let usual = service(json!({
        "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "fd00::7"], "internalTrafficPolicy": "Cluster",
        "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "PreferDualStack", "ports": ports,
        "selector": { "app": "web" }, "sessionAffinity": "None", "type": "NodePort"
    }));
    assert_eq!(usual, "Assigned([10.96.0.7, fd00::7]) None Name(\"http\")");
    let headless = service(
        json!({ "clusterIP": "None", "clusterIPs": ["None"], "ports": ports, "type": "ClusterIP" }),
    );
    assert!(headless.starts_with("Headless None"), "{headless}");
    let external = service(
        json!({ "externalName": "db.example.com", "ports": ports, "sessionAffinity": "None", "type": "ExternalName" }),
    );
    assert!(external.contains("db.example.com"), "{external}");
}

#[test]
fn of_secrets_only_certificates_are_kept() {
    let kind = KINDS.iter().find(|it| it.kind == "Secret").unwrap();
    let secret = |data: Value| {
        let object = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s" }, "data": data });
        object::shorten(kind, object).map(|it| it["data"].clone())
    };
    assert_eq!(secret(json!({ "password": "eA==" })), None);
    assert_eq!(
        secret(json!({ "password": "eA==", "cacert": "eA==" })),
        Some(json!({ "cacert": "eA==" }))
    );
}

/// What a rule of a ClusterRole lets in.
fn lets_in(rule: &Value, kind: &crate::kind::WatchedKind) -> bool {
    let has = |key: &str, wanted: &str| {
        let list = rule[key].as_array().unwrap();
        list.iter().any(|it| it == wanted || it == "*")
    };
    let verbs = ["get", "list", "watch"];
    has("apiGroups", kind.group)
        && has("resources", kind.plural)
        && verbs.iter().all(|it| has("verbs", it))
}

#[test]
fn the_documented_rules_let_every_kind_in() {
    let page = include_str!("../../../../../docs/kubernetes.md");
    let (_, rest) = page.split_once("```yaml\n").unwrap();
    let (yaml, _) = rest.split_once("```").unwrap();
    let role: Value = serde_saphyr::from_str(yaml).unwrap();
    let rules = role["rules"].as_array().unwrap();
    for kind in KINDS {
        assert!(rules.iter().any(|it| lets_in(it, kind)), "{}", kind.name());
    }
}

#[test]
fn every_kind_is_one_that_the_mesh_takes_and_that_is_defined() {
    let manifests = include_str!("../../../../../manifests/crds.yaml");
    let definitions: Vec<Value> = serde_saphyr::from_multiple(manifests).unwrap();
    let named = |kind: &crate::kind::WatchedKind| {
        definitions
            .iter()
            .find(|it| it["metadata"]["name"] == kind.name())
    };
    let istio = KINDS.iter().filter(|it| it.group.ends_with("istio.io"));
    let mut count = 0;
    for kind in istio {
        let definition = named(kind).unwrap_or_else(|| panic!("{}", kind.name()));
        assert_eq!(definition["spec"]["names"]["kind"], kind.kind);
        let served = definition["spec"]["versions"].as_array().unwrap();
        for version in kind.versions {
            assert!(
                served.iter().any(|it| it["name"] == *version),
                "{} {version}",
                kind.name()
            );
        }
        count += 1;
    }
    assert_eq!(
        count,
        definitions.len(),
        "everything that is defined is watched"
    );
}

#[test]
fn of_an_entrys_status_its_health_is_kept() {
    let entry = |status: Value| {
        let object = json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "WorkloadEntry",
            "metadata": {
                "name": "vm",
                "namespace": "shop",
                "annotations": { "proxy.istio.io/health-checks-enabled": "true" },
            },
            "spec": { "address": "10.0.0.7" },
            "status": status,
        });
        match resource(object) {
            Config::WorkloadEntry(entry) => entry.is_ready(),
            other => panic!("{other:?}"),
        }
    };
    let conditions = |status: &str| {
        json!({
            "observedGeneration": "3",
            "conditions": [
                { "type": "Other", "status": "True", "lastProbeTime": "2024-05-01T10:00:00Z" },
                { "type": "Healthy", "status": status },
            ],
        })
    };
    assert!(entry(conditions("True")));
    assert!(!entry(conditions("False")));
    assert!(!entry(json!({})));
}
