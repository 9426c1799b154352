//! Who asks: what a proxy says of itself when it connects.
//!
//! In: Envoy's `Node` message. Out: [`ProxyNode`], or why the message is not one of a proxy of this
//! mesh. Called by the xDS server once for each stream.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

use meltemi_model::{
    GatewayTopology, InterceptionMode, Labels, Locality, NamespaceName, ProxyHeaders,
    proxy_config_of_node,
};
use meltemi_xds::pb::envoy::config::core::v3::{Extension, Node};
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use serde_json::{Map, Value as Json};

/// What a proxy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProxyRole {
    /// Beside a workload.
    Sidecar,
    /// A gateway.
    Router,
}

/// For which kind of client resources are made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Generator {
    /// For Envoy and what is like it.
    #[default]
    Envoy,
    /// For a gRPC library, which is its own proxy (gRFC A27).
    Grpc,
}

/// Which of Istio's own filters the proxy has; Envoy as such has none of them and would refuse a
/// listener that names one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct IstioFilters {
    /// `istio.stats`: the standard metrics.
    pub stats: bool,
    /// `envoy.filters.http.peer_metadata`: who is at the other end of a request.
    pub peer_metadata: bool,
    /// `envoy.filters.network.metadata_exchange`: the same for connections.
    pub metadata_exchange: bool,
    /// `istio.alpn`: tells the server by ALPN what was detected at the client.
    pub alpn: bool,
}

/// Ports below this one are for the privileged.
const PRIVILEGED: u16 = 1024;

/// Which of Envoy's extensions, that only some configurations need, a proxy lacks: one that lists its
/// extensions, and these not among them. They are left out of what it gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Lacks {
    /// `envoy.retry_priorities.previous_priorities`: it has no priorities to leave behind.
    pub retry_priority: bool,
    /// `envoy.filters.listener.original_src`: its application sees the proxy's address.
    pub original_source: bool,
    /// `envoy.filters.http.fault`: routes have no faults.
    pub fault: bool,
    /// `envoy.clusters.dynamic_forward_proxy`: destinations by the name of a request are not there.
    pub dynamic_dns: bool,
}

/// What is said of the settings of one proxy; the mesh says the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct OwnSettings {
    /// `gatewayTopology`.
    pub topology: Option<GatewayTopology>,
    /// `proxyHeaders`.
    pub headers: Option<ProxyHeaders>,
    /// `interceptionMode`.
    pub interception: Option<InterceptionMode>,
}

/// A proxy of the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProxyNode {
    /// The whole id, `sidecar~IP~POD.NAMESPACE~NAMESPACE.svc.cluster.local`.
    pub id: String,
    /// What it is.
    pub role: ProxyRole,
    /// Metadata `GENERATOR`.
    pub generator: Generator,
    /// The workload's address.
    pub ip: IpAddr,
    /// All its addresses, that one first: metadata `INSTANCE_IPS`.
    pub ips: Vec<IpAddr>,
    /// The workload's name.
    pub workload: String,
    /// The workload's namespace: metadata `NAMESPACE`, else that of the id.
    pub namespace: NamespaceName,
    /// The DNS domain in which the application resolves short names.
    pub dns_domain: String,
    /// The workload's labels: metadata `LABELS`.
    pub labels: Labels,
    /// Metadata `SERVICE_ACCOUNT`.
    pub service_account: Option<String>,
    /// Metadata `INTERCEPTION_MODE`: how the workload's connections reach it. Of one that does not say it
    /// the settings do, see `Scope::interception`.
    pub interception: Option<InterceptionMode>,
    /// Metadata `CLUSTER_ID`, `Kubernetes` unless given.
    pub cluster_id: String,
    /// Metadata `NETWORK`.
    pub network: Option<String>,
    /// Metadata `ISTIO_VERSION`.
    pub version: Option<String>,
    /// The texts of its metadata, which patches may ask for.
    pub metadata: BTreeMap<String, String>,
    /// Metadata `HTTP10`: take HTTP/1.0 requests.
    pub http10: bool,
    /// Metadata `UNPRIVILEGED_POD`: it may not listen on ports below 1024.
    pub unprivileged: bool,
    /// Metadata `HTTP_PROXY_PORT`, in the place of the mesh's `proxyHttpPort`.
    pub http_proxy_port: Option<u16>,
    /// Metadata `MELTEMI_APP_ADDRESS`: where the application listens, when that is not the usual
    /// place of the interception mode.
    pub app_address: Option<IpAddr>,
    /// Metadata `DNS_CAPTURE` and `DNS_AUTO_ALLOCATE`: the workload is told addresses for hosts that
    /// have none.
    pub auto_addresses: bool,
    /// Metadata `PROXY_CONFIG`: what it was started with. Whoever started it has laid the mesh's
    /// settings under its own, so that what it does not say is not the mesh's but Istio's default.
    pub settings: Option<OwnSettings>,
    /// Where it runs.
    pub locality: Locality,
    /// What it has of Istio's own filters.
    pub filters: IstioFilters,
    /// What it lacks of Envoy's.
    pub lacks: Lacks,
}

/// Why a node is not a proxy of this mesh. Every variant names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// The id does not have its four parts.
    #[error("node.id: {0:?} is not TYPE~IP~NAME.NAMESPACE~DOMAIN")]
    Id(String),
    /// The type is neither `sidecar` nor `router`.
    #[error("node.id: {0:?} is no type of proxy, use sidecar or router")]
    Role(String),
    /// The second part of the id is no IP address.
    #[error("node.id: {0:?} is no IP address")]
    Ip(String),
    /// What it was started with is not understood.
    #[error("node.metadata.PROXY_CONFIG: {0}")]
    Settings(String),
    /// A metadata value is not what the field takes.
    #[error("node.metadata.{field}: {value:?} is not {expected}")]
    Metadata {
        /// The key.
        field: &'static str,
        /// The value.
        value: String,
        /// What it takes.
        expected: &'static str,
    },
}

impl ProxyNode {
    /// Reads Envoy's `Node`.
    ///
    /// # Errors
    /// When the id is not one of Istio's form, or a metadata value that matters is malformed.
    pub fn parse(node: &Node) -> Result<Self, NodeError> {
        let parts: Vec<_> = node.id.split('~').collect();
        let &[role, ip, name, domain] = parts.as_slice() else {
            return Err(NodeError::Id(node.id.clone()));
        };
        let role = match role {
            "sidecar" => ProxyRole::Sidecar,
            "router" => ProxyRole::Router,
            other => return Err(NodeError::Role(other.to_owned())),
        };
        let ip: IpAddr = ip.parse().map_err(|_| NodeError::Ip(ip.to_owned()))?;
        let Some((workload, namespace)) = name.rsplit_once('.') else {
            return Err(NodeError::Id(node.id.clone()));
        };
        let metadata = NodeMetadata(node.metadata.as_ref());
        let namespace = metadata.text("NAMESPACE").unwrap_or(namespace);
        Ok(Self {
            id: node.id.clone(),
            role,
            generator: metadata.generator()?,
            ip,
            ips: metadata.addresses(ip),
            workload: workload.to_owned(),
            namespace: namespace.into(),
            dns_domain: domain.to_owned(),
            labels: metadata.labels(),
            service_account: metadata.text("SERVICE_ACCOUNT").map(str::to_owned),
            interception: metadata.interception()?,
            cluster_id: metadata
                .text("CLUSTER_ID")
                .unwrap_or("Kubernetes")
                .to_owned(),
            network: metadata.text("NETWORK").map(str::to_owned),
            version: metadata.text("ISTIO_VERSION").map(str::to_owned),
            metadata: metadata.texts(),
            http10: metadata.text("HTTP10") == Some("1"),
            unprivileged: metadata.is_on("UNPRIVILEGED_POD"),
            http_proxy_port: metadata.parsed("HTTP_PROXY_PORT", "a port")?,
            app_address: metadata.parsed("MELTEMI_APP_ADDRESS", "an IP address")?,
            auto_addresses: metadata.is_on("DNS_CAPTURE") && metadata.is_on("DNS_AUTO_ALLOCATE"),
            settings: metadata.settings()?,
            locality: locality(node),
            filters: IstioFilters::of(&node.extensions),
            lacks: Lacks::of(&node.extensions),
        })
    }

    /// Whether it has an address of this family.
    pub(crate) fn has_family_of(&self, ip: IpAddr) -> bool {
        self.ips.iter().any(|it| it.is_ipv6() == ip.is_ipv6())
    }

    /// Whether it is a gRPC library.
    pub fn is_grpc(&self) -> bool {
        self.generator == Generator::Grpc
    }

    /// Whether it may listen on a port.
    pub(crate) fn may_bind(&self, port: u16) -> bool {
        port >= PRIVILEGED || !self.unprivileged
    }

    /// Whether it says that nothing is intercepted.
    pub(crate) fn says_none(&self) -> bool {
        self.interception == Some(InterceptionMode::None)
    }
}

impl IstioFilters {
    /// Looks for Istio's filters among a proxy's extensions, by name or by type URL.
    fn of(extensions: &[Extension]) -> Self {
        let has = |name, message| has(extensions, name, message);
        Self {
            stats: has("istio.stats", "stats.PluginConfig"),
            peer_metadata: has(
                "envoy.filters.http.peer_metadata",
                "io.istio.http.peer_metadata.Config",
            ),
            metadata_exchange: has(
                "envoy.filters.network.metadata_exchange",
                "envoy.tcp.metadataexchange.config.MetadataExchange",
            ),
            alpn: has(
                "istio.alpn",
                "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
            ),
        }
    }
}

impl Lacks {
    /// What a proxy's extensions leave to be desired.
    fn of(extensions: &[Extension]) -> Self {
        let lacks = |name, message| !extensions.is_empty() && !has(extensions, name, message);
        Self {
            retry_priority: lacks(
                "envoy.retry_priorities.previous_priorities",
                "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
            ),
            original_source: lacks(
                "envoy.filters.listener.original_src",
                "envoy.extensions.filters.listener.original_src.v3.OriginalSrc",
            ),
            fault: lacks(
                "envoy.filters.http.fault",
                "envoy.extensions.filters.http.fault.v3.HTTPFault",
            ),
            dynamic_dns: lacks(
                "envoy.clusters.dynamic_forward_proxy",
                "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig",
            ),
        }
    }
}

/// Whether an extension is listed, by its name or by the type of its configuration.
fn has(extensions: &[Extension], name: &str, message: &str) -> bool {
    extensions.iter().any(|it| {
        let mut types = it.type_urls.iter();
        let same =
            |url: &String| url.rsplit_once('/').map_or(url.as_str(), |(_, it)| it) == message;
        !it.disabled && (it.name == name || types.any(same))
    })
}

/// A node's free-form part.
struct NodeMetadata<'a>(Option<&'a Struct>);

impl<'a> NodeMetadata<'a> {
    fn kind(&self, key: &str) -> Option<&'a Kind> {
        self.0?.fields.get(key)?.kind.as_ref()
    }

    /// A text; an empty one counts as not given.
    fn text(&self, key: &str) -> Option<&'a str> {
        match self.kind(key)? {
            Kind::StringValue(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// Every text.
    fn texts(&self) -> BTreeMap<String, String> {
        let fields = self.0.into_iter().flat_map(|it| &it.fields);
        let texts = fields.filter_map(|(key, value)| match &value.kind {
            Some(Kind::StringValue(text)) => Some((key.clone(), text.clone())),
            _ => None,
        });
        texts.collect()
    }

    /// Whether a switch is on.
    fn is_on(&self, key: &str) -> bool {
        match self.kind(key) {
            Some(Kind::BoolValue(on)) => *on,
            Some(Kind::StringValue(text)) => matches!(text.as_str(), "true" | "1"),
            _ => false,
        }
    }

    /// Every address of the workload.
    fn addresses(&self, first: IpAddr) -> Vec<IpAddr> {
        let mut addresses = vec![first];
        let written = self.text("INSTANCE_IPS").unwrap_or_default().split(',');
        for ip in written.filter_map(|it| it.trim().parse().ok()) {
            if !addresses.contains(&ip) {
                addresses.push(ip);
            }
        }
        addresses
    }

    fn parsed<T: FromStr>(
        &self,
        field: &'static str,
        expected: &'static str,
    ) -> Result<Option<T>, NodeError> {
        let Some(value) = self.text(field) else {
            return Ok(None);
        };
        value.parse().map(Some).map_err(|_| NodeError::Metadata {
            field,
            value: value.to_owned(),
            expected,
        })
    }

    fn interception(&self) -> Result<Option<InterceptionMode>, NodeError> {
        let mode = match self.text("INTERCEPTION_MODE") {
            None => return Ok(None),
            Some("REDIRECT") => Ok(InterceptionMode::Redirect),
            Some("TPROXY") => Ok(InterceptionMode::Tproxy),
            Some("NONE") => Ok(InterceptionMode::None),
            Some(other) => Err(NodeError::Metadata {
                field: "INTERCEPTION_MODE",
                value: other.to_owned(),
                expected: "REDIRECT, TPROXY or NONE",
            }),
        };
        mode.map(Some)
    }

    fn settings(&self) -> Result<Option<OwnSettings>, NodeError> {
        let Some(Kind::StructValue(settings)) = self.kind("PROXY_CONFIG") else {
            return Ok(None);
        };
        let text = Json::Object(fields_to_json(settings)).to_string();
        let patch = proxy_config_of_node(&text).map_err(NodeError::Settings)?;
        Ok(Some(OwnSettings {
            topology: Some(patch.gateway_topology.unwrap_or_default()),
            headers: Some(patch.proxy_headers.unwrap_or_default()),
            interception: Some(
                patch
                    .interception_mode
                    .unwrap_or(InterceptionMode::Redirect),
            ),
        }))
    }

    fn generator(&self) -> Result<Generator, NodeError> {
        match self.text("GENERATOR") {
            None => Ok(Generator::Envoy),
            Some("grpc") => Ok(Generator::Grpc),
            Some(other) => Err(NodeError::Metadata {
                field: "GENERATOR",
                value: other.to_owned(),
                expected: "grpc, and an Envoy says nothing",
            }),
        }
    }

    fn labels(&self) -> Labels {
        let Some(Kind::StructValue(labels)) = self.kind("LABELS") else {
            return Labels::default();
        };
        labels
            .fields
            .iter()
            .filter_map(|(key, value)| match value {
                Value {
                    kind: Some(Kind::StringValue(text)),
                } => Some((key.clone(), text.clone())),
                Value { kind: _ } => None,
            })
            .collect()
    }
}

fn fields_to_json(message: &Struct) -> Map<String, Json> {
    let fields = message.fields.iter();
    fields
        .map(|(name, value)| (name.clone(), value_to_json(value)))
        .collect()
}

fn value_to_json(Value { kind }: &Value) -> Json {
    match kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(on)) => (*on).into(),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the number is whole and small"
        )]
        Some(Kind::NumberValue(number)) if number.fract() == 0.0 && number.abs() < 1e15 => {
            (*number as i64).into()
        }
        Some(Kind::NumberValue(number)) => (*number).into(),
        Some(Kind::StringValue(text)) => text.clone().into(),
        Some(Kind::ListValue(list)) => list.values.iter().map(value_to_json).collect(),
        Some(Kind::StructValue(inner)) => Json::Object(fields_to_json(inner)),
    }
}

fn locality(node: &Node) -> Locality {
    node.locality
        .as_ref()
        .map_or_else(Locality::default, |it| Locality {
            region: it.region.clone(),
            zone: it.zone.clone(),
            subzone: it.sub_zone.clone(),
        })
}

#[cfg(test)]
mod tests;
