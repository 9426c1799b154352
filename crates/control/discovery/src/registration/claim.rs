//! What a proxy says of the workload beside it.
//!
//! In: a node, and whom its stream was proven to be of. Out: [`Claim`], if the workload is to have a
//! WorkloadEntry. Called by `admission`.

use std::net::IpAddr;
use std::sync::Arc;

use meltemi_model::{Kind, Labels, Locality, NamespaceName, ResourceId};
use meltemi_spiffe::SpiffeId;
use meltemi_translate::ProxyNode;
use meltemi_xds::pb::envoy::config::core::v3::Node;
use prost_types::value::Kind as ValueKind;

/// Names of resources are no longer than this, in bytes.
const LONGEST_NAME: usize = 253;

/// A proxy's workload, as its proxy says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// What it is to be.
    pub wish: Wish,
    /// Its namespace.
    pub namespace: NamespaceName,
    /// Its address: the first of metadata `INSTANCE_IPS`, else that of the node's id.
    pub address: IpAddr,
    /// Metadata `NETWORK`.
    pub network: Option<String>,
    /// Metadata `LABELS`.
    pub labels: Labels,
    /// Where the node is, if it says so.
    pub locality: Option<Locality>,
    /// Its agent makes a `readinessProbe`, and will report what it finds.
    pub is_probed: bool,
    /// Whom its stream is of, as far as that was proven.
    pub identity: Option<SpiffeId>,
}

/// Which entry it is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Metadata `AUTO_REGISTER_GROUP`: one that is made of this WorkloadGroup.
    OfGroup(String),
    /// Metadata `WORKLOAD_ENTRY`: one that somebody has written.
    Written(String),
}

impl Claim {
    /// What a node claims; `None` for most.
    pub fn of(node: &Node, proxy: &ProxyNode, identity: Option<SpiffeId>) -> Option<Self> {
        let text = |key: &str| proxy.metadata.get(key).filter(|it| !it.is_empty()).cloned();
        let group = text("AUTO_REGISTER_GROUP").map(Wish::OfGroup);
        let wish = group.or_else(|| text("WORKLOAD_ENTRY").map(Wish::Written))?;
        let instance_ips = text("INSTANCE_IPS").unwrap_or_default();
        let mut addresses = instance_ips.split(',').map(|it| it.trim().parse());
        Some(Self {
            wish,
            namespace: proxy.namespace.clone(),
            address: addresses.find_map(Result::ok).unwrap_or(proxy.ip),
            network: proxy.network.clone(),
            labels: proxy.labels.clone(),
            locality: Some(&proxy.locality)
                .filter(|it| **it != Locality::default())
                .cloned(),
            is_probed: is_probed(node),
            identity,
        })
    }

    /// The entry, by Istio's rule for its name: group, address, and network if it has one. What is too
    /// long is cut at its beginning.
    pub fn entry(&self) -> ResourceId {
        let name = match &self.wish {
            Wish::Written(name) => name.clone(),
            Wish::OfGroup(group) => {
                let address = self.address.to_string().replace(':', "-");
                let parts = [Some(group), Some(&address), self.network.as_ref()];
                let parts: Vec<_> = parts.into_iter().flatten().map(String::as_str).collect();
                let name = parts.join("-");
                let mut begin = name.len().saturating_sub(LONGEST_NAME);
                while !name.is_char_boundary(begin) {
                    begin += 1;
                }
                name[begin..].to_owned()
            }
        };
        self.resource(Kind::WorkloadEntry, &name)
    }

    /// A resource of the workload's namespace.
    pub fn resource(&self, kind: Kind, name: &str) -> ResourceId {
        ResourceId {
            kind,
            namespace: self.namespace.clone(),
            name: Arc::from(name),
        }
    }
}

fn is_probed(node: &Node) -> bool {
    let metadata = node.metadata.as_ref();
    let settings = metadata.and_then(|it| it.fields.get("PROXY_CONFIG"));
    let Some(ValueKind::StructValue(settings)) = settings.and_then(|it| it.kind.as_ref()) else {
        return false;
    };
    let probe = settings.fields.get("readinessProbe");
    matches!(
        probe.and_then(|it| it.kind.as_ref()),
        Some(ValueKind::StructValue(_))
    )
}
