//! Routes of TLS that is not opened, and of bytes (FEATURES T10).
//!
//! In: `tls`, `tcp`. Out: [`TlsRoute`] and [`TcpRoute`].

use super::GatewayRef;
use crate::{AddressRange, Destination, Hostname, Labels, NamespaceName};

/// An entry of `tls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsRoute {
    /// Any of these must match, at least one.
    pub matches: Vec<(Vec<Hostname>, L4Match)>,
    /// Where to, at least one.
    pub destinations: Vec<L4Destination>,
}

/// An entry of `tcp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpRoute {
    /// `name`.
    pub name: Option<String>,
    /// Any of these must match; empty matches everything.
    pub matches: Vec<L4Match>,
    /// Where to, at least one.
    pub destinations: Vec<L4Destination>,
}

/// Conditions that must all hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct L4Match {
    /// `destinationSubnets`; empty means any.
    pub subnets: Vec<AddressRange>,
    /// `port`: the port that the client addressed.
    pub port: Option<u16>,
    /// `sourceLabels`: labels of the client's workload.
    pub source_labels: Labels,
    /// `sourceNamespace`.
    pub source_namespace: Option<NamespaceName>,
    /// `gateways`: a subset of the virtual service's own; empty means all of those.
    pub gateways: Vec<GatewayRef>,
}

/// A destination and its share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct L4Destination {
    /// Where to.
    pub destination: Destination,
    /// Its share of the sum of all weights of the route.
    pub weight: u32,
}

impl L4Match {
    /// Whether connections at `gateway` on `port` are meant, for a client with these labels in
    /// `namespace`.
    pub fn is_possible(
        &self,
        gateway: &GatewayRef,
        port: u16,
        labels: &Labels,
        namespace: &NamespaceName,
    ) -> bool {
        (self.gateways.is_empty() || self.gateways.contains(gateway))
            && self.port.is_none_or(|it| it == port)
            && self.source_labels.selects(labels)
            && self
                .source_namespace
                .as_ref()
                .is_none_or(|it| it == namespace)
    }
}
