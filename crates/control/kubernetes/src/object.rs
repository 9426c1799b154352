//! Objects as an API server writes them, without what nobody here reads.
//!
//! In: an object in JSON. Out: the name of its document, its version, and the object in short. Called by
//! `cluster`.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::kind::WatchedKind;

/// The first part of every document's name.
pub(crate) const ROOT: &str = "kubernetes";

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The container that is a sidecar.
const PROXY: &str = "istio-proxy";
/// The label by which a workload says whether it takes mutual TLS.
const TLS_MODE: &str = "security.istio.io/tlsMode";
/// What gateways read of a Secret.
const CERTIFICATES: [&str; 8] = [
    "tls.crt", "tls.key", "ca.crt", "ca.crl", "cert", "key", "cacert", "crl",
];

/// What an object is called: `kubernetes/NAMESPACE/KIND/NAME`, without the second part for a kind that has no
/// namespaces. `None` for an object without a name.
pub(crate) fn path(kind: &WatchedKind, object: &Value) -> Option<Arc<Path>> {
    let metadata = object.get("metadata")?;
    let name = metadata.get("name")?.as_str()?;
    let kind = kind.kind;
    let path = match metadata.get("namespace").and_then(Value::as_str) {
        Some(namespace) => format!("{ROOT}/{namespace}/{kind}/{name}"),
        None => format!("{ROOT}/{kind}/{name}"),
    };
    Some(Path::new(&path).into())
}

/// Which of all objects that had this name it is, and which state of it.
pub(crate) fn version(object: &Value) -> String {
    let metadata = object.get("metadata");
    let text = |key| metadata.and_then(|it| it.get(key)?.as_str());
    match text("resourceVersion") {
        Some(version) => format!(
            "{} {} {version}",
            object
                .get("apiVersion")
                .and_then(Value::as_str)
                .unwrap_or_default(),
            text("uid").unwrap_or_default()
        ),
        // A server always gives one; what comes without is told apart by its content.
        None => object.to_string(),
    }
}

/// The object in short; `None` if there is nothing in it for a mesh.
pub(crate) fn shorten(kind: &WatchedKind, mut object: Value) -> Option<Value> {
    let whole = object.as_object_mut()?;
    if let Some(metadata) = map_at(whole, "metadata") {
        metadata.remove("managedFields");
        if let Some(annotations) = map_at(metadata, "annotations") {
            annotations.remove(LAST_APPLIED);
        }
    }
    match kind.kind {
        "Pod" => shorten_pod(whole),
        "Secret" => {
            let data = map_at(whole, "data")?;
            data.retain(|key, _| CERTIFICATES.contains(&key.as_str()));
            if data.is_empty() {
                return None;
            }
        }
        "Namespace" | "Node" => {
            whole.remove("spec");
            whole.remove("status");
        }
        "WorkloadEntry" => {
            if let Some(status) = map_at(whole, "status") {
                status.retain(|key, _| key == "conditions");
                keep_conditions(status, "Healthy");
            }
        }
        _ => drop(whole.remove("status")),
    }
    Some(object)
}

/// Of the conditions of a status, those of a type.
fn keep_conditions(status: &mut Map<String, Value>, r#type: &str) {
    let conditions = status.get_mut("conditions").and_then(Value::as_array_mut);
    if let Some(conditions) = conditions {
        conditions.retain(|it| it.get("type").and_then(Value::as_str) == Some(r#type));
    }
}

fn shorten_pod(pod: &mut Map<String, Value>) {
    let mut has_proxy = false;
    if let Some(spec) = map_at(pod, "spec") {
        let read = [
            "serviceAccountName",
            "serviceAccount",
            "nodeName",
            "hostname",
            "subdomain",
            "hostNetwork",
            "containers",
            "initContainers",
        ];
        spec.retain(|key, _| read.contains(&key.as_str()));
        for list in ["containers", "initContainers"] {
            let containers = spec.get_mut(list).and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten() {
                let Some(container) = container.as_object_mut() else {
                    continue;
                };
                // Environments hold passwords, and nobody here starts a container.
                container.retain(|key, _| matches!(key.as_str(), "name" | "image" | "ports"));
                has_proxy |= container.get("name").and_then(Value::as_str) == Some(PROXY);
            }
        }
    }
    if let Some(status) = map_at(pod, "status") {
        let read = ["phase", "podIP", "podIPs", "conditions"];
        status.retain(|key, _| read.contains(&key.as_str()));
        keep_conditions(status, "Ready");
    }
    if !has_proxy {
        without_proxy(pod);
    }
}

/// In a directory, labels say who will have a sidecar. Here it shows who has one: a Pod that was there before
/// its namespace was labelled, or that came while nothing was injected, must not be sent mutual TLS.
fn without_proxy(pod: &mut Map<String, Value>) {
    let Some(metadata) = map_at(pod, "metadata") else {
        return;
    };
    let labels = metadata
        .entry("labels")
        .or_insert_with(|| Value::Object(Map::new()));
    if let Some(labels) = labels.as_object_mut() {
        labels.entry(TLS_MODE).or_insert_with(|| "disabled".into());
    }
}

fn map_at<'a>(map: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Map<String, Value>> {
    map.get_mut(key)?.as_object_mut()
}
