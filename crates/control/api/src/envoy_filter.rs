//! Istio EnvoyFilter as written (`networking.istio.io`).

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::authorization_policy::PolicyTargetReference;
use crate::service_entry::LabelSelector;

/// `spec` of an EnvoyFilter.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvoyFilterSpec {
    /// `workloadSelector`.
    pub workload_selector: Option<LabelSelector>,
    /// `targetRefs`.
    pub target_refs: Vec<PolicyTargetReference>,
    /// `priority`.
    pub priority: Option<i64>,
    /// `configPatches`.
    pub config_patches: Vec<ConfigPatch>,
}

/// EnvoyConfigObjectPatch.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigPatch {
    /// `applyTo`.
    pub apply_to: Option<String>,
    /// `match`.
    #[serde(rename = "match")]
    pub matching: Option<ConfigMatch>,
    /// `patch`.
    pub patch: Option<Patch>,
}

/// EnvoyConfigObjectMatch.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigMatch {
    /// `context`.
    pub context: Option<String>,
    /// `proxy`.
    pub proxy: Option<ProxyMatch>,
    /// `listener`.
    pub listener: Option<ListenerMatch>,
    /// `routeConfiguration`.
    pub route_configuration: Option<RouteConfigurationMatch>,
    /// `cluster`.
    pub cluster: Option<ClusterMatch>,
    /// `waypoint`.
    pub waypoint: Option<WaypointMatch>,
}

/// ProxyMatch.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyMatch {
    /// `proxyVersion`.
    pub proxy_version: Option<String>,
    /// `metadata`.
    pub metadata: BTreeMap<String, String>,
}

/// ListenerMatch.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListenerMatch {
    /// `portNumber`.
    pub port_number: Option<i64>,
    /// `portName`.
    pub port_name: Option<String>,
    /// `filterChain`.
    pub filter_chain: Option<FilterChainMatch>,
    /// `listenerFilter`.
    pub listener_filter: Option<String>,
    /// `name`.
    pub name: Option<String>,
}

/// FilterChainMatch.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FilterChainMatch {
    /// `name`.
    pub name: Option<String>,
    /// `sni`.
    pub sni: Option<String>,
    /// `transportProtocol`.
    pub transport_protocol: Option<String>,
    /// `applicationProtocols`.
    pub application_protocols: Option<String>,
    /// `filter`.
    pub filter: Option<FilterMatch>,
    /// `destinationPort`.
    pub destination_port: Option<i64>,
}

/// FilterMatch.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FilterMatch {
    /// `name`.
    pub name: Option<String>,
    /// `subFilter`.
    pub sub_filter: Option<SubFilterMatch>,
}

/// SubFilterMatch.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubFilterMatch {
    /// `name`.
    pub name: Option<String>,
}

/// RouteConfigurationMatch.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteConfigurationMatch {
    /// `portNumber`.
    pub port_number: Option<i64>,
    /// `portName`.
    pub port_name: Option<String>,
    /// `gateway`.
    pub gateway: Option<String>,
    /// `vhost`.
    pub vhost: Option<VirtualHostMatch>,
    /// `name`.
    pub name: Option<String>,
}

/// VirtualHostMatch.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VirtualHostMatch {
    /// `name`.
    pub name: Option<String>,
    /// `domainName`.
    pub domain_name: Option<String>,
    /// `route`.
    pub route: Option<RouteMatch>,
}

/// RouteMatch.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteMatch {
    /// `name`.
    pub name: Option<String>,
    /// `action`.
    pub action: Option<String>,
}

/// ClusterMatch.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterMatch {
    /// `portNumber`.
    pub port_number: Option<i64>,
    /// `service`.
    pub service: Option<String>,
    /// `subset`.
    pub subset: Option<String>,
    /// `name`.
    pub name: Option<String>,
}

/// WaypointMatch.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WaypointMatch {
    /// `filter`.
    pub filter: Option<FilterMatch>,
    /// `route`.
    pub route: Option<RouteMatch>,
    /// `portNumber`.
    pub port_number: Option<i64>,
}

/// Patch.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Patch {
    /// `operation`.
    pub operation: Option<String>,
    /// `value`: an Envoy message as protobuf JSON.
    pub value: Option<serde_json::Value>,
    /// `filterClass`.
    pub filter_class: Option<String>,
}
