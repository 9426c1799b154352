//! What an API server holds.
//!
//! In: objects and deletions. Out: lists, and what has happened since a version. Called by `answer`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Value, json};

/// `apiVersion` without a kind's own versions, kind and plural of everything that is there at the start.
pub(super) const KINDS: &[(&str, &str, &str, &[&str])] = &[
    ("", "Namespace", "namespaces", &["v1"]),
    ("", "Service", "services", &["v1"]),
    ("", "Pod", "pods", &["v1"]),
    ("", "Node", "nodes", &["v1"]),
    ("", "ConfigMap", "configmaps", &["v1"]),
    ("", "Secret", "secrets", &["v1"]),
    (
        "discovery.k8s.io",
        "EndpointSlice",
        "endpointslices",
        &["v1"],
    ),
    ("networking.istio.io", "Gateway", "gateways", ISTIO),
    (
        "networking.istio.io",
        "VirtualService",
        "virtualservices",
        ISTIO,
    ),
    (
        "networking.istio.io",
        "DestinationRule",
        "destinationrules",
        ISTIO,
    ),
    (
        "networking.istio.io",
        "ServiceEntry",
        "serviceentries",
        ISTIO,
    ),
    (
        "networking.istio.io",
        "WorkloadEntry",
        "workloadentries",
        ISTIO,
    ),
    (
        "networking.istio.io",
        "WorkloadGroup",
        "workloadgroups",
        ISTIO,
    ),
    ("networking.istio.io", "Sidecar", "sidecars", ISTIO),
    (
        "networking.istio.io",
        "EnvoyFilter",
        "envoyfilters",
        &["v1alpha3"],
    ),
    (
        "networking.istio.io",
        "ProxyConfig",
        "proxyconfigs",
        &["v1beta1"],
    ),
    (
        "security.istio.io",
        "AuthorizationPolicy",
        "authorizationpolicies",
        &["v1", "v1beta1"],
    ),
    (
        "security.istio.io",
        "PeerAuthentication",
        "peerauthentications",
        &["v1", "v1beta1"],
    ),
    (
        "security.istio.io",
        "RequestAuthentication",
        "requestauthentications",
        &["v1", "v1beta1"],
    ),
    (
        "telemetry.istio.io",
        "Telemetry",
        "telemetries",
        &["v1", "v1alpha1"],
    ),
];

const ISTIO: &[&str] = &["v1", "v1beta1", "v1alpha3"];

/// An object's plural, namespace and name.
type Key = (String, String, String);

/// Something that has happened.
#[derive(Clone)]
pub(super) struct Happened {
    pub version: u64,
    pub kind: &'static str,
    pub resource: String,
    pub object: Value,
}

/// What an API server holds.
pub(super) struct State {
    version: u64,
    objects: BTreeMap<Key, Value>,
    history: Vec<Happened>,
    /// What happened up to here is forgotten.
    forgotten: u64,
    /// The versions at which a kind is served.
    versions: HashMap<String, Vec<String>>,
    pub forbidden: BTreeSet<String>,
    pub streams: bool,
    pub failing: Option<u16>,
    pub tokens: BTreeMap<String, String>,
    pub requests: Vec<String>,
}

impl Default for State {
    fn default() -> Self {
        let versions = KINDS.iter().map(|(_, _, resource, versions)| {
            let versions = versions.iter().map(|it| (*it).to_owned()).collect();
            ((*resource).to_owned(), versions)
        });
        Self {
            version: 100,
            objects: BTreeMap::new(),
            history: Vec::new(),
            forgotten: 0,
            versions: versions.collect(),
            forbidden: BTreeSet::new(),
            streams: true,
            failing: None,
            tokens: BTreeMap::new(),
            requests: Vec::new(),
        }
    }
}

impl State {
    /// The version of the whole.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether what has happened since a version is still known.
    pub fn remembers(&self, version: u64) -> bool {
        version >= self.forgotten
    }

    /// Stores an object; the answer is what is stored.
    pub fn apply(&mut self, mut object: Value) -> Value {
        let kind = object["kind"].as_str().expect("an object has a kind");
        let resource = KINDS.iter().find(|it| it.1 == kind);
        let resource = resource.unwrap_or_else(|| panic!("{kind} is not served")).2;
        let text = |key: &str| {
            object["metadata"][key]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        let key = (resource.to_owned(), text("namespace"), text("name"));
        self.version += 1;
        let known = self.objects.get(&key);
        let happened = if known.is_some() { "MODIFIED" } else { "ADDED" };
        let uid = known.map_or_else(
            || json!(format!("00000000-0000-4000-8000-{:012}", self.version)),
            |it| it["metadata"]["uid"].clone(),
        );
        let content = object.to_string();
        let metadata = &mut object["metadata"];
        metadata["uid"] = uid;
        metadata["resourceVersion"] = self.version.to_string().into();
        metadata["managedFields"] = json!([{ "manager": "kubectl", "operation": "Apply" }]);
        let applied = "kubectl.kubernetes.io/last-applied-configuration";
        if metadata["annotations"][applied].is_null() {
            metadata["annotations"][applied] = content.into();
        }
        if metadata["creationTimestamp"].is_null() {
            metadata["creationTimestamp"] = "2024-05-01T10:00:00Z".into();
        }
        self.note(happened, &key.0, object.clone());
        self.objects.insert(key, object.clone());
        object
    }

    /// An object.
    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let key = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        self.objects.get(&key).cloned()
    }

    /// The versions at which a kind is served.
    pub fn versions(&self, resource: &str) -> &[String] {
        self.versions.get(resource).map_or(&[], Vec::as_slice)
    }

    pub fn delete(&mut self, resource: &str, namespace: &str, name: &str) {
        let key = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        let object = self.objects.remove(&key);
        let mut object = object.unwrap_or_else(|| panic!("{key:?} is not there"));
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.note("DELETED", resource, object);
    }

    pub fn serve_versions(&mut self, resource: &str, versions: &[&str]) {
        let versions: Vec<_> = versions.iter().map(|it| (*it).to_owned()).collect();
        if versions.is_empty() {
            self.objects.retain(|key, _| key.0 != resource);
        }
        self.versions.insert(resource.to_owned(), versions);
    }

    pub fn compact(&mut self) {
        self.version += 1;
        self.forgotten = self.version;
        self.history.clear();
    }

    pub fn bookmark(&mut self) {
        self.version += 1;
        for (_, _, resource, _) in KINDS {
            let object = self.empty(resource);
            self.note("BOOKMARK", resource, object);
        }
    }

    /// What a bookmark is of: an object of the kind with nothing in it but the version of the whole.
    pub fn empty(&self, resource: &str) -> Value {
        let kind = KINDS.iter().find(|it| it.2 == resource);
        let version = self.version.to_string();
        json!({ "kind": kind.map(|it| it.1), "metadata": { "resourceVersion": version } })
    }

    fn note(&mut self, kind: &'static str, resource: &str, object: Value) {
        self.history.push(Happened {
            version: self.version,
            kind,
            resource: resource.to_owned(),
            object,
        });
    }

    /// Whether a kind is served at a version.
    pub fn serves(&self, resource: &str, version: &str) -> bool {
        let versions = self.versions.get(resource);
        versions.is_some_and(|it| it.iter().any(|it| it == version))
    }

    /// The objects of a kind, all of them or those of a namespace, that match a field selector.
    pub fn list(&self, resource: &str, namespace: Option<&str>, fields: &str) -> Vec<Value> {
        let here = self.objects.iter().filter(|(key, object)| {
            key.0 == resource && namespace.is_none_or(|it| key.1 == it) && matches(object, fields)
        });
        here.map(|(_, object)| object.clone()).collect()
    }

    /// What has happened to a kind after a version.
    pub fn since(&self, version: u64, resource: &str) -> Vec<Happened> {
        let after = self.history.iter();
        after
            .filter(|it| it.version > version && it.resource == resource)
            .cloned()
            .collect()
    }
}

/// Whether an object matches a field selector: `a=b` and `a!=b` with commas between.
pub(super) fn matches(object: &Value, fields: &str) -> bool {
    let mut parts = fields.split(',').filter(|it| !it.is_empty());
    parts.all(|part| {
        let (field, wanted) = part.split_once('=').expect("a field selector");
        let (field, negated) = match field.strip_suffix('!') {
            Some(field) => (field, true),
            None => (field, false),
        };
        let mut value = object;
        for step in field.split('.') {
            value = &value[step];
        }
        (value.as_str().unwrap_or_default() == wanted) != negated
    })
}
