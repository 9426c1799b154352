//! Who is at the other end of a call, as Istio's metrics name it: from node metadata, from the
//! headers that proxies exchange, or from an endpoint's metadata.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use meltemi_ir::{Metadata, Node, Value};
use prost::Message as _;

/// A workload, as its proxy describes it. A field that is not known is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PeerInfo {
    /// The instance (pod).
    pub instance: String,
    /// The workload (deployment).
    pub workload: String,
    /// Its namespace.
    pub namespace: String,
    /// The object that owns the instance, as in
    /// `kubernetes://apis/apps/v1/namespaces/ns/deployments/name`.
    pub owner: String,
    /// The cluster of the mesh it runs in.
    pub cluster: String,
    /// Label `app`.
    pub app: String,
    /// Label `version`.
    pub version: String,
    /// Label `service.istio.io/canonical-name`.
    pub canonical_name: String,
    /// Label `service.istio.io/canonical-revision`.
    pub canonical_revision: String,
    /// The service account.
    pub service_account: String,
}

/// Why an `x-envoy-peer-metadata` header says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerDecodeError {
    /// Not base64.
    #[error("not base64: {0}")]
    Base64(#[from] base64::DecodeError),
    /// Not a `google.protobuf.Struct`.
    #[error("not a google.protobuf.Struct: {0}")]
    Struct(#[from] prost::DecodeError),
}

/// One worker's decoded headers: a peer sends the same one with every request.
#[derive(Debug, Default)]
pub struct PeerCache(RefCell<HashMap<Box<[u8]>, Arc<PeerInfo>>>);

impl PeerInfo {
    /// From this proxy's own node metadata.
    pub fn from_node(node: &Node) -> Self {
        Self::from_fields(&node.metadata)
    }

    /// From the `istio.workload` metadata that the control plane gives an endpoint
    /// (`workload;namespace;canonical-name;canonical-revision;cluster`).
    pub fn from_endpoint(metadata: &Metadata) -> Option<Self> {
        let text = metadata.get("istio", "workload")?.as_str()?;
        let mut parts = text.split(';').map(str::to_owned);
        Some(Self {
            workload: parts.next()?,
            namespace: parts.next()?,
            canonical_name: parts.next()?,
            canonical_revision: parts.next()?,
            cluster: parts.next()?,
            ..Self::default()
        })
    }

    /// The value of `x-envoy-peer-metadata`.
    pub fn encode(&self) -> String {
        STANDARD.encode(self.to_struct().encode_to_vec())
    }

    /// Reads the value of `x-envoy-peer-metadata`.
    ///
    /// # Errors
    /// When it is not base64 of a `google.protobuf.Struct`. Fields of another kind than expected
    /// count as absent.
    pub fn decode(header: &[u8]) -> Result<Self, PeerDecodeError> {
        let padded = header.ends_with(b"=");
        let bytes = if padded {
            STANDARD.decode(header)?
        } else {
            STANDARD_NO_PAD.decode(header)?
        };
        let message = prost_types::Struct::decode(bytes.as_slice())?;
        let fields = message
            .fields
            .into_iter()
            .map(|(name, value)| (name, from_proto(value)))
            .collect();
        Ok(Self::from_fields(&fields))
    }

    fn from_fields(fields: &BTreeMap<String, Value>) -> Self {
        let text = |name: &str| {
            let value = fields.get(name).and_then(Value::as_str);
            value.unwrap_or_default().to_owned()
        };
        let label = |name: &str| {
            let value = fields.get("LABELS").and_then(|labels| labels.get(name));
            value.and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        Self {
            instance: text("NAME"),
            workload: text("WORKLOAD_NAME"),
            namespace: text("NAMESPACE"),
            owner: text("OWNER"),
            cluster: text("CLUSTER_ID"),
            app: label("app"),
            version: label("version"),
            canonical_name: label("service.istio.io/canonical-name"),
            canonical_revision: label("service.istio.io/canonical-revision"),
            service_account: text("SERVICE_ACCOUNT"),
        }
    }

    fn to_struct(&self) -> prost_types::Struct {
        let text = |text: &str| prost_types::Value {
            kind: Some(prost_types::value::Kind::StringValue(text.to_owned())),
        };
        let fields = |pairs: &[(&str, &String)]| prost_types::Struct {
            fields: pairs
                .iter()
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| ((*name).to_owned(), text(value)))
                .collect(),
        };
        let mut message = fields(&[
            ("NAME", &self.instance),
            ("NAMESPACE", &self.namespace),
            ("WORKLOAD_NAME", &self.workload),
            ("CLUSTER_ID", &self.cluster),
            ("OWNER", &self.owner),
            ("SERVICE_ACCOUNT", &self.service_account),
        ]);
        let labels = fields(&[
            ("app", &self.app),
            ("version", &self.version),
            ("service.istio.io/canonical-name", &self.canonical_name),
            (
                "service.istio.io/canonical-revision",
                &self.canonical_revision,
            ),
        ]);
        let labels = prost_types::Value {
            kind: Some(prost_types::value::Kind::StructValue(labels)),
        };
        message.fields.insert("LABELS".to_owned(), labels);
        message
    }
}

/// Reads a serialized `google.protobuf.Value`.
pub fn decode_value(bytes: &[u8]) -> Option<Value> {
    prost_types::Value::decode(bytes).ok().map(from_proto)
}

fn from_proto(value: prost_types::Value) -> Value {
    use prost_types::value::Kind;
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::NumberValue(number)) => Value::Number(number),
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::BoolValue(truth)) => Value::Bool(truth),
        Some(Kind::ListValue(list)) => {
            Value::List(list.values.into_iter().map(from_proto).collect())
        }
        Some(Kind::StructValue(fields)) => Value::Struct(
            fields
                .fields
                .into_iter()
                .map(|(name, value)| (name, from_proto(value)))
                .collect(),
        ),
    }
}

impl PeerCache {
    /// Most peers remembered; when there are more, all are forgotten.
    const LIMIT: usize = 500;

    /// Who the header's value describes; none where it describes nobody.
    pub fn get(&self, header: &[u8]) -> Option<Arc<PeerInfo>> {
        let mut known = self.0.borrow_mut();
        if let Some(peer) = known.get(header) {
            return Some(peer.clone());
        }
        let peer = Arc::new(PeerInfo::decode(header).ok()?);
        if known.len() >= Self::LIMIT {
            known.clear();
        }
        known.insert(header.into(), peer.clone());
        Some(peer)
    }
}

#[cfg(test)]
mod tests;
