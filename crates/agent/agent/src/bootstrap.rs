//! The proxy's bootstrap, in Envoy's form, as Istio's agent would write it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::{Options, Role, StartSettings, statistics};

/// Where metrics are scraped.
const PROMETHEUS_PORT: u16 = 15090;

/// Where health is asked for.
const HEALTH_PORT: u16 = 15021;

/// The bootstrap for these options. `roots` is the secret with the roots that the control plane's
/// certificate must lead to; it is delivered within this process.
pub fn bootstrap(options: &Options, roots: &str) -> Value {
    let (host, port) = split_host_port(&options.discovery);
    let mut bootstrap = json!({
        "node": {
            "id": options.node_id(),
            "cluster": service_cluster(options),
            "locality": {},
            "metadata": metadata(options),
        },
        "admin": { "address": socket_address(&options.admin.ip().to_string(), options.admin.port()) },
        "layered_runtime": { "layers": runtime(&options.start) },
        "dynamic_resources": {
            "lds_config": { "ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3" },
            "cds_config": { "ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3" },
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "set_node_on_first_message_only": true,
                "transport_api_version": "V3",
                "grpc_services": [ { "envoy_grpc": { "cluster_name": "xds-grpc" } } ],
            },
        },
        "static_resources": {
            "clusters": [
                admin_cluster("prometheus_stats", options),
                admin_cluster("agent", options),
                xds_cluster(&host, port, roots),
            ],
            "listeners": [
                local_listener(options, PROMETHEUS_PORT, "stats", &[metrics()]),
                local_listener(options, HEALTH_PORT, "agent", &[health()]),
                local_listener(options, options.status_port, "status", &[health(), metrics()]),
            ],
        },
    });
    if let Some(statistics) = statistics::config(&options.start, options.ip) {
        bootstrap["stats_config"] = statistics;
    }
    bootstrap
}

/// The runtime: what `runtimeValues` say, below what an administrator says. Texts that are truth values
/// are such, as with Istio; an empty one stands for a value that is not set.
fn runtime(start: &StartSettings) -> Vec<Value> {
    let values = start.runtime_values.iter().filter(|(_, it)| !it.is_empty());
    let values = values.map(|(key, text)| {
        let value = text
            .parse::<bool>()
            .map_or_else(|_| json!(text), Value::Bool);
        (key.clone(), value)
    });
    let values: Map<_, _> = values.collect();
    let fixed =
        (!values.is_empty()).then(|| json!({ "name": "global config", "static_layer": values }));
    let admin = json!({ "name": "admin", "admin_layer": {} });
    fixed.into_iter().chain([admin]).collect()
}

fn service_cluster(options: &Options) -> String {
    let app = options.labels.get("app").unwrap_or(&options.workload);
    format!("{app}.{}", options.namespace)
}

fn metadata(options: &Options) -> Value {
    let Options {
        pod,
        namespace,
        workload,
        ..
    } = options;
    let mut metadata = options.metadata.clone();
    let mut set = |key: &str, value: Value| metadata.insert(key.to_owned(), value);
    set("NAME", json!(pod));
    set("NAMESPACE", json!(namespace));
    set("WORKLOAD_NAME", json!(workload));
    set(
        "OWNER",
        json!(format!(
            "kubernetes://apis/apps/v1/namespaces/{namespace}/deployments/{workload}"
        )),
    );
    set("SERVICE_ACCOUNT", json!(options.service_account));
    set("LABELS", json!(labels(options)));
    set("INSTANCE_IPS", json!(options.ip.to_string()));
    set("CLUSTER_ID", json!(options.cluster_id));
    set("MESH_ID", json!(options.trust_domain));
    set("INTERCEPTION_MODE", json!(options.interception.as_str()));
    set("ISTIO_VERSION", json!(env!("CARGO_PKG_VERSION")));
    if let Some(address) = options.app_address {
        set("MELTEMI_APP_ADDRESS", json!(address.to_string()));
    }
    if options.role == Role::Router {
        set("UNPRIVILEGED_POD", json!("true"));
    }
    Value::Object(metadata)
}

/// The pod's labels with the canonical service and revision, as injection would add them.
fn labels(options: &Options) -> BTreeMap<String, String> {
    let mut labels = options.labels.clone();
    let mut derive = |label: &str, sources: [&str; 2], otherwise: &str| {
        if !labels.contains_key(label) {
            let found = sources
                .iter()
                .find_map(|source| labels.get(*source))
                .cloned();
            labels.insert(
                label.to_owned(),
                found.unwrap_or_else(|| otherwise.to_owned()),
            );
        }
    };
    derive(
        "service.istio.io/canonical-name",
        ["app.kubernetes.io/name", "app"],
        &options.workload,
    );
    derive(
        "service.istio.io/canonical-revision",
        ["app.kubernetes.io/version", "version"],
        "latest",
    );
    labels
}

fn socket_address(host: &str, port: u16) -> Value {
    json!({ "socket_address": { "address": host, "port_value": port } })
}

fn static_cluster(name: &str, kind: &str, host: &str, port: u16) -> Map<String, Value> {
    let cluster = json!({
        "name": name,
        "type": kind,
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [ { "lb_endpoints": [ { "endpoint": { "address": socket_address(host, port) } } ] } ],
        },
    });
    match cluster {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn admin_cluster(name: &str, options: &Options) -> Value {
    Value::Object(static_cluster(
        name,
        "STATIC",
        &options.admin.ip().to_string(),
        options.admin.port(),
    ))
}

fn xds_cluster(host: &str, port: u16, roots: &str) -> Value {
    let kind = if host.parse::<std::net::IpAddr>().is_ok() {
        "STATIC"
    } else {
        "STRICT_DNS"
    };
    let mut cluster = static_cluster("xds-grpc", kind, host, port);
    cluster.insert("http2_protocol_options".to_owned(), json!({}));
    let tls = json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": "istiod.istio-system.svc",
            "common_tls_context": {
                "alpn_protocols": ["h2"],
                "combined_validation_context": {
                    "default_validation_context": {
                        "match_typed_subject_alt_names": [
                            { "san_type": "DNS", "matcher": { "exact": "istiod.istio-system.svc" } },
                        ],
                    },
                    "validation_context_sds_secret_config": {
                        "name": roots,
                        "sds_config": {
                            "api_config_source": {
                                "api_type": "GRPC",
                                "set_node_on_first_message_only": true,
                                "transport_api_version": "V3",
                                "grpc_services": [ { "envoy_grpc": { "cluster_name": "sds-grpc" } } ],
                            },
                            "initial_fetch_timeout": "0s",
                            "resource_api_version": "V3",
                        },
                    },
                },
            },
        },
    });
    cluster.insert("transport_socket".to_owned(), tls);
    Value::Object(cluster)
}

fn metrics() -> Value {
    json!({
        "match": { "prefix": "/stats/prometheus" },
        "route": { "cluster": "prometheus_stats" },
    })
}

fn health() -> Value {
    json!({
        "match": { "path": "/healthz/ready" },
        "route": { "cluster": "agent", "prefix_rewrite": "/ready" },
    })
}

fn local_listener(options: &Options, port: u16, stat_prefix: &str, routes: &[Value]) -> Value {
    json!({
        "name": format!("{stat_prefix}_{port}"),
        "address": socket_address(&options.ip.to_string(), port),
        "filter_chains": [ { "filters": [ {
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "codec_type": "AUTO",
                "stat_prefix": stat_prefix,
                "route_config": {
                    "virtual_hosts": [ { "name": "backend", "domains": ["*"], "routes": routes } ],
                },
                "http_filters": [ {
                    "name": "envoy.filters.http.router",
                    "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
                } ],
            },
        } ] } ],
    })
}

fn split_host_port(text: &str) -> (String, u16) {
    match text.rsplit_once(':') {
        Some((host, port)) => (
            host.trim_matches(['[', ']']).to_owned(),
            port.parse().unwrap_or(15012),
        ),
        None => (text.to_owned(), 15012),
    }
}
