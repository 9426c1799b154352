//! Virtual hosts from services of their own (VHDS): each route table that wants them has a stream to
//! its service, as in Envoy, over which requests ask for the hosts that they want.
//!
//! In: what the route tables say is wanted. Out: virtual hosts applied. Called by the assembly.

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_http::WantedHosts;
use meltemi_ir::DiscoveryService;
use meltemi_xds::pb::envoy::config::core::v3::Node;
use meltemi_xds_client::{Client, Event, Interest, ResourceType, Service};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::apply::Applier;
use crate::dial;
use crate::service_sources::{client_config, cluster};

/// What the streams are made with.
pub(crate) struct HostServices {
    pub node: Node,
    pub applier: Arc<Applier>,
}

/// A stream that runs; it ends when this is dropped.
struct Stream {
    service: DiscoveryService,
    client: Client,
    task: JoinHandle<()>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl HostServices {
    /// Follows what is wanted, until dropped.
    pub async fn run(self) {
        let mut demands = self.applier.routes.demands();
        let mut streams: BTreeMap<String, Stream> = BTreeMap::new();
        loop {
            demands.borrow_and_update();
            let wanted = self.applier.routes.wanted_hosts();
            streams.retain(|table, stream| {
                let same = |wanted: &WantedHosts| wanted.service == stream.service;
                wanted.get(table).is_some_and(same)
            });
            for (table, WantedHosts { service, aliases }) in wanted {
                let Some(stream) = streams
                    .remove(&table)
                    .or_else(|| self.open(&table, service))
                else {
                    continue;
                };
                let interest = Interest::WildcardAnd(aliases);
                stream
                    .client
                    .set_interest(ResourceType::VirtualHost, interest);
                streams.insert(table, stream);
            }
            if demands.changed().await.is_err() {
                return;
            }
        }
    }

    fn open(&self, table: &str, service: DiscoveryService) -> Option<Stream> {
        let cluster = cluster(&self.applier, &service.cluster)?;
        let connector = match dial(cluster.config(), &self.applier.secrets) {
            Ok(connector) => connector,
            Err(error) => {
                warn!(table, "no discovery of virtual hosts: {error:#}");
                return None;
            }
        };
        let of = Service::Alone(ResourceType::VirtualHost);
        let config = client_config(&service, of, &self.node);
        let (client, events) = Client::start(config, connector);
        let applier = Arc::clone(&self.applier);
        let task = tokio::spawn(follow(client.clone(), events, applier, table.to_owned()));
        Some(Stream {
            service,
            client,
            task,
        })
    }
}

async fn follow(
    client: Client,
    mut events: mpsc::Receiver<Event>,
    applier: Arc<Applier>,
    table: String,
) {
    while let Some(event) = events.recv().await {
        match event {
            Event::Connected => info!(table, "connected to the service of its virtual hosts"),
            Event::Disconnected { reason } => {
                warn!(
                    table,
                    "no connection to the service of its virtual hosts: {reason}"
                );
            }
            Event::Held(_) => {}
            Event::Update(mut update) => {
                let rejected = applier.apply(&mut update);
                client.acknowledge(update, rejected);
                applier.routes.service_answered(&table);
                applier.listeners.promote();
            }
        }
    }
}
