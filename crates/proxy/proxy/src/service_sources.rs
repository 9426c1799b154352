//! Resources from discovery services of their own (`api_config_source`): each thing that is asked for
//! has a stream to its service, as in Envoy.
//!
//! In: what is wanted of which services. Out: what the streams say. Called by the discovery loop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meltemi_ir::{DiscoveryService, ResourceSource};
use meltemi_lifecycle::Random;
use meltemi_upstream::Cluster;
use meltemi_xds::pb::envoy::config::core::v3::Node;
use meltemi_xds_client::{
    Client, ClientConfig, Event, Interest, Mode, Rate, Rejection, Service, StreamMetadata, Update,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::warn;

use crate::apply::Applier;
use crate::dial;
use crate::discovery::{News, Origin};
use crate::subscriptions::Wanted;

/// The streams to services.
pub(crate) struct ServiceSources {
    node: Node,
    applier: Arc<Applier>,
    streams: BTreeMap<Wanted, Stream>,
    news: mpsc::Sender<(Origin, News)>,
}

/// A stream that runs; it ends when this is dropped.
struct Stream {
    client: Client,
    task: JoinHandle<()>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ServiceSources {
    /// None yet; `news` takes what they say.
    pub fn new(node: Node, applier: Arc<Applier>, news: mpsc::Sender<(Origin, News)>) -> Self {
        Self {
            node,
            applier,
            streams: BTreeMap::new(),
            news,
        }
    }

    /// Has a stream for each of these, and no others. One whose cluster is not there yet has none until
    /// this is called again.
    pub fn follow(&mut self, wanted: &BTreeSet<&Wanted>) {
        self.streams.retain(|one, _| wanted.contains(one));
        for one in wanted {
            if !self.streams.contains_key(*one)
                && let ResourceSource::Service(service) = &one.source
                && let Some(stream) = self.open(one, service)
            {
                self.streams.insert((*one).clone(), stream);
            }
        }
    }

    /// Says that an update was applied, all but what was refused.
    pub fn acknowledge(&self, wanted: &Wanted, update: Update, rejected: Vec<Rejection>) {
        if let Some(stream) = self.streams.get(wanted) {
            stream.client.acknowledge(update, rejected);
        }
    }

    fn open(&self, wanted: &Wanted, service: &DiscoveryService) -> Option<Stream> {
        let cluster = cluster(&self.applier, &service.cluster)?;
        let connector = match dial(cluster.config(), &self.applier.secrets) {
            Ok(connector) => connector,
            Err(error) => {
                warn!(kind = %wanted.kind, "no discovery: {error:#}");
                return None;
            }
        };
        let config = client_config(service, Service::Alone(wanted.kind), &self.node);
        let (client, events) = Client::start(config, connector);
        let interest = match &wanted.name {
            Some(name) => Interest::Names(BTreeSet::from([name.clone()])),
            None => Interest::Wildcard,
        };
        client.set_interest(wanted.kind, interest);
        let origin = Origin::One(wanted.clone());
        let task = tokio::spawn(forward(origin, events, self.news.clone()));
        Some(Stream { client, task })
    }
}

/// How a service is spoken to.
pub(crate) fn client_config(service: &DiscoveryService, of: Service, node: &Node) -> ClientConfig {
    let fixed = service.initial_metadata.clone();
    let metadata: StreamMetadata = Arc::new(move || fixed.clone());
    let authority = service.authority.as_ref().unwrap_or(&service.cluster);
    ClientConfig {
        service: of,
        authority: authority.parse().ok(),
        mode: match service.delta {
            true => Mode::Delta,
            false => Mode::Sotw,
        },
        node: node.clone(),
        metadata,
        rate: service.rate_limit.map(|it| Rate {
            burst: it.burst,
            interval: it.interval,
        }),
        random: Random::from_entropy(),
    }
}

/// The cluster that reaches a service, though it may not have looked its hosts up yet.
pub(crate) fn cluster(applier: &Applier, name: &str) -> Option<Arc<Cluster>> {
    let clusters = &applier.clusters;
    let warming = || clusters.warming().into_iter().find(|it| it.name() == name);
    clusters.get(name).or_else(warming)
}

/// Passes on what a stream says.
pub(crate) async fn forward(
    origin: Origin,
    mut events: mpsc::Receiver<Event>,
    news: mpsc::Sender<(Origin, News)>,
) {
    while let Some(event) = events.recv().await {
        if news.send((origin.clone(), event.into())).await.is_err() {
            return;
        }
    }
}
