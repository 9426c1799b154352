#![allow(clippy::unwrap_used)]

use meltemi_xds::json;
use meltemi_xds::pb::envoy::config::listener::v3::Listener;
use serde_json::json;

use super::{Call, CallError, CallTls, Simulation};

fn simulation(listener: serde_json::Value) -> Simulation {
    let listener: Listener = json::from_json(listener).unwrap();
    Simulation {
        listeners: vec![listener],
        ..Simulation::default()
    }
}

fn chain(name: &str, matching: serde_json::Value) -> serde_json::Value {
    json!({
        "name": name,
        "filter_chain_match": matching,
        "filters": [{
            "name": "envoy.filters.network.tcp_proxy",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                "stat_prefix": "a",
                "cluster": name,
            },
        }],
    })
}

#[test]
fn chains_are_chosen_step_by_step() {
    let simulation = simulation(json!({
        "name": "0.0.0.0_80",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": 80}},
        "listener_filters": [{"name": "envoy.filters.listener.tls_inspector"}],
        "filter_chains": [
            chain("wide", json!({"prefix_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]})),
            chain("narrow", json!({"prefix_ranges": [{"address_prefix": "10.9.9.9", "prefix_len": 16}]})),
            chain("name", json!({"server_names": ["*.a.com"]})),
            chain("exact", json!({"server_names": ["b.a.com"]})),
            chain("plain", json!({"transport_protocol": "raw_buffer"})),
        ],
    }));
    for (address, sni, tls, met) in [
        ("10.1.1.1", "", CallTls::Plaintext, Ok("wide")),
        ("10.9.1.1", "", CallTls::Plaintext, Ok("narrow")),
        ("1.1.1.1", "x.a.com", CallTls::Tls, Ok("name")),
        ("1.1.1.1", "b.a.com", CallTls::Tls, Ok("exact")),
        ("1.1.1.1", "", CallTls::Plaintext, Ok("plain")),
        ("1.1.1.1", "", CallTls::Tls, Err(CallError::NoFilterChain)),
    ] {
        let outcome = simulation.run(&Call {
            address: Some(address.to_owned()),
            port: 80,
            sni: sni.to_owned(),
            tls,
            ..Call::default()
        });
        let found = outcome.error.map_or(Ok(outcome.cluster.as_str()), Err);
        assert_eq!(found, met, "{address} {sni} {tls:?}");
    }
}

#[test]
fn without_a_listener_nothing_happens() {
    let call = Call {
        port: 80,
        ..Call::default()
    };
    assert_eq!(
        Simulation::default().run(&call).error,
        Some(CallError::NoListener)
    );
}
