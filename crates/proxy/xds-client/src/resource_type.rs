//! The kinds of resource that the proxy asks for.

use std::fmt;

use meltemi_xds::pb::envoy::config::cluster::v3::Cluster;
use meltemi_xds::pb::envoy::config::core::v3::TypedExtensionConfig;
use meltemi_xds::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use meltemi_xds::pb::envoy::config::listener::v3::Listener;
use meltemi_xds::pb::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3::Secret;
use meltemi_xds::type_url;

/// A kind of resource, in the order in which a make-before-break change arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    /// CDS.
    Cluster,
    /// EDS.
    Endpoint,
    /// LDS.
    Listener,
    /// RDS.
    Route,
    /// VHDS, which there is in the delta form alone.
    VirtualHost,
    /// SDS.
    Secret,
    /// ECDS.
    Extension,
}

impl ResourceType {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::Cluster,
        Self::Endpoint,
        Self::Listener,
        Self::Route,
        Self::VirtualHost,
        Self::Secret,
        Self::Extension,
    ];

    /// The type URL, as in `type.googleapis.com/envoy.config.cluster.v3.Cluster`.
    pub fn type_url(self) -> String {
        match self {
            Self::Cluster => type_url::<Cluster>(),
            Self::Endpoint => type_url::<ClusterLoadAssignment>(),
            Self::Listener => type_url::<Listener>(),
            Self::Route => type_url::<RouteConfiguration>(),
            Self::VirtualHost => type_url::<VirtualHost>(),
            Self::Secret => type_url::<Secret>(),
            Self::Extension => type_url::<TypedExtensionConfig>(),
        }
    }

    /// The kind that a type URL names, if the client knows it.
    pub fn from_type_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == url)
    }

    /// In state-of-the-world form an answer lists every resource of this kind, so that
    /// one which is missing has been removed.
    pub fn is_complete_in_sotw(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener)
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cluster => "CDS",
            Self::Endpoint => "EDS",
            Self::Listener => "LDS",
            Self::Route => "RDS",
            Self::VirtualHost => "VHDS",
            Self::Secret => "SDS",
            Self::Extension => "ECDS",
        })
    }
}
