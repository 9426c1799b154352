//! Messages through JSON and back, and what errors say.

#![allow(clippy::unwrap_used)]

use prost_types::value::Kind;
use prost_types::{Any, Struct, Value as StructValue};
use serde_json::{Value, json};

use meltemi_xds::any;
use meltemi_xds::json::{
    JsonError, JsonNames, JsonStyle, Secrets, from_json, to_json, to_json_with,
};
use meltemi_xds::pb::envoy::config::bootstrap::v3::Bootstrap;
use meltemi_xds::pb::envoy::config::cluster::v3::Cluster;
use meltemi_xds::pb::envoy::config::core::v3::{Metadata, Node};
use meltemi_xds::pb::envoy::config::listener::v3::filter::ConfigType;
use meltemi_xds::pb::envoy::config::route::v3::{RouteConfiguration, WeightedCluster};
use meltemi_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3::Secret;
use meltemi_xds::pb::envoy::r#type::v3::FractionalPercent;

const CAMEL: JsonStyle = JsonStyle {
    names: JsonNames::Json,
    secrets: Secrets::Shown,
};
const REDACTED: JsonStyle = JsonStyle {
    names: JsonNames::Proto,
    secrets: Secrets::Redacted,
};

fn bootstrap() -> Value {
    json!({
        "node": {"id": "sidecar~10.0.0.1~a.b~b.svc", "metadata": {"ISTIO_VERSION": "1.26", "N": 1, "F": 0.5}},
        "static_resources": {
            "listeners": [{
                "name": "edge",
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": 8080}},
                "filter_chains": [{"filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                        "codec_type": "HTTP1",
                        "stat_prefix": "edge",
                        "route_config": {"virtual_hosts": [{
                            "name": "all",
                            "domains": ["*"],
                            "routes": [{
                                "match": {"prefix": "/"},
                                "route": {"cluster": "local", "timeout": "0.250s"},
                            }],
                        }]},
                        "http_filters": [{
                            "name": "envoy.filters.http.router",
                            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
                        }],
                    },
                }]}],
            }],
            "clusters": [{
                "name": "local",
                "type": "STRICT_DNS",
                "connect_timeout": "5s",
                "max_requests_per_connection": 3,
            }],
        },
    })
}

/// `bootstrap()` with the value at a JSON pointer replaced or added.
fn bootstrap_with(pointer: &str, value: Value) -> Value {
    let mut document = bootstrap();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    document.pointer_mut(parent).unwrap()[name] = value;
    document
}

/// Keys in any order, so that printing can be compared with what was written.
fn sorted(value: Value) -> Value {
    match value {
        Value::Array(values) => values.into_iter().map(sorted).collect(),
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields
                .into_iter()
                .map(|(name, value)| (name, sorted(value)))
                .collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(fields.into_iter().collect())
        }
        other => other,
    }
}

#[test]
fn a_bootstrap_survives_both_ways() {
    let parsed: Bootstrap = from_json(bootstrap()).unwrap();
    let filter =
        &parsed.static_resources.as_ref().unwrap().listeners[0].filter_chains[0].filters[0];
    let Some(ConfigType::TypedConfig(config)) = &filter.config_type else {
        panic!("{filter:?}");
    };
    let manager: HttpConnectionManager = any::unpack(config).unwrap();
    assert_eq!(manager.stat_prefix, "edge");

    // Printed without spaces between keys changing place: the text is compared.
    let printed = to_json(&parsed);
    assert_eq!(
        sorted(printed.clone()).to_string(),
        sorted(bootstrap()).to_string()
    );
    assert_eq!(from_json::<Bootstrap>(printed), Ok(parsed.clone()));
    let camel = to_json_with(&parsed, CAMEL);
    let route = "/staticResources/listeners/0/filterChains/0/filters/0/typedConfig/routeConfig/virtualHosts/0/routes/0";
    assert_eq!(camel.pointer(route).unwrap()["route"]["timeout"], "0.250s");
    assert_eq!(from_json::<Bootstrap>(camel), Ok(parsed));
}

#[test]
fn errors_name_the_path() {
    let listener = "/static_resources/listeners/0";
    let config = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    let config_path = "static_resources.listeners[0].filter_chains[0].filters[0].typed_config";
    let cases = [
        (format!("{listener}/foo"), json!(1), "static_resources.listeners[0].foo: envoy.config.listener.v3.Listener has no such field".to_owned()),
        ("/bar".to_owned(), json!(1), "bar: envoy.config.bootstrap.v3.Bootstrap has no such field".to_owned()),
        (
            format!("{config}/route_config/virtual_hosts/0/routes/0/route/timeout"),
            json!("5"),
            format!("{config_path}.route_config.virtual_hosts[0].routes[0].route.timeout: expected a duration such as \"1.5s\", found \"5\""),
        ),
        (format!("{config}/codec_type"), json!("HTTP9"), format!("{config_path}.codec_type: \"HTTP9\" is not a value of envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.CodecType")),
        (config.to_owned(), json!({"@type": "type.googleapis.com/no.Such"}), format!("{config_path}: unknown @type \"type.googleapis.com/no.Such\"")),
        (config.to_owned(), json!({"stat_prefix": "a"}), format!("{config_path}: missing @type")),
        (config.to_owned(), json!({"@type": "type.googleapis.com/google.protobuf.Duration", "value": "x"}), format!("{config_path}.value: expected a duration such as \"1.5s\", found \"x\"")),
        (format!("{config}/rds"), json!({"route_config_name": "a"}), format!("{config_path}.rds: cannot be set together with \"route_config\", they are alternatives of route_specifier")),
        (format!("{listener}/filterChains"), json!([]), "static_resources.listeners[0].filterChains: given twice, also as \"filter_chains\"".to_owned()),
        (format!("{listener}/address/socket_address/port_value"), json!(-1), "static_resources.listeners[0].address.socket_address.port_value: expected an integer of 32 bits, not negative, found -1".to_owned()),
        (format!("{listener}/name"), json!(7), "static_resources.listeners[0].name: expected a string, found 7".to_owned()),
        (format!("{listener}/filter_chains"), json!({}), "static_resources.listeners[0].filter_chains: expected a list, found an object".to_owned()),
        (format!("{listener}/metadata"), json!({"filter_metadata": {"envoy.lb": 3}}), "static_resources.listeners[0].metadata.filter_metadata[\"envoy.lb\"]: expected an object, found 3".to_owned()),
    ];
    for (pointer, value, expected) in cases {
        let error = from_json::<Bootstrap>(bootstrap_with(&pointer, value)).unwrap_err();
        assert_eq!(error.to_string(), expected, "{pointer}");
        assert!(expected.starts_with(error.path()), "{pointer}");
    }
}

#[test]
fn scalars_are_read_leniently_and_printed_strictly() {
    let cases = [
        (
            json!({"numerator": "7", "denominator": "MILLION"}),
            json!({"numerator": 7, "denominator": "MILLION"}),
        ),
        (
            json!({"numerator": 7.0, "denominator": 2}),
            json!({"numerator": 7, "denominator": "MILLION"}),
        ),
        (json!({"numerator": 0, "denominator": null}), json!({})),
        (json!({"denominator": 9}), json!({"denominator": 9})),
    ];
    for (written, printed) in cases {
        assert_eq!(
            to_json(&from_json::<FractionalPercent>(written).unwrap()),
            printed
        );
    }
    assert!(from_json::<FractionalPercent>(json!({"numerator": 7.5})).is_err());
    assert!(from_json::<FractionalPercent>(json!({"numerator": 4_294_967_296_u64})).is_err());

    let cluster = json!({
        "upstream_connection_options": {"tcp_keepalive": {"keepalive_time": 30}},
        "common_lb_config": {"healthy_panic_threshold": {"value": 0.1}},
    });
    assert_eq!(
        to_json(&from_json::<Cluster>(cluster.clone()).unwrap()),
        cluster
    );
    // A weight given as zero is not a weight left out.
    let weighted = json!({"clusters": [{"name": "a", "weight": 0}], "total_weight": 100});
    assert_eq!(
        to_json(&from_json::<WeightedCluster>(weighted.clone()).unwrap()),
        weighted
    );
}

#[test]
fn whole_numbers_of_a_struct_are_integers() {
    let number = |number| StructValue {
        kind: Some(Kind::NumberValue(number)),
    };
    let fields = [
        ("a", number(1.0)),
        ("b", number(-0.5)),
        ("c", number(1e300)),
        ("d", StructValue { kind: None }),
    ];
    let metadata = Struct {
        fields: fields.map(|(name, value)| (name.to_owned(), value)).into(),
    };
    let node = Node {
        metadata: Some(metadata),
        ..Node::default()
    };
    assert_eq!(
        to_json(&node).to_string(),
        r#"{"metadata":{"a":1,"b":-0.5,"c":1e+300,"d":null}}"#
    );
}

#[test]
fn what_an_any_cannot_show_is_base64() {
    let cases = [
        (
            Any {
                type_url: "type.googleapis.com/no.Such".to_owned(),
                value: vec![1, 2],
            },
            json!({"@type": "type.googleapis.com/no.Such", "value": "AQI="}),
        ),
        (
            Any {
                type_url: "type.googleapis.com/envoy.config.cluster.v3.Cluster".to_owned(),
                value: vec![0xff],
            },
            json!({"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "value": "/w=="}),
        ),
        (
            any::pack(&prost_types::Duration {
                seconds: 1,
                nanos: 0,
            }),
            json!({"@type": "type.googleapis.com/google.protobuf.Duration", "value": "1s"}),
        ),
        (
            any::pack(&any::pack(&true)),
            json!({
                "@type": "type.googleapis.com/google.protobuf.Any",
                "value": {"@type": "type.googleapis.com/google.protobuf.BoolValue", "value": true},
            }),
        ),
        (Any::default(), json!({})),
    ];
    for (any, printed) in cases {
        let metadata = Metadata {
            typed_filter_metadata: [("x".to_owned(), any.clone())].into(),
            ..Metadata::default()
        };
        assert_eq!(to_json(&any), printed);
        assert_eq!(
            to_json(&metadata),
            json!({"typed_filter_metadata": {"x": printed}})
        );
        if any::type_name(&any.type_url).starts_with("google.") {
            assert_eq!(from_json::<Any>(printed), Ok(any));
        }
    }
}

#[test]
fn secrets_are_redacted_on_request() {
    let secret = json!({
        "name": "default",
        "tls_certificate": {
            "certificate_chain": {"inline_string": "public"},
            "private_key": {"inline_bytes": "cHJpdmF0ZQ=="},
        },
    });
    let parsed: Secret = from_json(secret.clone()).unwrap();
    assert_eq!(to_json(&parsed), secret);
    let redacted = to_json_with(&parsed, REDACTED);
    assert_eq!(
        redacted["tls_certificate"]["certificate_chain"]["inline_string"],
        "public"
    );
    assert_eq!(
        redacted["tls_certificate"]["private_key"]["inline_bytes"],
        "W3JlZGFjdGVkXQ=="
    );
}

#[test]
fn nesting_is_bounded() {
    let deep = |levels: usize| (0..levels).fold(json!(1), |inside, _| json!({"a": inside}));
    let node = |levels| from_json::<Node>(json!({"metadata": deep(levels)}));
    assert!(node(30).is_ok());
    assert_eq!(
        node(40),
        Err(JsonError::TooDeep {
            path: "metadata".to_owned()
        })
    );

    let mut config = json!({"@type": "type.googleapis.com/google.protobuf.Any"});
    for _ in 0..200 {
        config = json!({"@type": "type.googleapis.com/google.protobuf.Any", "value": config});
    }
    assert!(matches!(
        from_json::<Any>(config),
        Err(JsonError::TooDeep { .. })
    ));
}

#[test]
fn equal_messages_have_equal_bytes() {
    let fields = |names: [&str; 3]| Metadata {
        filter_metadata: names
            .map(|name| (name.to_owned(), Struct::default()))
            .into(),
        ..Metadata::default()
    };
    assert_eq!(
        any::pack(&fields(["a", "b", "c"])),
        any::pack(&fields(["c", "a", "b"]))
    );
    let routes: RouteConfiguration = from_json(json!({"name": "r"})).unwrap();
    assert_eq!(any::pack(&routes).value, b"\x0a\x01r");
}
