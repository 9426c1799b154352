//! Validated resources: the only definition of valid.
//!
//! In: documents as written ([`meltemi_api::Document`]). Out: [`Config`] values whose every field has
//! been checked, whose defaults are resolved and whose host names are fully qualified, or the whole
//! list of [`Problem`]s of the resource. The snapshot, the translation, the tools and the webhook
//! all go through [`convert()`], so that "valid" means one thing.
//!
//! This crate knows no network, no Kubernetes client and no clock.

mod check;
mod config;
mod convert;
mod destination_rule;
mod export_to;
mod gateway;
mod hostname;
mod labels;
mod mesh_config;
mod metadata;
mod name;
mod namespace;
mod protocol;
mod secret;
mod service;
mod string_match;
mod support;
mod virtual_service;
mod workload;

#[cfg(test)]
mod tests;

pub use config::{Config, Kind, ResourceId};
pub use convert::{Defaults, convert, identify};
pub use meltemi_api::{FieldPath, Problem, ProblemKind, ResourceLabel, Segment};

pub use destination_rule::{
    ClientTls, ConnectionPool, DestinationRule, H2UpgradePolicy, HttpPool, LoadBalancer,
    PortPolicy, Subset, TcpKeepalive, TcpPool, TrafficPolicy,
};
pub use export_to::ExportTo;
pub use gateway::{
    CertificateSource, Gateway, GatewayHost, GatewayPort, GatewayProtocol, HostNamespace, Server,
    ServerTls, TlsVersion,
};
pub use hostname::Hostname;
pub use labels::Labels;
pub use mesh_config::{
    AccessLog, AccessLogFormat, IngressDefaults, MeshConfig, OutboundTrafficPolicy, ProxyConfig,
};
pub use metadata::{Metadata, Timestamp};
pub use name::{HeaderName, NamespaceName, SubsetName};
pub use namespace::{Injection, Namespace, ServiceAccount};
pub use protocol::Protocol;
pub use secret::{ConfigMap, Secret, ServerCertificate};
pub use service::{Service, ServiceAddresses, ServicePort, TargetPort};
pub use string_match::StringMatch;
pub use support::{Row, Support, support};
pub use virtual_service::{
    CorsPolicy, Destination, DirectResponse, GatewayName, GatewayRef, HeaderMatch,
    HeaderOperations, HttpAction, HttpMatch, HttpRoute, MessageHeaderOperations, Redirect,
    RedirectPort, ResponseBody, RetryOn, RetryPolicy, Rewrite, UnmatchedPreflights, UriRewrite,
    VirtualService, WeightedDestination,
};
pub use workload::{
    Container, ContainerPort, Deployment, EnvVar, Locality, Owner, OwnerKind, Workload,
    WorkloadRole,
};
