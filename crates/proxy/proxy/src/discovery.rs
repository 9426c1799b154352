//! The loop that keeps the proxy as the management server wants it.

use std::sync::Arc;
use std::time::Duration;

use meltemi_lifecycle::Random;
use meltemi_telemetry::StatsRegistry;
use meltemi_xds::pb::envoy::config::core::v3::Node;
use meltemi_xds_client::{
    Client, ClientConfig, Connector, Event, Mode, ResourceType, Service, StreamMetadata, Update,
};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::apply::Applier;

/// How long listeners wait for their route tables, and listeners for the first clusters.
const WARMING_LIMIT: Duration = Duration::from_secs(15);

/// How the management server is spoken to.
pub(crate) struct DiscoveryOptions {
    pub mode: Mode,
    pub node: Node,
    pub metadata: StreamMetadata,
    pub connector: Connector,
    /// Ask for clusters.
    pub cds: bool,
    /// Ask for listeners.
    pub lds: bool,
}

/// The state of the loop.
struct Discovery {
    client: Client,
    applier: Arc<Applier>,
    stats: Arc<StatsRegistry>,
    cds: bool,
    lds: bool,
    /// Listeners have been asked for.
    lds_open: bool,
    /// The first answer about listeners has been applied.
    listeners_known: bool,
    /// Told when everything of the first configuration is in service.
    initialized: watch::Sender<bool>,
    /// When listeners that still wait for route tables go into service without.
    warming_until: Option<Instant>,
}

/// Runs until the client ends. `initialized` turns true when the first configuration is
/// in service.
pub(crate) async fn run(
    options: DiscoveryOptions,
    applier: Arc<Applier>,
    stats: Arc<StatsRegistry>,
    initialized: watch::Sender<bool>,
) {
    let DiscoveryOptions {
        mode,
        node,
        metadata,
        connector,
        cds,
        lds,
    } = options;
    let config = ClientConfig {
        service: Service::Aggregated,
        mode,
        node,
        metadata,
        random: Random::from_entropy(),
    };
    let (client, events) = Client::start(config, connector);
    let discovery = Discovery {
        client,
        applier,
        stats,
        cds,
        lds,
        lds_open: false,
        listeners_known: false,
        initialized,
        warming_until: None,
    };
    discovery.serve(events).await;
}

impl Discovery {
    async fn serve(mut self, mut events: mpsc::Receiver<Event>) {
        let mut secrets = self.applier.secrets.watch();
        if self.cds {
            self.client.set_interest(
                ResourceType::Cluster,
                self.applier.interest(ResourceType::Cluster),
            );
        } else {
            self.open_listeners();
        }
        self.refresh_interest();
        let mut first_clusters = Instant::now() + WARMING_LIMIT;
        loop {
            let clusters = Arc::clone(&self.applier.clusters);
            let applier = Arc::clone(&self.applier);
            let warming = self.warming_until;
            tokio::select! {
                event = events.recv() => match event {
                    None => return,
                    Some(event) => {
                        if let Event::Update(update) = &event
                            && update.kind == ResourceType::Cluster
                        {
                            first_clusters = first_clusters.min(Instant::now() + WARMING_LIMIT);
                        }
                        self.handle(event);
                    }
                },
                () = applier.wants_more.notified() => self.refresh_interest(),
                changed = secrets.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.refresh_interest();
                }
                () = clusters.warmed(), if self.lds && !self.lds_open && self.clusters_known() => {
                    self.open_listeners();
                }
                () = tokio::time::sleep_until(first_clusters), if self.lds && !self.lds_open => {
                    self.open_listeners();
                }
                () = sleep_until(warming), if warming.is_some() => {
                    warn!("not everything arrived in time that listeners wait for; they go into service without");
                    self.applier.end_waiting();
                    self.applier.listeners.promote(true);
                    self.warming_until = None;
                }
            }
            self.check_initialized();
        }
    }

    fn clusters_known(&self) -> bool {
        let stats = self.stats.cluster_manager();
        stats.cds.update_success.get() + stats.cds.update_rejected.get() > 0
    }

    fn open_listeners(&mut self) {
        if self.lds && !self.lds_open {
            self.lds_open = true;
            self.client.set_interest(
                ResourceType::Listener,
                self.applier.interest(ResourceType::Listener),
            );
        }
    }

    fn handle(&mut self, event: Event) {
        let control_plane = self.stats.control_plane();
        match event {
            Event::Connected => {
                info!("connected to the management server");
                control_plane.connected_state.set(1);
            }
            Event::Disconnected { reason } => {
                warn!("no connection to the management server: {reason}");
                control_plane.connected_state.set(0);
            }
            Event::Update(update) => self.update(update),
        }
    }

    fn update(&mut self, mut update: Update) {
        let rejected = self.applier.apply(&mut update);
        self.count(&update, rejected.is_empty());
        let kind = update.kind;
        self.client.acknowledge(update, rejected);
        if kind == ResourceType::Listener {
            self.listeners_known = true;
            let applier = Arc::clone(&self.applier);
            tokio::spawn(async move { applier.listeners.finish_draining().await });
        }
        self.warming_until = match (self.warming(), self.warming_until) {
            (0, _) => None,
            (_, Some(until)) => Some(until),
            (_, None) => Some(Instant::now() + WARMING_LIMIT),
        };
        self.refresh_interest();
    }

    /// How many listeners wait for something.
    fn warming(&self) -> usize {
        self.applier.listeners.warming() + self.applier.extensions.waiting()
    }

    /// Clusters and listeners name endpoints, route tables and secrets: ask for those.
    fn refresh_interest(&self) {
        for kind in [
            ResourceType::Endpoint,
            ResourceType::Route,
            ResourceType::Secret,
            ResourceType::Extension,
        ] {
            self.client.set_interest(kind, self.applier.interest(kind));
        }
    }

    fn count(&self, update: &Update, accepted: bool) {
        let block = match update.kind {
            ResourceType::Cluster => &self.stats.cluster_manager().cds,
            ResourceType::Listener => &self.stats.listener_manager().lds,
            ResourceType::Endpoint
            | ResourceType::Route
            | ResourceType::VirtualHost
            | ResourceType::Secret
            | ResourceType::Extension => return,
        };
        block.update_attempt.inc();
        if accepted {
            block.update_success.inc();
        } else {
            block.update_rejected.inc();
        }
    }

    fn check_initialized(&self) {
        let clusters = !self.cds || self.clusters_known();
        let listeners = !self.lds || (self.listeners_known && self.warming() == 0);
        if clusters && listeners && !*self.initialized.borrow() {
            info!("the first configuration is in service");
            self.initialized.send_replace(true);
        }
    }
}

async fn sleep_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
