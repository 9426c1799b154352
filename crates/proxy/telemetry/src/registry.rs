//! All statistics of the process. Whoever applies configuration asks for blocks by name and
//! hands them to the data plane; the administration endpoint prints them.

mod collect;
mod extra;
mod prometheus;
mod text;

pub(crate) use prometheus::{Exposition, Kind, Series};

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    ClusterManagerStats, ClusterStats, ControlPlaneStats, HttpStats, IstioMetrics,
    ListenerHttpStats, ListenerManagerStats, ListenerStats, RouteDiscoveryStats, ServerStats,
    Sharded, StatBlock, TcpStats,
};
use collect::Value;

/// All statistics of the process. The same name gives the same block.
#[derive(Debug)]
pub struct StatsRegistry {
    workers: usize,
    blocks: Mutex<Blocks>,
    server: Arc<Sharded<ServerStats>>,
    listener_manager: Arc<Sharded<ListenerManagerStats>>,
    cluster_manager: Arc<Sharded<ClusterManagerStats>>,
    control_plane: Arc<Sharded<ControlPlaneStats>>,
    istio: Arc<IstioMetrics>,
}

#[derive(Clone, Debug, Default)]
struct Blocks {
    /// Tags of every statistic in Prometheus' form.
    fixed_tags: Vec<(String, String)>,
    clusters: Named<ClusterStats>,
    listeners: Named<ListenerStats>,
    http: Named<HttpStats>,
    tcp: Named<TcpStats>,
    /// By listener and prefix.
    listener_http: BTreeMap<(String, String), Arc<Sharded<ListenerHttpStats>>>,
    /// By prefix and route table.
    rds: BTreeMap<(String, String), Arc<Sharded<RouteDiscoveryStats>>>,
    /// Of extensions, by what their names begin with, and the type of the block.
    extensions: BTreeMap<(String, &'static str), Extension>,
}

/// The statistics of one use of an extension.
#[derive(Clone, Debug)]
struct Extension {
    metric: &'static str,
    /// What Prometheus labels say in place of the prefix.
    labels: Vec<(&'static str, String)>,
    /// The block as its own type, for whoever asks for it again.
    block: Arc<dyn Any + Send + Sync>,
    /// The same block, for whoever prints it.
    shards: Arc<dyn collect::Shards>,
}

type Named<T> = BTreeMap<String, Arc<Sharded<T>>>;

/// Which statistics are printed, and how.
#[derive(Clone, Debug, Default)]
pub struct StatsQuery {
    /// Only names in which this is found.
    pub filter: Option<regex::Regex>,
    /// Only names in which the filter is not found.
    pub invert_filter: bool,
    /// Only those that were ever written.
    pub used_only: bool,
    /// Only these kinds.
    pub kind: StatKind,
    /// How histograms are printed as text.
    pub buckets: HistogramBuckets,
}

/// Which kinds of statistics are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StatKind {
    /// All of them.
    #[default]
    All,
    /// Counters.
    Counters,
    /// Gauges.
    Gauges,
    /// Histograms.
    Histograms,
    /// Texts.
    TextReadouts,
}

/// How a histogram is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HistogramBuckets {
    /// Quantiles, and for Prometheus cumulative buckets.
    #[default]
    Usual,
    /// Quantiles.
    Summary,
    /// Buckets, each with all values up to its bound.
    Cumulative,
    /// Buckets, each with its own values.
    Disjoint,
    /// Every bin that holds anything, and quantiles.
    Detailed,
}

/// Envoy's default bounds of Prometheus buckets.
const BUCKETS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// The quantiles that Envoy prints, in percent.
const QUANTILES: [f64; 10] = [0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 100.0];

impl StatsQuery {
    /// Whether a statistic of this name is to be printed, whatever its value.
    pub(crate) fn wants_name(&self, name: &str) -> bool {
        self.filter
            .as_ref()
            .is_none_or(|filter| filter.is_match(name) != self.invert_filter)
    }

    fn wants(&self, name: &str, value: &Value) -> bool {
        let kind = match value {
            Value::Counter(_) => StatKind::Counters,
            Value::Gauge { .. } | Value::Number(_) => StatKind::Gauges,
            Value::Histogram(_) => StatKind::Histograms,
            Value::Text(_) => StatKind::TextReadouts,
        };
        (self.kind == StatKind::All || self.kind == kind)
            && (!self.used_only || value.used())
            && self.wants_name(name)
    }
}

impl StatsRegistry {
    /// For so many workers.
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self {
            workers,
            blocks: Mutex::default(),
            server: Arc::new(Sharded::new(workers)),
            listener_manager: Arc::new(Sharded::new(workers)),
            cluster_manager: Arc::new(Sharded::new(workers)),
            control_plane: Arc::new(Sharded::new(workers)),
            istio: IstioMetrics::new(workers),
        })
    }

    /// Tags that every statistic has in Prometheus' form (`stats_config`'s fixed tags).
    pub fn set_fixed_tags(&self, tags: Vec<(String, String)>) {
        self.lock().fixed_tags = tags;
    }

    /// Sets every counter to zero (`/reset_counters`). What workers count in the same instant
    /// may be lost.
    pub fn reset_counters(&self) {
        self.each_shard(collect::reset);
        self.istio.reset_counters();
    }

    /// How many workers have a shard.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// `cluster.<name>.*`.
    pub fn cluster(&self, name: &str) -> Arc<Sharded<ClusterStats>> {
        self.named(name, |blocks| &mut blocks.clusters)
    }

    /// `listener.<name>.*`: the name is the listener's `stat_prefix`, or its address with `:`
    /// as `_` (see [`Self::listener_name`]).
    pub fn listener(&self, name: &str) -> Arc<Sharded<ListenerStats>> {
        self.named(name, |blocks| &mut blocks.listeners)
    }

    /// A listener's name in statistics.
    pub fn listener_name(listener: &meltemi_ir::Listener) -> String {
        match &listener.stat_prefix {
            Some(prefix) => prefix.clone(),
            None => listener.address.to_string().replace(':', "_"),
        }
    }

    /// `http.<stat_prefix>.*`.
    pub fn http(&self, prefix: &str) -> Arc<Sharded<HttpStats>> {
        self.named(prefix, |blocks| &mut blocks.http)
    }

    /// `listener.<name>.http.<stat_prefix>.*`.
    pub fn listener_http(&self, listener: &str, prefix: &str) -> Arc<Sharded<ListenerHttpStats>> {
        self.pair(listener, prefix, |blocks| &mut blocks.listener_http)
    }

    /// `tcp.<stat_prefix>.*`.
    pub fn tcp(&self, prefix: &str) -> Arc<Sharded<TcpStats>> {
        self.named(prefix, |blocks| &mut blocks.tcp)
    }

    /// `http.<stat_prefix>.rds.<route table>.*`.
    pub fn rds(&self, prefix: &str, routes: &str) -> Arc<Sharded<RouteDiscoveryStats>> {
        self.pair(prefix, routes, |blocks| &mut blocks.rds)
    }

    /// `<metric>.<name>.*`, or `<metric>.*` where the name is empty: what an extension counts.
    /// `label` is the name of the tag whose value is the name.
    pub fn extension<T>(
        &self,
        metric: &'static str,
        label: &'static str,
        name: &str,
    ) -> Arc<Sharded<T>>
    where
        T: StatBlock + Default + std::fmt::Debug + 'static,
    {
        let prefix = match name {
            "" => format!("{metric}."),
            _ => format!("{metric}.{name}."),
        };
        let labels = match name {
            "" => Vec::new(),
            _ => vec![(label, name.to_owned())],
        };
        self.labelled(prefix, metric, labels)
    }

    /// The block whose statistics' names begin so.
    fn labelled<T>(
        &self,
        prefix: String,
        metric: &'static str,
        labels: Vec<(&'static str, String)>,
    ) -> Arc<Sharded<T>>
    where
        T: StatBlock + Default + std::fmt::Debug + 'static,
    {
        let mut blocks = self.lock();
        let key = (prefix, std::any::type_name::<T>());
        let known = blocks.extensions.get(&key);
        if let Some(Ok(block)) = known.map(|it| Arc::clone(&it.block).downcast()) {
            return block;
        }
        let block = Arc::new(Sharded::<T>::new(self.workers));
        let extension = Extension {
            metric,
            labels,
            block: block.clone(),
            shards: block.clone(),
        };
        blocks.extensions.insert(key, extension);
        block
    }

    /// `server.*`.
    pub fn server(&self) -> &ServerStats {
        self.server.main()
    }

    /// `listener_manager.*`.
    pub fn listener_manager(&self) -> &ListenerManagerStats {
        self.listener_manager.main()
    }

    /// `cluster_manager.*`.
    pub fn cluster_manager(&self) -> &ClusterManagerStats {
        self.cluster_manager.main()
    }

    /// `control_plane.*`.
    pub fn control_plane(&self) -> &ControlPlaneStats {
        self.control_plane.main()
    }

    /// Istio's standard metrics.
    pub fn istio(&self) -> &Arc<IstioMetrics> {
        &self.istio
    }

    /// Forgets a cluster that is gone. Whoever still holds the block counts unseen.
    pub fn remove_cluster(&self, name: &str) {
        self.lock().clusters.remove(name);
    }

    /// Forgets a listener that is gone, and what its connection managers counted for it.
    pub fn remove_listener(&self, name: &str) {
        let mut blocks = self.lock();
        blocks.listeners.remove(name);
        blocks
            .listener_http
            .retain(|(listener, _), _| listener != name);
    }

    fn named<T: Default>(
        &self,
        name: &str,
        of: impl FnOnce(&mut Blocks) -> &mut Named<T>,
    ) -> Arc<Sharded<T>> {
        let mut blocks = self.lock();
        let named = of(&mut blocks);
        if let Some(block) = named.get(name) {
            return block.clone();
        }
        let block = Arc::new(Sharded::new(self.workers));
        named.insert(name.to_owned(), block.clone());
        block
    }

    fn pair<T: Default>(
        &self,
        first: &str,
        second: &str,
        of: impl FnOnce(&mut Blocks) -> &mut BTreeMap<(String, String), Arc<Sharded<T>>>,
    ) -> Arc<Sharded<T>> {
        of(&mut self.lock())
            .entry((first.to_owned(), second.to_owned()))
            .or_insert_with(|| Arc::new(Sharded::new(self.workers)))
            .clone()
    }

    fn lock(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
