//! What the tests of this crate share: cases on disk.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use meltemi_model::{Config, Defaults};
use meltemi_snapshot::Snapshot;
use meltemi_translate::{Generator, ProxyNode, ResourceMap, Resources};
use meltemi_xds::json;
use meltemi_xds::pb::envoy::config::core::v3::Node;
use serde_json::{Map, Value};

/// A directory with resources (`input.yaml`) and the proxies to translate them for (`proxies.yaml`).
pub struct Case {
    pub name: String,
    pub directory: PathBuf,
    pub configs: Vec<Config>,
    pub proxies: BTreeMap<String, Proxy>,
}

/// A proxy of a case.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proxy {
    /// Envoy's Node.
    pub node: Value,
    /// Which resources the golden file has, by type and name (`*` at the end stands for the rest);
    /// everything of a type by default, nothing of types that are not named if some are.
    #[serde(default)]
    pub show: BTreeMap<String, Vec<String>>,
}

impl Case {
    /// Every case.
    pub fn all() -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
        let mut directories: Vec<_> = std::fs::read_dir(root)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        directories.sort();
        directories.into_iter().map(Self::read).collect()
    }

    fn read(directory: PathBuf) -> Self {
        let input = std::fs::read_to_string(directory.join("input.yaml")).unwrap();
        let proxies = std::fs::read_to_string(directory.join("proxies.yaml")).unwrap();
        let name = directory.file_name().unwrap().to_str().unwrap().to_owned();
        Self {
            configs: configs(&input),
            proxies: serde_saphyr::from_str(&proxies)
                .unwrap_or_else(|error| panic!("{name}/proxies.yaml: {error}")),
            name,
            directory,
        }
    }

    /// The state of the mesh.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Snapshot::of(self.configs.iter().cloned())
    }
}

impl Proxy {
    /// The proxy as the translation takes it.
    pub fn node(&self) -> ProxyNode {
        node(&self.node)
    }

    /// Whether it is an Envoy or like it.
    pub fn is_envoy(&self) -> bool {
        self.node().generator == Generator::Envoy
    }

    /// The same, of a proxy that has these extensions.
    pub fn node_with(&self, extensions: &[Value]) -> ProxyNode {
        let mut with = self.node.clone();
        with["extensions"] = Value::Array(extensions.to_vec());
        node(&with)
    }

    /// The resources that are to be compared, as JSON.
    pub fn shown(&self, resources: &Resources) -> Value {
        let Resources {
            clusters,
            endpoints,
            listeners,
            routes,
            secrets,
            extensions,
        } = resources;
        let types = [
            ("clusters", clusters),
            ("endpoints", endpoints),
            ("listeners", listeners),
            ("routes", routes),
            ("secrets", secrets),
        ];
        let mut shown = Map::new();
        for (kind, map) in types {
            let all = vec!["*".to_owned()];
            let patterns = match self.show.get(kind) {
                Some(patterns) => patterns,
                None if self.show.is_empty() => &all,
                None => continue,
            };
            shown.insert(kind.to_owned(), chosen(map, patterns));
        }
        // Few cases have any.
        if self.show.is_empty() && !extensions.is_empty() {
            let all = chosen(extensions, &["*".to_owned()]);
            shown.insert("extensions".to_owned(), all);
        }
        Value::Object(shown)
    }
}

/// Reads resources; any problem ends the test.
pub fn configs(yaml: &str) -> Vec<Config> {
    let documents = meltemi_api::parse(None, yaml).unwrap();
    let convert = |document| {
        meltemi_model::convert(document, &Defaults::default())
            .unwrap_or_else(|problems| panic!("{problems:#?}"))
    };
    documents.iter().map(convert).collect()
}

/// Reads a node.
pub fn node(node: &Value) -> ProxyNode {
    let node: Node = json::from_json(node.clone()).unwrap();
    ProxyNode::parse(&node).unwrap()
}

fn chosen(map: &ResourceMap, patterns: &[String]) -> Value {
    let mut chosen = Map::new();
    for (name, resource) in map {
        if patterns.iter().any(|pattern| fits(pattern, name)) {
            let Value::Object(mut fields) = json::to_json(&*resource.any) else {
                panic!("a message is an object");
            };
            fields.shift_remove("@type");
            fields.shift_remove("name");
            chosen.insert(name.to_string(), Value::Object(fields));
        }
    }
    Value::Object(chosen)
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    }
}
