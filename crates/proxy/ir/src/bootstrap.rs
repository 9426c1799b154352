//! The proxy's start-up configuration (`envoy.config.bootstrap.v3.Bootstrap`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::{
    BindConfig, Cluster, ConfigSource, DiscoveryService, Listener, Locality, SecretConfig, Value,
};

/// What the proxy starts with.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    /// Who this proxy says it is.
    pub node: Node,
    /// The administration endpoint, if any.
    pub admin: Option<Admin>,
    /// `static_resources.listeners`.
    pub listeners: Vec<Listener>,
    /// `static_resources.clusters`.
    pub clusters: Vec<Arc<Cluster>>,
    /// `static_resources.secrets`.
    pub secrets: Vec<SecretConfig>,
    /// The aggregated discovery service (`dynamic_resources.ads_config`), if there is one.
    pub ads: Option<DiscoveryService>,
    /// Where `dynamic_resources.lds_config` asks for listeners.
    pub lds: Option<ConfigSource>,
    /// Where `dynamic_resources.cds_config` asks for clusters.
    pub cds: Option<ConfigSource>,
    /// How statistics are tagged.
    pub stats: StatsConfig,
    /// Where connections of clusters come from that do not say so themselves.
    pub upstream_bind: Option<BindConfig>,
}

/// Who this proxy says it is (`envoy.config.core.v3.Node`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// `node.id`, in Istio `sidecar~IP~pod.ns~ns.svc.cluster.local`.
    pub id: String,
    /// `node.cluster`.
    pub cluster: String,
    /// `node.locality`.
    pub locality: Locality,
    /// `node.metadata`.
    pub metadata: BTreeMap<String, Value>,
}

/// The administration endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// Where it listens.
    pub address: SocketAddr,
}

/// `stats_config`: accepted for its tags; the matcher decides which stats exist.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StatsConfig {
    /// Name and value of fixed tags on every statistic.
    pub fixed_tags: Vec<(String, String)>,
    /// `use_all_default_tags`, true when unset.
    pub use_all_default_tags: bool,
}
