//! A worker with a connection manager on a loopback port, and configuration to give it.

use std::cell::RefCell;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderValue, StatusCode};
use meltemi_http::{
    ConnectionContext, ConnectionManager, HttpShared, Identity, RouteTables, WorkerContext,
    WorkerParts, serve,
};
use meltemi_ir as ir;
use meltemi_lifecycle::{Clock, Drain, RandomSource, WorkerId};
use meltemi_telemetry::{ConnectionInfo, LogFiles, PeerInfo, StatsRegistry};
use meltemi_testkit::{Client, Response, Upstream};
use meltemi_tls::SecretStore;
use meltemi_upstream::{ClusterManager, Pools, UpstreamContext};
use tokio::net::TcpListener;

/// A proxy on this thread.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) clusters: Arc<ClusterManager>,
    pub(crate) stats: Arc<StatsRegistry>,
    slot: Arc<ArcSwap<ConnectionManager>>,
    shared: HttpShared,
    worker: Rc<WorkerContext>,
    log: PathBuf,
    _directory: tempfile::TempDir,
    drain: Rc<RefCell<Drain>>,
}

/// Runs a test as a worker would.
pub(crate) fn on_worker<F: Future>(test: impl FnOnce() -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = tokio::task::LocalSet::new();
    let limit = Duration::from_secs(20);
    local
        .block_on(&runtime, async move {
            tokio::time::timeout(limit, async move { test().await }).await
        })
        .expect("the test ends in time")
}

impl Proxy {
    pub(crate) async fn start(config: ir::HttpConnectionManager) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("access.log");
        let stats = StatsRegistry::new(1);
        let clusters = ClusterManager::new(UpstreamContext {
            stats: stats.clone(),
            secrets: SecretStore::new(),
            workers: 1,
            random: Arc::new(RandomSource::seeded(1)),
            clock: Clock::system(),
            bind: None,
        });
        let peer = Arc::new(PeerInfo {
            workload: "tester".to_owned(),
            ..PeerInfo::default()
        });
        let random = RandomSource::seeded(2);
        let worker = WorkerContext::new(WorkerParts {
            worker: WorkerId(0),
            pools: Pools::new(clusters.clone(), WorkerId(0)),
            random: random.next(),
            clock: Clock::system(),
            recorder: stats.istio().recorder(WorkerId(0), peer.clone()),
            identity: Identity::new("sidecar~test", peer),
            local_ip: Some(Ipv4Addr::new(192, 0, 2, 7).into()),
            failing: Arc::new(|| false),
        });
        let shared = HttpShared {
            stats: stats.clone(),
            files: Arc::new(LogFiles::new()),
            routes: Arc::new(RouteTables::new()),
        };
        let manager = manager(config, &log, &shared);
        let slot = Arc::new(ArcSwap::new(manager));
        let (drain, _) = Drain::new();
        let drain = Rc::new(RefCell::new(drain));
        let address = accept(slot.clone(), worker.clone(), drain.clone()).await;
        Self {
            address,
            clusters,
            stats,
            slot,
            shared,
            worker,
            log,
            _directory: directory,
            drain,
        }
    }

    /// A proxy whose cluster `up` is this upstream, with these routes for every host.
    pub(crate) async fn routing(upstream: &Upstream, routes: Vec<ir::Route>) -> Self {
        let proxy = Self::start(hcm(routes)).await;
        proxy.cluster("up", &[upstream.address()]);
        proxy
    }

    pub(crate) fn cluster(&self, name: &str, addresses: &[SocketAddr]) {
        self.clusters.apply(cluster(name, addresses), true).unwrap();
    }

    pub(crate) fn apply(&self, cluster: ir::Cluster) {
        self.clusters.apply(cluster, true).unwrap();
    }

    /// A statistic; 0 where there is none.
    pub(crate) fn stat(&self, name: &str) -> u64 {
        let text = self.stats.text(&meltemi_telemetry::StatsQuery::default());
        let name = format!("{name}: ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.map_or(0, |value| value.parse().unwrap())
    }

    pub(crate) fn swap(&self, config: ir::HttpConnectionManager) {
        self.slot.store(manager(config, &self.log, &self.shared));
    }

    pub(crate) fn routes(&self) -> &RouteTables {
        &self.shared.routes
    }

    pub(crate) fn drain(&self) {
        self.drain.borrow().start();
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.address).timeout(Duration::from_secs(10))
    }

    pub(crate) async fn get(&self, target: &str) -> Response {
        self.client().get(target).await.unwrap()
    }

    /// The lines of the access log, once there are as many.
    pub(crate) async fn log(&self, lines: usize) -> Vec<String> {
        loop {
            self.worker.logs.flush();
            let text = std::fs::read_to_string(&self.log).unwrap_or_default();
            let found: Vec<_> = text.lines().map(str::to_owned).collect();
            if found.len() >= lines {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The last of so many lines of the access log.
    pub(crate) async fn last_line(&self, lines: usize) -> String {
        self.log(lines).await.pop().unwrap()
    }
}

fn manager(
    mut config: ir::HttpConnectionManager,
    log: &std::path::Path,
    shared: &HttpShared,
) -> Arc<ConnectionManager> {
    config.access_log = vec![ir::AccessLog {
        output: ir::LogOutput::Lines {
            sink: ir::LogSink::File(log.to_owned()),
            format: ir::LogFormat::Text(
                "%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% \
                 %RESPONSE_CODE_DETAILS% rx=%BYTES_RECEIVED% tx=%BYTES_SENT% \
                 try=%UPSTREAM_REQUEST_ATTEMPT_COUNT% route=%ROUTE_NAME% \
                 peer=%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%\n"
                    .to_owned(),
            ),
        },
        filter: None,
    }];
    ConnectionManager::new(Arc::new(config), "test", shared).unwrap()
}

async fn accept(
    slot: Arc<ArcSwap<ConnectionManager>>,
    worker: Rc<WorkerContext>,
    drain: Rc<RefCell<Drain>>,
) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let local = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        while let Ok((stream, remote)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let context = ConnectionContext {
                slot: slot.clone(),
                worker: worker.clone(),
                info: Rc::new(ConnectionInfo {
                    id: 1,
                    accepted: Duration::ZERO,
                    round_trip: None,
                    handshake: None,
                    listener_settings: None,
                    chain_settings: None,
                    listener: "listener".into(),
                    filter_chain: None,
                    direct_local: local,
                    local,
                    remote,
                    direct_remote: remote,
                    direction: ir::TrafficDirection::Outbound,
                    requested_server_name: None,
                    metadata: meltemi_ir::Metadata::default(),
                    proxy_entries: None,
                    restored: false,
                    tls: None,
                }),
                drain: drain.borrow().signal(),
                buffer_limit: 64 << 10,
            };
            tokio::task::spawn_local(serve(stream, context));
        }
    });
    local
}

pub(crate) fn hcm(routes: Vec<ir::Route>) -> ir::HttpConnectionManager {
    ir::HttpConnectionManager {
        stat_prefix: "test".to_owned(),
        codec: ir::Codec::Auto,
        routes: ir::RouteSource::Inline(table(routes)),
        filters: vec![ir::HttpFilter {
            name: "router".to_owned(),
            kind: ir::HttpFilterKind::Router(ir::RouterSettings::default()),
            disabled: false,
        }],
        log_moments: ir::LogMoments::default(),
        access_log: Vec::new(),
        server_name: HeaderValue::from_static("envoy"),
        server_header: ir::ServerHeader::Overwrite,
        via: None,
        use_remote_address: false,
        xff_num_trusted_hops: 0,
        internal_addresses: Vec::new(),
        skip_xff_append: false,
        generate_request_id: true,
        preserve_external_request_id: false,
        always_set_request_id_in_response: false,
        forward_client_cert: ir::ForwardClientCert::Sanitize,
        set_current_client_cert: ir::SetCurrentClientCert::default(),
        upgrades: Vec::new(),
        path: ir::PathNormalization::default(),
        strip_port: ir::StripPort::No,
        stream_idle_timeout: Some(Duration::from_secs(300)),
        request_timeout: None,
        request_headers_timeout: None,
        idle_timeout: Some(Duration::from_secs(3600)),
        max_connection_duration: None,
        max_stream_duration: None,
        max_requests_per_connection: 0,
        drain_timeout: Duration::from_secs(5),
        append_x_forwarded_port: false,
        delayed_close_timeout: None,
        max_request_headers_bytes: 60 << 10,
        max_headers_count: 100,
        http1: ir::Http1Options::default(),
        http2: ir::Http2Options {
            allow_connect: true,
            ..ir::Http2Options::default()
        },
        underscores: ir::Underscores::Allow,
        strip_trailing_host_dot: false,
        scheme: ir::SchemeOverride::None,
        original_ip: Vec::new(),
        early_mutations: Vec::new(),
        local_reply: None,
    }
}

pub(crate) fn table(routes: Vec<ir::Route>) -> Arc<ir::RouteConfiguration> {
    Arc::new(ir::RouteConfiguration {
        name: "table".to_owned(),
        virtual_hosts: vec![Arc::new(ir::VirtualHost {
            name: "all".to_owned(),
            domains: vec!["*".to_owned()],
            routes: routes.into_iter().map(Arc::new).collect(),
            require_tls: ir::RequireTls::None,
            metadata: ir::Metadata::default(),
            request_headers: ir::HeaderMutation::default(),
            response_headers: ir::HeaderMutation::default(),
            retry: None,
            hedge_on_per_try_timeout: false,
            cors: None,
            include_request_attempt_count: true,
            include_attempt_count_in_response: false,
            include_is_timeout_retry: false,
            filters: Vec::new(),
            rate_limits: Vec::new(),
            virtual_clusters: Vec::new(),
            body_buffer_limit: None,
        })],
        ..ir::RouteConfiguration::default()
    })
}

/// A route for a prefix.
pub(crate) fn route(prefix: &str, action: ir::RouteAction) -> ir::Route {
    ir::Route {
        name: prefix.trim_matches('/').to_owned(),
        matcher: ir::RouteMatch {
            path: ir::PathMatch::Prefix(prefix.to_owned()),
            case_sensitive: true,
            headers: Vec::new(),
            query: Vec::new(),
            grpc: false,
            fraction_per_million: None,
            tls_presented: None,
            cookies: Vec::new(),
            tls_validated: None,
            metadata: Vec::new(),
        },
        action,
        request_headers: ir::HeaderMutation::default(),
        response_headers: ir::HeaderMutation::default(),
        metadata: ir::Metadata::default(),
        filters: Vec::new(),
        body_buffer_limit: None,
        stat_prefix: String::new(),
    }
}

/// A route for a prefix to a cluster, with changes.
pub(crate) fn to(prefix: &str, name: &str, change: impl FnOnce(&mut ir::RouteTarget)) -> ir::Route {
    let mut target = ir::RouteTarget {
        clusters: vec![ir::WeightedCluster {
            name: ir::ClusterName::Named(name.into()),
            weight: 1,
            request_headers: ir::HeaderMutation::default(),
            response_headers: ir::HeaderMutation::default(),
            host_rewrite: None,
            filters: Vec::new(),
            metadata_match: ir::SubsetKeys::new(),
        }],
        cluster_not_found: StatusCode::SERVICE_UNAVAILABLE,
        timeout: Some(Duration::from_secs(15)),
        idle_timeout: None,
        max_stream_duration: None,
        grpc_timeout_max: None,
        retry: None,
        terminates_connect: false,
        connect_header: None,
        hedge_on_per_try_timeout: None,
        host_rewrite: ir::HostRewrite::None,
        append_x_forwarded_host: false,
        path_rewrite: ir::PathRewrite::None,
        cors: None,
        upgrades: Vec::new(),
        priority: ir::Priority::Default,
        mirrors: Vec::new(),
        hash: Vec::new(),
        internal_redirect: None,
        rate_limits: Vec::new(),
        include_virtual_host_rate_limits: false,
        metadata_match: ir::SubsetKeys::new(),
        grpc_timeout_offset: None,
        weighted_by: ir::WeightedBy::Random,
    };
    change(&mut target);
    route(prefix, ir::RouteAction::Forward(Box::new(target)))
}

/// A route for every path to the cluster `up`.
pub(crate) fn everything() -> Vec<ir::Route> {
    vec![to("/", "up", |_| {})]
}

pub(crate) fn retry(on: &str, retries: u32) -> ir::RetryPolicy {
    ir::RetryPolicy {
        base_interval: Duration::from_millis(2),
        max_interval: Duration::from_millis(20),
        ..ir::RetryPolicy::new(ir::RetryOn::parse(on).0, retries)
    }
}

pub(crate) fn cluster(name: &str, addresses: &[SocketAddr]) -> ir::Cluster {
    let endpoints = addresses
        .iter()
        .map(|address| ir::Endpoint {
            hostname: "host.example".to_owned(),
            ..ir::Endpoint::new(ir::Address::Socket(*address))
        })
        .collect();
    ir::Cluster::new(
        name,
        ir::Discovery::Static(ir::LoadAssignment {
            cluster_name: name.to_owned(),
            localities: vec![ir::LocalityEndpoints {
                endpoints,
                ..ir::LocalityEndpoints::default()
            }],
            ..ir::LoadAssignment::default()
        }),
    )
}
