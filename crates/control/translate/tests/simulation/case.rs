//! A case of the simulation as it is written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use meltemi_model::{Config, Defaults};
use meltemi_testkit::simulation::{Call, CallMode, CallProtocol, CallTls, ExpectedTls};
use meltemi_translate::ProxyNode;
use meltemi_xds::json;
use meltemi_xds::pb::envoy::config::core::v3::Node;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// A case.
pub struct SimulationCase {
    /// Its file, below the folder of the cases.
    pub path: String,
    /// What is in it.
    pub written: Written,
}

/// By domain, the clusters; none where the domain is absent.
pub type Domains = BTreeMap<String, Option<Vec<String>>>;

/// A case's file.
#[derive(Deserialize)]
pub struct Written {
    pub proxy: Proxy,
    pub proxy_effective: Effective,
    #[serde(default)]
    pub mesh: Option<Map<String, Value>>,
    /// Features that are off by default.
    #[serde(default)]
    pub features: BTreeMap<String, Value>,
    /// Which invariants are to hold.
    #[serde(default)]
    pub validate: Vec<String>,
    pub kube: String,
    pub config: String,
    /// The calls.
    #[serde(default)]
    pub calls: Vec<NamedCall>,
    /// By route table and domain, the clusters.
    pub vhosts: Option<BTreeMap<String, Option<Domains>>>,
    /// By route table and virtual host, its domains; the hosts are all of the table.
    #[serde(default)]
    pub domains: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    /// The inbound clusters.
    pub inbound_clusters: Option<BTreeMap<String, InboundCluster>>,
    /// What is looked at besides.
    #[serde(default)]
    pub asserts: Vec<Assertion>,
}

/// What a proxy says of itself.
#[derive(Deserialize)]
pub struct Proxy {
    #[serde(default)]
    pub metadata: Map<String, Value>,
    #[serde(default)]
    pub locality: Map<String, Value>,
}

/// A proxy as it is in the end.
#[derive(Deserialize)]
pub struct Effective {
    pub r#type: String,
    pub id: String,
    pub ips: Vec<String>,
    pub config_namespace: String,
    pub metadata_namespace: String,
    pub dns_domain: String,
    pub istio_version: String,
    #[serde(default)]
    pub labels: Map<String, Value>,
}

/// A call and what it is to meet.
#[derive(Deserialize)]
pub struct NamedCall {
    pub name: String,
    call: WrittenCall,
    pub expect: Expected,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenCall {
    #[serde(default)]
    address: Option<String>,
    port: u16,
    #[serde(default)]
    path: String,
    #[serde(default)]
    protocol: String,
    #[serde(default)]
    tls: String,
    #[serde(default)]
    alpn: String,
    #[serde(default)]
    sni: String,
    #[serde(default, alias = "host_header")]
    host_header: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, Value>,
    #[serde(default)]
    call_mode: String,
    #[serde(default)]
    mtls_secret_config_name: Option<String>,
    #[serde(default)]
    custom_listener_validations: Vec<BTreeMap<String, Value>>,
}

/// What a call is to meet; what is left out may be anything, but for the error.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expected {
    #[serde(default)]
    pub error: String,
    #[serde(default)]
    pub listener_matched: String,
    #[serde(default)]
    pub filter_chain_matched: String,
    #[serde(default)]
    pub route_config_matched: String,
    #[serde(default)]
    pub virtual_host_matched: String,
    #[serde(default)]
    pub route_matched: String,
    #[serde(default)]
    pub cluster_matched: String,
    #[serde(default)]
    pub strict_match: bool,
}

/// An inbound cluster.
#[derive(Deserialize)]
pub struct InboundCluster {
    pub endpoints: Option<Vec<String>>,
    pub telemetry_hosts: Option<Vec<String>>,
}

/// Something to look at in what is made.
#[derive(Debug, Deserialize)]
pub struct Assertion {
    pub path: String,
    pub op: String,
    #[serde(default)]
    pub value: Value,
}

impl SimulationCase {
    /// Every case, by path.
    pub fn all() -> Vec<Self> {
        let root = Path::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../../../shared/data/istio/simulation"
        ));
        // A work tree that lies elsewhere says where the data is.
        let named = std::env::var_os("MELTEMI_SIMULATION").map(PathBuf::from);
        let root = named.as_deref().unwrap_or(root);
        let mut paths = Vec::new();
        collect(root, &mut paths);
        paths.sort();
        paths
            .into_iter()
            .map(|path| {
                let text = std::fs::read_to_string(&path).unwrap();
                let short = path.strip_prefix(root).unwrap().to_str().unwrap();
                Self {
                    written: serde_saphyr::from_str(&text)
                        .unwrap_or_else(|error| panic!("{short}: {error}")),
                    path: short.to_owned(),
                }
            })
            .collect()
    }

    /// The Go test that the case is of.
    pub fn group(&self) -> &str {
        let (group, _) = match self.path.ends_with(".yaml") {
            true => self.path.rsplit_once('/'),
            false => self.path.split_once('/'),
        }
        .unwrap_or_default();
        group
    }

    /// The resources; what of them is not taken goes to `refused`.
    pub fn configs(&self, refused: &mut Vec<String>) -> Vec<Config> {
        let written = &self.written;
        let cluster = Defaults::default();
        let files = Defaults {
            domain: String::new(),
            ..Defaults::default()
        };
        let mut configs = Vec::new();
        let mesh = self.mesh();
        for (text, defaults) in [
            (&written.kube, &cluster),
            (&written.config, &files),
            (&mesh, &cluster),
        ] {
            let documents = match meltemi_api::parse(None, text) {
                Ok(documents) => documents,
                Err(problem) => {
                    refused.push(problem.to_string());
                    continue;
                }
            };
            for document in &documents {
                match meltemi_model::convert(document, defaults) {
                    Ok(Config::MeshConfig(mut mesh)) => {
                        mesh.headless_by_range =
                            self.has("PILOT_ENABLE_HEADLESS_FILTER_CHAIN_LISTENER");
                        configs.push(Config::MeshConfig(mesh));
                    }
                    Ok(config) => configs.push(config),
                    Err(problems) => {
                        refused.extend(problems.iter().map(ToString::to_string));
                    }
                }
            }
        }
        configs
    }

    /// Whether a feature is on that is off by default.
    fn has(&self, feature: &str) -> bool {
        self.written.features.get(feature) == Some(&Value::Bool(true))
    }

    /// The mesh configuration as a resource.
    fn mesh(&self) -> String {
        let mut mesh = self.written.mesh.clone().unwrap_or_default();
        mesh.entry("accessLogFile").or_insert(json!(""));
        let text = serde_json::to_string(&mesh).unwrap();
        let config = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "istio", "namespace": "istio-system"},
            "data": {"mesh": text},
        });
        serde_json::to_string(&config).unwrap()
    }

    /// The proxy.
    pub fn node(&self) -> ProxyNode {
        let it = &self.written.proxy_effective;
        let mut metadata = self.written.proxy.metadata.clone();
        metadata.insert("NAMESPACE".to_owned(), json!(it.metadata_namespace));
        metadata.insert("ISTIO_VERSION".to_owned(), json!(it.istio_version));
        metadata.insert("INSTANCE_IPS".to_owned(), json!(it.ips.join(",")));
        metadata.insert("LABELS".to_owned(), json!(it.labels));
        let (workload, _) = it.id.split_once('.').unwrap();
        let id = format!(
            "{}~{}~{workload}.{}~{}",
            it.r#type, it.ips[0], it.config_namespace, it.dns_domain
        );
        let node = json!({
            "id": id,
            "metadata": metadata,
            "locality": self.written.proxy.locality,
        });
        let node: Node = json::from_json(node).unwrap();
        ProxyNode::parse(&node).unwrap()
    }
}

impl NamedCall {
    /// The call.
    pub fn call(&self) -> Call {
        let it = &self.call;
        let header = it.headers.get("Host").or_else(|| it.headers.get("host"));
        let header = header.and_then(|it| match it {
            Value::Array(values) => values.first().and_then(Value::as_str),
            other => other.as_str(),
        });
        let host = it.host_header.clone().filter(|it| !it.is_empty());
        Call {
            address: it.address.clone(),
            port: it.port,
            path: it.path.clone(),
            protocol: match it.protocol.as_str() {
                "http" => CallProtocol::Http,
                "http2" => CallProtocol::Http2,
                "" | "tcp" => CallProtocol::Tcp,
                other => panic!("protocol {other}"),
            },
            tls: match it.tls.as_str() {
                "" | "plaintext" => CallTls::Plaintext,
                "tls" => CallTls::Tls,
                "mtls" => CallTls::Mutual,
                other => panic!("tls {other}"),
            },
            alpn: it.alpn.clone(),
            sni: it.sni.clone(),
            host: host.or_else(|| header.map(str::to_owned)),
            mode: match it.call_mode.as_str() {
                "inbound" => CallMode::Inbound,
                "" | "outbound" | "gateway" => CallMode::Outbound,
                other => panic!("callMode {other}"),
            },
            mutual_certificate: it.mtls_secret_config_name.clone(),
            expected_tls: it
                .custom_listener_validations
                .iter()
                .flat_map(expected_tls)
                .collect(),
        }
    }
}

fn expected_tls(validation: &BTreeMap<String, Value>) -> Vec<ExpectedTls> {
    let fields = validation.iter().filter(|(name, _)| *name != "name");
    fields
        .map(|(field, value)| match field.as_str() {
            "transport_socket" => ExpectedTls::Present,
            "require_client_certificate" => {
                ExpectedTls::RequiresClientCertificate(value.as_bool().unwrap())
            }
            "common_tls_context.tls_certificate_sds_secret_configs[0].name" => {
                ExpectedTls::Certificate(value.as_str().unwrap().to_owned())
            }
            other => panic!("customListenerValidations: {other}"),
        })
        .collect()
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|it| it == "yaml") {
            found.push(path);
        }
    }
}
