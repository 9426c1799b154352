//! Istio's cases of authorization policies: the filters that are made of them are compared, as
//! messages, with those that Istio makes. Skipped, and said so, where the data is absent.
//!
//! `docs/conformance.md` says how many pass; `UPDATE_GOLDEN=1` writes it.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::disallowed_methods)]

#[path = "support/conformance.rs"]
mod conformance;
#[path = "support/case.rs"]
mod support;

use std::path::PathBuf;

use meltemi_snapshot::Snapshot;
use meltemi_translate::listeners;
use meltemi_xds::json;
use meltemi_xds::pb::envoy::config::listener::v3::Filter;
use meltemi_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
use serde_json::{Value, json};

/// The filters that policies become.
const GUARDS: [&str; 4] = [
    "envoy.filters.http.rbac",
    "envoy.filters.http.ext_authz",
    "envoy.filters.network.rbac",
    "envoy.filters.network.ext_authz",
];

#[derive(serde::Deserialize)]
struct Cases {
    cases: Vec<AuthzCase>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthzCase {
    name: String,
    kind: String,
    input: String,
    want: Vec<String>,
    mesh_config: Option<Value>,
    trust_domain: Option<String>,
    #[serde(default)]
    trust_domain_aliases: Vec<String>,
}

#[test]
fn filters_are_those_that_istio_makes() {
    let root = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../../shared/data/istio/authz"
    ));
    // A work tree that lies elsewhere says where the data is.
    let named = std::env::var_os("MELTEMI_AUTHZ").map(PathBuf::from);
    let root = named.unwrap_or(root);
    let Ok(text) = std::fs::read_to_string(root.join("cases.json")) else {
        eprintln!("SKIPPED: no shared/data/istio/authz; the golden case `guards` covers the same");
        return;
    };
    let read = |name: &String| std::fs::read_to_string(root.join(name)).unwrap();
    let cases: Cases = serde_json::from_str(&text).unwrap();
    let mut wrong = Vec::new();
    for case in &cases.cases {
        let wanted: Vec<_> = case.want.iter().map(|it| wanted(case, &read(it))).collect();
        let made = made(case, &read(&case.input));
        if made != wanted {
            wrong.push(format!(
                "{}: made {}\nwanted {}",
                case.name,
                serde_json::to_string_pretty(&made).unwrap(),
                serde_json::to_string_pretty(&wanted).unwrap()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let total = cases.cases.len();
    let page = format!(
        "# Authorization\n\n\
         The filters that AuthorizationPolicies become, compared as messages with those that Istio makes of\n\
         them: cases of `pilot/pkg/security/authz/builder`, run by `cargo test -p meltemi-translate --test authz`.\n\n\
         **{total} of {total} cases pass.**\n"
    );
    conformance::hold("# Authorization", &page);
}

/// What Istio makes, as JSON in the form in which ours is compared.
fn wanted(case: &AuthzCase, yaml: &str) -> Value {
    let value: Value = serde_saphyr::from_str(yaml).unwrap();
    match case.kind.as_str() {
        "http" => json::to_json(&json::from_json::<HttpFilter>(value).unwrap()),
        _ => json::to_json(&json::from_json::<Filter>(value).unwrap()),
    }
}

/// The guards on the chains of ports that no service names.
fn made(case: &AuthzCase, input: &str) -> Vec<Value> {
    let mut mesh = case.mesh_config.clone().unwrap_or_else(|| json!({}));
    if let Some(domain) = &case.trust_domain {
        mesh["trustDomain"] = json!(domain);
        mesh["trustDomainAliases"] = json!(case.trust_domain_aliases);
    }
    let mesh = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "istio", "namespace": "istio-system"},
        "data": {"mesh": mesh.to_string()},
    });
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "my-custom-ext-authz", "namespace": "foo"},
        "spec": {"clusterIP": "10.0.0.9", "ports": [{"name": "grpc", "port": 9000}]},
    });
    let mut configs = support::configs(input);
    configs.extend(support::configs(&mesh.to_string()));
    configs.extend(support::configs(&service.to_string()));
    let node = support::node(&json!({
        "id": "sidecar~10.0.0.1~httpbin-1.foo~foo.svc.cluster.local",
        "metadata": {"LABELS": {"app": "httpbin", "version": "v1"}},
    }));
    let all = listeners(&Snapshot::of(configs), &node);
    let listener = json::to_json(&*all["virtualInbound"].any);
    let chain = match case.kind.as_str() {
        "http" => "virtualInbound-catchall-http",
        _ => "virtualInbound",
    };
    let chains = listener["filter_chains"].as_array().unwrap();
    let chain = chains.iter().find(|it| it["name"] == chain).unwrap();
    let filters = match case.kind.as_str() {
        "http" => &chain["filters"][0]["typed_config"]["http_filters"],
        _ => &chain["filters"],
    };
    let filters = filters.as_array().unwrap().iter();
    filters
        .filter(|it| GUARDS.contains(&it["name"].as_str().unwrap()))
        .cloned()
        .collect()
}
