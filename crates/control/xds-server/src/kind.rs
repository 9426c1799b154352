//! The kinds of resource that are served, in the order in which a change is sent.

use std::fmt;

use meltemi_xds::pb::envoy::config::bootstrap::v3::Bootstrap;
use meltemi_xds::pb::envoy::config::cluster::v3::Cluster;
use meltemi_xds::pb::envoy::config::core::v3::TypedExtensionConfig;
use meltemi_xds::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use meltemi_xds::pb::envoy::config::listener::v3::Listener;
use meltemi_xds::pb::envoy::config::route::v3::RouteConfiguration;
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3::Secret;
use meltemi_xds::pb::istio::mesh::v1alpha1::ProxyConfig;
use meltemi_xds::pb::istio::networking::nds::v1::NameTable;
use meltemi_xds::type_url;

/// A kind of resource. The order is that of a make-before-break push: what is referred
/// to goes before what refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// CDS.
    Cluster,
    /// EDS.
    Endpoint,
    /// SDS.
    Secret,
    /// ECDS: the configuration of filters by name.
    Extension,
    /// LDS.
    Listener,
    /// RDS.
    Route,
    /// Istio's PCDS: what agents take, the trust bundle.
    ProxyConfig,
    /// Istio's NDS: names and addresses for the DNS proxy of an agent.
    NameTable,
    /// What patches say of a proxy's bootstrap, which its agent asks for before it starts the proxy.
    Bootstrap,
}

impl Kind {
    /// All kinds, in push order.
    pub const ALL: [Self; 9] = [
        Self::Cluster,
        Self::Endpoint,
        Self::Secret,
        Self::Extension,
        Self::Listener,
        Self::Route,
        Self::ProxyConfig,
        Self::NameTable,
        Self::Bootstrap,
    ];

    /// The type URL, as in `type.googleapis.com/envoy.config.cluster.v3.Cluster`.
    pub fn type_url(self) -> String {
        match self {
            Self::Cluster => type_url::<Cluster>(),
            Self::Endpoint => type_url::<ClusterLoadAssignment>(),
            Self::Secret => type_url::<Secret>(),
            Self::Extension => type_url::<TypedExtensionConfig>(),
            Self::Listener => type_url::<Listener>(),
            Self::Route => type_url::<RouteConfiguration>(),
            Self::ProxyConfig => type_url::<ProxyConfig>(),
            Self::NameTable => type_url::<NameTable>(),
            Self::Bootstrap => type_url::<Bootstrap>(),
        }
    }

    /// The kind that a type URL names, if it is served.
    pub fn from_type_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == url)
    }

    /// Clusters and listeners are asked for as a whole when no name is given, and so is each of the
    /// resources of which there is one.
    pub fn has_wildcard(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener) || self.is_for_agents()
    }

    /// Whether agents take it, and not the proxy itself. There is one resource of each of these.
    pub fn is_for_agents(self) -> bool {
        matches!(self, Self::ProxyConfig | Self::NameTable | Self::Bootstrap)
    }

    /// The short name that tools and metrics use, such as `cds`.
    pub fn short_name(self) -> &'static str {
        match self {
            Self::Cluster => "cds",
            Self::Endpoint => "eds",
            Self::Secret => "sds",
            Self::Extension => "ecds",
            Self::Listener => "lds",
            Self::Route => "rds",
            Self::ProxyConfig => "pcds",
            Self::NameTable => "nds",
            Self::Bootstrap => "bds",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short_name().to_ascii_uppercase())
    }
}
