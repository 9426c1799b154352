//! `envoy.filters.http.fault`: delays requests, answers them with errors and slows responses
//! down, on purpose.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::HeaderName;
use http::{HeaderMap, StatusCode};
use meltemi_ir as ir;
use meltemi_telemetry::{FaultStats, ResponseFlags, Sharded, StatsRegistry};
use tokio::time::Instant;

use super::{
    Decision, FilterParts, HttpFilter, RequestContext, ResponseContext, Resume, RouteConfig,
};
use crate::headers::{names, parse_number};
use crate::route::{Source, header_matches};
use crate::router::reply::LocalReply;
use crate::timer::wait_until;

/// The filter with its settings.
pub(crate) struct FaultFilter {
    config: Arc<ir::Fault>,
    active: Arc<AtomicU64>,
    stats: Arc<Sharded<FaultStats>>,
    registry: Arc<StatsRegistry>,
    prefix: String,
}

/// A fault in progress; it counts until dropped.
struct Active {
    count: Arc<AtomicU64>,
    stats: Arc<Sharded<FaultStats>>,
    worker: meltemi_lifecycle::WorkerId,
}

/// A response that is slowed down to so many KiB per second.
struct Slow(u64);

impl FaultFilter {
    pub(crate) fn new(config: Arc<ir::Fault>, parts: &FilterParts<'_>) -> Self {
        Self {
            config,
            active: Arc::default(),
            stats: parts.stats.fault(parts.stat_prefix, None),
            registry: parts.stats.clone(),
            prefix: parts.stat_prefix.to_owned(),
        }
    }

    /// Whether one fault more is allowed; it counts from now on.
    fn begin(&self, config: &ir::Fault, request: &RequestContext<'_>) -> bool {
        let worker = request.worker().worker;
        let stats = self.stats.shard(worker);
        if let Some(most) = config.max_active
            && self.active.load(Ordering::Relaxed) >= most
        {
            stats.faults_overflow.inc();
            return false;
        }
        self.active.fetch_add(1, Ordering::Relaxed);
        stats.active_faults.inc();
        request.remember(Active {
            count: self.active.clone(),
            stats: self.stats.clone(),
            worker,
        });
        true
    }

    fn count_cluster(&self, request: &RequestContext<'_>, count: impl Fn(&FaultStats)) {
        let worker = request.worker().worker;
        count(self.stats.shard(worker));
        let cluster = request.head.headers.get(names::DOWNSTREAM_SERVICE_CLUSTER);
        if let Some(cluster) = cluster.and_then(|value| value.to_str().ok())
            && !cluster.is_empty()
            && !config(&self.config, request).no_downstream_cluster_stats
        {
            let stats = self.registry.fault(&self.prefix, Some(cluster));
            count(stats.shard(worker));
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.stats.shard(self.worker).active_faults.dec();
    }
}

/// The route's settings, or the filter's own.
fn config<'a>(own: &'a Arc<ir::Fault>, request: &RequestContext<'a>) -> &'a Arc<ir::Fault> {
    match request.place.config() {
        Some(RouteConfig::Fault(config)) => config,
        _ => own,
    }
}

impl HttpFilter for FaultFilter {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Decision {
        let config = config(&self.config, request);
        let idle = config.delay.is_none() && config.abort.is_none() && config.rate_limit.is_none();
        if idle || !concerns(config, request) {
            return Decision::Continue;
        }
        let config = config.clone();
        let mut begun = false;
        if let Some(kilobytes) = rate(&config, request)
            && self.begin(&config, request)
        {
            begun = true;
            self.count_cluster(request, |stats| stats.response_rl_injected.inc());
            request.remember(Slow(kilobytes));
        }
        let delay = delay(&config, request);
        if let Some(delay) = delay
            && (begun || self.begin(&config, request))
        {
            self.count_cluster(request, |stats| stats.delays_injected.inc());
            request.stream.flag(ResponseFlags::DELAY_INJECTED);
            let sleeps = request.worker().sleeps.clone();
            let until = Instant::now() + delay;
            let abort = self.abort_later(&config, request);
            return Decision::Wait(Box::pin(async move {
                wait_until(&sleeps, until).await;
                abort
            }));
        }
        match abort(&config, request) {
            Some(status) if begun || self.begin(&config, request) => {
                self.count_cluster(request, |stats| stats.aborts_injected.inc());
                aborted(&config, status)
            }
            _ => Decision::Continue,
        }
    }

    fn on_response(&self, response: &mut ResponseContext<'_>) {
        if let Some(Slow(kilobytes)) = response.recall() {
            response.stream.slow_down(kilobytes.saturating_mul(1024));
        }
    }
}

impl FaultFilter {
    /// What follows a delay: perhaps an abort, which is no second fault.
    fn abort_later(&self, config: &Arc<ir::Fault>, request: &RequestContext<'_>) -> Resume {
        let Some(status) = abort(config, request) else {
            return Box::new(|_| Decision::Continue);
        };
        let (stats, config) = (self.stats.clone(), config.clone());
        Box::new(move |request| {
            stats.shard(request.worker().worker).aborts_injected.inc();
            aborted(&config, status)
        })
    }
}

/// Whether the request is one of those that faults are for.
fn concerns(config: &ir::Fault, request: &RequestContext<'_>) -> bool {
    let facts = request.stream.facts.borrow();
    if !config.upstream_cluster.is_empty() {
        let cluster = facts.cluster.as_ref();
        if cluster.is_none_or(|cluster| cluster.config().name != config.upstream_cluster) {
            return false;
        }
    }
    drop(facts);
    if !config.downstream_nodes.is_empty() {
        let node = request.head.headers.get(names::DOWNSTREAM_SERVICE_NODE);
        let node = node.and_then(|value| value.to_str().ok());
        if !config
            .downstream_nodes
            .iter()
            .any(|wanted| Some(wanted.as_str()) == node)
        {
            return false;
        }
    }
    let view = request.head.view(request.stream.random);
    let source = Source::Request(&view);
    let fits = |matcher| header_matches(matcher, &source);
    config.headers.iter().all(fits)
}

/// The share of requests: the configured one, or a smaller one that a header asks for.
fn share(headers: &HeaderMap, name: &'static str, per_million: u32, unit: u32) -> u32 {
    let name = HeaderName::from_static(name);
    match parse_number(headers.get(name)) {
        Some(asked) => u32::try_from(asked.saturating_mul(u64::from(unit)))
            .unwrap_or(u32::MAX)
            .min(per_million),
        None => per_million,
    }
}

fn delay(config: &ir::Fault, request: &RequestContext<'_>) -> Option<Duration> {
    const LENGTH: HeaderName = HeaderName::from_static("x-envoy-fault-delay-request");
    const SHARE: &str = "x-envoy-fault-delay-request-percentage";
    let delay = config.delay.as_ref()?;
    let headers = &request.head.headers;
    let (length, per_million) = match delay.length {
        ir::FaultAmount::Fixed(length) => (length, delay.per_million),
        ir::FaultAmount::Header => (
            Duration::from_millis(parse_number(headers.get(LENGTH))?),
            share(headers, SHARE, delay.per_million, delay.unit),
        ),
    };
    (!length.is_zero() && request.chance(per_million)).then_some(length)
}

fn abort(config: &ir::Fault, request: &RequestContext<'_>) -> Option<Result<StatusCode, u32>> {
    const HTTP: HeaderName = HeaderName::from_static("x-envoy-fault-abort-request");
    const GRPC: HeaderName = HeaderName::from_static("x-envoy-fault-abort-grpc-request");
    const SHARE: &str = "x-envoy-fault-abort-request-percentage";
    let abort = config.abort.as_ref()?;
    let headers = &request.head.headers;
    let (status, per_million) = match abort.status {
        ir::FaultAmount::Fixed(status) => (status, abort.per_million),
        ir::FaultAmount::Header => {
            let http = parse_number(headers.get(HTTP))
                .and_then(|code| u16::try_from(code).ok())
                .filter(|code| (200..600).contains(code))
                .and_then(|code| StatusCode::from_u16(code).ok());
            let grpc = || parse_number(headers.get(GRPC)).and_then(|code| code.try_into().ok());
            let status = match http {
                Some(status) => Ok(status),
                None => Err(grpc()?),
            };
            (status, share(headers, SHARE, abort.per_million, abort.unit))
        }
    };
    request.chance(per_million).then_some(status)
}

fn rate(config: &ir::Fault, request: &RequestContext<'_>) -> Option<u64> {
    const RATE: HeaderName = HeaderName::from_static("x-envoy-fault-throughput-response");
    const SHARE: &str = "x-envoy-fault-throughput-response-percentage";
    let limit = config.rate_limit.as_ref()?;
    let headers = &request.head.headers;
    let (kilobytes, per_million) = match limit.kilobytes {
        ir::FaultAmount::Fixed(kilobytes) => (kilobytes, limit.per_million),
        ir::FaultAmount::Header => (
            parse_number(headers.get(RATE)).filter(|rate| *rate > 0)?,
            share(headers, SHARE, limit.per_million, limit.unit),
        ),
    };
    request.chance(per_million).then_some(kilobytes)
}

fn aborted(config: &ir::Fault, status: Result<StatusCode, u32>) -> Decision {
    const DETAILS: &str = "fault_filter_abort";
    let body = config
        .abort
        .as_ref()
        .map_or("", |abort| abort.body.as_str());
    let (http, grpc) = match status {
        Ok(status) => (status, None),
        Err(grpc) => (StatusCode::OK, Some(grpc)),
    };
    let text = "fault filter abort";
    let mut reply = LocalReply::new(http, text, DETAILS, ResponseFlags::FAULT_INJECTED);
    if !body.is_empty() {
        reply.body = bytes::Bytes::copy_from_slice(body.as_bytes());
    }
    reply.grpc_status = grpc;
    Decision::Reply(reply)
}
