//! All statistics of the process. Whoever applies configuration asks for blocks by name and
//! hands them to the data plane; the administration endpoint prints them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    ClusterManagerStats, ClusterStats, ControlPlaneStats, DiscoveryStats, HttpStats, IstioMetrics,
    ListenerHttpStats, ListenerManagerStats, ListenerStats, ServerStats, Sharded, TcpStats,
};

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

#[derive(Debug, Default)]
struct Blocks {
    clusters: Named<ClusterStats>,
    listeners: Named<ListenerStats>,
    http: Named<HttpStats>,
    tcp: Named<TcpStats>,
    /// By listener and prefix.
    listener_http: BTreeMap<(String, String), Arc<Sharded<ListenerHttpStats>>>,
    /// By prefix and route table.
    rds: BTreeMap<(String, String), Arc<Sharded<DiscoveryStats>>>,
}

type Named<T> = BTreeMap<String, Arc<Sharded<T>>>;

/// In which form statistics are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StatsFormat {
    /// `name: value` lines.
    #[default]
    Text,
    /// Envoy's JSON.
    Json,
    /// Prometheus text exposition.
    Prometheus,
}

/// Which statistics are printed.
#[derive(Clone, Debug, Default)]
pub struct StatsQuery {
    /// Only names in which this is found.
    pub filter: Option<regex::Regex>,
    /// Only those that were ever written.
    pub used_only: bool,
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
    pub fn rds(&self, prefix: &str, routes: &str) -> Arc<Sharded<DiscoveryStats>> {
        self.pair(prefix, routes, |blocks| &mut blocks.rds)
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
