//! A client's bytes on an HTTP/1 connection: whatever they are, what comes back is a sequence
//! of HTTP/1 responses, and a request that was refused is the connection's last.
#![no_main]

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use libfuzzer_sys::fuzz_target;
use meltemi_http::{
    ConnectionContext, ConnectionManager, HttpShared, Identity, RouteTables, WorkerContext,
    WorkerParts, serve,
};
use meltemi_ir as ir;
use meltemi_lifecycle::{Clock, Drain, RandomSource, WorkerId};
use meltemi_telemetry::{ConnectionInfo, LogFiles, PeerInfo, StatsRegistry};
use meltemi_tls::SecretStore;
use meltemi_upstream::{ClusterManager, Pools, UpstreamContext};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const BOOTSTRAP: &str = r#"
static_resources:
  listeners:
  - name: fuzz
    address: { socket_address: { address: 127.0.0.1, port_value: 1 } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: fuzz
          codec_type: HTTP1
          normalize_path: true
          merge_slashes: true
          http_protocol_options: { accept_http_10: true }
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: { prefix: / }
                direct_response: { status: 200, body: { inline_string: ok } }
          http_filters:
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
"#;

/// What a connection needs, made once.
struct Proxy {
    runtime: tokio::runtime::Runtime,
    local: tokio::task::LocalSet,
    slot: Arc<ArcSwap<ConnectionManager>>,
    worker: Rc<WorkerContext>,
}

impl Proxy {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let local = tokio::task::LocalSet::new();
        let stats = StatsRegistry::new(1);
        let clusters = ClusterManager::new(UpstreamContext {
            stats: stats.clone(),
            secrets: SecretStore::new(),
            workers: 1,
            random: Arc::new(RandomSource::seeded(1)),
            clock: Clock::system(),
            bind: None,
        });
        let peer = Arc::new(PeerInfo::default());
        let worker = local.block_on(&runtime, async {
            WorkerContext::new(WorkerParts {
                worker: WorkerId(0),
                pools: Pools::new(clusters.clone(), WorkerId(0)),
                random: RandomSource::seeded(2).next(),
                clock: Clock::system(),
                recorder: stats.istio().recorder(WorkerId(0), peer.clone()),
                identity: Identity::new("fuzz", peer),
                local_ip: None,
                failing: Arc::new(|| false),
            })
        });
        let shared = HttpShared {
            stats,
            files: Arc::new(LogFiles::new()),
            routes: Arc::new(RouteTables::new()),
        };
        let manager = ConnectionManager::new(settings(), "fuzz", &shared).expect("it is valid");
        Self {
            runtime,
            local,
            slot: Arc::new(ArcSwap::new(manager)),
            worker,
        }
    }

    /// What comes back for these bytes, the client having closed its side after them.
    fn answer(&self, bytes: &[u8]) -> Vec<u8> {
        self.local.block_on(&self.runtime, async {
            let (near, far) = tokio::io::duplex(64 << 10);
            let (drain, signal) = Drain::new();
            let address = ([127, 0, 0, 1], 1).into();
            let context = ConnectionContext {
                slot: self.slot.clone(),
                worker: self.worker.clone(),
                info: Rc::new(ConnectionInfo {
                    id: 1,
                    accepted: Duration::ZERO,
                    round_trip: None,
                    handshake: None,
                    listener_settings: None,
                    chain_settings: None,
                    listener: "fuzz".into(),
                    filter_chain: None,
                    direct_local: address,
                    local: address,
                    remote: address,
                    direct_remote: address,
                    restored: false,
                    direction: ir::TrafficDirection::Unspecified,
                    requested_server_name: None,
                    metadata: ir::Metadata::default(),
                    proxy_entries: None,
                    tls: None,
                }),
                drain: signal,
                buffer_limit: 64 << 10,
            };
            let served = tokio::task::spawn_local(serve(far, context));
            let (mut read, mut write) = tokio::io::split(near);
            let bytes = bytes.to_vec();
            tokio::task::spawn_local(async move {
                let _ = write.write_all(&bytes).await;
                let _ = write.shutdown().await;
            });
            let mut answer = Vec::new();
            let _ = read.read_to_end(&mut answer).await;
            served.await.expect("serving does not panic");
            drop(drain);
            answer
        })
    }
}

fn settings() -> Arc<ir::HttpConnectionManager> {
    let bootstrap = meltemi_config::bootstrap_from_yaml(BOOTSTRAP, "fuzz").expect("valid");
    let chain = &bootstrap.listeners[0].filter_chains[0];
    match &chain.filter {
        ir::ConnectionFilter::Http(manager) => manager.clone(),
        other => panic!("{other:?} is no connection manager"),
    }
}

thread_local! {
    /// Never dropped: at the end of the program, what dropping it needs is gone already.
    static PROXY: RefCell<Option<ManuallyDrop<Proxy>>> = const { RefCell::new(None) };
}

fuzz_target!(|bytes: &[u8]| {
    PROXY.with_borrow_mut(|proxy| {
        let proxy = proxy.get_or_insert_with(|| ManuallyDrop::new(Proxy::new()));
        let answer = proxy.answer(bytes);
        let mut rest = &answer[..];
        while !rest.is_empty() {
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut response = httparse::Response::new(&mut headers);
            let status = response.parse(rest).expect("a response");
            let httparse::Status::Complete(head) = status else {
                panic!("a response that breaks off");
            };
            let length = response.headers.iter().find_map(|header| {
                header.name.eq_ignore_ascii_case("content-length").then(|| {
                    let text = std::str::from_utf8(header.value).expect("a number");
                    text.parse::<usize>().expect("a number")
                })
            });
            let code = response.code.expect("a status");
            // A response to HEAD has its length and no body.
            let body = length.unwrap_or(0).min(rest.len() - head);
            let is_head = rest[head..].starts_with(b"HTTP/1.");
            rest = &rest[head + if is_head { 0 } else { body }..];
            assert!(code < 400 || rest.is_empty() || code == 404, "went on after {code}");
        }
    });
});
