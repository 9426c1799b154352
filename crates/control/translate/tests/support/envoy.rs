//! A stock Envoy that validates what a proxy gets.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::disallowed_methods
)]

use std::path::Path;
use std::process::Command;

use meltemi_translate::{ProxyNode, ResourceMap, Resources};
use meltemi_xds::json;
use serde_json::{Value, json};

/// An Envoy, and files for it.
pub struct Envoy {
    binary: String,
    directory: tempfile::TempDir,
    certificates: String,
}

impl Envoy {
    /// Set `ENVOY_BIN`, or have `envoy` on the path; otherwise there is none, which is said.
    pub fn find() -> Option<Self> {
        let binary = std::env::var("ENVOY_BIN").unwrap_or_else(|_| "envoy".to_owned());
        if Command::new(&binary).arg("--version").output().is_err() {
            eprintln!("SKIPPED: no Envoy; set ENVOY_BIN to judge the translation by a real one");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let certificates = certificates(directory.path());
        Some(Self {
            binary,
            directory,
            certificates,
        })
    }

    /// Ends the test if Envoy refuses any of the resources.
    pub fn check(&self, name: &str, node: &ProxyNode, resources: &Resources) {
        let mut listeners = values(&resources.listeners);
        listeners.extend(routers(&resources.routes));
        let mut clusters = values(&resources.clusters);
        clusters.extend(["sds-grpc", "xds-grpc"].map(grpc_cluster));
        let bootstrap = json!({
            "node": {"id": node.id, "cluster": "test"},
            "dynamic_resources": {"ads_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
            }},
            "static_resources": {"clusters": clusters, "listeners": listeners},
        });
        let path = self.directory.path().join(format!("{name}.json"));
        let text = serde_json::to_string_pretty(&bootstrap).unwrap();
        std::fs::write(&path, text.replace("/etc/certs", &self.certificates)).unwrap();
        let output = Command::new(&self.binary)
            .args(["--mode", "validate", "-l", "warning", "-c"])
            .arg(&path)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// The files that the cases name, with something in them that Envoy can read.
fn certificates(directory: &Path) -> String {
    let made = rcgen::generate_simple_self_signed(vec!["test".to_owned()]).unwrap();
    let certificate = made.cert.pem();
    let key = made.signing_key.serialize_pem();
    for (name, pem) in [
        ("ca.pem", &certificate),
        ("tls.crt", &certificate),
        ("tls.key", &key),
    ] {
        std::fs::write(directory.join(name), pem).unwrap();
    }
    directory.to_str().unwrap().to_owned()
}

fn values(resources: &ResourceMap) -> Vec<Value> {
    let value = |any| {
        let mut value = json::to_json(any);
        value.as_object_mut().unwrap().shift_remove("@type");
        value
    };
    resources.values().map(|it| value(&*it.any)).collect()
}

/// A listener for each route table, so that the tables are validated too.
fn routers(routes: &ResourceMap) -> Vec<Value> {
    let prefix = "type.googleapis.com/envoy.extensions.filters";
    let router = |(index, table): (usize, Value)| {
        json!({
            "name": format!("router-{index}"),
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
            "filter_chains": [{"filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": {
                    "@type": format!("{prefix}.network.http_connection_manager.v3.HttpConnectionManager"),
                    "stat_prefix": "router",
                    "route_config": table,
                    "http_filters": [
                        {
                            "name": "envoy.filters.http.cors",
                            "typed_config": {"@type": format!("{prefix}.http.cors.v3.Cors")},
                        },
                        {
                            "name": "envoy.filters.http.router",
                            "typed_config": {"@type": format!("{prefix}.http.router.v3.Router")},
                        },
                    ],
                },
            }]}],
        })
    };
    values(routes).into_iter().enumerate().map(router).collect()
}

fn grpc_cluster(name: &str) -> Value {
    let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    json!({
        "name": name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 15010}},
        }}]}]},
        "typed_extension_protocol_options": {options: {
            "@type": format!("type.googleapis.com/{options}"),
            "explicit_http_config": {"http2_protocol_options": {}},
        }},
    })
}
