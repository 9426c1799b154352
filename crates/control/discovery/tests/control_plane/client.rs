//! xDS clients that say what they are told to.

use std::collections::BTreeMap;

use meltemi_xds::any;
use meltemi_xds::pb::envoy::config::core::v3::Node;
use meltemi_xds::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use meltemi_xds::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use meltemi_xds::pb::google::rpc;
use meltemi_xds_server::{HEALTH_TYPE_URL, Kind};
use prost_types::value::Kind as ValueKind;
use prost_types::{Any, Struct, Value};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

use crate::harness::{LIMIT, Plane};

/// The node of a sidecar.
pub fn sidecar(pod: &str, namespace: &str, account: &str) -> Node {
    let text = |text: &str| Value {
        kind: Some(ValueKind::StringValue(text.to_owned())),
    };
    let fields = [
        ("NAMESPACE", text(namespace)),
        ("SERVICE_ACCOUNT", text(account)),
        ("CLUSTER_ID", text("Kubernetes")),
        ("ISTIO_VERSION", text("1.30.0")),
    ];
    Node {
        id: format!("sidecar~10.1.0.9~{pod}.{namespace}~{namespace}.svc.cluster.local"),
        metadata: Some(Struct {
            fields: fields
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        }),
        ..Node::default()
    }
}

/// To the plaintext port.
pub async fn plaintext(plane: &Plane) -> Channel {
    let address = plane.addresses.plaintext_xds.unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect().await.unwrap()
}

pub fn bearer<T>(message: T, token: Option<&str>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    request
}

pub struct Delta {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
    node: Option<Node>,
    /// What the client has, by kind and name.
    pub has: BTreeMap<Kind, BTreeMap<String, Any>>,
}

impl Delta {
    pub async fn open(channel: Channel, node: Node, token: Option<&str>) -> Self {
        let (requests, receiver) = mpsc::channel(16);
        let request = bearer(ReceiverStream::new(receiver), token);
        let mut client = AggregatedDiscoveryServiceClient::new(channel);
        let responses = client.delta_aggregated_resources(request).await.unwrap();
        Self {
            requests,
            responses: responses.into_inner(),
            node: Some(node),
            has: BTreeMap::new(),
        }
    }

    /// Subscribes to names; without any, to all of the kind.
    pub async fn subscribe(&mut self, kind: Kind, names: &[&str]) {
        let request = DeltaDiscoveryRequest {
            node: self.node.take(),
            type_url: kind.type_url(),
            resource_names_subscribe: names.iter().map(|&it| it.to_owned()).collect(),
            ..DeltaDiscoveryRequest::default()
        };
        self.requests.send(request).await.unwrap();
    }

    /// The next message, not confirmed.
    pub async fn next(&mut self) -> Result<(Kind, DeltaDiscoveryResponse), Status> {
        let message = timeout(LIMIT, self.responses.message()).await;
        let message = message.expect("a message in time")?;
        let message = message.ok_or_else(|| Status::aborted("the stream has ended"))?;
        Ok((Kind::from_type_url(&message.type_url).unwrap(), message))
    }

    pub async fn answer(&mut self, message: &DeltaDiscoveryResponse, refusal: Option<&str>) {
        let request = DeltaDiscoveryRequest {
            type_url: message.type_url.clone(),
            response_nonce: message.nonce.clone(),
            error_detail: refusal.map(|text| rpc::Status {
                code: 3,
                message: text.to_owned(),
                ..rpc::Status::default()
            }),
            ..DeltaDiscoveryRequest::default()
        };
        self.requests.send(request).await.unwrap();
    }

    /// Reports the health of the workload, as Istio's agent does.
    pub async fn report(&mut self, failure: Option<&str>) {
        let request = DeltaDiscoveryRequest {
            node: self.node.take(),
            type_url: HEALTH_TYPE_URL.to_owned(),
            error_detail: failure.map(|text| rpc::Status {
                code: 500,
                message: text.to_owned(),
                ..rpc::Status::default()
            }),
            ..DeltaDiscoveryRequest::default()
        };
        self.requests.send(request).await.unwrap();
    }

    /// Takes and confirms a message.
    pub async fn take_in(&mut self, kind: Kind, message: &DeltaDiscoveryResponse) {
        self.answer(message, None).await;
        let has = self.has.entry(kind).or_default();
        for resource in &message.resources {
            has.insert(resource.name.clone(), resource.resource.clone().unwrap());
        }
        for name in &message.removed_resources {
            has.remove(name);
        }
    }

    /// Takes and confirms messages until one of this kind has come.
    pub async fn take(&mut self, wanted: Kind) -> DeltaDiscoveryResponse {
        loop {
            let (kind, message) = self.next().await.unwrap();
            self.take_in(kind, &message).await;
            if kind == wanted {
                return message;
            }
        }
    }

    pub fn names(&self, kind: Kind) -> Vec<&str> {
        let has = self.has.get(&kind).into_iter().flatten();
        has.map(|(name, _)| name.as_str()).collect()
    }

    pub fn resource<M: prost::Message + prost::Name + Default>(&self, kind: Kind, name: &str) -> M {
        let found = self.has.get(&kind).and_then(|has| has.get(name));
        let found = found.unwrap_or_else(|| panic!("{name} in {:?}", self.names(kind)));
        any::unpack(found).unwrap()
    }
}

pub struct Sotw {
    requests: mpsc::Sender<DiscoveryRequest>,
    responses: Streaming<DiscoveryResponse>,
    node: Node,
}

impl Sotw {
    pub async fn open(channel: Channel, node: Node) -> Self {
        let (requests, receiver) = mpsc::channel(16);
        let mut client = AggregatedDiscoveryServiceClient::new(channel);
        let responses = client
            .stream_aggregated_resources(ReceiverStream::new(receiver))
            .await
            .unwrap();
        Self {
            requests,
            responses: responses.into_inner(),
            node,
        }
    }

    /// Asks for names (all without any) and confirms what comes.
    pub async fn fetch(&mut self, kind: Kind, names: &[&str]) -> DiscoveryResponse {
        let request = DiscoveryRequest {
            node: Some(self.node.clone()),
            type_url: kind.type_url(),
            resource_names: names.iter().map(|&it| it.to_owned()).collect(),
            ..DiscoveryRequest::default()
        };
        self.requests.send(request.clone()).await.unwrap();
        let message = timeout(LIMIT, self.responses.message()).await.unwrap();
        let message = message.unwrap().unwrap();
        assert_eq!(message.type_url, request.type_url);
        let confirmation = DiscoveryRequest {
            version_info: message.version_info.clone(),
            response_nonce: message.nonce.clone(),
            ..request
        };
        self.requests.send(confirmation).await.unwrap();
        message
    }
}
