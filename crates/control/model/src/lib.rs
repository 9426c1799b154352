//! Validated resources: the only definition of valid.
//!
//! In: documents as written ([`meltemi_api::Document`]). Out: [`Config`] values whose every field has
//! been checked, whose defaults are resolved and whose host names are fully qualified, or the whole
//! list of [`Problem`]s of the resource. The snapshot, the translation, the tools and the webhook
//! all go through [`convert()`], so that "valid" means one thing.
//!
//! This crate knows no network, no Kubernetes client and no clock.

mod address;
mod authorization_policy;
mod check;
mod config;
mod convert;
mod crd;
mod destination_rule;
mod endpoint_slice;
mod envoy_filter;
mod export_to;
mod extension_provider;
mod gateway;
mod hostname;
mod judge;
mod labels;
mod mesh_config;
mod metadata;
mod name;
mod namespace;
mod peer_authentication;
mod policy_target;
mod protocol;
mod proxy_config;
mod request_authentication;
mod secret;
mod service;
mod service_entry;
mod sidecar;
mod string_match;
mod support;
mod telemetry;
mod virtual_service;
mod workload;
mod workload_group;

#[cfg(test)]
mod tests;

pub use config::{Config, Kind, ResourceId};
pub use convert::{Defaults, convert, convert_in_part, fallback, identify};
pub use crd::crds;
pub use meltemi_api::{FieldPath, Problem, ProblemKind, ResourceLabel, Segment};

pub use address::{AddressRange, NotARange};
pub use authorization_policy::{
    AddressAttribute, AuthorizationAction, AuthorizationPolicy, AuthorizationRule, Condition, Glob,
    TextAttribute, Wanted,
};
pub use destination_rule::{
    BalancerPolicy, CertificateFiles, ClientTls, ConnectionPool, ConsistentHash, DestinationRule,
    Distribute, H2UpgradePolicy, HashAlgorithm, HashKey, Http2Keepalive, HttpPool, LoadBalancer,
    LocalityPreference, LocalitySetting, OutlierDetection, PolicySettings, PortPolicy,
    PriorityLabel, ProxyProtocol, RetryBudget, ServerVerification, Subset, TcpKeepalive, TcpPool,
    TrafficPolicy, Tunnel, Warmup,
};
pub use endpoint_slice::{EndpointSlice, SliceEndpoint};
pub use envoy_filter::{
    ApplyTo, ClusterMatch, ConfigPatch, EnvoyFilter, FilterChainMatch, FilterClass, ListenerMatch,
    ObjectMatch, PatchContext, PatchOperation, PatchValue, Pattern, ProxyMatch, RouteActionKind,
    RouteConfigurationMatch, RouteMatch,
};
pub use export_to::{DefaultExportTo, ExportTo};
pub use extension_provider::{
    CheckedBody, ExtAuthz, ExtAuthzHttp, ExtAuthzProtocol, ExtensionProvider, FileLog, GrpcLog,
    ProviderKind, ProviderService,
};
pub use gateway::{
    CaSource, CertificateSource, Gateway, GatewayHost, GatewayPort, GatewayProtocol, HostNamespace,
    Server, ServerTls, TlsTermination, TlsVersion, TlsVersions,
};
pub use hostname::Hostname;
pub use judge::Judge;
pub use labels::Labels;
pub use mesh_config::{
    AccessLog, AccessLogFormat, ClientCertificateDetails, DefaultExports,
    ForwardedClientCertificate, GatewayTopology, IngressDefaults, InterceptionMode, LabelOperator,
    LabelRequirement, MeshConfig, NamespaceSelector, OutboundTrafficPolicy, PathNormalization,
    ProxyConfig, ProxyConfigPatch, ProxyHeaders, StartSettings, StartSettingsPatch, TlsDefaults,
    proxy_config_of_node, readiness_probe_of_agent,
};
pub use metadata::{Metadata, Timestamp};
pub use name::{HeaderName, NamespaceName, SubsetName};
pub use namespace::{Injection, Namespace, ServiceAccount};
pub use peer_authentication::{MutualTlsMode, PeerAuthentication};
pub use policy_target::{GatewayApi, GatewayTarget, PolicyTarget, PolicyWorkload};
pub use protocol::Protocol;
pub use proxy_config::{ProxyConfigRule, effective as effective_proxy_config};
pub use request_authentication::{JwtHeader, JwtRule, KeySource, RequestAuthentication};
pub use secret::{ConfigMap, Secret, ServerCertificate};
pub use service::{Service, ServiceAddresses, ServicePort, TargetPort, TrafficDistribution};
pub use service_entry::{
    EndpointAddress, EntryDetails, EntryEndpoint, EntryResolution, HEALTH_CHECKS, ServiceEntry,
    WorkloadEntry,
};
pub use sidecar::{
    Bind, CaptureMode, DefaultEndpoint, EgressListener, ImportedHost, ImportedNamespace,
    IngressListener, Sidecar, SidecarOutbound, SidecarPort,
};
pub use string_match::StringMatch;
pub use support::{Row, Support, support};
pub use telemetry::{AccessLogging, Telemetry, WorkloadMode};
pub use virtual_service::{
    CorsPolicy, DelegateName, Destination, DirectResponse, Fault, FaultAbort, FaultDelay,
    FaultStatus, GatewayName, GatewayRef, HeaderMatch, HeaderOperations, HttpAction, HttpMatch,
    HttpRoute, L4Destination, L4Match, MessageHeaderOperations, Mirror, Percentage, Redirect,
    RedirectPort, ResponseBody, RetryOn, RetryPolicy, Rewrite, TcpRoute, TlsRoute,
    UnmatchedPreflights, UriRewrite, VirtualService, WeightedDestination,
};
pub use workload::{
    Container, ContainerPort, Deployment, EnvVar, Locality, Node, Owner, OwnerKind, Workload,
    WorkloadRole,
};
pub use workload_group::{Probe, ProbeMethod, WorkloadGroup};
