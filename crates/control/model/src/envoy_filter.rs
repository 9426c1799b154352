//! Patches to what proxies are sent.
//!
//! In: Istio EnvoyFilter (`networking.istio.io`). Out: [`EnvoyFilter`] (FEATURES X1). What stands in a
//! patch's value is an Envoy message, which this crate does not know; who does judges it by
//! [`Judge`](crate::Judge) and keeps what was made of it in [`PatchValue`].

mod convert;
mod convert_match;
mod value;

use std::collections::BTreeMap;

use crate::{Labels, Metadata};

pub(crate) use convert::{SUPPORT, convert, convert_target};
pub use value::PatchValue;

/// A valid Istio EnvoyFilter.
#[derive(Debug, Clone, PartialEq)]
pub struct EnvoyFilter {
    /// Its metadata.
    pub meta: Metadata,
    /// The workloads that it is for; `None` for all of its namespace, and in the root namespace for
    /// those of the whole mesh.
    pub workload_selector: Option<Labels>,
    /// `targetRefs`: the gateways that it is for, by name, in the place of a selector.
    pub gateways: Vec<String>,
    /// `priority`: lower ones are applied first.
    pub priority: i32,
    /// `configPatches`, in their order.
    pub patches: Vec<ConfigPatch>,
}

/// One patch.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigPatch {
    /// Where it stands in `configPatches`.
    pub index: usize,
    /// `applyTo`.
    pub apply_to: ApplyTo,
    /// `match.context`.
    pub context: PatchContext,
    /// `match.proxy`.
    pub proxy: ProxyMatch,
    /// The rest of `match`.
    pub object: ObjectMatch,
    /// `patch.operation`.
    pub operation: PatchOperation,
    /// `patch.filterClass`.
    pub filter_class: FilterClass,
    /// `patch.value`; `None` where something is removed.
    pub value: Option<PatchValue>,
}

/// What is patched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ApplyTo {
    /// `LISTENER`.
    Listener,
    /// `FILTER_CHAIN`.
    FilterChain,
    /// `NETWORK_FILTER`.
    NetworkFilter,
    /// `HTTP_FILTER`.
    HttpFilter,
    /// `ROUTE_CONFIGURATION`.
    RouteConfiguration,
    /// `VIRTUAL_HOST`.
    VirtualHost,
    /// `HTTP_ROUTE`.
    HttpRoute,
    /// `CLUSTER`.
    Cluster,
    /// `EXTENSION_CONFIG`.
    ExtensionConfig,
    /// `LISTENER_FILTER`.
    ListenerFilter,
    /// `BOOTSTRAP`.
    Bootstrap,
}

/// Where what is patched is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum PatchContext {
    /// Anywhere.
    #[default]
    Any,
    /// Towards a sidecar's application.
    SidecarInbound,
    /// From a sidecar's application.
    SidecarOutbound,
    /// At a gateway.
    Gateway,
}

/// Which proxies a patch is for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProxyMatch {
    /// `proxyVersion`, an expression for a part of `ISTIO_VERSION`.
    pub version: Option<Pattern>,
    /// `metadata`: texts that the proxy's node has.
    pub metadata: BTreeMap<String, String>,
}

/// An RE2 expression.
#[derive(Debug, Clone)]
pub struct Pattern(regex::Regex);

/// Which listener, route table or cluster is patched, or what in it.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum ObjectMatch {
    /// Every one.
    #[default]
    Any,
    /// `listener`.
    Listener(ListenerMatch),
    /// `routeConfiguration`.
    RouteConfiguration(RouteConfigurationMatch),
    /// `cluster`.
    Cluster(ClusterMatch),
}

/// Which listener, and what in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListenerMatch {
    /// `portNumber`.
    pub port: Option<u16>,
    /// `name`.
    pub name: Option<String>,
    /// `listenerFilter`.
    pub listener_filter: Option<String>,
    /// `filterChain`.
    pub chain: FilterChainMatch,
}

/// Which filter chain, and what in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilterChainMatch {
    /// `name`.
    pub name: Option<String>,
    /// `sni`: one of those that it matches.
    pub sni: Option<String>,
    /// `transportProtocol`.
    pub transport_protocol: Option<String>,
    /// `applicationProtocols`, each of which it matches.
    pub application_protocols: Vec<String>,
    /// `destinationPort`.
    pub destination_port: Option<u16>,
    /// `filter.name`.
    pub filter: Option<String>,
    /// `filter.subFilter.name`.
    pub sub_filter: Option<String>,
}

/// Which route table, and what in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteConfigurationMatch {
    /// `portNumber`.
    pub port: Option<u16>,
    /// `portName`: the name of a Gateway's port.
    pub port_name: Option<String>,
    /// `gateway`: `NAMESPACE/NAME`.
    pub gateway: Option<String>,
    /// `name`.
    pub name: Option<String>,
    /// `vhost.name`.
    pub virtual_host: Option<String>,
    /// `vhost.domainName`: one of its domains.
    pub domain: Option<String>,
    /// `vhost.route`.
    pub route: Option<RouteMatch>,
}

/// Which route.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteMatch {
    /// `name`.
    pub name: Option<String>,
    /// `action`; `None` for any.
    pub action: Option<RouteActionKind>,
}

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RouteActionKind {
    /// It leads to a cluster.
    Route,
    /// It redirects.
    Redirect,
    /// It answers itself.
    DirectResponse,
}

/// Which cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterMatch {
    /// `portNumber`.
    pub port: Option<u16>,
    /// `service`.
    pub service: Option<String>,
    /// `subset`.
    pub subset: Option<String>,
    /// `name`; where it is written the rest does not count.
    pub name: Option<String>,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PatchOperation {
    /// `MERGE`: lists grow.
    Merge,
    /// `MERGE_AND_REPLACE_LIST`: lists are replaced.
    MergeAndReplaceList,
    /// `ADD`.
    Add,
    /// `REMOVE`.
    Remove,
    /// `INSERT_BEFORE`.
    InsertBefore,
    /// `INSERT_AFTER`.
    InsertAfter,
    /// `INSERT_FIRST`.
    InsertFirst,
    /// `REPLACE`.
    Replace,
}

/// Where among the filters that the mesh itself puts in an added one goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum FilterClass {
    /// Where the operation says.
    #[default]
    Unspecified,
    /// After authentication.
    Authn,
    /// After authorization.
    Authz,
    /// Before statistics.
    Stats,
}

impl ApplyTo {
    /// The name as written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Listener => "LISTENER",
            Self::FilterChain => "FILTER_CHAIN",
            Self::NetworkFilter => "NETWORK_FILTER",
            Self::HttpFilter => "HTTP_FILTER",
            Self::RouteConfiguration => "ROUTE_CONFIGURATION",
            Self::VirtualHost => "VIRTUAL_HOST",
            Self::HttpRoute => "HTTP_ROUTE",
            Self::Cluster => "CLUSTER",
            Self::ExtensionConfig => "EXTENSION_CONFIG",
            Self::ListenerFilter => "LISTENER_FILTER",
            Self::Bootstrap => "BOOTSTRAP",
        }
    }
}

impl ProxyMatch {
    /// Whether it is for every proxy.
    pub fn is_any(&self) -> bool {
        self.version.is_none() && self.metadata.is_empty()
    }
}

impl Pattern {
    /// Reads an expression.
    pub(crate) fn new(text: &str) -> Option<Self> {
        regex::Regex::new(text).ok().map(Self)
    }

    /// Whether it is found in `text`.
    pub fn is_found_in(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}
