//! Names, as Istio gives them.
//!
//! In: hosts, ports, subsets. Out: the names of clusters, listeners, routes and what stands in
//! metadata; and a cluster's name taken apart. Called by every builder of this crate.

use std::net::IpAddr;

use meltemi_model::{Kind, Metadata};
use prost_types::Struct;

use crate::proto::{fields, text, url_host};

/// The cluster of requests that nothing may take.
pub(crate) const BLACK_HOLE: &str = "BlackHoleCluster";
/// The cluster that goes where the application wanted.
pub(crate) const PASSTHROUGH: &str = "PassthroughCluster";
/// The cluster that goes where DNS says that a request's host is.
pub(crate) const DYNAMIC_DNS: &str = "AllowAnyDynamicDNSCluster";
/// The cluster that hands inbound connections to the application's own port.
pub(crate) const INBOUND_PASSTHROUGH: &str = "InboundPassthroughCluster";
/// The listener that intercepted outbound connections reach.
pub(crate) const VIRTUAL_OUTBOUND: &str = "virtualOutbound";
/// The listener that intercepted inbound connections reach.
pub(crate) const VIRTUAL_INBOUND: &str = "virtualInbound";
/// The route table of the explicit HTTP proxy.
pub(crate) const HTTP_PROXY: &str = "http_proxy";

/// What the server names that stand for clusters begin with.
pub(crate) const SERVER_NAME: &str = "outbound_.";
/// What the names of listeners and route tables of Unix sockets begin with.
pub(crate) const UNIX: &str = "unix://";

/// An outbound cluster's name, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SubsetKey<'a> {
    /// The service port.
    pub port: u16,
    /// The subset; empty for the whole service.
    pub subset: &'a str,
    /// The service's host.
    pub host: &'a str,
}

impl<'a> SubsetKey<'a> {
    /// Takes `outbound|PORT|SUBSET|HOST` apart, or the server name that stands for it.
    pub fn parse(name: &'a str) -> Option<Self> {
        let divider = if name.starts_with(SERVER_NAME) {
            "_."
        } else {
            "|"
        };
        let mut parts = name.splitn(4, divider);
        if parts.next()? != "outbound" {
            return None;
        }
        Some(Self {
            port: parts.next()?.parse().ok()?,
            subset: parts.next()?,
            host: parts.next().filter(|host| !host.is_empty())?,
        })
    }

    /// The cluster's name, `outbound|80|v1|catalog.istioinaction.svc.cluster.local`.
    pub fn cluster(&self) -> String {
        format!("outbound|{}|{}|{}", self.port, self.subset, self.host)
    }

    /// The server name of mutual TLS to it, `outbound_.80_.v1_.catalog...`.
    pub fn server_name(&self) -> String {
        format!("outbound_.{}_.{}_.{}", self.port, self.subset, self.host)
    }
}

/// The cluster of an inbound port, `inbound|8080||`.
pub(crate) fn inbound_cluster(port: u16) -> String {
    format!("inbound|{port}||")
}

/// The port of an inbound cluster's or route table's name.
pub(crate) fn inbound_port(name: &str) -> Option<u16> {
    let rest = name.strip_prefix("inbound|")?;
    rest.split('|').next()?.parse().ok()
}

/// The name of a gateway's route table, taken apart: `http.8080`, or
/// `https.443.NAME.GATEWAY.NAMESPACE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GatewayTable<'a> {
    /// The port.
    pub port: Option<u16>,
    /// The name of the Gateway's port; empty for the table of all plain HTTP servers.
    pub port_name: &'a str,
    /// Namespace and name of the Gateway.
    pub gateway: Option<(&'a str, &'a str)>,
}

impl<'a> GatewayTable<'a> {
    /// Takes a name apart.
    pub fn parse(name: &'a str) -> Self {
        let mut parts = name.splitn(3, '.');
        let protocol = parts.next().unwrap_or_default();
        let port = parts.next().and_then(|it| it.parse().ok());
        let mut own = Self {
            port,
            port_name: "",
            gateway: None,
        };
        // A namespace has no dots, nor has the name of a Gateway's port.
        let rest = parts.next().filter(|_| protocol == "https");
        if let Some((port_name, gateway)) = rest.and_then(|it| it.split_once('.')) {
            own.port_name = port_name;
            own.gateway = gateway.rsplit_once('.').map(|(name, space)| (space, name));
        }
        own
    }
}

/// A listener's name, `0.0.0.0_80`.
pub(crate) fn listener(ip: &str, port: u16) -> String {
    format!("{ip}_{port}")
}

/// A prefix of statistics with the mark that says where the name ends.
pub(crate) fn stat_prefix(name: &str) -> String {
    format!("{name};")
}

/// A virtual host's name, `host:80`.
pub(crate) fn host_port(host: &str, port: u16) -> String {
    format!("{}:{port}", url_host(host))
}

/// The address that stands for every address of the same family as `ip`.
pub(crate) fn wildcard(ip: Option<IpAddr>) -> &'static str {
    match ip {
        Some(IpAddr::V6(_)) => "::",
        Some(IpAddr::V4(_)) | None => "0.0.0.0",
    }
}

/// The loopback address of the same family as `ip`.
pub(crate) fn loopback(ip: Option<IpAddr>) -> &'static str {
    match ip {
        Some(IpAddr::V6(_)) => "::1",
        Some(IpAddr::V4(_)) | None => "127.0.0.1",
    }
}

/// The `istio` metadata that says which resource a route or cluster comes from.
pub(crate) fn config_metadata(kind: Kind, meta: &Metadata) -> Struct {
    fields([("config", text(config_path(kind, meta)))])
}

/// The path of a resource in the Kubernetes API, as Istio writes it into metadata.
pub(crate) fn config_path(kind: Kind, meta: &Metadata) -> String {
    let plural = match kind {
        Kind::VirtualService => "virtual-service",
        Kind::DestinationRule => "destination-rule",
        Kind::Gateway => "gateway",
        Kind::Namespace
        | Kind::Node
        | Kind::Service
        | Kind::ServiceAccount
        | Kind::Deployment
        | Kind::Pod
        | Kind::ConfigMap
        | Kind::Secret
        | Kind::EndpointSlice
        | Kind::ServiceEntry
        | Kind::WorkloadEntry
        | Kind::WorkloadGroup
        | Kind::Sidecar
        | Kind::PeerAuthentication
        | Kind::EnvoyFilter
        | Kind::ProxyConfig
        | Kind::Telemetry
        | Kind::RequestAuthentication
        | Kind::AuthorizationPolicy
        | Kind::MeshConfig => "",
    };
    format!(
        "/apis/networking.istio.io/v1alpha3/namespaces/{}/{plural}/{}",
        meta.namespace, meta.name
    )
}

#[cfg(test)]
mod tests;
