//! The loop that keeps the proxy as the management server and files want it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use meltemi_ir::ResourceSource;
use meltemi_lifecycle::Random;
use meltemi_telemetry::{StatsRegistry, SubscriptionStats as _, UpdateOutcome};
use meltemi_xds::pb::envoy::config::core::v3::Node;
use meltemi_xds_client::{
    Client, ClientConfig, Connector, Event, Mode, ResourceType, Service, StreamMetadata, Update,
};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::apply::{Applied, Applier};
use crate::file_sources::{FileSources, News, Wanted};

/// How long listeners wait for their route tables, and listeners for the first clusters.
const WARMING_LIMIT: Duration = Duration::from_secs(15);

/// Where resources come from.
pub(crate) struct DiscoveryOptions {
    /// The management server, if there is one.
    pub ads: Option<AdsOptions>,
    /// Clusters.
    pub cds: Option<ResourceSource>,
    /// Listeners.
    pub lds: Option<ResourceSource>,
}

/// How the management server is spoken to.
pub(crate) struct AdsOptions {
    pub mode: Mode,
    pub node: Node,
    pub metadata: StreamMetadata,
    pub connector: Connector,
}

/// What came of a file.
struct Read {
    outcome: UpdateOutcome,
    /// Something is in force that was not.
    changed: bool,
    /// It has no resources.
    empty: bool,
    version: String,
}

/// The state of the loop.
struct Discovery {
    /// The management server's.
    client: Option<Client>,
    files: FileSources,
    applier: Arc<Applier>,
    stats: Arc<StatsRegistry>,
    cds: Option<ResourceSource>,
    lds: Option<ResourceSource>,
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
    let DiscoveryOptions { ads, cds, lds } = options;
    let (client, events) = ads.map(connect).unzip();
    let (files, news) = FileSources::new();
    let discovery = Discovery {
        client,
        files,
        applier,
        stats,
        cds,
        lds,
        lds_open: false,
        listeners_known: false,
        initialized,
        warming_until: None,
    };
    discovery.serve(events, news).await;
}

fn connect(options: AdsOptions) -> (Client, mpsc::Receiver<Event>) {
    let AdsOptions {
        mode,
        node,
        metadata,
        connector,
    } = options;
    let config = ClientConfig {
        service: Service::Aggregated,
        mode,
        node,
        metadata,
        random: Random::from_entropy(),
    };
    Client::start(config, connector)
}

impl Discovery {
    async fn serve(
        mut self,
        mut events: Option<mpsc::Receiver<Event>>,
        mut news: mpsc::Receiver<(Wanted, News)>,
    ) {
        let mut secrets = self.applier.secrets.watch();
        self.lds_open = self.cds.is_none() && self.lds.is_some();
        self.refresh_interest();
        self.check_initialized();
        let mut first_clusters = Instant::now() + WARMING_LIMIT;
        loop {
            let clusters = Arc::clone(&self.applier.clusters);
            let applier = Arc::clone(&self.applier);
            let warming = self.warming_until;
            tokio::select! {
                event = next(&mut events) => match event {
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
                Some((wanted, news)) = news.recv() => {
                    if wanted.kind == ResourceType::Cluster {
                        first_clusters = first_clusters.min(Instant::now() + WARMING_LIMIT);
                    }
                    self.read(&wanted, news);
                }
                () = applier.wants_more.notified() => self.refresh_interest(),
                changed = secrets.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.refresh_interest();
                }
                () = clusters.warmed(), if self.waits_for_clusters() && self.clusters_known() => {
                    self.open_listeners();
                }
                () = tokio::time::sleep_until(first_clusters), if self.waits_for_clusters() => {
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

    /// Whether listeners are to be asked for once clusters are in service.
    fn waits_for_clusters(&self) -> bool {
        self.lds.is_some() && !self.lds_open
    }

    fn clusters_known(&self) -> bool {
        let cds = &self.stats.cluster_manager().cds;
        let (success, rejected) = (cds.update_success.get(), cds.update_rejected.get());
        success + rejected + cds.update_failure.get() > 0
    }

    fn open_listeners(&mut self) {
        self.lds_open = true;
        self.refresh_interest();
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
        let applied = self.applier.apply_of(&ResourceSource::Ads, &mut update);
        let kind = update.kind;
        self.count(kind, outcome(&applied), (applied.changed, &update.version));
        if let Some(client) = &self.client {
            client.acknowledge(update, applied.rejected);
        }
        self.applied(kind);
    }

    /// A file has been read.
    fn read(&mut self, wanted: &Wanted, news: News) {
        if !self.files.follows(wanted) {
            return;
        }
        let source = ResourceSource::Path(wanted.path.clone());
        let mut read = Read {
            outcome: UpdateOutcome::Accepted,
            changed: false,
            empty: false,
            version: String::new(),
        };
        match news {
            News::Update(mut update) => {
                let applied = self.applier.apply_of(&source, &mut update);
                read.outcome = outcome(&applied);
                read.changed = applied.changed;
                read.empty = update.added.is_empty();
                read.version = update.version;
            }
            News::Unfit(reason) => {
                complain(wanted, &reason);
                read.outcome = UpdateOutcome::Rejected;
            }
            News::Unread(reason) => {
                complain(wanted, &reason);
                read.outcome = UpdateOutcome::Failed;
            }
        }
        self.count(wanted.kind, read.outcome, (read.changed, &read.version));
        if let Some(name) = &wanted.name {
            let none = read.outcome != UpdateOutcome::Accepted || read.empty;
            match wanted.kind {
                ResourceType::Route => {
                    self.count_routes(&source, name, &read);
                    if none {
                        self.applier.routes.wait_no_more(name);
                        self.applier.listeners.promote(false);
                    }
                }
                _ if none => self.without_endpoints(&source, name, read.outcome),
                _ => {}
            }
        }
        self.applied(wanted.kind);
    }

    fn count_routes(&self, source: &ResourceSource, name: &str, read: &Read) {
        let users = self.applier.listeners.wanted_routes();
        let mut users = users.iter().map(|(_, routes)| routes);
        let user = users.find(|routes| routes.name == name && routes.source == *source);
        let Some(user) = user else { return };
        let stats = self.stats.rds(&user.stat_prefix, name);
        let stats = stats.main();
        stats.count(read.outcome, &read.version);
        if read.outcome == UpdateOutcome::Accepted {
            stats.config_reload.add(u64::from(read.changed));
            stats.update_empty.add(u64::from(read.empty));
        }
    }

    /// What waits for endpoints goes into service without.
    fn without_endpoints(&self, source: &ResourceSource, name: &str, outcome: UpdateOutcome) {
        self.applier.clusters.no_endpoints(source, name, |stats| {
            stats.update_attempt.inc();
            match outcome {
                UpdateOutcome::Accepted => {
                    stats.update_success.inc();
                    stats.update_empty.inc();
                }
                UpdateOutcome::Rejected => stats.update_rejected.inc(),
                UpdateOutcome::Failed => stats.update_failure.inc(),
            }
        });
    }

    /// Something of this kind was applied.
    fn applied(&mut self, kind: ResourceType) {
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

    /// Asks for clusters, listeners, and what these name: endpoints, route tables and secrets.
    fn refresh_interest(&mut self) {
        self.files.follow(self.wanted_of_files());
        let Some(client) = &self.client else {
            return;
        };
        let ads = Some(&ResourceSource::Ads);
        if self.cds.as_ref() == ads {
            let kind = ResourceType::Cluster;
            client.set_interest(kind, self.applier.interest(kind));
        }
        if self.lds.as_ref() == ads && self.lds_open {
            let kind = ResourceType::Listener;
            client.set_interest(kind, self.applier.interest(kind));
        }
        for kind in [
            ResourceType::Endpoint,
            ResourceType::Route,
            ResourceType::Secret,
            ResourceType::Extension,
        ] {
            client.set_interest(kind, self.applier.interest(kind));
        }
    }

    /// What is wanted of which files.
    fn wanted_of_files(&self) -> BTreeSet<Wanted> {
        let lds = self.lds.as_ref().filter(|_| self.lds_open);
        let all = [
            (ResourceType::Cluster, self.cds.as_ref()),
            (ResourceType::Listener, lds),
        ];
        let all = all
            .into_iter()
            .filter_map(|(kind, source)| Some((kind, source?.clone(), None)));
        let endpoints = self.applier.clusters.wanted_services().into_iter();
        let endpoints =
            endpoints.map(|(source, name)| (ResourceType::Endpoint, source, Some(name)));
        let routes = self.applier.listeners.wanted_routes().into_iter();
        let routes = routes.map(|(_, it)| (ResourceType::Route, it.source, Some(it.name)));
        let wanted = all.chain(endpoints).chain(routes);
        let of_files = wanted.filter_map(|(kind, source, name)| match source {
            ResourceSource::Ads => None,
            ResourceSource::Path(path) => Some(Wanted { kind, path, name }),
        });
        of_files.collect()
    }

    fn count(&self, kind: ResourceType, outcome: UpdateOutcome, (changed, version): (bool, &str)) {
        match kind {
            ResourceType::Cluster => {
                let cds = &self.stats.cluster_manager().cds;
                cds.count(outcome, version);
                if outcome == UpdateOutcome::Accepted && changed {
                    cds.config_reload.inc();
                }
            }
            ResourceType::Listener => self.stats.listener_manager().lds.count(outcome, version),
            ResourceType::Endpoint
            | ResourceType::Route
            | ResourceType::VirtualHost
            | ResourceType::Secret
            | ResourceType::Extension => {}
        }
    }

    fn check_initialized(&self) {
        let clusters = self.cds.is_none() || self.clusters_known();
        let listeners = self.lds.is_none() || (self.listeners_known && self.warming() == 0);
        if clusters && listeners && !*self.initialized.borrow() {
            info!("the first configuration is in service");
            self.initialized.send_replace(true);
        }
    }
}

fn outcome(applied: &Applied) -> UpdateOutcome {
    if applied.rejected.is_empty() {
        UpdateOutcome::Accepted
    } else {
        UpdateOutcome::Rejected
    }
}

fn complain(wanted: &Wanted, reason: &str) {
    let path = wanted.path.display();
    warn!(kind = %wanted.kind, %path, "what was there stays: {reason}");
}

/// What the management server says; for ever nothing where there is none.
async fn next(events: &mut Option<mpsc::Receiver<Event>>) -> Option<Event> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
