//! What holds of every configuration, whatever the call.
//!
//! In: the listeners, clusters and route tables made for one proxy. Out: what is wrong with them, one
//! line each. What Envoy itself validates is left to Envoy.

use std::collections::BTreeSet;

use meltemi_xds::pb::envoy::config::cluster::v3::Cluster;
use meltemi_xds::pb::envoy::config::core::v3::TrafficDirection;
use meltemi_xds::pb::envoy::config::listener::v3::{FilterChain, FilterChainMatch, Listener};
use meltemi_xds::pb::envoy::config::route::v3::RouteConfiguration;

use super::HTTP;
use super::chain::{HTTP_INSPECTOR, TLS_INSPECTOR, socket};

/// The port of `virtualInbound`.
const INBOUND_PORT: u32 = 15006;
/// How long the bodies of direct responses may be.
const MAX_DIRECT_RESPONSE: u32 = 1024 * 1024;

/// What is wrong with listeners.
pub fn listeners(listeners: &[Listener]) -> Vec<String> {
    let mut wrong = Vec::new();
    repeated(
        "listener name",
        listeners.iter().map(|it| it.name.clone()),
        &mut wrong,
    );
    let addresses = listeners.iter().flat_map(|it| {
        let additional = it.additional_addresses.iter();
        let additional = additional.filter_map(|it| it.address.as_ref());
        let all = it.address.iter().chain(additional).filter_map(socket);
        all.map(|(ip, port)| format!("{ip}:{port}"))
            .collect::<Vec<_>>()
    });
    repeated("listener address", addresses, &mut wrong);
    for listener in listeners {
        let mut found = Vec::new();
        check(listener, &mut found);
        wrong.extend(
            found
                .into_iter()
                .map(|it| format!("{}: {it}", listener.name)),
        );
    }
    wrong
}

fn check(listener: &Listener, wrong: &mut Vec<String>) {
    let names = listener.listener_filters.iter().map(|it| it.name.clone());
    repeated("listener filter", names, wrong);
    let none = FilterChainMatch::default();
    let matching = |chain: &FilterChain| chain.filter_chain_match.as_ref().unwrap_or(&none).clone();
    let matches: Vec<_> = listener.filter_chains.iter().map(matching).collect();
    for (index, one) in matches.iter().enumerate() {
        if matches[..index].contains(one) {
            wrong.push(format!("two chains match {one:?}"));
        }
    }
    let inbound = listener.traffic_direction == i32::from(TrafficDirection::Inbound)
        && listener.address.as_ref().and_then(socket).map(|it| it.1) == Some(INBOUND_PORT);
    for (chain, one) in listener.filter_chains.iter().zip(&matches) {
        if inbound
            && one.transport_protocol.is_empty()
            && one.destination_port != Some(INBOUND_PORT)
        {
            wrong.push(format!(
                "chain {:?} does not match a transport protocol",
                chain.name
            ));
        }
        let http = chain.filters.iter().any(|it| it.name == HTTP);
        if http && one.transport_protocol == "tls" && chain.transport_socket.is_none() {
            wrong.push(format!("chain {:?} reads TLS as HTTP", chain.name));
        }
        let has = |name| listener.listener_filters.iter().any(|it| it.name == name);
        let tls = one.transport_protocol == "tls" || !one.server_names.is_empty();
        if tls && !has(TLS_INSPECTOR) {
            wrong.push(format!(
                "chain {:?} looks at TLS, and no inspector does",
                chain.name
            ));
        }
        let alpn = !one.application_protocols.is_empty() && one.transport_protocol.is_empty();
        if alpn && !has(TLS_INSPECTOR) && !has(HTTP_INSPECTOR) {
            wrong.push(format!(
                "chain {:?} looks at ALPN, and no inspector does",
                chain.name
            ));
        }
    }
    for port in matches.iter().filter_map(|it| it.destination_port) {
        let here = matches
            .iter()
            .filter(|it| it.destination_port == Some(port));
        let (with, without): (Vec<_>, Vec<_>) =
            here.partition(|it| !it.transport_protocol.is_empty());
        if !with.is_empty() && !without.is_empty() {
            wrong.push(format!(
                "some chains of port {port} match a transport protocol, others not"
            ));
        }
    }
}

/// What is wrong with clusters.
pub fn clusters(clusters: &[Cluster]) -> Vec<String> {
    let mut wrong = Vec::new();
    repeated(
        "cluster",
        clusters.iter().map(|it| it.name.clone()),
        &mut wrong,
    );
    for cluster in clusters {
        if cluster.transport_socket.is_some() && !cluster.transport_socket_matches.is_empty() {
            wrong.push(format!(
                "{}: has a transport socket and matches for others",
                cluster.name
            ));
        }
    }
    wrong
}

/// What is wrong with route tables.
pub fn routes<'a>(tables: impl IntoIterator<Item = &'a RouteConfiguration>) -> Vec<String> {
    let mut wrong = Vec::new();
    for table in tables {
        let name = &table.name;
        if table.max_direct_response_body_size_bytes != Some(MAX_DIRECT_RESPONSE) {
            wrong.push(format!("{name}: another limit of direct responses"));
        }
        let hosts = &table.virtual_hosts;
        let names = hosts.iter().map(|it| format!("{name}: {}", it.name));
        repeated("virtual host", names, &mut wrong);
        let domains = hosts.iter().flat_map(|it| &it.domains);
        let domains = domains.map(|it| format!("{name}: {it}"));
        repeated("domain", domains, &mut wrong);
    }
    wrong
}

/// The clusters to which the routes of a virtual host with this domain lead, sorted; `None` if there
/// is none such or no route leads to a single cluster.
pub fn clusters_of_domain(table: &RouteConfiguration, domain: &str) -> Option<Vec<String>> {
    let mut hosts = table.virtual_hosts.iter();
    let host = hosts.find(|it| it.domains.iter().any(|it| it == domain))?;
    let mut clusters: Vec<_> = host
        .routes
        .iter()
        .filter_map(super::route::cluster_of)
        .map(str::to_owned)
        .collect();
    clusters.sort();
    (!clusters.is_empty()).then_some(clusters)
}

fn repeated<T: Ord + Clone + std::fmt::Display>(
    what: &str,
    names: impl Iterator<Item = T>,
    wrong: &mut Vec<String>,
) {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name.clone()) {
            wrong.push(format!("{what} {name} is there twice"));
        }
    }
}
