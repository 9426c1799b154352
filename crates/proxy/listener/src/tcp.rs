//! TCP proxying: a connection is relayed to a host of a cluster.

use std::rc::Rc;
use std::time::Duration;

use meltemi_http::WorkerContext;
use meltemi_ir as ir;
use meltemi_net::{RelayEnd, RelayOutcome, relay};
use meltemi_telemetry::{
    AccessLogger, ConnectionInfo, ResponseFlags, StreamRecord, TcpDelta, UpstreamRecord,
};
use meltemi_upstream::{ConnectFailure, LbContext, UpstreamStream, WorkerCluster, WorkerHost};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::runtime::TcpRuntime;

/// What a relayed connection knows of itself.
pub(crate) struct TcpContext<'a> {
    pub worker: Rc<WorkerContext>,
    pub info: Rc<ConnectionInfo>,
    pub chain: &'a str,
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
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let stats = tcp.stats.shard(context.worker.worker);
    stats.downstream_cx_total.inc();
    let wall = context.worker.clock.since_epoch();
    let start = Instant::now();
    let mut record = StreamRecord::new(&context.info, wall);
    record.filter_chain = Some(context.chain).filter(|name| !name.is_empty());
    match connect(tcp, context).await {
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
            let mut upstream = upstream_record(tcp, cluster.as_ref(), host.as_ref());
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
            let mut upstream = upstream_record(tcp, Some(&cluster), Some(&host));
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
            let deadline = tcp
                .config
                .max_downstream_connection_duration
                .map(|limit| start + limit);
            let outcome = relay(
                &mut downstream,
                &mut stream,
                tcp.config.idle_timeout,
                deadline,
                |received, sent| {
                    stats.downstream_cx_rx_bytes_total.add(received);
                    stats.downstream_cx_tx_bytes_total.add(sent);
                    cluster.stats().upstream_cx_tx_bytes_total.add(received);
                    cluster.stats().upstream_cx_rx_bytes_total.add(sent);
                },
            )
            .await;
            match outcome.end {
                RelayEnd::Idle => stats.idle_timeout.inc(),
                RelayEnd::Expired => stats.max_downstream_connection_duration.inc(),
                RelayEnd::Finished | RelayEnd::Downstream(_) | RelayEnd::Upstream(_) => {}
            }
            finish(&mut record, &outcome, start.elapsed());
            let delta = TcpDelta {
                opened: false,
                closed: true,
                sent: outcome.sent,
                received: outcome.received,
            };
            report(tcp, context, &record, delta);
        }
    }
}

fn upstream_record<'a>(
    tcp: &'a TcpRuntime,
    cluster: Option<&'a Rc<WorkerCluster>>,
    host: Option<&'a Rc<WorkerHost>>,
) -> UpstreamRecord<'a> {
    let config = cluster.map(|cluster| cluster.config());
    let first = tcp
        .config
        .clusters
        .first()
        .map_or("", |cluster| &*cluster.name);
    UpstreamRecord {
        cluster: config.map_or(first, |config| config.name.as_str()),
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
    record.bytes_received = outcome.received;
    record.bytes_sent = outcome.sent;
    record.duration = Some(duration);
    if let Some(upstream) = &mut record.upstream {
        upstream.bytes_sent = outcome.received;
        upstream.bytes_received = outcome.sent;
    }
    match outcome.end {
        RelayEnd::Idle => record.flags |= ResponseFlags::STREAM_IDLE_TIMEOUT,
        RelayEnd::Expired => record.flags |= ResponseFlags::DURATION_TIMEOUT,
        RelayEnd::Downstream(_) => record.flags |= ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION,
        RelayEnd::Upstream(_) => record.flags |= ResponseFlags::UPSTREAM_CONNECTION_TERMINATION,
        RelayEnd::Finished => {}
    }
}

fn report(tcp: &TcpRuntime, context: &TcpContext<'_>, record: &StreamRecord<'_>, delta: TcpDelta) {
    if let Some(istio) = &tcp.config.istio_stats {
        context.worker.recorder.tcp(istio, record, delta);
    }
    for logger in &tcp.loggers {
        AccessLogger::log(logger, &context.worker.logs, record);
    }
}

/// Chooses a cluster and a host and connects, as often as the configuration allows.
async fn connect(tcp: &TcpRuntime, context: &TcpContext<'_>) -> Target {
    let Some(name) = choose_cluster(&tcp.config.clusters, context) else {
        return failed(None, None, ResponseFlags::NO_ROUTE_FOUND, String::new());
    };
    let Some(cluster) = context.worker.pools.cluster(name) else {
        return failed(None, None, ResponseFlags::NO_CLUSTER_FOUND, String::new());
    };
    let mut last = None;
    for _ in 0..tcp.config.max_connect_attempts.max(1) {
        let lb = LbContext {
            original_destination: Some(context.info.local),
            ..LbContext::default()
        };
        let Some(host) = cluster.choose(&lb) else {
            return failed(
                Some(cluster),
                None,
                ResponseFlags::NO_HEALTHY_UPSTREAM,
                String::new(),
            );
        };
        match cluster.tcp(&host).await {
            Ok(stream) => {
                return Target::Reached {
                    cluster,
                    host,
                    stream,
                };
            }
            Err(failure) => last = Some((host, failure)),
        }
    }
    let Some((host, failure)) = last else {
        return failed(
            Some(cluster),
            None,
            ResponseFlags::NO_HEALTHY_UPSTREAM,
            String::new(),
        );
    };
    let mut flags = match failure {
        ConnectFailure::Overflow(_) => ResponseFlags::UPSTREAM_OVERFLOW,
        ConnectFailure::Timeout | ConnectFailure::Transport(_) | ConnectFailure::Tls(_) => {
            ResponseFlags::UPSTREAM_CONNECTION_FAILURE
        }
    };
    if tcp.config.max_connect_attempts > 1 {
        flags |= ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED;
    }
    let reason = failure.transport_failure_reason().to_owned();
    failed(Some(cluster), Some(host), flags, reason)
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

fn choose_cluster<'a>(clusters: &'a [ir::TcpCluster], context: &TcpContext<'_>) -> Option<&'a str> {
    if let [only] = clusters {
        return Some(&only.name);
    }
    let total: u64 = clusters
        .iter()
        .map(|cluster| u64::from(cluster.weight))
        .sum();
    let mut ticket = context.worker.random.below(total);
    for cluster in clusters {
        let weight = u64::from(cluster.weight);
        if ticket < weight {
            return Some(&cluster.name);
        }
        ticket -= weight;
    }
    None
}
