//! The kinds of resource that are served, in the order in which a change is sent.

use std::fmt;

use meltemi_xds::pb::envoy::config::cluster::v3::Cluster;
use meltemi_xds::pb::envoy::config::core::v3::TypedExtensionConfig;
use meltemi_xds::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use meltemi_xds::pb::envoy::config::listener::v3::Listener;
use meltemi_xds::pb::envoy::config::route::v3::RouteConfiguration;
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3::Secret;
use meltemi_xds::pb::istio::mesh::v1alpha1::ProxyConfig;
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
}

impl Kind {
    /// All kinds, in push order.
    pub const ALL: [Self; 7] = [
        Self::Cluster,
        Self::Endpoint,
        Self::Secret,
        Self::Extension,
        Self::Listener,
        Self::Route,
        Self::ProxyConfig,
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
        }
    }

    /// The kind that a type URL names, if it is served.
    pub fn from_type_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == url)
    }

    /// Clusters and listeners are asked for as a whole when no name is given, and so is the one
    /// resource that agents take.
    pub fn has_wildcard(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener | Self::ProxyConfig)
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
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short_name().to_ascii_uppercase())
    }
}
