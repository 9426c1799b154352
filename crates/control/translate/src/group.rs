//! Which proxies can share what was made for one of them.
//!
//! In: a proxy. Out: its [`GroupKey`]: the proxy without everything that shared parts do not depend on.
//! Shared parts are made for the key's own node, which has nothing else that they could look at, so
//! that proxies with the same key get the same by construction.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use meltemi_model::{Labels, Workload};
use meltemi_snapshot::Snapshot;

use crate::ProxyNode;
use crate::envoy_filter;
use crate::scope::{Scope, labels_of, locality_of, own_settings, settings_of};

/// What the shared parts of a proxy's resources depend on, the snapshot aside.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GroupKey(ProxyNode);

impl GroupKey {
    /// The node for which shared parts are made.
    pub fn node(&self) -> &ProxyNode {
        &self.0
    }
}

/// The key of the group that a proxy belongs to.
pub fn group_key(snapshot: &Snapshot, node: &ProxyNode) -> GroupKey {
    let scope = Scope::new(snapshot, node);
    let keys = snapshot.selecting_keys();
    let labels = scope.labels.iter().filter(|(key, _)| keys.contains(*key));
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let (version, metadata) = envoy_filter::asked(&scope);
    let ProxyNode {
        // ignored: who the proxy is, not what it sees
        id: _,
        workload: _,
        service_account: _,
        interception: _, // ignored: what it is in the end, below
        // ignored: of these counts what selectors and patches ask for, above
        labels: _,
        version: _,
        metadata: _,
        app_address: _, // ignored: of the workload's own parts
        settings: _,    // ignored: with those of the workload, below
        role,
        generator,
        ip,
        ips,
        namespace,
        dns_domain,
        cluster_id,
        network,
        http10,
        unprivileged,
        http_proxy_port,
        auto_addresses,
        locality: _, // ignored: where it is in the end, below
        filters,
        lacks,
    } = node;
    GroupKey(ProxyNode {
        id: String::new(),
        workload: String::new(),
        service_account: None,
        labels: Labels::new(labels.collect()),
        role: *role,
        generator: *generator,
        ip: any_of_family(ip),
        ips: ips.iter().map(any_of_family).collect(),
        namespace: namespace.clone(),
        dns_domain: dns_domain.clone(),
        interception: Some(scope.interception),
        cluster_id: cluster_id.clone(),
        network: network.clone(),
        version,
        metadata,
        http10: *http10,
        unprivileged: *unprivileged,
        http_proxy_port: *http_proxy_port,
        app_address: None,
        auto_addresses: *auto_addresses,
        settings: own_settings(snapshot, node),
        locality: scope.locality.clone(),
        filters: *filters,
        lacks: *lacks,
    })
}

/// A snapshot, and a proxy's workload in it.
pub type Placed<'a> = (&'a Snapshot, Option<&'a Arc<Workload>>);

/// Whether a proxy is in the same group in two snapshots; may say no where it is.
pub fn have_same_group(old: Placed<'_>, new: Placed<'_>, node: &ProxyNode) -> bool {
    let ((before, old), (after, new)) = (old, new);
    let same_workload = match (old, new) {
        (Some(old), Some(new)) => Arc::ptr_eq(old, new),
        (old, new) => old.is_none() && new.is_none(),
    };
    let interception = |it: &Snapshot| it.mesh().default_config.interception_mode;
    before.shares_selecting_keys(after)
        && before.shares_envoy_filters(after)
        && before.mesh().root_namespace == after.mesh().root_namespace
        && interception(before) == interception(after)
        && (same_workload
            || labels_of(node, old) == labels_of(node, new)
                && locality_of(node, old) == locality_of(node, new)
                && settings_of(node, old) == settings_of(node, new))
}

/// In the place of an address, of which only the family counts.
fn any_of_family(ip: &IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}
