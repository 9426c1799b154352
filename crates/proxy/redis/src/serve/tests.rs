use std::net::SocketAddr;

use meltemi_ir::{
    Address, Cluster, Discovery, Endpoint, LoadAssignment, Locality, LocalityEndpoints, RedisAuth,
    RedisRoute, RedisRoutes,
};
use meltemi_lifecycle::{Drain, RandomSource};
use meltemi_telemetry::StatsQuery;
use meltemi_tls::SecretStore;
use meltemi_upstream::{ClusterManager, UpstreamContext};
use tokio::io::{DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};

use super::*;

struct Fixture {
    manager: Arc<ClusterManager>,
    stats: Arc<StatsRegistry>,
    proxy: Arc<RedisProxy>,
    context: Context,
    drain: Drain,
}

impl Fixture {
    /// All keys go to this address, and must be answered for in so many seconds.
    fn to(address: SocketAddr, op_timeout: u64) -> Self {
        let stats = StatsRegistry::new(1);
        let manager = ClusterManager::new(UpstreamContext {
            stats: stats.clone(),
            secrets: SecretStore::new(),
            workers: 1,
            random: Arc::new(RandomSource::seeded(1)),
            clock: Clock::system(),
            bind: None,
        });
        let endpoint = Endpoint::new(Address::Socket(address));
        let assignment = LoadAssignment {
            cluster_name: "keys".to_owned(),
            localities: vec![LocalityEndpoints {
                locality: Locality::default(),
                priority: 0,
                weight: None,
                endpoints: vec![endpoint],
            }],
            ..LoadAssignment::default()
        };
        let cluster = Cluster::new("keys", Discovery::Static(assignment));
        manager.apply(cluster, true).unwrap();
        let config = ir::RedisProxy {
            stat_prefix: "test".to_owned(),
            op_timeout: Duration::from_secs(op_timeout),
            hash_tags: false,
            command_stats: false,
            latency_in_micros: false,
            routes: RedisRoutes {
                catch_all: Some(RedisRoute {
                    prefix: String::new(),
                    remove_prefix: false,
                    cluster: "keys".into(),
                }),
                ..RedisRoutes::default()
            },
            auth: RedisAuth::default(),
        };
        let (drain, signal) = Drain::new();
        Self {
            proxy: RedisProxy::new(Arc::new(config), &stats),
            context: Context {
                worker: WorkerId(0),
                pools: Pools::new(manager.clone(), WorkerId(0)),
                clock: Clock::system(),
                connections: Connections::new(),
                drain: signal,
            },
            manager,
            stats,
            drain,
        }
    }

    /// A client's end of a connection that is served.
    fn connect(&self) -> DuplexStream {
        let (client, mut served) = duplex(1 << 16);
        let proxy = Arc::clone(&self.proxy);
        let context = Context {
            worker: self.context.worker,
            pools: Rc::clone(&self.context.pools),
            clock: self.context.clock,
            connections: Rc::clone(&self.context.connections),
            drain: self.drain.signal(),
        };
        tokio::task::spawn_local(async move {
            serve(&mut served, &proxy, &context).await;
        });
        client
    }

    fn stat(&self, name: &str) -> i64 {
        let text = self.stats.text(&StatsQuery::default());
        let name = format!("{name}: ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
    }
}

/// Runs a test as a worker would; the clock jumps to the next timer when nothing else is to do.
fn on_worker<F: Future>(paused: bool, test: impl FnOnce() -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(paused)
        .build()
        .unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move { test().await })
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn expect<R: AsyncRead + Unpin>(stream: &mut R, text: &str) {
    let mut bytes = vec![0; text.len()];
    stream.read_exact(&mut bytes).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&bytes), text);
}

async fn tell<W: AsyncWrite + Unpin>(stream: &mut W, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

/// The upstream's end of the connection that comes next, and its first command.
async fn accept(listener: &TcpListener, command: &str) -> TcpStream {
    let (mut upstream, _) = listener.accept().await.unwrap();
    expect(&mut upstream, command).await;
    upstream
}

const GET_A: &str = "*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
const GET_B: &str = "*2\r\n$3\r\nGET\r\n$1\r\nb\r\n";

#[test]
fn clients_share_a_connection_and_get_their_own_answers() {
    on_worker(false, || async {
        let (listener, address) = listen().await;
        let fixture = Fixture::to(address, 10);
        let (mut one, mut two) = (fixture.connect(), fixture.connect());
        tell(&mut one, GET_A).await;
        let mut upstream = accept(&listener, GET_A).await;
        tell(&mut two, GET_B).await;
        expect(&mut upstream, GET_B).await;
        // the first goes; its answer is nobody's
        drop(one);
        while fixture.stat("redis.test.downstream_cx_active") > 1 {
            tokio::task::yield_now().await;
        }
        tell(&mut upstream, "$1\r\n1\r\n$1\r\n2\r\n").await;
        expect(&mut two, "$1\r\n2\r\n").await;
        assert_eq!(fixture.stat("cluster.keys.upstream_cx_total"), 1);
        assert_eq!(fixture.stat("cluster.keys.upstream_rq_cancelled"), 1);
        assert_eq!(fixture.stat("cluster.keys.upstream_rq_active"), 0);
        assert_eq!(fixture.stat("redis.test.downstream_rq_active"), 0);
    });
}

#[test]
fn an_answer_that_does_not_come_ends_the_connection() {
    on_worker(false, || async {
        let (listener, address) = listen().await;
        let fixture = Fixture::to(address, 1);
        let mut client = fixture.connect();
        tell(&mut client, &format!("{GET_A}{GET_B}")).await;
        let mut upstream = accept(&listener, GET_A).await;
        expect(&mut upstream, GET_B).await;
        expect(&mut client, "-upstream failure\r\n-upstream failure\r\n").await;
        assert_eq!(upstream.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(fixture.stat("cluster.keys.upstream_rq_timeout"), 1);
        // the next command gets another connection
        tell(&mut client, GET_A).await;
        let mut upstream = accept(&listener, GET_A).await;
        tell(&mut upstream, "$-1\r\n").await;
        expect(&mut client, "$-1\r\n").await;
    });
}

#[test]
fn a_connection_to_a_host_that_is_gone_ends_once_all_is_answered() {
    on_worker(false, || async {
        let (listener, address) = listen().await;
        let fixture = Fixture::to(address, 10);
        let mut client = fixture.connect();
        tell(&mut client, GET_A).await;
        let mut upstream = accept(&listener, GET_A).await;
        fixture.manager.remove("keys");
        tell(&mut client, GET_B).await;
        tell(&mut upstream, "$1\r\n1\r\n").await;
        expect(&mut client, "$1\r\n1\r\n-no upstream host\r\n").await;
        assert_eq!(upstream.read(&mut [0]).await.unwrap(), 0);
    });
}

#[test]
fn a_transaction_has_a_connection_of_its_own() {
    on_worker(false, || async {
        let (listener, address) = listen().await;
        let fixture = Fixture::to(address, 10);
        let (mut one, mut two) = (fixture.connect(), fixture.connect());
        tell(&mut one, "MULTI\r\nGET a\r\n").await;
        let mut transaction = accept(&listener, "*1\r\n$5\r\nMULTI\r\n").await;
        expect(&mut transaction, GET_A).await;
        tell(&mut two, "GET b\r\n").await;
        let mut shared = accept(&listener, GET_B).await;
        tell(&mut transaction, "+OK\r\n+QUEUED\r\n").await;
        tell(&mut shared, "$-1\r\n").await;
        expect(&mut two, "$-1\r\n").await;
        expect(&mut one, "+OK\r\n+QUEUED\r\n").await;
        tell(&mut one, "EXEC\r\n").await;
        expect(&mut transaction, "*1\r\n$4\r\nEXEC\r\n").await;
        tell(&mut transaction, "*1\r\n$-1\r\n").await;
        expect(&mut one, "*1\r\n$-1\r\n").await;
        assert_eq!(transaction.read(&mut [0]).await.unwrap(), 0);
    });
}

#[test]
fn a_transaction_that_loses_its_connection_does_not_go_on_elsewhere() {
    on_worker(false, || async {
        let (listener, address) = listen().await;
        let fixture = Fixture::to(address, 10);
        let mut client = fixture.connect();
        tell(&mut client, "MULTI\r\nGET a\r\n").await;
        drop(accept(&listener, "*1\r\n$5\r\nMULTI\r\n").await);
        expect(&mut client, "+OK\r\n-upstream failure\r\n").await;
        tell(&mut client, "GET b\r\nEXEC\r\nEXEC\r\n").await;
        let failures = "-upstream failure\r\n-upstream failure\r\n-EXEC without MULTI\r\n";
        expect(&mut client, failures).await;
    });
}

#[test]
fn a_transaction_whose_first_key_has_no_host_goes_nowhere() {
    on_worker(true, || async {
        let (_listener, address) = listen().await;
        let fixture = Fixture::to(address, 10);
        fixture.manager.remove("keys");
        let mut client = fixture.connect();
        tell(&mut client, "MULTI\r\nGET a\r\nEXEC\r\nEXEC\r\n").await;
        let answers = "+OK\r\n-no upstream host\r\n-no upstream host\r\n-EXEC without MULTI\r\n";
        expect(&mut client, answers).await;
    });
}

#[test]
fn a_connection_that_drains_ends_after_an_answer() {
    on_worker(true, || async {
        let (_listener, address) = listen().await;
        let fixture = Fixture::to(address, 10);
        let mut client = fixture.connect();
        tell(&mut client, "PING\r\n").await;
        expect(&mut client, "+PONG\r\n").await;
        fixture.drain.start();
        tell(&mut client, "PING\r\n").await;
        expect(&mut client, "+PONG\r\n").await;
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(fixture.stat("redis.test.downstream_cx_drain_close"), 1);
    });
}

#[test]
fn more_commands_than_may_be_under_way_are_all_answered() {
    on_worker(true, || async {
        let (_listener, address) = listen().await;
        let fixture = Fixture::to(address, 10);
        let (mut reader, mut writer) = tokio::io::split(fixture.connect());
        let count = 3 * MOST_UNDER_WAY;
        tokio::task::spawn_local(async move {
            tell(&mut writer, &"PING\r\n".repeat(count)).await;
            std::future::pending::<()>().await;
        });
        expect(&mut reader, &"+PONG\r\n".repeat(count)).await;
        assert_eq!(fixture.stat("redis.test.downstream_rq_active"), 0);
    });
}
