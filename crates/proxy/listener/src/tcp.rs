//! TCP proxying: a connection is relayed to a host of a cluster.

mod connect;

use std::cell::{Cell, OnceCell};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use meltemi_http::WorkerContext;
use meltemi_ir as ir;
use meltemi_net::{Beneath, Prefixed, RelayEnd, RelayOutcome, relay, reset_when_dropped};
use meltemi_telemetry::{
    AccessLogger, Close, CloseKind, ConnectionInfo, ResponseFlags, StreamRecord, TcpDelta,
    UpstreamRecord,
};
use meltemi_upstream::{ConnectionDetails, WorkerCluster, WorkerHost};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::time::Instant;

use self::connect::{Failed, Target, Upstream, choose_cluster, connect};
use crate::authorization::{self, Refused};
use crate::connection::Socket;
use crate::gate::Gate;
use crate::held::Held;
use crate::runtime::TcpRuntime;

/// How much is read of a client before its upstream is connected to.
const FIRST: usize = 4096;

/// What a relayed connection knows of itself.
pub(crate) struct TcpContext<'a> {
    pub worker: Rc<WorkerContext>,
    pub info: Rc<ConnectionInfo>,
    /// The cluster that a filter before named.
    pub cluster: Option<String>,
    /// What connections pass, those who are asked about them among it.
    pub gates: &'a [Gate],
    /// The listener's own log, in which a connection is written at its end.
    pub listener_loggers: &'a [AccessLogger],
}

/// Serves a connection to its end.
pub(crate) async fn begin<IO>(downstream: IO, tcp: &TcpRuntime, context: &TcpContext<'_>)
where
    IO: Socket + AsyncRead + AsyncWrite + Unpin,
{
    if tcp.config.awaits_data {
        serve_late(downstream, tcp, context).await;
    } else {
        serve(downstream, tcp, context).await;
    }
}

/// Relays a connection to its end.
async fn serve<IO>(mut downstream: IO, tcp: &TcpRuntime, context: &TcpContext<'_>)
where
    IO: Socket + AsyncRead + AsyncWrite + Unpin,
{
    let stats = tcp.stats.shard(context.worker.worker);
    stats.downstream_cx_total.inc();
    let start = accepted(context);
    let answered = OnceCell::new();
    let mut record = StreamRecord::new(&context.info, context.info.accepted);
    record.dynamic_metadata = Some(&context.info.metadata).filter(|it| !it.is_empty());
    if tcp.config.log_on_start {
        record.log_type = Some("TcpConnectionStart");
        log(tcp, context, &record);
        record.log_type = None;
    }
    let mut tried = Vec::new();
    let before = Instant::now();
    let target = connect(tcp, context, &record, &mut tried).await;
    record.attempts = u32::try_from(tried.len()).unwrap_or(u32::MAX);
    let ready = before.elapsed();
    match target {
        Target::Failed(failed) => {
            if failed.cluster.is_none() {
                stats.downstream_cx_no_route.inc();
            }
            record.duration = Some(start.elapsed());
            let mut upstream = upstream_record(failed.cluster.as_ref(), failed.host.as_ref());
            upstream.attempted = attempted(&tried);
            upstream.ready = failed.host.is_some().then_some(ready);
            log_failed(tcp, context, record, upstream, &failed);
        }
        Target::Reached {
            cluster,
            host,
            mut stream,
            details,
            kept,
        } => {
            record.filter_state = kept.as_ref();
            let host_metadata = host.metadata();
            // the host of a name is recorded by the address that the name stands for
            let reached = host.socket_address().map(ir::Address::Socket);
            let mut upstream = upstream_record(Some(&cluster), Some(&host));
            upstream.address = reached.as_ref().or(upstream.address);
            upstream.host_metadata = Some(&host_metadata);
            upstream.attempted = attempted(&tried);
            upstream.ready = Some(ready);
            note_connection(&mut upstream, &details, start);
            record.upstream = Some(upstream);
            if let Some(istio) = &tcp.config.istio_stats {
                context.worker.recorder.tcp(
                    istio,
                    &record,
                    TcpDelta {
                        opened: true,
                        ..TcpDelta::default()
                    },
                );
            }
            if tcp.config.log_on_connected {
                record.log_type = Some("TcpUpstreamConnected");
                record.duration = Some(start.elapsed());
                log(tcp, context, &record);
            }
            let beginning = (context, start);
            let streams = (&mut downstream, &mut stream);
            let (outcome, refused) = ask(streams, tcp, beginning, &mut record, &answered).await;
            if let Some(metadata) = answered.get() {
                record.dynamic_metadata = Some(metadata).filter(|it| !it.is_empty());
            }
            match outcome.end {
                RelayEnd::Idle => stats.idle_timeout.inc(),
                RelayEnd::Expired => stats.max_downstream_connection_duration.inc(),
                RelayEnd::Finished | RelayEnd::Downstream(_) | RelayEnd::Upstream(_) => {}
            }
            if matches!(&outcome.end, RelayEnd::Upstream(error) if is_reset(error)) {
                reset_when_dropped(downstream.socket());
            }
            finish(&mut record, &outcome, start.elapsed());
            let delta = TcpDelta {
                opened: false,
                closed: true,
                sent: outcome.sent,
                received: outcome.received,
            };
            if let Some(refused) = &refused {
                record.response_code_details = refused.details;
                record.flags |= refused.flags;
                record.close.local_reason = Some(refused.close);
            }
            report(tcp, context, &record, delta);
            if refused.is_some() {
                drop(stream);
                authorization::close(&mut downstream).await;
            }
        }
    }
}

/// When the connection was accepted, before its handshake.
fn accepted(context: &TcpContext<'_>) -> Instant {
    let now = context.worker.clock.since_epoch();
    let age = now.saturating_sub(context.info.accepted);
    let start = Instant::now();
    start.checked_sub(age).unwrap_or(start)
}

/// Relays, and asks about the connection first where somebody is to be asked: the metadata of the
/// answer go to `answered`.
async fn ask<IO>(
    (downstream, upstream): (&mut IO, &mut Upstream),
    tcp: &TcpRuntime,
    beginning: (&TcpContext<'_>, Instant),
    record: &mut StreamRecord<'_>,
    answered: &OnceCell<ir::Metadata>,
) -> (RelayOutcome, Option<Refused>)
where
    IO: Socket + AsyncRead + AsyncWrite + Unpin,
{
    let (context, _) = beginning;
    if !authorization::is_asked(context.gates) {
        let outcome = pump(downstream, upstream, tcp, beginning, record).await;
        return (outcome, None);
    }
    let answer = Box::pin(async {
        let mut info = (*context.info).clone();
        let refused = authorization::ask(context.gates, &context.worker, &mut info).await;
        // ignored: it is asked once
        let _ = answered.set(info.metadata);
        refused
    });
    let mut held = Held::new(downstream, answer);
    let outcome = pump(&mut held, upstream, tcp, beginning, record).await;
    (outcome, held.refused())
}

/// Writes down a connection that went nowhere.
fn log_failed<'a>(
    tcp: &TcpRuntime,
    context: &'a TcpContext<'_>,
    mut record: StreamRecord<'a>,
    mut upstream: UpstreamRecord<'a>,
    failed: &'a Failed,
) {
    record.filter_state = failed.kept.as_ref();
    record.flags = failed.flags;
    record.close.local_reason = Some(initialization_failure(failed.flags));
    upstream.transport_failure = Some(&*failed.reason).filter(|reason| !reason.is_empty());
    record.upstream = Some(upstream);
    let delta = TcpDelta {
        opened: true,
        closed: true,
        ..TcpDelta::default()
    };
    report(tcp, context, &record, delta);
}

/// Envoy's word for a connection that reached no upstream, with its spelling.
fn initialization_failure(flags: ResponseFlags) -> &'static str {
    if flags.contains(ResponseFlags::NO_HEALTHY_UPSTREAM) {
        "tcp_initializion_failure:1"
    } else if flags.contains(ResponseFlags::UPSTREAM_OVERFLOW) {
        "tcp_initializion_failure:2"
    } else if flags.contains(ResponseFlags::UPSTREAM_CONNECTION_FAILURE) {
        "tcp_initializion_failure:0"
    } else {
        "tcp_initializion_failure:3"
    }
}

/// Relays a connection to its end once something has come from its client.
async fn serve_late<IO>(mut downstream: IO, tcp: &TcpRuntime, context: &TcpContext<'_>)
where
    IO: Socket + AsyncRead + AsyncWrite + Unpin,
{
    let mut first = vec![0; FIRST];
    let read = downstream.read(&mut first);
    let read = match tcp.config.idle_timeout {
        None => read.await,
        Some(limit) => tokio::time::timeout(limit, read)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
    };
    let stats = tcp.stats.shard(context.worker.worker);
    let Ok(count) = read else {
        stats.downstream_cx_total.inc();
        let record = StreamRecord::new(&context.info, context.worker.clock.since_epoch());
        let delta = TcpDelta {
            opened: true,
            closed: true,
            ..TcpDelta::default()
        };
        return report(tcp, context, &record, delta);
    };
    stats.early_data_received_count_total.inc();
    first.truncate(count);
    Box::pin(serve(Prefixed::new(first, downstream), tcp, context)).await;
}

/// Writes down a connection that policies do not let in; it reaches no upstream.
pub(crate) fn refuse(tcp: &TcpRuntime, context: &TcpContext<'_>, refused: &Refused) {
    tcp.stats
        .shard(context.worker.worker)
        .downstream_cx_total
        .inc();
    let mut record = StreamRecord::new(&context.info, context.worker.clock.since_epoch());
    record.dynamic_metadata = Some(&context.info.metadata).filter(|it| !it.is_empty());
    record.termination_details = refused.termination.as_deref();
    record.response_code_details = refused.details;
    record.flags = refused.flags;
    record.close.local_reason = Some(refused.close);
    record.duration = Some(Duration::ZERO);
    let name = context
        .cluster
        .as_deref()
        .or_else(|| Some(&*choose_cluster(&tcp.config.clusters, context)?.name));
    let cluster = name.and_then(|name| context.worker.pools.cluster(name));
    record.upstream = Some(upstream_record(cluster.as_ref(), None));
    let delta = TcpDelta {
        opened: true,
        closed: true,
        ..TcpDelta::default()
    };
    report(tcp, context, &record, delta);
}

/// Relays, and writes the log of the time in between.
async fn pump<IO>(
    downstream: &mut IO,
    upstream: &mut Upstream,
    tcp: &TcpRuntime,
    (context, start): (&TcpContext<'_>, Instant),
    record: &mut StreamRecord<'_>,
) -> RelayOutcome
where
    IO: Socket + AsyncRead + AsyncWrite + Unpin,
{
    let stats = tcp.stats.shard(context.worker.worker);
    let moved = Cell::new((0, 0));
    let longest = tcp.config.max_downstream_connection_duration;
    let longest = longest.map(|limit| limit + jitter(limit, tcp, context));
    let deadline = longest.map(|limit| start + limit);
    let idle = tcp.config.idle_timeout;
    let streams = (downstream, upstream);
    let beneath = Beneath {
        downstream: IO::plain,
        upstream: Upstream::plain,
        passed: Upstream::passed,
    };
    let relaying = relay(streams, beneath, idle, deadline, |received, sent| {
        let (before_received, before_sent) = moved.get();
        moved.set((before_received + received, before_sent + sent));
        stats.downstream_cx_rx_bytes_total.add(received);
        stats.downstream_cx_tx_bytes_total.add(sent);
    });
    let Some(every) = tcp.config.log_interval else {
        let outcome = relaying.await;
        record.log_type = None;
        return outcome;
    };
    let mut relaying = pin!(relaying);
    loop {
        tokio::select! {
            outcome = &mut relaying => {
                record.log_type = None;
                return outcome;
            }
            () = tokio::time::sleep(every) => {
                record.log_type = Some("TcpPeriodic");
                count(record, moved.get(), start.elapsed());
                log(tcp, context, record);
            }
        }
    }
}

/// By how much a connection may exceed its longest duration.
fn jitter(limit: Duration, tcp: &TcpRuntime, context: &TcpContext<'_>) -> Duration {
    let most = limit.mul_f64(tcp.config.duration_jitter / 100.0);
    match u64::try_from(most.as_millis()) {
        Ok(0) | Err(_) => Duration::ZERO,
        Ok(most) => Duration::from_millis(context.worker.random.below(most)),
    }
}

/// The hosts that were tried.
fn attempted(tried: &[Rc<WorkerHost>]) -> Vec<(ir::Address, &str)> {
    let one = |host: &Rc<WorkerHost>| {
        let reached = host.socket_address().map(ir::Address::Socket);
        reached.unwrap_or_else(|| host.address().clone())
    };
    tried
        .iter()
        .map(|host| (one(host), host.hostname()))
        .collect()
}

/// Records the connection that was made.
fn note_connection<'a>(
    upstream: &mut UpstreamRecord<'a>,
    details: &'a ConnectionDetails,
    start: Instant,
) {
    upstream.local_address = details.local;
    upstream.connected = true;
    upstream.connection_id = Some(details.id);
    upstream.connecting = details.connecting(start);
    upstream.tls = details.tls.as_deref();
}

fn upstream_record<'a>(
    cluster: Option<&'a Rc<WorkerCluster>>,
    host: Option<&'a Rc<WorkerHost>>,
) -> UpstreamRecord<'a> {
    let config = cluster.map(|cluster| cluster.config());
    UpstreamRecord {
        cluster: config.map_or("", |config| config.name.as_str()),
        alt_stat_name: config.and_then(|config| config.alt_stat_name.as_deref()),
        cluster_metadata: config.map(|config| &config.metadata),
        address: host.map(|host| host.address()),
        host_name: host
            .map(|host| host.hostname())
            .filter(|name| !name.is_empty()),
        ..UpstreamRecord::default()
    }
}

fn finish(record: &mut StreamRecord<'_>, outcome: &RelayOutcome, duration: Duration) {
    count(record, (outcome.received, outcome.sent), duration);
    let mut upstream = Close::default();
    match &outcome.end {
        RelayEnd::Expired => {
            record.flags |= ResponseFlags::DURATION_TIMEOUT;
            record.close.local_reason = Some("max_connection_duration_reached");
            upstream = record.close;
        }
        RelayEnd::Upstream(error) if is_reset(error) => {
            record.flags |= ResponseFlags::UPSTREAM_REMOTE_RESET;
            record.close.kind = CloseKind::LocalReset;
            upstream.kind = CloseKind::RemoteReset;
        }
        RelayEnd::Upstream(_) => record.flags |= ResponseFlags::UPSTREAM_CONNECTION_TERMINATION,
        // Envoy has no flag for an idle connection, nor for one that its client breaks
        RelayEnd::Idle => {
            record.close.local_reason = Some("tcp_session_idle_timeout");
            upstream = record.close;
        }
        RelayEnd::Downstream(error) if is_reset(error) => {
            record.close.kind = CloseKind::RemoteReset;
        }
        RelayEnd::Downstream(_) | RelayEnd::Finished => {}
    }
    if let Some(record) = &mut record.upstream {
        record.close = upstream;
    }
}

fn is_reset(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionReset
}

fn count(record: &mut StreamRecord<'_>, (received, sent): (u64, u64), duration: Duration) {
    record.bytes_received = received;
    record.bytes_sent = sent;
    record.received.whole = received;
    record.sent.whole = sent;
    record.duration = Some(duration);
    if let Some(upstream) = &mut record.upstream {
        upstream.bytes_sent = received;
        upstream.bytes_received = sent;
        upstream.sent.whole = received;
        upstream.received.whole = sent;
    }
}

fn report(tcp: &TcpRuntime, context: &TcpContext<'_>, record: &StreamRecord<'_>, delta: TcpDelta) {
    if let Some(istio) = &tcp.config.istio_stats {
        context.worker.recorder.tcp(istio, record, delta);
    }
    for logger in context.listener_loggers {
        AccessLogger::log(logger, &context.worker.logs, record);
    }
    log(tcp, context, record);
}

fn log(tcp: &TcpRuntime, context: &TcpContext<'_>, record: &StreamRecord<'_>) {
    for logger in &tcp.loggers {
        AccessLogger::log(logger, &context.worker.logs, record);
    }
}
