//! TCP proxying: a connection is relayed to a host of a cluster.

use std::cell::{Cell, OnceCell};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use meltemi_http::WorkerContext;
use meltemi_ir as ir;
use meltemi_net::{Beneath, RelayEnd, RelayOutcome, relay, reset_when_dropped};
use meltemi_telemetry::{
    AccessLogger, ConnectionInfo, ResponseFlags, StreamRecord, TcpDelta, UpstreamRecord,
};
use meltemi_upstream::{
    ConnectFailure, LbContext, Proxied, UpstreamStream, WorkerCluster, WorkerHost, xx_hash,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::authorization::{self, Refused};
use crate::connection::Socket;
use crate::gate::Gate;
use crate::held::Held;
use crate::runtime::TcpRuntime;

/// What a relayed connection knows of itself.
pub(crate) struct TcpContext<'a> {
    pub worker: Rc<WorkerContext>,
    pub info: Rc<ConnectionInfo>,
    /// The cluster that a filter before named.
    pub cluster: Option<String>,
    pub chain: &'a str,
    /// What connections pass, those who are asked about them among it.
    pub gates: &'a [Gate],
    /// The listener's own log, in which a connection is written at its end.
    pub listener_loggers: &'a [AccessLogger],
}

/// Where a connection went, or why it went nowhere.
enum Target {
    Reached {
        cluster: Rc<WorkerCluster>,
        host: Rc<WorkerHost>,
        stream: UpstreamStream,
    },
    Failed {
        cluster: Option<Rc<WorkerCluster>>,
        host: Option<Rc<WorkerHost>>,
        flags: ResponseFlags,
        reason: String,
    },
}

/// Relays a connection to its end.
pub(crate) async fn serve<IO>(mut downstream: IO, tcp: &TcpRuntime, context: &TcpContext<'_>)
where
    IO: Socket + AsyncRead + AsyncWrite + Unpin,
{
    let stats = tcp.stats.shard(context.worker.worker);
    stats.downstream_cx_total.inc();
    let wall = context.worker.clock.since_epoch();
    let start = Instant::now();
    let answered = OnceCell::new();
    let mut record = StreamRecord::new(&context.info, wall);
    record.filter_chain = Some(context.chain).filter(|name| !name.is_empty());
    record.dynamic_metadata = Some(&context.info.metadata).filter(|it| !it.is_empty());
    let mut attempts = 0;
    let target = connect(tcp, context, &mut attempts).await;
    record.attempts = attempts;
    match target {
        Target::Failed {
            cluster,
            host,
            flags,
            reason,
        } => {
            if cluster.is_none() {
                stats.downstream_cx_no_route.inc();
            }
            record.flags = flags;
            record.duration = Some(start.elapsed());
            let mut upstream = upstream_record(cluster.as_ref(), host.as_ref());
            upstream.transport_failure = Some(reason.as_str()).filter(|reason| !reason.is_empty());
            record.upstream = Some(upstream);
            report(
                tcp,
                context,
                &record,
                TcpDelta {
                    opened: true,
                    closed: true,
                    ..TcpDelta::default()
                },
            );
        }
        Target::Reached {
            cluster,
            host,
            mut stream,
        } => {
            let local_address = stream.local_address();
            let host_metadata = host.metadata();
            // the host of a name is recorded by the address that the name stands for
            let reached = host.socket_address().map(ir::Address::Socket);
            let mut upstream = upstream_record(Some(&cluster), Some(&host));
            upstream.address = reached.as_ref().or(upstream.address);
            upstream.host_metadata = Some(&host_metadata);
            upstream.local_address = local_address;
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
            let (outcome, refused) = if authorization::is_asked(context.gates) {
                let answer = Box::pin(async {
                    let mut info = (*context.info).clone();
                    let refused = authorization::ask(context.gates, &context.worker, &mut info);
                    let refused = refused.await;
                    // ignored: it is asked once
                    let _ = answered.set(info.metadata);
                    refused
                });
                let mut held = Held::new(&mut downstream, answer);
                let outcome = pump(&mut held, &mut stream, tcp, beginning, &mut record).await;
                (outcome, held.refused())
            } else {
                let streams = (&mut downstream, &mut stream);
                let outcome = pump(streams.0, streams.1, tcp, beginning, &mut record).await;
                (outcome, None)
            };
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
            }
            report(tcp, context, &record, delta);
            if refused.is_some() {
                drop(stream);
                authorization::close(&mut downstream).await;
            }
        }
    }
}

/// Writes down a connection that policies do not let in; it reaches no upstream.
pub(crate) fn refuse(tcp: &TcpRuntime, context: &TcpContext<'_>, refused: &Refused) {
    tcp.stats
        .shard(context.worker.worker)
        .downstream_cx_total
        .inc();
    let mut record = StreamRecord::new(&context.info, context.worker.clock.since_epoch());
    record.filter_chain = Some(context.chain).filter(|name| !name.is_empty());
    record.dynamic_metadata = Some(&context.info.metadata).filter(|it| !it.is_empty());
    record.termination_details = refused.termination.as_deref();
    record.response_code_details = refused.details;
    record.flags = refused.flags;
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
    upstream: &mut UpstreamStream,
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
    let deadline = longest.map(|limit| start + limit);
    let idle = tcp.config.idle_timeout;
    let streams = (downstream, upstream);
    let beneath = Beneath {
        downstream: IO::plain,
        upstream: UpstreamStream::plain,
        passed: UpstreamStream::passed,
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
    match &outcome.end {
        RelayEnd::Expired => record.flags |= ResponseFlags::DURATION_TIMEOUT,
        RelayEnd::Upstream(error) if is_reset(error) => {
            record.flags |= ResponseFlags::UPSTREAM_REMOTE_RESET;
        }
        RelayEnd::Upstream(_) => record.flags |= ResponseFlags::UPSTREAM_CONNECTION_TERMINATION,
        // Envoy has no flag for an idle connection, nor for one that its client breaks
        RelayEnd::Idle | RelayEnd::Downstream(_) | RelayEnd::Finished => {}
    }
}

fn is_reset(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionReset
}

fn count(record: &mut StreamRecord<'_>, (received, sent): (u64, u64), duration: Duration) {
    record.bytes_received = received;
    record.bytes_sent = sent;
    record.duration = Some(duration);
    if let Some(upstream) = &mut record.upstream {
        upstream.bytes_sent = received;
        upstream.bytes_received = sent;
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

/// Chooses a cluster and a host and connects, as often as the configuration allows.
async fn connect(tcp: &TcpRuntime, context: &TcpContext<'_>, attempts: &mut u32) -> Target {
    let chosen = match &context.cluster {
        Some(name) => Some((name.as_str(), None)),
        None => choose_cluster(&tcp.config.clusters, context)
            .map(|cluster| (&*cluster.name, Some(&cluster.metadata_match))),
    };
    let Some((name, metadata_match)) = chosen else {
        return failed(None, None, ResponseFlags::NO_ROUTE_FOUND, String::new());
    };
    let Some(cluster) = context.worker.pools.cluster(name) else {
        return failed(None, None, ResponseFlags::NO_CLUSTER_FOUND, String::new());
    };
    let hash = tcp.config.hash_source_ip.then(|| {
        let ip = context.info.remote.ip().to_string();
        xx_hash(ip.as_bytes(), 0)
    });
    let mut last = None;
    let mut proxied = Proxied::of(&context.info);
    if !tcp.config.proxy_entries.is_empty() {
        let had_header = context.info.proxy_entries.is_some();
        proxied.entries = merge(&tcp.config, had_header, &proxied.entries);
    }
    for _ in 0..tcp.config.max_connect_attempts.max(1) {
        let lb = LbContext {
            original_destination: Some(context.info.local),
            metadata_match,
            hash,
            ..LbContext::default()
        };
        let Some(host) = cluster.choose(&lb) else {
            cluster.stats().upstream_cx_none_healthy.inc();
            return failed(
                Some(cluster),
                None,
                ResponseFlags::NO_HEALTHY_UPSTREAM,
                String::new(),
            );
        };
        let connected = cluster.tcp(&host, &proxied).await;
        if !matches!(connected, Err(ConnectFailure::Overflow(_))) {
            *attempts += 1;
            cluster.stats().upstream_rq_pending_total.inc();
        }
        match connected {
            Ok(stream) => {
                return Target::Reached {
                    cluster,
                    host,
                    stream,
                };
            }
            Err(ConnectFailure::Overflow(_)) => {
                let flags = ResponseFlags::UPSTREAM_OVERFLOW;
                return failed(Some(cluster), None, flags, String::new());
            }
            Err(failure) => {
                cluster.stats().upstream_rq_pending_failure_eject.inc();
                last = Some((host, failure));
            }
        }
    }
    cluster.stats().upstream_cx_connect_attempts_exceeded.inc();
    let Some((host, failure)) = last else {
        return failed(
            Some(cluster),
            None,
            ResponseFlags::NO_HEALTHY_UPSTREAM,
            String::new(),
        );
    };
    let flags = ResponseFlags::UPSTREAM_CONNECTION_FAILURE
        | ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED.with_retries_last();
    let reason = failure.transport_failure_reason().to_owned();
    failed(Some(cluster), Some(host), flags, reason)
}

/// The entries of the client and those of the configuration.
fn merge(
    config: &ir::TcpProxy,
    had_header: bool,
    own: &Arc<[ir::ProxyEntry]>,
) -> Arc<[ir::ProxyEntry]> {
    use ir::ProxyEntryMerge::{AddIfAbsent, Append, Overwrite};
    let given = &config.proxy_entries;
    let stays = |entry: &&ir::ProxyEntry| !given.iter().any(|(kind, _)| *kind == entry.0);
    match config.proxy_entry_merge {
        AddIfAbsent if had_header => Arc::clone(own),
        AddIfAbsent | Overwrite => given
            .iter()
            .chain(own.iter().filter(stays))
            .cloned()
            .collect(),
        Append => own.iter().chain(given).cloned().collect(),
    }
}

fn failed(
    cluster: Option<Rc<WorkerCluster>>,
    host: Option<Rc<WorkerHost>>,
    flags: ResponseFlags,
    reason: String,
) -> Target {
    Target::Failed {
        cluster,
        host,
        flags,
        reason,
    }
}

fn choose_cluster<'a>(
    clusters: &'a [ir::TcpCluster],
    context: &TcpContext<'_>,
) -> Option<&'a ir::TcpCluster> {
    if let [only] = clusters {
        return Some(only);
    }
    let total: u64 = clusters
        .iter()
        .map(|cluster| u64::from(cluster.weight))
        .sum();
    let mut ticket = context.worker.random.below(total);
    for cluster in clusters {
        let weight = u64::from(cluster.weight);
        if ticket < weight {
            return Some(cluster);
        }
        ticket -= weight;
    }
    None
}
