//! A scripted management server: delta ADS, resources as JSON, verdicts kept.
//!
//! In: the resources that a proxy is to have. Out: what it said of each answer. Called by tests of
//! how a running proxy takes changes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use meltemi_xds::pb::envoy::config::cluster::v3::Cluster;
use meltemi_xds::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use meltemi_xds::pb::envoy::config::listener::v3::Listener;
use meltemi_xds::pb::envoy::config::route::v3::RouteConfiguration;
use meltemi_xds::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use meltemi_xds::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use meltemi_xds::{any, json, type_url};
use prost_types::Any;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

/// How long a proxy may take to answer for a change.
const PATIENCE: Duration = Duration::from_secs(10);

/// Kinds of resources, in the order in which they are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `Cluster`.
    Cluster,
    /// `ClusterLoadAssignment`.
    Endpoints,
    /// `Listener`.
    Listener,
    /// `RouteConfiguration`.
    Routes,
}

/// Everything that the proxy is to have, by kind and name.
pub type Resources = BTreeMap<(Kind, String), Any>;

/// What the proxy said of an answer.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// Why it was refused, if it was.
    pub error: Option<String>,
}

/// The server.
#[derive(Clone)]
pub struct Ads {
    state: Arc<Mutex<State>>,
    /// Changed when the resources are.
    changed: watch::Sender<()>,
    /// Changed when something was sent or answered for.
    progress: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    resources: BTreeMap<(Kind, String), (u64, Any)>,
    version: u64,
    outstanding: BTreeSet<String>,
    verdicts: Vec<Verdict>,
    /// What the proxy was sent, by version.
    sent: BTreeMap<(Kind, String), u64>,
    /// A stream has not yet sent all that it is to.
    behind: bool,
}

/// What one stream wants and has.
#[derive(Default)]
struct Stand {
    wildcard: BTreeSet<Kind>,
    names: BTreeSet<(Kind, String)>,
    sent: BTreeMap<(Kind, String), u64>,
    count: u64,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Cluster, Self::Endpoints, Self::Listener, Self::Routes];

    fn is_upstream(self) -> bool {
        matches!(self, Self::Cluster | Self::Endpoints)
    }

    /// The type URL.
    pub fn type_url(self) -> String {
        match self {
            Self::Cluster => type_url::<Cluster>(),
            Self::Endpoints => type_url::<ClusterLoadAssignment>(),
            Self::Listener => type_url::<Listener>(),
            Self::Routes => type_url::<RouteConfiguration>(),
        }
    }

    fn of(type_url: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.type_url() == type_url)
    }

    /// A resource of this kind, with its name.
    pub fn resource(self, value: Value) -> ((Self, String), Any) {
        let field = if self == Self::Endpoints {
            "cluster_name"
        } else {
            "name"
        };
        let name = value[field]
            .as_str()
            .expect("a resource has a name")
            .to_owned();
        let packed = match self {
            Self::Cluster => any::pack(&json::from_json::<Cluster>(value).unwrap()),
            Self::Endpoints => any::pack(&json::from_json::<ClusterLoadAssignment>(value).unwrap()),
            Self::Listener => any::pack(&json::from_json::<Listener>(value).unwrap()),
            Self::Routes => any::pack(&json::from_json::<RouteConfiguration>(value).unwrap()),
        };
        ((self, name), packed)
    }
}

impl Ads {
    /// Serves on a free port of 127.0.0.1, on the current runtime.
    pub async fn start() -> (Self, SocketAddr) {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .unwrap();
        let address = listener.local_addr().unwrap();
        let ads = Self {
            state: Arc::default(),
            changed: watch::Sender::new(()),
            progress: watch::Sender::new(()),
        };
        let service = AggregatedDiscoveryServiceServer::new(ads.clone());
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        (ads, address)
    }

    /// Sends clusters and endpoints that are new or changed, then listeners and routes, then takes
    /// back what is gone; each step waits for the verdicts on the one before. Gives the verdicts.
    pub async fn publish(&self, resources: &Resources) -> Vec<Verdict> {
        let mut stand = Resources::new();
        {
            let mut state = self.state();
            state.verdicts.clear();
            for (key, (_, body)) in &state.resources {
                stand.insert(key.clone(), body.clone());
            }
        }
        for upstream in [true, false] {
            let now = resources
                .iter()
                .filter(|((kind, _), _)| kind.is_upstream() == upstream);
            stand.extend(now.map(|(key, body)| (key.clone(), body.clone())));
            self.set(&stand).await;
        }
        self.set(resources).await;
        self.state().verdicts.clone()
    }

    /// Sends what is new or changed and takes back what is gone, without waiting for a verdict: a
    /// proxy may keep that until its clusters are warm.
    pub fn offer(&self, resources: &Resources) {
        self.put(resources);
    }

    async fn set(&self, resources: &Resources) {
        if self.put(resources) {
            self.settle(|state| {
                !state.behind && state.outstanding.is_empty() && state.endpoints_known()
            })
            .await;
        }
    }

    /// Has other resources from now on; whether they are others.
    fn put(&self, resources: &Resources) -> bool {
        {
            let mut state = self.state();
            let State {
                resources: known,
                version,
                behind,
                ..
            } = &mut *state;
            let same = known.len() == resources.len()
                && known
                    .iter()
                    .all(|(key, (_, body))| resources.get(key) == Some(body));
            if same {
                return false;
            }
            *behind = true;
            known.retain(|key, _| resources.contains_key(key));
            for (key, body) in resources {
                if known.get(key).is_none_or(|(_, known)| known != body) {
                    *version += 1;
                    known.insert(key.clone(), (*version, body.clone()));
                }
            }
        }
        self.changed.send_replace(());
        true
    }

    async fn settle(&self, settled: impl Fn(&State) -> bool) {
        let mut progress = self.progress.subscribe();
        let settled = progress.wait_for(|_| settled(&self.state()));
        let waited = tokio::time::timeout(PATIENCE, settled)
            .await
            .map(|it| it.map(drop));
        waited
            .expect("the proxy answers for a change in time")
            .unwrap();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request; what it acknowledges or refuses is a verdict.
    fn receive(&self, stand: &mut Stand, request: &DeltaDiscoveryRequest) {
        let Some(kind) = Kind::of(&request.type_url) else {
            return;
        };
        if request.response_nonce.is_empty() {
            let explicit = request
                .resource_names_subscribe
                .iter()
                .any(|name| name != "*");
            let first =
                !stand.wildcard.contains(&kind) && !stand.names.iter().any(|(of, _)| *of == kind);
            if first && !explicit {
                stand.wildcard.insert(kind);
            }
        }
        for name in &request.resource_names_subscribe {
            stand.names.insert((kind, name.clone()));
        }
        for name in &request.resource_names_unsubscribe {
            let key = (kind, name.clone());
            stand.names.remove(&key);
            stand.sent.remove(&key);
        }
        let error = request
            .error_detail
            .as_ref()
            .map(|status| status.message.clone());
        let mut state = self.state();
        if state.outstanding.remove(&request.response_nonce) {
            state.verdicts.push(Verdict { error });
        }
    }

    /// The answers that are due.
    fn due(&self, stand: &mut Stand) -> Vec<DeltaDiscoveryResponse> {
        let mut state = self.state();
        let mut answers = Vec::new();
        for kind in Kind::ALL {
            let wants = |key: &(Kind, String)| {
                key.0 == kind && (stand.wildcard.contains(&kind) || stand.names.contains(key))
            };
            let wanted = state.resources.iter().filter(|(key, _)| wants(key));
            let fresh: Vec<_> = wanted
                .filter(|(key, (version, _))| stand.sent.get(*key) != Some(version))
                .map(|(key, resource)| (key.clone(), resource.clone()))
                .collect();
            let gone = stand.sent.keys().filter(|key| key.0 == kind);
            let gone: Vec<_> = gone
                .filter(|key| !state.resources.contains_key(*key))
                .cloned()
                .collect();
            if fresh.is_empty() && gone.is_empty() {
                continue;
            }
            stand.count += 1;
            let nonce = format!("nonce-{}", stand.count);
            state.outstanding.insert(nonce.clone());
            let resources = fresh.iter().map(|((_, name), (version, body))| Resource {
                name: name.clone(),
                version: version.to_string(),
                resource: Some(body.clone()),
                ..Resource::default()
            });
            answers.push(DeltaDiscoveryResponse {
                system_version_info: state.version.to_string(),
                resources: resources.collect(),
                type_url: kind.type_url(),
                removed_resources: gone.iter().map(|(_, name)| name.clone()).collect(),
                nonce,
                ..DeltaDiscoveryResponse::default()
            });
            stand.sent.retain(|key, _| !gone.contains(key));
            stand
                .sent
                .extend(fresh.into_iter().map(|(key, (version, _))| (key, version)));
        }
        state.behind = false;
        state.sent.clone_from(&stand.sent);
        answers
    }
}

impl State {
    /// Whether the proxy has asked for the endpoints of each cluster, and got them.
    fn endpoints_known(&self) -> bool {
        let clusters = self
            .resources
            .keys()
            .filter(|(kind, _)| *kind == Kind::Cluster);
        clusters.into_iter().all(|(_, name)| {
            let key = (Kind::Endpoints, name.clone());
            let version = self.resources.get(&key).map(|(version, _)| version);
            version.is_none() || self.sent.get(&key) == version
        })
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Ads {
    type StreamAggregatedResourcesStream = Answers<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Answers<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        _request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("delta only"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let mut requests = request.into_inner();
        let (sender, receiver) = mpsc::channel(16);
        let ads = self.clone();
        tokio::spawn(async move {
            let mut stand = Stand::default();
            let mut changes = ads.changed.subscribe();
            loop {
                tokio::select! {
                    request = requests.message() => match request {
                        Ok(Some(request)) => ads.receive(&mut stand, &request),
                        Ok(None) | Err(_) => return,
                    },
                    changed = changes.changed() => if changed.is_err() {
                        return;
                    },
                }
                for answer in ads.due(&mut stand) {
                    if sender.send(Ok(answer)).await.is_err() {
                        return;
                    }
                }
                ads.progress.send_replace(());
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}
