//! Which proxies can share what was made for one of them.
//!
//! In: a proxy. Out: [`GroupKey`]: everything of a proxy that its resources depend on and nothing
//! else, so that proxies with the same key get the same bytes from the same snapshot.

use std::collections::BTreeMap;
use std::net::IpAddr;

use meltemi_model::{EndpointAddress, Hostname, Locality, NamespaceName};
use meltemi_snapshot::Snapshot;

use crate::envoy_filter;
use crate::node::{InterceptionMode, IstioFilters, Lacks};
use crate::scope::Scope;
use crate::{ProxyNode, ProxyRole};

/// What a proxy's resources depend on, the snapshot aside.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GroupKey {
    role: ProxyRole,
    namespace: NamespaceName,
    dns_domain: String,
    /// Those labels that some selector asks for.
    labels: BTreeMap<String, String>,
    /// What the workload serves: host, service port, its own port.
    serves: Vec<(Hostname, u16, u16)>,
    interception: InterceptionMode,
    /// The workload's address, where listeners bind it or leave it out.
    address: Option<IpAddr>,
    families: Vec<bool>,
    auto_addresses: bool,
    locality: Locality,
    app_address: Option<IpAddr>,
    cluster_id: String,
    http10: bool,
    http_proxy_port: Option<u16>,
    filters: IstioFilters,
    lacks: Lacks,
    /// Which of the patches that ask for certain proxies are for it.
    patches: Vec<bool>,
}

/// The key of the group that a proxy belongs to; only keys of the same snapshot can be compared.
pub fn group_key(snapshot: &Snapshot, node: &ProxyNode) -> GroupKey {
    let scope = Scope::new(snapshot, node);
    let ProxyNode {
        // ignored: these are who the proxy is, not what it sees; what patches ask of them is in
        // `patches`
        id: _,
        workload: _,
        service_account: _,
        version: _,
        metadata: _,
        network: _,
        role,
        ip,
        ips,
        namespace,
        dns_domain,
        labels: _, // ignored: in the scope
        interception,
        cluster_id,
        http10,
        http_proxy_port,
        app_address,
        auto_addresses,
        locality,
        filters,
        lacks,
    } = node;
    let keys = snapshot.selecting_keys();
    let binds = *interception == InterceptionMode::None;
    // Where listeners stand at the addresses of single workloads, its own is left out.
    let is_endpoint = || {
        let alone = |it: &&std::sync::Arc<meltemi_model::Service>| {
            scope.resolution(it) == crate::scope::Resolution::OriginalDestination
        };
        scope.services().filter(alone).any(|service| {
            let endpoints = snapshot.endpoints(service);
            endpoints.is_some_and(|it| {
                let mut all = it.ports.iter().flat_map(|port| &port.endpoints);
                all.any(|endpoint| match &endpoint.address {
                    EndpointAddress::Ip(address) => ips.contains(address),
                    EndpointAddress::Name(_) | EndpointAddress::Unix(_) => false,
                })
            })
        })
    };
    // A Sidecar's ingress names chains and endpoints by the workload's address.
    let has_ingress = scope.sidecar().is_some_and(|it| !it.ingress.is_empty());
    GroupKey {
        role: *role,
        namespace: namespace.clone(),
        dns_domain: dns_domain.clone(),
        labels: scope
            .labels
            .iter()
            .filter(|(key, _)| keys.contains(*key))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        serves: scope
            .targets()
            .into_iter()
            .map(|it| (it.service.hostname.clone(), it.port.number, it.target))
            .collect(),
        interception: *interception,
        address: (binds || has_ingress || is_endpoint()).then_some(*ip),
        families: ips.iter().map(IpAddr::is_ipv6).collect(),
        auto_addresses: *auto_addresses,
        locality: locality.clone(),
        app_address: *app_address,
        cluster_id: cluster_id.clone(),
        http10: *http10,
        http_proxy_port: *http_proxy_port,
        filters: *filters,
        lacks: *lacks,
        patches: envoy_filter::proxy_matches(&scope),
    }
}
