//! The loop that keeps the proxy as management servers and files want it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use meltemi_ir::{CertificateSource, ConfigSource, ResourceSource};
use meltemi_telemetry::{StatsRegistry, UpdateOutcome};
use meltemi_xds::pb::envoy::config::core::v3::Node;
use meltemi_xds_client::{
    Client, ClientConfig, Connector, Event, Interest, Rejection, ResourceType, Update,
};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::apply::{Applied, Applier};
use crate::file_sources::FileSources;
use crate::service_sources::{ServiceSources, forward};
use crate::subscription_stats::{Counted, SubscriptionCounters};
use crate::subscriptions::{Subscriptions, Wanted};

/// Where resources come from.
pub(crate) struct DiscoveryOptions {
    /// Who asks.
    pub node: Node,
    /// The management server, if there is one.
    pub ads: Option<(ClientConfig, Connector)>,
    /// Clusters.
    pub cds: Option<ConfigSource>,
    /// Listeners.
    pub lds: Option<ConfigSource>,
}

/// Who has something to say.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// The management server, on the stream for everything.
    Ads,
    /// Whoever is asked for this alone.
    One(Wanted),
}

/// What is said.
#[derive(Debug)]
pub(crate) enum News {
    /// A stream is open.
    Connected,
    /// A stream, or the attempt to open one, has ended.
    Disconnected(String),
    /// So many requests of a stream wait until they may be sent.
    Held(usize),
    /// There are resources.
    Update(Update),
    /// A file has been read, and holds something else than what is wanted.
    Unfit(String),
    /// A file cannot be read.
    Unread(String),
}

impl Origin {
    fn source(&self) -> ResourceSource {
        match self {
            Self::Ads => ResourceSource::Ads,
            Self::One(wanted) => wanted.source.clone(),
        }
    }
}

impl From<Event> for News {
    fn from(event: Event) -> Self {
        match event {
            Event::Connected => Self::Connected,
            Event::Disconnected { reason } => Self::Disconnected(reason),
            Event::Held(requests) => Self::Held(requests),
            Event::Update(update) => Self::Update(update),
        }
    }
}

/// The state of the loop.
struct Discovery {
    /// The management server's.
    client: Option<Client>,
    files: FileSources,
    services: ServiceSources,
    subscriptions: Subscriptions,
    counters: SubscriptionCounters,
    applier: Arc<Applier>,
    cds: Option<ConfigSource>,
    lds: Option<ConfigSource>,
    /// Listeners have been asked for.
    lds_open: bool,
    /// Told when everything of the first configuration is in service.
    initialized: watch::Sender<bool>,
}

/// Runs for ever. `initialized` turns true when the first configuration is in service.
pub(crate) async fn run(
    options: DiscoveryOptions,
    applier: Arc<Applier>,
    stats: Arc<StatsRegistry>,
    initialized: watch::Sender<bool>,
) {
    let DiscoveryOptions {
        node,
        ads,
        cds,
        lds,
    } = options;
    let (sender, news) = mpsc::channel(16);
    let client = ads.map(|(config, connector)| {
        let (client, events) = Client::start(config, connector);
        tokio::spawn(forward(Origin::Ads, events, sender.clone()));
        client
    });
    let discovery = Discovery {
        client,
        files: FileSources::new(sender.clone()),
        services: ServiceSources::new(node, Arc::clone(&applier), sender),
        subscriptions: Subscriptions::default(),
        counters: SubscriptionCounters::new(stats, Arc::clone(&applier)),
        applier,
        cds,
        lds,
        lds_open: false,
        initialized,
    };
    discovery.serve(news).await;
}

impl Discovery {
    async fn serve(mut self, mut news: mpsc::Receiver<(Origin, News)>) {
        let mut secrets = self.applier.secrets.watch();
        loop {
            self.refresh();
            self.check_initialized();
            let clusters = Arc::clone(&self.applier.clusters);
            let applier = Arc::clone(&self.applier);
            let deadline = self.subscriptions.deadline();
            let waits_for_clusters = self.lds.is_some() && !self.lds_open && self.clusters_known();
            tokio::select! {
                Some((origin, news)) = news.recv() => self.hear(&origin, news),
                () = applier.wants_more.notified() => {}
                changed = secrets.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.applier.promote_secured();
                }
                () = clusters.warmed(), if waits_for_clusters => self.lds_open = true,
                () = sleep_until(deadline), if deadline.is_some() => self.end_waiting(),
            }
        }
    }

    /// The first answer about clusters has been applied, or has not come in time.
    fn clusters_known(&self) -> bool {
        self.subscriptions.is_settled(ResourceType::Cluster)
    }

    fn hear(&mut self, origin: &Origin, news: News) {
        if let Origin::One(wanted) = origin
            && !self.subscriptions.has(wanted)
        {
            return;
        }
        match (origin, news) {
            (_, News::Connected) => {
                info!("connected to {}", Asked(origin));
                self.counters.connected(origin, true);
            }
            (_, News::Disconnected(reason)) => {
                warn!("no connection to {}: {reason}", Asked(origin));
                self.counters.connected(origin, false);
                for wanted in self.subscriptions.all_of(&origin.source()) {
                    let whose = matches!(origin, Origin::One(one) if one != wanted);
                    if !whose {
                        self.counters.count(wanted, UpdateOutcome::Failed);
                    }
                }
            }
            (_, News::Held(requests)) => self.counters.held(origin, requests),
            (_, News::Update(update)) => self.update(origin, update),
            (Origin::One(wanted), News::Unfit(reason)) => {
                self.unusable(wanted, UpdateOutcome::Rejected, &reason);
            }
            (Origin::One(wanted), News::Unread(reason)) => {
                self.unusable(wanted, UpdateOutcome::Failed, &reason);
            }
            (Origin::Ads, News::Unfit(_) | News::Unread(_)) => {}
        }
    }

    /// A file is of no use.
    fn unusable(&mut self, wanted: &Wanted, outcome: UpdateOutcome, reason: &str) {
        warn!("what {} had stays: {reason}", wanted);
        self.counters.count(wanted, outcome);
        self.settle(wanted, true);
    }

    /// There are resources, on a stream or in a file.
    fn update(&mut self, origin: &Origin, mut update: Update) {
        let source = origin.source();
        let began = Instant::now();
        let applied = self.applier.apply_of(&source, &mut update);
        let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let Some(identifier) = &update.control_plane {
            self.counters.identify(origin, identifier);
        }
        let concerned = match origin {
            Origin::Ads => self.subscriptions.of(update.kind, &source),
            Origin::One(wanted) => vec![wanted.clone()],
        };
        for wanted in concerned {
            let Some((outcome, empty)) = answer(&wanted, &applied, &update) else {
                continue;
            };
            self.counters.count(&wanted, outcome);
            // a table that is taken back stays, which is nothing empty
            let gone = update
                .removed
                .iter()
                .any(|it| wanted.name.as_ref() == Some(it));
            let stays = gone && wanted.kind == ResourceType::Route;
            if outcome == UpdateOutcome::Accepted {
                let changed = match &wanted.name {
                    Some(name) => applied.changed.contains(name),
                    None => !applied.changed.is_empty(),
                };
                let counted = Counted {
                    version: &update.version,
                    changed,
                    empty: empty && !stays,
                    took,
                };
                self.counters.accepted(&wanted, &counted);
            }
            self.settle(
                &wanted,
                outcome != UpdateOutcome::Accepted || (empty && !gone),
            );
        }
        let kind = update.kind;
        self.acknowledge(origin, update, applied.rejected);
        if kind == ResourceType::Listener {
            let applier = Arc::clone(&self.applier);
            tokio::spawn(async move { applier.listeners.finish_draining().await });
        }
    }

    fn acknowledge(&self, origin: &Origin, update: Update, rejected: Vec<Rejection>) {
        match origin {
            Origin::Ads => {
                if let Some(client) = &self.client {
                    client.acknowledge(update, rejected);
                }
            }
            Origin::One(wanted) => self.services.acknowledge(wanted, update, rejected),
        }
    }

    /// Whoever was asked has answered, perhaps with nothing that can be served.
    fn settle(&mut self, wanted: &Wanted, in_vain: bool) {
        self.subscriptions.settle(wanted);
        if in_vain {
            self.applier.wait_no_more(wanted);
        }
    }

    /// What has not come in time is waited for no more.
    fn end_waiting(&mut self) {
        for wanted in self.subscriptions.late(Instant::now()) {
            warn!("{wanted} has not come in time; what waits for it goes into service without");
            self.counters.count(&wanted, UpdateOutcome::Late);
            self.applier.wait_no_more(&wanted);
        }
    }

    /// Asks for clusters, listeners, and what these name: endpoints, route tables, secrets and the
    /// configurations of filters.
    fn refresh(&mut self) {
        let wanted = self.wanted();
        let (new, over) = self.subscriptions.follow(&wanted, Instant::now());
        over.iter().for_each(|one| self.applier.wait_again(one));
        new.iter().for_each(|one| self.counters.begin(one));
        let all: BTreeSet<_> = wanted.keys().collect();
        let delivered = &self.applier.delivered_clusters;
        // secrets that are files, or that somebody in this process delivers, are others' business
        let own = |wanted: &&&Wanted| match (&wanted.kind, &wanted.source) {
            (ResourceType::Secret, ResourceSource::Path(_)) => false,
            (ResourceType::Secret, ResourceSource::Service(service)) => {
                !delivered.contains(&service.cluster)
            }
            _ => true,
        };
        let all = all.iter().filter(own).copied().collect();
        self.files.follow(&all);
        self.services.follow(&all);
        let Some(client) = &self.client else {
            return;
        };
        for kind in ResourceType::ALL {
            if let Some(interest) = interest(kind, &all) {
                client.set_interest(kind, interest);
            }
        }
    }

    /// What is wanted now, and for how long whoever needs it waits for the first of it.
    fn wanted(&self) -> BTreeMap<Wanted, Duration> {
        let mut all = BTreeMap::new();
        let mut add = |kind, source: &ConfigSource, name| {
            let source = source.clone();
            let wanted = Wanted {
                kind,
                source: source.from,
                name,
            };
            all.entry(wanted).or_insert(source.initial_fetch_timeout);
        };
        if let Some(cds) = &self.cds {
            add(ResourceType::Cluster, cds, None);
        }
        if let Some(lds) = self.lds.as_ref().filter(|_| self.lds_open) {
            add(ResourceType::Listener, lds, None);
        }
        for (from, name) in self.applier.clusters.wanted_services() {
            // each cluster waits for itself
            let source = ConfigSource {
                from,
                initial_fetch_timeout: Duration::ZERO,
            };
            add(ResourceType::Endpoint, &source, Some(name));
        }
        for (_, routes) in self.applier.listeners.wanted_routes() {
            add(ResourceType::Route, &routes.source, Some(routes.name));
        }
        for secret in self.applier.secrets.wanted() {
            if let CertificateSource::Discovered(source) = &secret.source {
                add(ResourceType::Secret, source, Some(secret.name));
            }
        }
        for (name, source) in self.applier.extensions.wanted() {
            add(ResourceType::Extension, &source, Some(name));
        }
        all
    }

    fn check_initialized(&self) {
        let listeners = &self.applier.listeners;
        let warming = listeners.warming() + self.applier.extensions.waiting();
        let listed = self.lds_open && self.subscriptions.is_settled(ResourceType::Listener);
        let known = self.lds.is_none() || (listed && warming == 0);
        if self.clusters_known() && known && !*self.initialized.borrow() {
            info!("the first configuration is in service");
            self.initialized.send_replace(true);
        }
    }
}

/// What came of what is asked for, and whether it is nothing; none where the answer is not about it.
fn answer(wanted: &Wanted, applied: &Applied, update: &Update) -> Option<(UpdateOutcome, bool)> {
    let Some(name) = &wanted.name else {
        let outcome = match applied.rejected.is_empty() {
            true => UpdateOutcome::Accepted,
            false => UpdateOutcome::Rejected,
        };
        return Some((outcome, false));
    };
    let is_it = |it: &Rejection| it.name == *name || it.name.is_empty();
    let empty_file = matches!(wanted.source, ResourceSource::Path(_)) && update.added.is_empty();
    if applied.rejected.iter().any(is_it) {
        Some((UpdateOutcome::Rejected, false))
    } else if applied.taken.contains(name) {
        Some((UpdateOutcome::Accepted, false))
    } else if empty_file || update.removed.contains(name) {
        Some((UpdateOutcome::Accepted, true))
    } else {
        None
    }
}

/// What is wanted of a kind over ADS; none of which the server is to hear nothing.
fn interest(kind: ResourceType, all: &BTreeSet<&Wanted>) -> Option<Interest> {
    let of_kind = all.iter().filter(|it| it.kind == kind);
    let mut of_kind = of_kind.filter(|it| it.source == ResourceSource::Ads);
    match kind {
        ResourceType::Cluster | ResourceType::Listener => {
            of_kind.next().map(|_| Interest::Wildcard)
        }
        // from services of their own
        ResourceType::VirtualHost => None,
        ResourceType::Endpoint
        | ResourceType::Route
        | ResourceType::Secret
        | ResourceType::Extension => Some(Interest::Names(
            of_kind.filter_map(|it| it.name.clone()).collect(),
        )),
    }
}

/// Who is asked, and for what.
struct Asked<'a>(&'a Origin);

impl std::fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Origin::Ads => f.write_str("the management server"),
            Origin::One(wanted) => write!(f, "the service of {wanted}"),
        }
    }
}

async fn sleep_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
