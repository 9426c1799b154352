//! What is counted of each thing that is asked for.
//!
//! In: what came of it. Out: Envoy's statistics of subscriptions. Called by the discovery loop.

use std::sync::Arc;

use meltemi_ir::ResourceSource;
use meltemi_lifecycle::Clock;
use meltemi_telemetry::{
    ControlPlaneStats, RouteDiscoveryStats, Sharded, StatsRegistry, SubscriptionStats,
    UpdateOutcome,
};
use meltemi_xds_client::ResourceType;

use crate::apply::Applier;
use crate::discovery::Origin;
use crate::subscriptions::Wanted;

/// Counts what comes of what is asked for.
pub(crate) struct SubscriptionCounters {
    stats: Arc<StatsRegistry>,
    applier: Arc<Applier>,
    clock: Clock,
}

/// What is counted of an update that is in force.
pub(crate) struct Counted<'a> {
    /// Its version.
    pub version: &'a str,
    /// Something is in force that was not.
    pub changed: bool,
    /// It has nothing of what is asked for.
    pub empty: bool,
    /// How long it took to apply, in milliseconds.
    pub took: u64,
}

impl SubscriptionCounters {
    pub fn new(stats: Arc<StatsRegistry>, applier: Arc<Applier>) -> Self {
        Self {
            stats,
            applier,
            clock: Clock::system(),
        }
    }

    /// Something is asked for from now on. Reading a file is counted when it is done, and clusters count
    /// for themselves.
    pub fn begin(&self, wanted: &Wanted) {
        if !matches!(wanted.source, ResourceSource::Path(_)) {
            self.subscription(wanted, |stats| stats.update_attempt.inc());
        }
        if matches!(wanted.source, ResourceSource::Service(_)) {
            self.control_plane(wanted, |stats| stats.connected_state.set(0));
        }
    }

    /// Counts what came of it.
    pub fn count(&self, wanted: &Wanted, outcome: UpdateOutcome) {
        self.subscription(wanted, |stats| stats.count(outcome));
        if let Some(name) = of_endpoints(wanted) {
            let clusters = &self.applier.clusters;
            clusters.count(&wanted.source, name, |stats| stats.count_update(outcome));
        }
    }

    /// Counts an update that is in force.
    pub fn accepted(&self, wanted: &Wanted, counted: &Counted<'_>) {
        let &Counted {
            version,
            changed,
            empty,
            took,
        } = counted;
        let now = u64::try_from(self.clock.since_epoch().as_millis()).unwrap_or(u64::MAX);
        self.subscription(wanted, |stats| stats.accepted(version, now, took));
        match wanted.kind {
            ResourceType::Cluster if changed => {
                let cds = &self.stats.cluster_manager().cds;
                cds.config_reload.inc();
                cds.config_reload_time_ms.set(now);
            }
            ResourceType::Route => {
                for stats in self.route_tables(wanted) {
                    let stats = stats.main();
                    stats.update_empty.add(u64::from(empty));
                    if changed {
                        stats.config_reload.inc();
                        stats.config_reload_time_ms.set(now);
                    }
                }
            }
            ResourceType::Endpoint => {
                let Some(name) = &wanted.name else { return };
                self.applier.clusters.count(&wanted.source, name, |stats| {
                    stats.update_empty.add(u64::from(empty));
                    stats.accepted_endpoints(version, now, took);
                });
            }
            _ => {}
        }
    }

    /// A stream is open, or not any more.
    pub fn connected(&self, origin: &Origin, is: bool) {
        let set = |stats: &ControlPlaneStats| stats.connected_state.set(u64::from(is));
        match origin {
            Origin::Ads => set(self.stats.control_plane()),
            Origin::One(wanted) => self.control_plane(wanted, set),
        }
    }

    /// So many requests of a stream wait until they may be sent.
    pub fn held(&self, origin: &Origin, requests: usize) {
        let set = |stats: &ControlPlaneStats| {
            stats.rate_limit_enforced.add(u64::from(requests > 0));
            stats.pending_requests.set(requests as u64);
        };
        match origin {
            Origin::Ads => set(self.stats.control_plane()),
            Origin::One(wanted) => self.control_plane(wanted, set),
        }
    }

    /// A server has said who it is.
    pub fn identify(&self, origin: &Origin, identifier: &str) {
        let set = |stats: &ControlPlaneStats| stats.identifier.set(identifier);
        match origin {
            Origin::Ads => set(self.stats.control_plane()),
            Origin::One(wanted) => self.control_plane(wanted, set),
        }
    }

    fn control_plane(&self, wanted: &Wanted, change: impl Fn(&ControlPlaneStats)) {
        self.subscription(wanted, |stats| change(stats.control_plane.get()));
        if let Some(name) = of_endpoints(wanted) {
            self.applier.clusters.count(&wanted.source, name, |stats| {
                change(stats.eds.get().control_plane.get());
            });
        }
    }

    /// Calls `change` with the statistics of what is asked for, where these are not a cluster's.
    fn subscription(&self, wanted: &Wanted, change: impl Fn(&SubscriptionStats)) {
        match wanted.kind {
            ResourceType::Cluster => change(&self.stats.cluster_manager().cds.subscription),
            ResourceType::Listener => change(&self.stats.listener_manager().lds.subscription),
            ResourceType::Route => {
                let tables = self.route_tables(wanted);
                tables.iter().for_each(|it| change(&it.main().subscription));
            }
            ResourceType::Endpoint
            | ResourceType::VirtualHost
            | ResourceType::Secret
            | ResourceType::Extension => {}
        }
    }

    /// The statistics of a route table, for each prefix of those who ask for it.
    fn route_tables(&self, wanted: &Wanted) -> Vec<Arc<Sharded<RouteDiscoveryStats>>> {
        let users = self.applier.listeners.wanted_routes().into_iter();
        let mut users: Vec<_> = users
            .map(|(_, routes)| routes)
            .filter(|it| wanted.name.as_ref() == Some(&it.name) && it.source.from == wanted.source)
            .map(|it| (it.stat_prefix, it.name))
            .collect();
        users.sort();
        users.dedup();
        let stats = |(prefix, name): &(String, String)| self.stats.rds(prefix, name);
        users.iter().map(stats).collect()
    }
}

fn of_endpoints(wanted: &Wanted) -> Option<&String> {
    let name = wanted.name.as_ref();
    name.filter(|_| wanted.kind == ResourceType::Endpoint)
}
