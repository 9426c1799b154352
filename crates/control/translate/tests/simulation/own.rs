//! Cases of our own: what Istio's other tests hold about traffic, in our words.
//!
//! In: the files of `simulation/cases`, each with cases that share resources and a proxy. Out: the same
//! cases as the simulation has them. They lie in the tree, so that they run without the shared data.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::case::{Assertion, Domains, Effective, NamedCall, Proxy, SimulationCase, Written};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Resources of every case.
    #[serde(default)]
    config: String,
    /// The proxy of the cases that name none.
    #[serde(default)]
    proxy: OwnProxy,
    cases: Vec<Own>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    name: String,
    #[serde(default)]
    config: String,
    #[serde(default)]
    proxy: Option<OwnProxy>,
    #[serde(default)]
    mesh: Option<Map<String, Value>>,
    #[serde(default)]
    calls: Vec<NamedCall>,
    #[serde(default)]
    vhosts: Option<BTreeMap<String, Option<Domains>>>,
    #[serde(default)]
    domains: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    #[serde(default)]
    asserts: Vec<Assertion>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct OwnProxy {
    r#type: String,
    namespace: String,
    ips: Vec<String>,
    dns_domain: Option<String>,
    labels: Map<String, Value>,
    metadata: Map<String, Value>,
    locality: Map<String, Value>,
}

impl Default for OwnProxy {
    fn default() -> Self {
        Self {
            r#type: "sidecar".to_owned(),
            namespace: "default".to_owned(),
            ips: vec!["1.1.1.1".to_owned()],
            dns_domain: None,
            labels: Map::new(),
            metadata: Map::new(),
            locality: Map::new(),
        }
    }
}

/// Every case, by the path of its file and its name.
pub fn all() -> Vec<SimulationCase> {
    let root = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/simulation/cases"
    ));
    let mut paths: Vec<_> = std::fs::read_dir(root)
        .unwrap()
        .map(|it| it.unwrap().path())
        .collect();
    paths.sort();
    let mut cases = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let file: File =
            serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{stem}: {error}"));
        let File {
            config,
            proxy,
            cases: own,
        } = file;
        cases.extend(own.into_iter().map(|it| SimulationCase {
            path: format!("{stem}/{}", it.name),
            written: it.written(&config, &proxy),
        }));
    }
    cases
}

impl Own {
    fn written(self, shared: &str, proxy: &OwnProxy) -> Written {
        let OwnProxy {
            r#type,
            namespace,
            ips,
            dns_domain,
            labels,
            mut metadata,
            locality,
        } = self.proxy.unwrap_or_else(|| proxy.clone());
        metadata
            .entry("CLUSTER_ID")
            .or_insert_with(|| json!("Kubernetes"));
        Written {
            features: BTreeMap::new(),
            proxy: Proxy { metadata, locality },
            proxy_effective: Effective {
                r#type,
                id: "app.test".to_owned(),
                ips,
                dns_domain: dns_domain.unwrap_or_else(|| format!("{namespace}.svc.cluster.local")),
                config_namespace: namespace.clone(),
                metadata_namespace: namespace,
                istio_version: "1.27.0".to_owned(),
                labels,
            },
            mesh: self.mesh,
            validate: ["clusters", "listeners", "routes"]
                .map(str::to_owned)
                .into(),
            // Short names are those of the cluster, as where the mesh runs.
            kube: [shared, &self.config].join("\n---\n"),
            config: String::new(),
            calls: self.calls,
            vhosts: self.vhosts,
            domains: self.domains,
            inbound_clusters: None,
            asserts: self.asserts,
        }
    }
}
