//! The proxy from its bootstrap to its end.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use meltemi_admin::{AdminState, ConfigStore, LogControl, ServerInfo, ServerPhase, ServerStatus};
use meltemi_http::{HttpShared, Identity, RouteTables};
use meltemi_ir as ir;
use meltemi_lifecycle::{Clock, Drain, DrainSignal, RandomSource, WorkerId};
use meltemi_listener::{DrainPlan, ListenerManager, ListenerShared};
use meltemi_telemetry::{LogFiles, PeerInfo, StatsRegistry};
use meltemi_tls::SecretStore;
use meltemi_upstream::{ClusterManager, UpstreamContext};
use meltemi_xds::pb::envoy::config::core::v3::{
    BuildVersion, Extension, Node, node::UserAgentVersionType,
};
use meltemi_xds_client::{ClientConfig, Connector, Service, StreamMetadata};
use tokio::sync::{Notify, mpsc, watch};
use tracing::{info, warn};

use crate::apply::Applier;
use crate::control::Control;
use crate::discovery::{self, DiscoveryOptions};
use crate::extensions::Extensions;
use crate::host_services::HostServices;
use crate::hot_restart::{self, HotRestart, Predecessor, Request, await_successor};
use crate::secret_files::SecretFiles;
use crate::service_sources::client_config;
use crate::worker::WorkerStart;
use crate::{Bootstrap, dial};

/// How often the end of draining is looked for.
const DRAIN_POLL: Duration = Duration::from_millis(50);

/// How long another process may take to leave the administration endpoint's address.
const ADMIN_LIMIT: Duration = Duration::from_secs(10);

/// How the proxy runs.
pub struct Options {
    /// Worker threads, at least one.
    pub concurrency: usize,
    /// How connections end at shutdown, when a listener is removed and when this process is
    /// replaced. At shutdown they are asked to at once.
    pub drain: DrainPlan,
    /// Secrets, perhaps with some that the agent keeps there.
    pub secrets: Arc<SecretStore>,
    /// Sent with each stream to the management server, after what the bootstrap says.
    pub ads_metadata: Option<StreamMetadata>,
    /// The log's levels.
    pub logs: Arc<LogControl>,
    /// Clusters whose secret discovery somebody in this process stands in for, such as
    /// `sds-grpc`.
    pub delivered_clusters: Vec<String>,
    /// The bootstrap's file, for display.
    pub config_path: String,
    /// How this process takes another's place, and may be replaced.
    pub hot_restart: Option<HotRestart>,
}

/// Runs a proxy until `shutdown`, then drains. Call on a runtime of its own: workers have
/// theirs.
///
/// # Errors
/// When the bootstrap cannot be served, such as for an address that is in use.
pub async fn run(bootstrap: Bootstrap, options: Options, shutdown: DrainSignal) -> Result<()> {
    let proxy = Proxy::start(bootstrap, &options)?;
    proxy.serve(options, shutdown).await
}

/// A proxy whose workers run.
struct Proxy {
    bootstrap: Bootstrap,
    applier: Arc<Applier>,
    stats: Arc<StatsRegistry>,
    status: Arc<ServerStatus>,
    threads: Vec<JoinHandle<()>>,
    stop_workers: Drain,
    clock: Clock,
    /// The process whose place this one takes.
    predecessor: Option<Predecessor>,
    /// What the process that takes this one's place asks for.
    requests: Option<mpsc::UnboundedReceiver<Request>>,
}

impl Proxy {
    fn start(mut bootstrap: Bootstrap, options: &Options) -> Result<Self> {
        let clock = Clock::system();
        let concurrency = options.concurrency.max(1);
        let stats = StatsRegistry::new(concurrency);
        stats.set_fixed_tags(std::mem::take(&mut bootstrap.config.stats.fixed_tags));
        let random = Arc::new(RandomSource::from_entropy());
        let secrets = Arc::clone(&options.secrets);
        let clusters = ClusterManager::new(UpstreamContext {
            stats: Arc::clone(&stats),
            secrets: Arc::clone(&secrets),
            workers: concurrency,
            random: Arc::clone(&random),
            clock,
            bind: bootstrap.config.upstream_bind.take(),
        });
        let routes = Arc::new(RouteTables::new());
        let http = HttpShared {
            stats: Arc::clone(&stats),
            files: Arc::new(LogFiles::default()),
            routes: Arc::clone(&routes),
        };
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..concurrency).map(|_| mpsc::unbounded_channel()).unzip();
        let shared = ListenerShared {
            http,
            secrets: Arc::clone(&secrets),
        };
        let listeners = ListenerManager::new(shared, senders, options.drain);
        let predecessor = match &options.hot_restart {
            Some(config) => Predecessor::find(config)?,
            None => None,
        };
        if let Some(predecessor) = &predecessor {
            listeners.inherit(predecessor.sockets()?);
            listeners.hold();
        }
        let requests = match &options.hot_restart {
            Some(config) => Some(await_successor(config, Arc::clone(&listeners))?),
            None => None,
        };
        let config = Arc::new(ConfigStore::new(clock));
        config.set_bootstrap(std::mem::take(&mut bootstrap.encoded));
        let applier = Arc::new(Applier {
            extensions: Extensions::default(),
            clusters: Arc::clone(&clusters),
            listeners: Arc::clone(&listeners),
            routes,
            files: SecretFiles::new(Arc::clone(&secrets)),
            secrets,
            store: config,
            delivered_clusters: options.delivered_clusters.clone(),
            wants_more: Notify::new(),
            fixed_clusters: bootstrap.config.clusters.clone(),
        });
        let (stop_workers, stop) = Drain::new();
        let node = &bootstrap.config.node;
        let peer = Arc::new(PeerInfo::from_node(node));
        let identity = Identity::new(&node.id, peer).in_cluster(&node.cluster);
        let status = Arc::new(ServerStatus::default());
        let mut threads = Vec::with_capacity(concurrency);
        for (index, sockets) in receivers.into_iter().enumerate() {
            let worker = WorkerStart {
                worker: WorkerId(index),
                listeners: Arc::clone(&listeners),
                clusters: Arc::clone(&clusters),
                stats: Arc::clone(&stats),
                identity: identity.clone(),
                local_ip: instance_ip(node),
                status: Arc::clone(&status),
                random: random.next(),
                clock,
                sockets,
                stop: stop.clone(),
            };
            threads.push(worker.spawn().context("cannot start a worker thread")?);
        }
        stats.listener_manager().workers_started.set(1);
        let mut proxy = Self {
            bootstrap,
            applier,
            stats,
            status,
            threads,
            stop_workers,
            clock,
            predecessor,
            requests,
        };
        proxy.apply_static_clusters()?;
        Ok(proxy)
    }

    /// Puts the bootstrap's secrets and clusters in service. Of the clusters it keeps the one of
    /// the management server, since there may be thousands.
    fn apply_static_clusters(&mut self) -> Result<()> {
        let config = &mut self.bootstrap.config;
        for secret in &config.secrets {
            self.applier
                .secrets
                .set(&secret.name, secret.secret.clone());
        }
        let server = config.ads.as_ref().map(|ads| &ads.cluster);
        let clusters = std::mem::take(&mut config.clusters);
        for (index, cluster) in clusters.into_iter().enumerate() {
            let refused = |reason: String| anyhow!("static_resources.clusters[{index}]: {reason}");
            self.applier.check_cluster(&cluster).map_err(refused)?;
            if server == Some(&cluster.name) {
                config.clusters.push(Arc::clone(&cluster));
            }
            self.applier
                .clusters
                .apply(cluster, false)
                .map_err(|error| refused(error.to_string()))?;
        }
        Ok(())
    }

    /// Serves the bootstrap's listeners, as Envoy does when all clusters that it knows have their
    /// hosts, or have waited for them for too long.
    async fn serve_static_listeners(&self, listeners: Vec<ir::Listener>) -> Result<()> {
        self.applier.clusters.warmed().await;
        let names: BTreeSet<_> = listeners.iter().map(|it| it.name.clone()).collect();
        for (index, listener) in listeners.into_iter().enumerate() {
            let refused = |reason: String| anyhow!("static_resources.listeners[{index}].{reason}");
            self.applier.check_listener(&listener).map_err(refused)?;
            self.applier
                .listeners
                .apply(listener, false)
                .map_err(|error| refused(error.to_string()))?;
        }
        self.applier.wants_more.notify_one();
        let listeners = &self.applier.listeners;
        listeners.release();
        let waits = || {
            let unready = listeners.unready();
            unready.iter().any(|(name, ..)| names.contains(name))
        };
        while waits() {
            tokio::time::sleep(DRAIN_POLL).await;
        }
        Ok(())
    }

    async fn serve(mut self, options: Options, mut shutdown: DrainSignal) -> Result<()> {
        let resolving = tokio::spawn(Arc::clone(&self.applier.clusters).run());
        let following = self.follow_files_and_hosts();
        let quit = Arc::new(Notify::new());
        let mut requests = self.requests.take();
        if let (Some(predecessor), Some(_)) = (&self.predecessor, &self.bootstrap.config.admin) {
            predecessor.stop_admin()?;
        }
        let mut admin = self.start_admin(&options, Arc::clone(&quit)).await?;
        let (initialized, became) = watch::channel(false);
        let discovery = tokio::spawn(discovery::run(
            self.discovery_options(&options)?,
            Arc::clone(&self.applier),
            Arc::clone(&self.stats),
            initialized,
        ));
        self.status.set_phase(ServerPhase::Initializing);
        let listeners = std::mem::take(&mut self.bootstrap.config.listeners);
        let control = (&mut requests, &mut admin);
        let (limit, at_once) = tokio::select! {
            limit = self.until_the_end(&options, listeners, became, &quit, control) => {
                (limit?, false)
            }
            () = shutdown.draining() => (options.drain.time, true),
        };
        if at_once {
            self.applier.listeners.drain_at_once();
        }
        self.status.set_phase(ServerPhase::Draining);
        discovery.abort();
        following.abort();
        tokio::select! {
            () = self.drain(limit) => {}
            () = terminated(&mut requests) => {}
        }
        resolving.abort();
        if let Some(admin) = admin {
            admin.abort();
        }
        self.stop_workers.start();
        for thread in self.threads {
            if thread.join().is_err() {
                warn!("a worker thread panicked");
            }
        }
        Ok(())
    }

    /// Serves until it is told to end; how long connections have then.
    async fn until_the_end(
        &self,
        options: &Options,
        listeners: Vec<ir::Listener>,
        became: watch::Receiver<bool>,
        quit: &Arc<Notify>,
        (requests, admin): (
            &mut Option<mpsc::UnboundedReceiver<Request>>,
            &mut Option<tokio::task::JoinHandle<()>>,
        ),
    ) -> Result<Duration> {
        let serving = async {
            self.serve_static_listeners(listeners).await?;
            follow(became, Arc::clone(&self.status)).await;
            self.take_over(options).await?;
            std::future::pending::<Result<()>>().await
        };
        tokio::pin!(serving);
        loop {
            tokio::select! {
                result = &mut serving => result?,
                () = quit.notified() => return Ok(Duration::ZERO),
                request = next(requests) => match request {
                    Request::StopAdmin(done) => {
                        if let Some(admin) = admin.take() {
                            admin.abort();
                            // ignored: it was told to end
                            let _ = admin.await;
                        }
                        let _ = done.send(());
                    }
                    Request::ResumeAdmin => {
                        warn!("the next process did not come into service");
                        *admin = self.resume_admin(options, quit).await;
                    }
                    Request::Drain(done) => {
                        info!("the next process serves");
                        self.applier.listeners.stop_accepting(false);
                        let _ = done.send(());
                        return Ok(options.drain.time);
                    }
                    Request::Terminate(done) => {
                        let _ = done.send(());
                        return Ok(Duration::ZERO);
                    }
                },
            }
        }
    }

    /// Takes the administration endpoint's address again, which the process that wanted to take
    /// over may hold for a moment yet.
    async fn resume_admin(
        &self,
        options: &Options,
        quit: &Arc<Notify>,
    ) -> Option<tokio::task::JoinHandle<()>> {
        let until = self.clock.now() + ADMIN_LIMIT;
        loop {
            match self.start_admin(options, Arc::clone(quit)).await {
                Ok(admin) => return admin,
                Err(error) if self.clock.now() >= until => {
                    warn!("no administration endpoint any more: {error:#}");
                    return None;
                }
                Err(_) => tokio::time::sleep(DRAIN_POLL).await,
            }
        }
    }

    /// Follows the files that secrets come from, and the services of virtual hosts.
    fn follow_files_and_hosts(&self) -> tokio::task::JoinHandle<()> {
        let hosts = HostServices {
            node: node(&self.bootstrap),
            applier: Arc::clone(&self.applier),
        };
        let files = Arc::clone(&self.applier.files);
        let applier = Arc::clone(&self.applier);
        tokio::spawn(async move {
            let files = files.run(move || applier.promote_secured());
            tokio::join!(hosts.run(), files);
        })
    }

    /// Has the process before drain, now that this one serves, and end after its time.
    async fn take_over(&self, options: &Options) -> Result<()> {
        self.applier.listeners.forget_inherited();
        let (Some(predecessor), Some(config)) = (&self.predecessor, &options.hot_restart) else {
            return Ok(());
        };
        predecessor.drain()?;
        info!(epoch = config.epoch, "took the place of the process before");
        tokio::time::sleep(config.parent_shutdown_time).await;
        if let Err(error) = predecessor.terminate() {
            info!("the process before has ended: {error:#}");
        }
        Ok(())
    }

    async fn start_admin(
        &self,
        options: &Options,
        quit: Arc<Notify>,
    ) -> Result<Option<tokio::task::JoinHandle<()>>> {
        let Some(admin) = &self.bootstrap.config.admin else {
            return Ok(None);
        };
        let listener = tokio::net::TcpListener::bind(admin.address)
            .await
            .with_context(|| format!("admin.address: cannot bind '{}'", admin.address))?;
        info!(address = %admin.address, "administration endpoint");
        let state = Arc::new(AdminState {
            stats: Arc::clone(&self.stats),
            clusters: Arc::clone(&self.applier.clusters),
            config: Arc::clone(&self.applier.store),
            secrets: Arc::clone(&self.applier.secrets),
            control: Arc::new(Control::new(
                Arc::clone(&self.applier.listeners),
                quit,
                options.drain.time,
            )),
            logs: Arc::clone(&options.logs),
            status: Arc::clone(&self.status),
            info: ServerInfo {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                node: node(&self.bootstrap),
                concurrency: u32::try_from(self.threads.len()).unwrap_or(u32::MAX),
                config_path: options.config_path.clone(),
                drain_seconds: options.drain.time.as_secs(),
                hot_restart: options.hot_restart.as_ref().map(|_| hot_restart::VERSION),
                started: Some(self.clock.now()),
            },
            clock: self.clock,
        });
        let stop = self.stop_workers.signal();
        Ok(Some(tokio::spawn(async move {
            if let Err(error) = meltemi_admin::serve(listener, state, stop).await {
                warn!("the administration endpoint ended: {error}");
            }
        })))
    }

    fn discovery_options(&self, options: &Options) -> Result<DiscoveryOptions> {
        let config = &self.bootstrap.config;
        Ok(DiscoveryOptions {
            node: node(&self.bootstrap),
            ads: self.ads(options)?,
            cds: config.cds.clone(),
            lds: config.lds.clone(),
        })
    }

    fn ads(&self, options: &Options) -> Result<Option<(ClientConfig, Connector)>> {
        let config = &self.bootstrap.config;
        let Some(ads) = &config.ads else {
            return Ok(None);
        };
        let cluster = config
            .clusters
            .iter()
            .find(|cluster| cluster.name == ads.cluster)
            .with_context(|| {
                format!(
                    "dynamic_resources.ads_config.grpc_services[0].envoy_grpc.cluster_name: \
                 no static cluster {:?}",
                    ads.cluster
                )
            })?;
        let fixed = ads.initial_metadata.clone();
        let more = options.ads_metadata.clone();
        let metadata: StreamMetadata = Arc::new(move || {
            let mut metadata = fixed.clone();
            metadata.extend(more.iter().flat_map(|more| more()));
            metadata
        });
        let config = ClientConfig {
            metadata,
            ..client_config(ads, Service::Aggregated, &node(&self.bootstrap))
        };
        Ok(Some((config, dial(cluster, &self.applier.secrets)?)))
    }

    /// Lets connections end, for at most the drain time.
    async fn drain(&self, limit: Duration) {
        let listeners = &self.applier.listeners;
        info!(connections = listeners.connections(), "draining");
        listeners.stop_accepting(false);
        listeners.drain(false);
        let until = self.clock.now() + limit;
        // What was accepted a moment ago is counted by then.
        tokio::time::sleep(DRAIN_POLL.min(limit)).await;
        while listeners.connections() > 0 && self.clock.now() < until {
            tokio::time::sleep(DRAIN_POLL).await;
        }
        info!(connections = listeners.connections(), "drained");
    }
}

/// What the next process asks, for ever nothing where there can be none.
async fn next(requests: &mut Option<mpsc::UnboundedReceiver<Request>>) -> Request {
    let request = match requests {
        Some(requests) => requests.recv().await,
        None => None,
    };
    match request {
        Some(request) => request,
        None => std::future::pending().await,
    }
}

/// Ends when the next process wants this one to.
async fn terminated(requests: &mut Option<mpsc::UnboundedReceiver<Request>>) {
    loop {
        match next(requests).await {
            Request::Terminate(done) => {
                let _ = done.send(());
                return;
            }
            Request::StopAdmin(done) | Request::Drain(done) => drop(done.send(())),
            Request::ResumeAdmin => {}
        }
    }
}

/// Turns the server live when its first configuration is in service.
async fn follow(mut became: watch::Receiver<bool>, status: Arc<ServerStatus>) {
    if became.wait_for(|initialized| *initialized).await.is_ok() {
        status.set_phase(ServerPhase::Live);
    }
}

/// The node that management servers are told, with what this proxy is and can do.
fn node(bootstrap: &Bootstrap) -> Node {
    let mut node = bootstrap.node.clone();
    node.user_agent_name = "meltemi".to_owned();
    node.user_agent_version_type = Some(UserAgentVersionType::UserAgentBuildVersion(
        BuildVersion::default(),
    ));
    node.extensions = meltemi_config::supported_extensions()
        .into_iter()
        .map(|extension| Extension {
            name: extension.name.to_owned(),
            category: extension.category.to_owned(),
            type_urls: vec![extension.type_name.to_owned()],
            ..Extension::default()
        })
        .collect();
    node
}

fn instance_ip(node: &ir::Node) -> Option<IpAddr> {
    let listed = node
        .metadata
        .get("INSTANCE_IPS")
        .and_then(ir::Value::as_str);
    listed?.split(',').next()?.trim().parse().ok()
}
