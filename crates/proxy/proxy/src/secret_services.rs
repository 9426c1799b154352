//! Secrets from services of their own: each secret that a context wants from such a service has a
//! stream to it, as in Envoy, and what arrives goes into the store.
//!
//! In: what the store says is wanted. Out: secrets applied, listeners and clusters that waited for
//! them put into service. Called by the assembly.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use meltemi_ir::{CertificateSource, DiscoveryService};
use meltemi_lifecycle::Random;
use meltemi_upstream::{Cluster, ClusterManager};
use meltemi_xds::pb::envoy::config::core::v3::Node;
use meltemi_xds_client::{
    Client, ClientConfig, Event, Interest, Mode, ResourceType, Service, StreamMetadata,
};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::apply::Applier;
use crate::dial;

/// How long listeners wait for a secret before they go into service without.
const WARMING_LIMIT: Duration = Duration::from_secs(15);

/// What the streams are made with.
pub(crate) struct SecretServices {
    pub node: Node,
    pub applier: Arc<Applier>,
}

/// One stream: which service, for which secret.
type Wanted = (DiscoveryService, String);

/// A stream that runs; it ends when this is dropped.
struct Stream(JoinHandle<()>);

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl SecretServices {
    /// Follows what is wanted, until dropped.
    pub async fn run(self) {
        let mut changes = self.applier.secrets.watch();
        let mut streams: BTreeMap<Wanted, Stream> = BTreeMap::new();
        loop {
            changes.borrow_and_update();
            let wanted = self.wanted();
            streams.retain(|stream, _| wanted.contains(stream));
            for one in wanted {
                if !streams.contains_key(&one)
                    && let Some(stream) = self.open(&one)
                {
                    streams.insert(one, stream);
                }
            }
            self.applier.promote_secured();
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn wanted(&self) -> BTreeSet<Wanted> {
        let wanted = self.applier.secrets.wanted().into_iter();
        let of_services = wanted.filter_map(|wanted| match wanted.source {
            CertificateSource::Service(service)
                if !self.applier.delivered_clusters.contains(&service.cluster) =>
            {
                Some((service, wanted.name))
            }
            _ => None,
        });
        of_services.collect()
    }

    fn open(&self, (service, name): &Wanted) -> Option<Stream> {
        let cluster = cluster(&self.applier.clusters, &service.cluster)?;
        let connector = match dial(cluster.config(), &self.applier.secrets) {
            Ok(connector) => connector,
            Err(error) => {
                warn!(secret = name, "no secret discovery: {error:#}");
                return None;
            }
        };
        let fixed = service.initial_metadata.clone();
        let metadata: StreamMetadata = Arc::new(move || fixed.clone());
        let config = ClientConfig {
            service: Service::Secrets,
            mode: if service.delta {
                Mode::Delta
            } else {
                Mode::Sotw
            },
            node: self.node.clone(),
            metadata,
            random: Random::from_entropy(),
        };
        let (client, events) = Client::start(config, connector);
        client.set_interest(
            ResourceType::Secret,
            Interest::Names(BTreeSet::from([name.clone()])),
        );
        let follow = follow(client, events, Arc::clone(&self.applier), name.clone());
        Some(Stream(tokio::spawn(follow)))
    }
}

/// The cluster that reaches a service, though it may not have looked its hosts up yet.
pub(crate) fn cluster(clusters: &ClusterManager, name: &str) -> Option<Arc<Cluster>> {
    let warming = || clusters.warming().into_iter().find(|it| it.name() == name);
    clusters.get(name).or_else(warming)
}

async fn follow(
    client: Client,
    mut events: tokio::sync::mpsc::Receiver<Event>,
    applier: Arc<Applier>,
    name: String,
) {
    let give_up = tokio::time::sleep(WARMING_LIMIT);
    tokio::pin!(give_up);
    let mut waits = true;
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = &mut give_up, if waits => {
                waits = false;
                if applier.secrets.get(&name).is_none() {
                    warn!(secret = name, "did not arrive in time; what wants it goes into service without");
                    applier.listeners.promote(true);
                }
                continue;
            }
        };
        match event {
            None => return,
            Some(Event::Connected) => info!(secret = name, "connected to its discovery service"),
            Some(Event::Disconnected { reason }) => {
                warn!(
                    secret = name,
                    "no connection to its discovery service: {reason}"
                );
            }
            Some(Event::Update(mut update)) => {
                let rejected = applier.apply(&mut update);
                client.acknowledge(update, rejected);
            }
        }
    }
}
