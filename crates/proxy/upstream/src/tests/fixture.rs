//! A worker with its pools, and upstreams that do what a test says.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body::Body;
use meltemi_ir::{
    Address, Cluster, Discovery, Endpoint, LoadAssignment, Locality, LocalityEndpoints, Priority,
};
use meltemi_lifecycle::{Clock, RandomSource, WorkerId};
use meltemi_telemetry::StatsRegistry;
use meltemi_tls::SecretStore;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::{
    ClusterManager, ConnectFailure, HttpLease, HttpOptions, HttpVersion, LbContext, Pools,
    ResponseBody, UpstreamBody, UpstreamContext, WorkerCluster, WorkerHost,
};

pub(crate) const NAME: &str = "web";

pub(crate) struct Fixture {
    pub(crate) manager: Arc<ClusterManager>,
    pub(crate) secrets: Arc<SecretStore>,
    pub(crate) stats: Arc<StatsRegistry>,
    pub(crate) pools: Rc<Pools>,
}

pub(crate) fn manager() -> (Arc<ClusterManager>, Arc<SecretStore>) {
    let (manager, secrets, _) = manager_with_stats();
    (manager, secrets)
}

fn manager_with_stats() -> (Arc<ClusterManager>, Arc<SecretStore>, Arc<StatsRegistry>) {
    let secrets = SecretStore::new();
    let stats = StatsRegistry::new(2);
    let manager = ClusterManager::new(UpstreamContext {
        stats: stats.clone(),
        secrets: secrets.clone(),
        workers: 2,
        random: Arc::new(RandomSource::seeded(1)),
        clock: Clock::system(),
        bind: None,
    });
    (manager, secrets, stats)
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let (manager, secrets, stats) = manager_with_stats();
        let pools = Pools::new(manager.clone(), WorkerId(0));
        Self {
            manager,
            secrets,
            stats,
            pools,
        }
    }

    pub(crate) fn with(config: Cluster) -> Self {
        let fixture = Self::new();
        fixture.manager.apply(config, true).unwrap();
        fixture
    }

    /// The authorities that the cluster's connections are verified by have come.
    pub(crate) fn trust(&self, trust: meltemi_ir::ValidationContext) {
        let secret = meltemi_ir::Secret::Validation(trust);
        self.secrets.set("ROOTCA", secret);
        self.manager.promote_secured();
    }

    /// A statistic of the cluster.
    pub(crate) fn stat(&self, name: &str) -> i64 {
        let text = self.stats.text(&meltemi_telemetry::StatsQuery::default());
        let name = format!("cluster.{NAME}.{name}: ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
    }

    pub(crate) fn cluster(&self) -> Rc<WorkerCluster> {
        self.pools.cluster(NAME).unwrap()
    }

    pub(crate) fn host(&self) -> Rc<WorkerHost> {
        self.cluster().choose(&LbContext::default()).unwrap()
    }

    pub(crate) async fn lease(&self) -> Result<HttpLease, ConnectFailure> {
        self.cluster()
            .http(&self.host(), of(Priority::Default))
            .await
    }

    /// Sends `GET /` and reads the whole response.
    pub(crate) async fn get(&self) -> String {
        let lease = self.lease().await.unwrap();
        let response = lease.send(get("/")).await.unwrap();
        text(response.into_body()).await
    }
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
        .unwrap()
}

/// The same with a clock that jumps to the next timer when nothing else is to do.
pub(crate) fn in_virtual_time<F: Future>(test: impl FnOnce() -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move { test().await })
}

pub(crate) fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint::new(Address::Socket(address))
}

pub(crate) fn assignment(name: &str, endpoints: Vec<Endpoint>) -> LoadAssignment {
    LoadAssignment {
        cluster_name: name.to_owned(),
        localities: vec![LocalityEndpoints {
            locality: Locality::default(),
            priority: 0,
            weight: None,
            endpoints,
        }],
        ..LoadAssignment::default()
    }
}

pub(crate) fn config(discovery: Discovery) -> Cluster {
    Cluster::new(NAME, discovery)
}

pub(crate) fn to(addresses: &[SocketAddr]) -> Cluster {
    let endpoints = addresses.iter().copied().map(endpoint).collect();
    config(Discovery::Static(assignment(NAME, endpoints)))
}

/// What an HTTP/1 request of this priority asks of its connection.
pub(crate) fn of(priority: Priority) -> HttpOptions<'static> {
    HttpOptions {
        downstream: HttpVersion::Http1,
        priority,
        alpn: None,
        called: None,
        proxied: None,
    }
}

pub(crate) fn get(path: &str) -> Request<UpstreamBody> {
    Request::get(path)
        .header("host", "web")
        .body(UpstreamBody::Empty)
        .unwrap()
}

pub(crate) async fn text(mut body: ResponseBody) -> String {
    let mut all = Vec::new();
    while let Some(frame) =
        futures_util::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await
    {
        if let Ok(data) = frame.unwrap().into_data() {
            all.extend_from_slice(&data);
        }
    }
    String::from_utf8(all).unwrap()
}

pub(crate) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Reads one request's head and, where it has a length, its body.
pub(crate) async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).await.ok()? == 0 {
            return None;
        }
        text.push(byte[0]);
    }
    let head = String::from_utf8(text).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(head + &String::from_utf8(body).unwrap())
}

pub(crate) async fn respond(stream: &mut TcpStream, text: &str) {
    let response = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}",
        text.len()
    );
    stream.write_all(response.as_bytes()).await.unwrap();
}

/// Answers every request on every connection with the connection's number, from 1.
pub(crate) fn serve(listener: TcpListener) {
    tokio::task::spawn_local(async move {
        for number in 1.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::task::spawn_local(async move {
                while read_request(&mut stream).await.is_some() {
                    respond(&mut stream, &number.to_string()).await;
                }
            });
        }
    });
}

pub(crate) async fn server() -> SocketAddr {
    let (listener, address) = listen().await;
    serve(listener);
    address
}

/// Lets every task that can run do so, until the condition holds.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A body that gives these chunks, one for each poll after a wake-up.
pub(crate) fn chunks(parts: &'static [&'static str]) -> UpstreamBody {
    UpstreamBody::Boxed(Box::pin(Chunks(parts, false)))
}

struct Chunks(&'static [&'static str], bool);

impl Body for Chunks {
    type Data = Bytes;
    type Error = crate::BodyError;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, crate::BodyError>>> {
        let this = self.get_mut();
        this.1 = !this.1;
        if this.1 {
            cx.waker().wake_by_ref();
            return std::task::Poll::Pending;
        }
        let Some((first, rest)) = this.0.split_first() else {
            return std::task::Poll::Ready(None);
        };
        this.0 = rest;
        let data = Bytes::from_static(first.as_bytes());
        std::task::Poll::Ready(Some(Ok(http_body::Frame::data(data))))
    }
}
