//! The resources that xDS delivers, one conversion for each type.

use meltemi_ir::{
    Cluster, ConfigSource, Listener, LoadAssignment, ResourceSource, RouteConfiguration,
    SecretConfig, VirtualHost,
};
use meltemi_xds::any;
use meltemi_xds::pb::envoy::config::cluster::v3 as cluster_v3;
use meltemi_xds::pb::envoy::config::core::v3 as core_v3;
use meltemi_xds::pb::envoy::config::endpoint::v3 as endpoint_v3;
use meltemi_xds::pb::envoy::config::listener::v3 as listener_v3;
use meltemi_xds::pb::envoy::config::route::v3 as route_v3;
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3 as tls_v3;
use prost::{Message, Name};
use prost_types::Any;

use crate::endpoint::Names;
use crate::error::{ConfigError, ConfigErrors};
use crate::path::Problems;
use crate::pieces::Pieces;
use crate::route::VIRTUAL_HOSTS;

/// A resource of any of the types that the proxy asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Resource {
    /// LDS.
    Listener(Box<Listener>),
    /// CDS.
    Cluster(Box<Cluster>),
    /// RDS.
    RouteConfiguration(RouteConfiguration),
    /// EDS.
    LoadAssignment(LoadAssignment),
    /// SDS.
    Secret(SecretConfig),
}

impl Resource {
    /// Converts a resource by its own type.
    ///
    /// # Errors
    /// A type that the proxy does not ask for, or what the conversion of its type finds.
    pub fn from_any(resource: &Any) -> Result<Self, ConfigErrors> {
        if any::is::<listener_v3::Listener>(resource) {
            return listener_from_any(resource).map(|it| Self::Listener(Box::new(it)));
        }
        if any::is::<cluster_v3::Cluster>(resource) {
            return cluster_from_any(resource).map(|it| Self::Cluster(Box::new(it)));
        }
        if any::is::<route_v3::RouteConfiguration>(resource) {
            return route_configuration_from_any(resource).map(Self::RouteConfiguration);
        }
        if any::is::<endpoint_v3::ClusterLoadAssignment>(resource) {
            return load_assignment_from_any(resource).map(Self::LoadAssignment);
        }
        if any::is::<tls_v3::Secret>(resource) {
            return secret_from_any(resource).map(Self::Secret);
        }
        let name = any::type_name(&resource.type_url);
        Err(ConfigError::whole(format!("type {name} is not supported")).into())
    }

    /// The name by which it is asked for.
    pub fn name(&self) -> &str {
        match self {
            Self::Listener(listener) => &listener.name,
            Self::Cluster(cluster) => &cluster.name,
            Self::RouteConfiguration(routes) => &routes.name,
            Self::LoadAssignment(endpoints) => &endpoints.cluster_name,
            Self::Secret(secret) => &secret.name,
        }
    }
}

fn unpack<M: Message + Name + Default>(resource: &Any) -> Result<M, ConfigErrors> {
    any::unpack(resource).map_err(|error| ConfigError::whole(error.to_string()).into())
}

/// Converts a listener. One without a name is called by its address.
///
/// # Errors
/// What the proxy cannot honour, and what Envoy would refuse, each with its path.
pub fn listener(message: &listener_v3::Listener) -> Result<Listener, ConfigErrors> {
    Problems::collect(|at| crate::listener::listener(message, at))
}

/// As [`listener`], of one that `source` delivered, which is where `self` asks.
///
/// # Errors
/// As [`listener`].
pub fn listener_of(
    source: &ResourceSource,
    message: &listener_v3::Listener,
) -> Result<Listener, ConfigErrors> {
    Problems::collect_from(source, |at| crate::listener::listener(message, at))
}

/// As [`listener`], unpacking it first.
///
/// # Errors
/// As [`listener`], and a message of another type.
pub fn listener_from_any(resource: &Any) -> Result<Listener, ConfigErrors> {
    listener(&unpack(resource)?)
}

/// Converts a cluster.
///
/// # Errors
/// What the proxy cannot honour, and what Envoy would refuse, each with its path.
pub fn cluster(message: &cluster_v3::Cluster) -> Result<Cluster, ConfigErrors> {
    Problems::collect(|at| crate::cluster::cluster(message, at))
}

/// As [`cluster`], of one that `source` delivered, which is where `self` asks.
///
/// # Errors
/// As [`cluster`].
pub fn cluster_of(
    source: &ResourceSource,
    message: &cluster_v3::Cluster,
) -> Result<Cluster, ConfigErrors> {
    Problems::collect_from(source, |at| crate::cluster::cluster(message, at))
}

/// Where the configuration of an extension comes from, in a listener that `source` delivered.
///
/// # Errors
/// What the proxy cannot honour, and what Envoy would refuse, each with its path.
pub fn extension_source(
    source: &ResourceSource,
    message: &core_v3::ExtensionConfigSource,
) -> Result<ConfigSource, ConfigErrors> {
    Problems::collect_from(source, |at| crate::discovery::source(message, at))
}

/// As [`cluster`], unpacking it first.
///
/// # Errors
/// As [`cluster`], and a message of another type.
pub fn cluster_from_any(resource: &Any) -> Result<Cluster, ConfigErrors> {
    cluster(&unpack(resource)?)
}

/// Converts a route table. Domains come out in lower case.
///
/// # Errors
/// What the proxy cannot honour, and what Envoy would refuse, each with its path.
pub fn route_configuration(
    message: &route_v3::RouteConfiguration,
) -> Result<RouteConfiguration, ConfigErrors> {
    Problems::collect(|at| crate::route::route_configuration(message, &[], at))
}

/// Converts a virtual host that comes by itself.
///
/// # Errors
/// What the proxy cannot honour, and what Envoy would refuse, each with its path.
pub fn virtual_host(message: &route_v3::VirtualHost) -> Result<VirtualHost, ConfigErrors> {
    Problems::collect(|at| crate::route::lone_virtual_host(message, at))
}

/// As [`route_configuration`], unpacking it first, virtual host by virtual host.
///
/// # Errors
/// As [`route_configuration`], and a message of another type.
pub fn route_configuration_from_any(resource: &Any) -> Result<RouteConfiguration, ConfigErrors> {
    let is_one = any::is::<route_v3::RouteConfiguration>(resource);
    let pieces = is_one
        .then(|| Pieces::take_out(&resource.value, &[VIRTUAL_HOSTS]))
        .flatten();
    if let Some(Pieces { rest, taken }) = pieces
        && let Ok(message) = route_v3::RouteConfiguration::decode(rest.as_slice())
    {
        return Problems::collect(|at| crate::route::route_configuration(&message, &taken, at));
    }
    route_configuration(&unpack(resource)?)
}

/// Converts the endpoints of an EDS cluster, all of which must have IP addresses or sockets.
///
/// # Errors
/// What the proxy cannot honour, and what Envoy would refuse, each with its path.
pub fn load_assignment(
    message: &endpoint_v3::ClusterLoadAssignment,
) -> Result<LoadAssignment, ConfigErrors> {
    Problems::collect(|at| crate::endpoint::load_assignment(message, Names::Refused, at))
}

/// As [`load_assignment`], unpacking it first.
///
/// # Errors
/// As [`load_assignment`], and a message of another type.
pub fn load_assignment_from_any(resource: &Any) -> Result<LoadAssignment, ConfigErrors> {
    load_assignment(&unpack(resource)?)
}

/// Converts a secret; files that it names are read now.
///
/// # Errors
/// What the proxy cannot honour, and what Envoy would refuse, each with its path.
pub fn secret(message: &tls_v3::Secret) -> Result<SecretConfig, ConfigErrors> {
    Problems::collect(|at| crate::secret::secret(message, at))
}

/// As [`secret`], unpacking it first.
///
/// # Errors
/// As [`secret`], and a message of another type.
pub fn secret_from_any(resource: &Any) -> Result<SecretConfig, ConfigErrors> {
    secret(&unpack(resource)?)
}
