//! Tests of what is read of a node.
#![allow(clippy::unwrap_used)]

use meltemi_xds::json;
use serde_json::{Value, json};

use super::{InterceptionMode, IstioFilters, Lacks, NodeError, ProxyNode, ProxyRole};

fn parse(node: Value) -> Result<ProxyNode, NodeError> {
    ProxyNode::parse(&json::from_json(node).unwrap())
}

#[test]
fn a_node_without_metadata_has_the_defaults() {
    let node = parse(json!({"id": "sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local"})).unwrap();
    assert_eq!(node.role, ProxyRole::Sidecar);
    assert_eq!(node.ip.to_string(), "10.0.0.1");
    assert_eq!(
        (node.workload.as_str(), node.namespace.as_str()),
        ("web-1", "shop")
    );
    assert_eq!(node.dns_domain, "shop.svc.cluster.local");
    assert_eq!(node.cluster_id, "Kubernetes");
    assert_eq!(node.interception, None);
    assert!(node.labels.is_empty() && node.app_address.is_none() && !node.http10);
    assert_eq!(
        (node.filters, node.lacks),
        (IstioFilters::default(), Lacks::default())
    );
}

#[test]
fn metadata_and_extensions_are_read() {
    let node = parse(json!({
        "id": "router~fd00::1~gateway.v1.edge~edge.svc.cluster.local",
        "locality": {"region": "eu", "zone": "eu-1", "sub_zone": "a"},
        "metadata": {
            "NAMESPACE": "other",
            "LABELS": {"app": "web", "number": 3},
            "SERVICE_ACCOUNT": "web",
            "INTERCEPTION_MODE": "NONE",
            "CLUSTER_ID": "west",
            "NETWORK": "n1",
            "ISTIO_VERSION": "1.29.0",
            "HTTP10": "1",
            "HTTP_PROXY_PORT": "8888",
            "MELTEMI_APP_ADDRESS": "127.0.2.1",
        },
        "extensions": [
            {"name": "istio.stats"},
            {"name": "istio.alpn", "disabled": true},
            {"type_urls": ["envoy.tcp.metadataexchange.config.MetadataExchange"]},
        ],
    }))
    .unwrap();
    assert_eq!(node.role, ProxyRole::Router);
    assert_eq!(
        (node.workload.as_str(), node.namespace.as_str()),
        ("gateway.v1", "other")
    );
    assert_eq!(node.labels.iter().collect::<Vec<_>>(), [("app", "web")]);
    assert_eq!(node.service_account.as_deref(), Some("web"));
    assert_eq!(node.interception, Some(InterceptionMode::None));
    assert_eq!(node.cluster_id, "west");
    assert_eq!(node.network.as_deref(), Some("n1"));
    assert_eq!(node.version.as_deref(), Some("1.29.0"));
    assert!(node.http10);
    assert_eq!(node.http_proxy_port, Some(8888));
    assert_eq!(node.app_address.unwrap().to_string(), "127.0.2.1");
    assert_eq!(node.locality.zone, "eu-1");
    let filters = IstioFilters {
        stats: true,
        metadata_exchange: true,
        ..Default::default()
    };
    assert_eq!(node.filters, filters);
    assert!(node.lacks.retry_priority && node.lacks.original_source);
}

#[test]
fn what_is_wrong_is_named() {
    let cases = [
        ("sidecar~10.0.0.1~web.shop", json!({}), "node.id"),
        (
            "sidecar~10.0.0.1~web~shop.svc.cluster.local",
            json!({}),
            "node.id",
        ),
        ("waypoint~10.0.0.1~web.shop~d", json!({}), "\"waypoint\""),
        ("sidecar~nowhere~web.shop~d", json!({}), "\"nowhere\""),
        (
            "sidecar~1.2.3.4~w.s~d",
            json!({"INTERCEPTION_MODE": "X"}),
            "INTERCEPTION_MODE: \"X\"",
        ),
        (
            "sidecar~1.2.3.4~w.s~d",
            json!({"GENERATOR": "event"}),
            "GENERATOR: \"event\"",
        ),
        (
            "sidecar~1.2.3.4~w.s~d",
            json!({"HTTP_PROXY_PORT": "x"}),
            "HTTP_PROXY_PORT: \"x\"",
        ),
        (
            "sidecar~1.2.3.4~w.s~d",
            json!({"MELTEMI_APP_ADDRESS": "x"}),
            "MELTEMI_APP_ADDRESS",
        ),
    ];
    for (id, metadata, expected) in cases {
        let error = parse(json!({"id": id, "metadata": metadata})).unwrap_err();
        assert!(error.to_string().contains(expected), "{id}: {error}");
    }
}

#[test]
fn what_a_proxy_was_started_with_is_read() {
    let of = |config: Value| {
        let id = "sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local";
        parse(json!({"id": id, "metadata": {"PROXY_CONFIG": config}}))
    };
    let node = of(json!({
        "concurrency": 2,
        "somethingNew": {"a": 1},
        "gatewayTopology": {"numTrustedProxies": 2, "forwardClientCertDetails": "SANITIZE_SET"},
    }))
    .unwrap();
    let settings = node.settings.unwrap();
    assert_eq!(settings.topology.unwrap().trusted_proxies, 2);
    assert_eq!(
        settings.headers,
        Some(meltemi_model::ProxyHeaders::default())
    );
    let wrong = json!({"gatewayTopology": {"forwardClientCertDetails": "SANITISE"}});
    let error = of(wrong).unwrap_err().to_string();
    assert!(
        error.starts_with("node.metadata.PROXY_CONFIG: gatewayTopology.forwardClientCertDetails: "),
        "{error}"
    );
    assert!(of(json!({"tracing": {"zipkin": {"address": "a:9411"}}})).is_ok());
}
