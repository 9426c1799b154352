//! Destination rules.
//!
//! In: Istio DestinationRule (`networking.istio.io`). Out: [`DestinationRule`] (FEATURES T11, R1, R4
//! in part, S6 in part).

mod convert;

use std::time::Duration;

use crate::{ExportTo, Hostname, Labels, Metadata, SubsetName};

pub(crate) use convert::{SUPPORT, convert, convert_keepalive, convert_upgrade};

/// A valid Istio DestinationRule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationRule {
    /// Its metadata.
    pub meta: Metadata,
    /// The service it is for, fully qualified, perhaps a wildcard.
    pub host: Hostname,
    /// For all of the service's traffic.
    pub traffic_policy: TrafficPolicy,
    /// Its subsets; names are unique.
    pub subsets: Vec<Subset>,
    /// The client workloads, in the rule's own namespace, that it applies to; `None` for all.
    pub workload_selector: Option<Labels>,
    /// Who sees it.
    pub export_to: ExportTo,
}

/// A named part of a service's endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subset {
    /// Its name.
    pub name: SubsetName,
    /// Labels that its endpoints have.
    pub labels: Labels,
    /// Its own policy; what it leaves out comes from the rule's, see [`TrafficPolicy::refined_by`].
    pub traffic_policy: TrafficPolicy,
}

/// `trafficPolicy`; every part that is `None` was not written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrafficPolicy {
    /// `loadBalancer`.
    pub load_balancer: Option<LoadBalancer>,
    /// `connectionPool`.
    pub connection_pool: Option<ConnectionPool>,
    /// `tls`.
    pub tls: Option<ClientTls>,
    /// `portLevelSettings`; port numbers are unique.
    pub ports: Vec<PortPolicy>,
}

/// Settings for one port; they replace the destination's own as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortPolicy {
    /// The service port.
    pub port: u16,
    /// `loadBalancer`.
    pub load_balancer: Option<LoadBalancer>,
    /// `connectionPool`.
    pub connection_pool: Option<ConnectionPool>,
    /// `tls`.
    pub tls: Option<ClientTls>,
}

/// `loadBalancer.simple`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LoadBalancer {
    /// `UNSPECIFIED`: the mesh's default, which is least request as in Istio.
    Unspecified,
    /// `ROUND_ROBIN`.
    RoundRobin,
    /// `RANDOM`.
    Random,
    /// `LEAST_REQUEST`, and its old name `LEAST_CONN`.
    LeastRequest,
    /// `PASSTHROUGH`: to the address that the client asked for.
    Passthrough,
}

/// `connectionPool`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectionPool {
    /// `tcp`.
    pub tcp: TcpPool,
    /// `http`.
    pub http: HttpPool,
}

/// `connectionPool.tcp`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TcpPool {
    /// `maxConnections`.
    pub max_connections: Option<u32>,
    /// `connectTimeout`; `None` leaves the mesh's.
    pub connect_timeout: Option<Duration>,
    /// `tcpKeepalive`.
    pub keepalive: Option<TcpKeepalive>,
    /// `maxConnectionDuration`.
    pub max_connection_duration: Option<Duration>,
    /// `idleTimeout`, for TCP.
    pub idle_timeout: Option<Duration>,
}

/// `tcpKeepalive`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TcpKeepalive {
    /// `probes`.
    pub probes: Option<u32>,
    /// `time`.
    pub time: Option<Duration>,
    /// `interval`.
    pub interval: Option<Duration>,
}

/// `connectionPool.http`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpPool {
    /// `http1MaxPendingRequests`.
    pub max_pending_requests: Option<u32>,
    /// `http2MaxRequests`.
    pub max_requests: Option<u32>,
    /// `maxRequestsPerConnection`.
    pub max_requests_per_connection: Option<u32>,
    /// `maxRetries`.
    pub max_retries: Option<u32>,
    /// `idleTimeout`.
    pub idle_timeout: Option<Duration>,
    /// `h2UpgradePolicy`.
    pub h2_upgrade_policy: H2UpgradePolicy,
    /// `useClientProtocol`.
    pub use_client_protocol: bool,
    /// `maxConcurrentStreams`.
    pub max_concurrent_streams: Option<u32>,
}

/// `h2UpgradePolicy`: whether upstream HTTP/1.1 becomes HTTP/2.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum H2UpgradePolicy {
    /// `DEFAULT`: what the mesh configuration says.
    #[default]
    Default,
    /// `DO_NOT_UPGRADE`.
    DoNotUpgrade,
    /// `UPGRADE`.
    Upgrade,
}

/// `tls`: how connections to the destination are secured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientTls {
    /// `DISABLE`: plain text.
    Disable,
    /// `SIMPLE`: TLS with no client certificate.
    Simple {
        /// `sni`.
        sni: Option<String>,
        /// `subjectAltNames`.
        subject_alt_names: Vec<String>,
        /// `caCertificates`: a file; `None` means the system's roots.
        ca_certificates: Option<String>,
        /// `insecureSkipVerify`.
        insecure_skip_verify: bool,
    },
    /// `ISTIO_MUTUAL`: mutual TLS with the workload's own certificate.
    IstioMutual {
        /// `sni`.
        sni: Option<String>,
        /// `subjectAltNames`; empty means the service accounts of the destination's workloads.
        subject_alt_names: Vec<String>,
    },
}

impl DestinationRule {
    /// The subset named `name`.
    pub fn subset(&self, name: &str) -> Option<&Subset> {
        self.subsets.iter().find(|subset| subset.name == name)
    }
}

impl TrafficPolicy {
    /// This policy as a subset's policy refines it: what the subset writes wins part by part, also
    /// over this policy's settings for single ports; the subset's own settings for a port replace
    /// everything for it.
    pub fn refined_by(&self, subset: &Self) -> Self {
        let refined = |load_balancer: Option<LoadBalancer>, pool: &_, tls: &_| Self {
            load_balancer: subset.load_balancer.or(load_balancer),
            connection_pool: subset
                .connection_pool
                .clone()
                .or_else(|| Option::clone(pool)),
            tls: subset.tls.clone().or_else(|| Option::clone(tls)),
            ports: Vec::new(),
        };
        let mut ports = subset.ports.clone();
        for PortPolicy {
            port,
            load_balancer,
            connection_pool,
            tls,
        } in &self.ports
        {
            if subset.ports.iter().all(|own| own.port != *port) {
                let Self {
                    load_balancer,
                    connection_pool,
                    tls,
                    ports: _none,
                } = refined(*load_balancer, connection_pool, tls);
                ports.push(PortPolicy {
                    port: *port,
                    load_balancer,
                    connection_pool,
                    tls,
                });
            }
        }
        Self {
            ports,
            ..refined(self.load_balancer, &self.connection_pool, &self.tls)
        }
    }

    /// The policy for one service port: the port's own settings as a whole if it has any, otherwise
    /// the destination's.
    pub fn for_port(&self, port: u16) -> Self {
        match self.ports.iter().find(|it| it.port == port) {
            Some(own) => Self {
                load_balancer: own.load_balancer,
                connection_pool: own.connection_pool.clone(),
                tls: own.tls.clone(),
                ports: Vec::new(),
            },
            None => Self {
                ports: Vec::new(),
                ..self.clone()
            },
        }
    }
}
