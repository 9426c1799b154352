//! The router: sends a request to a host of the route's cluster, again where the policy asks
//! for it, and gives back the upstream's response or an answer of the proxy's own.
//!
//! The exchange calls [`prepare`] with the route and the cluster decided, and runs what comes
//! of it.

pub(crate) mod attempt;
mod finalize;
pub(crate) mod hash;
mod hedge;
mod mirror;
pub(crate) mod reply;
pub(crate) mod retry;
mod strict;
pub(crate) mod timeout;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Response, StatusCode};
use meltemi_ir as ir;
use meltemi_telemetry::ResponseFlags;
use meltemi_upstream::{
    ConnectionDetails, HttpVersion, LbContext, Outcome, ResetReason, ResponseBody, RetryGuard,
    WorkerCluster, WorkerHost,
};
use tokio::time::Instant;

use crate::deadline::{Deadlines, Expired};
use crate::head::RequestHead;
use crate::headers::{names, number};
use crate::request_body::{RequestBody, RequestSource};
use crate::route::{RouteIndex, RouteTable, Target};
use crate::stream::Stream;
use crate::timer::wait_until;

pub(crate) use attempt::expired_reply;

use hash::Hashed;
use reply::LocalReply;
use retry::{Failure, RetryState};

/// How much of a body is kept where there is no retry policy: what is sent once more because it
/// lost the race with an upstream that closed an idle connection.
const KEPT_FOR_A_RACE: usize = 4 << 10;

/// What becomes of a failed or refused try.
enum Next {
    /// Another try, after this time.
    Again(Duration, RetryGuard),
    /// The end.
    Over,
}

/// What comes after a try, and what the client gets if nothing does.
type Judged = (Next, Result<Response<ResponseBody>, Box<LocalReply>>);

/// A request on its way to a cluster.
pub(crate) struct Forwarding {
    stream: Rc<Stream>,
    index: RouteIndex,
    cluster: Rc<WorkerCluster>,
    /// What the next try sends.
    head: Option<RequestHead>,
    body: RequestBody,
    retry: Option<Box<RetryState>>,
    tried: Vec<u64>,
    tried_priorities: retry::TriedPriorities,
    guard: Option<RetryGuard>,
    attempts: u32,
    timeouts: timeout::Timeouts,
    /// Something of the try's request may have gone out.
    started: bool,
    /// The upstream is told which try it is.
    count_attempts: bool,
    /// The upstream is told how long the answer is waited for.
    expect: bool,
    /// The request's hash, for clusters that balance by it.
    hash: Option<u64>,
    /// A try that takes too long goes on beside the next one.
    hedges: bool,
    /// A `CONNECT` that ends here.
    terminates: bool,
    /// The connection that the last try went out on.
    used: Option<(HttpVersion, Arc<ConnectionDetails>)>,
    /// The last try took too long.
    timed_out: bool,
}

/// How much of a request is kept for another try.
fn body_limit(stream: &Rc<Stream>, table: &RouteTable, index: RouteIndex) -> usize {
    let route = table.entry(index).config.body_buffer_limit;
    let limit = route.or_else(|| table.host(index).config.body_buffer_limit);
    limit.map_or(stream.connection.buffer_limit, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}

/// Makes a request ready for the route's cluster. `commands` says whether request headers that
/// overrule the route can be there.
pub(crate) fn prepare(
    stream: &Rc<Stream>,
    index: RouteIndex,
    mut head: RequestHead,
    mut source: RequestSource,
    deadlines: &mut Deadlines,
    commands: bool,
) -> Result<Forwarding, Box<LocalReply>> {
    let settings = &stream.settings;
    let table = settings.routes.as_ref().expect("the route is the table's");
    let host = table.host(index);
    let (config, target) = table
        .entry(index)
        .target()
        .expect("only a forwarding route gets here");
    let Some(cluster) = stream.facts.borrow().cluster.clone() else {
        let worker = stream.connection.worker.worker;
        settings.manager.stats.shard(worker).no_cluster.inc();
        stream.note_request(&head);
        return Err(LocalReply::cluster_not_found(config.cluster_not_found));
    };
    let router = &settings.manager.router;
    if let Some(reply) = strict::refusal(&router.strict_headers, &head.headers) {
        stream.note_request(&head);
        return Err(reply);
    }
    let policy = target.retry.as_deref();
    let told = router.respect_expected_timeout;
    let timeouts = timeout::Timeouts::take(config, policy, &mut head.headers, commands, told);
    stream.facts.borrow_mut().attempts = 1;
    let expect = !settings.manager.router.suppress_envoy_headers;
    let told = head.headers.get(names::HEDGE).filter(|_| commands);
    let hedges = told.map_or(target.hedge, |told| told == names::TRUE);
    if expect && let Some(expected) = timeouts.expected(Duration::ZERO, hedges) {
        head.headers.insert(names::EXPECTED_TIMEOUT, expected);
    }
    let count_attempts = host.config.include_request_attempt_count;
    if count_attempts {
        head.headers.insert(names::ATTEMPT_COUNT, number(1));
    }
    finalize::finalize(stream, table, index, &mut head);
    let fits = retry::request_fits(policy, &head.view(stream.random));
    let retry = RetryState::take(policy, &mut head.headers, fits, commands);
    let again = retry.is_some() || config.internal_redirect.is_some();
    let limit = body_limit(stream, table, index);
    let limit = if again {
        limit
    } else {
        limit.min(KEPT_FOR_A_RACE)
    };
    let kept = head.upgrade.is_none().then_some(limit);
    let hash = if target.hash.is_empty() {
        None
    } else {
        let facts = &mut *stream.facts.borrow_mut();
        let made = hash::of_request(&target.hash, &head, &Hashed::new(stream, facts));
        facts.set_cookies = made.set_cookies;
        made.hash
    };
    if !target.mirrors.is_empty() && head.path.is_some() {
        mirror::start(stream, &target.mirrors, &head, &mut source, timeouts.global);
    }
    let terminates = config.terminates_connect && head.path.is_none();
    let drop_trailers = !stream.is_http2() && !settings.manager.config.http1.trailers;
    if head.upgrade.is_none() && head.path.is_some() {
        deadlines.route = timeouts.global;
    }
    Ok(Forwarding {
        stream: stream.clone(),
        index,
        cluster,
        head: Some(head),
        body: RequestBody::new(source, drop_trailers, kept),
        hash,
        retry: retry.map(Box::new),
        tried: Vec::new(),
        tried_priorities: retry::TriedPriorities::default(),
        guard: None,
        attempts: 0,
        timeouts,
        started: false,
        count_attempts,
        expect,
        hedges,
        terminates,
        used: None,
        timed_out: false,
    })
}

impl Forwarding {
    /// The statistics of the cluster.
    pub(crate) fn cluster_stats(&self) -> &meltemi_telemetry::ClusterStats {
        self.cluster.stats()
    }

    /// The route and the cluster.
    pub(crate) fn place(&self) -> (RouteIndex, Option<usize>, Rc<WorkerCluster>) {
        let at = self.stream.facts.borrow().cluster_at;
        (self.index, at, self.cluster.clone())
    }

    /// Whether the whole request can be sent again.
    pub(crate) fn is_repeatable(&self) -> bool {
        self.body.is_empty() || (self.body.is_available() && self.body.is_kept())
    }

    /// The request's body, from its beginning.
    pub(crate) fn into_source(self) -> RequestSource {
        self.body.into_source(&self.stream)
    }

    /// Tries until there is a response, or an end to trying.
    pub(crate) async fn run(
        &mut self,
        deadlines: &mut Deadlines,
    ) -> Result<Response<ResponseBody>, Box<LocalReply>> {
        if self.hedges && self.retry.is_some() && self.timeouts.per_try.is_some() {
            return self.run_hedged(deadlines).await;
        }
        let stream = self.stream.clone();
        loop {
            let Some(host) = self.choose() else {
                return Err(self.no_host());
            };
            let spare = self.head_for(&host);
            self.limit(deadlines);
            let result = deadlines.race(&stream, self.attempt(&host)).await;
            deadlines.per_try = None;
            deadlines.per_try_idle = None;
            let (next, result) = self.judge(&host, result)?;
            match next {
                Next::Over => return self.over(result),
                Next::Again(pause, guard) => {
                    drop(result);
                    self.guard = Some(guard);
                    self.head = spare.map(|spare| *spare);
                    let until = Instant::now() + pause;
                    if !pause.is_zero()
                        && let Err(expired) = deadlines
                            .race(&stream, wait_until(&stream.connection.worker.sleeps, until))
                            .await
                    {
                        return Err(self.expired(expired));
                    }
                }
            }
        }
    }

    fn table(&self) -> &RouteTable {
        let settings = &self.stream.settings;
        settings.routes.as_ref().expect("the route is the table's")
    }

    fn target(&self) -> (&ir::RouteTarget, &Target) {
        let entry = self.table().entry(self.index);
        entry.target().expect("only a forwarding route gets here")
    }

    fn policy(&self) -> Option<&ir::RetryPolicy> {
        self.target().1.retry.as_deref()
    }

    /// What comes after a try. An error is the end of the whole.
    fn judge(
        &mut self,
        host: &Rc<WorkerHost>,
        result: Result<Result<Response<ResponseBody>, Failure>, Expired>,
    ) -> Result<Judged, Box<LocalReply>> {
        self.timed_out = matches!(result, Err(Expired::PerTry | Expired::PerTryIdle));
        let failure = match result {
            Ok(Ok(response)) => {
                host.record_response(!response.status().is_server_error());
                host.report(Outcome::Answer(attempt::outlier_status(&response)));
                if response
                    .headers()
                    .contains_key(names::IMMEDIATE_HEALTH_CHECK_FAIL)
                {
                    host.fail_health_check(&self.cluster);
                }
                let wanted = self.retry.as_ref().is_some_and(|retry| {
                    retry.wants_another(self.policy(), response.status(), response.headers())
                });
                return Ok((self.decide(wanted, Some(&response)), Ok(response)));
            }
            Ok(Err(failure)) => {
                host.record_response(false);
                if let Failure::Reset(ResetReason::RemoteReset | ResetReason::RemoteRefused) =
                    failure
                {
                    self.cluster.stats().upstream_rq_rx_reset.inc();
                }
                if failure.is_the_hosts() {
                    host.report(Outcome::Failed);
                }
                failure
            }
            Err(Expired::PerTry) => {
                self.cluster.stats().upstream_rq_per_try_timeout.inc();
                host.record_timeout();
                host.report(self.timeout_outcome());
                Failure::PerTryTimeout
            }
            Err(Expired::PerTryIdle) => {
                self.cluster.stats().upstream_rq_per_try_idle_timeout.inc();
                host.record_timeout();
                host.report(self.timeout_outcome());
                Failure::PerTryIdleTimeout
            }
            Err(expired) => {
                if expired == Expired::Route {
                    host.record_timeout();
                    host.report(self.timeout_outcome());
                }
                return Err(self.expired(expired));
            }
        };
        let reply = attempt::failure_reply(&failure, self.attempts > 1);
        Ok((self.after(&failure), Err(reply)))
    }

    /// What outlier detection is told of a timeout.
    fn timeout_outcome(&self) -> Outcome {
        let status = if self.timeouts.alternative { 204 } else { 504 };
        Outcome::Timeout(Some(status))
    }

    /// A host for the next try.
    fn choose(&mut self) -> Option<Rc<WorkerHost>> {
        let clusters = &self.target().0.clusters;
        let at = self.stream.facts.borrow().cluster_at.unwrap_or(0);
        let mut context = LbContext {
            metadata_match: clusters.get(at).map(|cluster| &cluster.metadata_match),
            original_destination: self.stream.connection.info.original_destination(),
            authority: self.head.as_ref().map(|head| &head.authority),
            headers: self.head.as_ref().map(|head| &head.headers),
            hash: self.hash,
            ..LbContext::default()
        };
        // The first try goes anywhere but to a host that the policy never wants.
        let policy = self.policy().filter(|_| self.retry.is_some());
        if let Some(policy) = policy {
            context.max_attempts = policy.host_selection_max_attempts;
            context.avoid_canaries = policy.omit_canary_hosts;
            context.avoid_metadata = &policy.omit_host_metadata;
            if policy.avoid_previous_hosts {
                context.avoid = &self.tried;
            }
            if policy.previous_priorities.is_some() {
                context.tried_priorities = self.tried_priorities.avoided;
            }
        }
        let host = self.cluster.choose(&context)?;
        let (keeps_hosts, frequency) = policy.map_or((false, None), |policy| {
            (policy.avoid_previous_hosts, policy.previous_priorities)
        });
        self.attempts += 1;
        self.stream.facts.borrow_mut().attempts = self.attempts;
        if keeps_hosts {
            self.tried.push(host.id());
        }
        if let Some(frequency) = frequency {
            let priority = host.attributes().priority;
            self.tried_priorities.add(priority, frequency);
        }
        Some(host)
    }

    /// Makes the head what this try sends to this host. Returns it as it was, where there may
    /// be another try.
    fn head_for(&mut self, host: &Rc<WorkerHost>) -> Option<Box<RequestHead>> {
        let mut head = self.head.take().expect("each try leaves one for the next");
        let spare = self.retry.as_ref().map(|_| Box::new(head.clone()));
        if self.attempts > 1 {
            if self.count_attempts {
                head.headers
                    .insert(names::ATTEMPT_COUNT, number(u64::from(self.attempts)));
            }
            let host = self.table().host(self.index);
            if host.config.include_is_timeout_retry {
                let value = if self.timed_out { "true" } else { "false" };
                head.headers.insert(
                    names::IS_TIMEOUT_RETRY,
                    http::HeaderValue::from_static(value),
                );
            }
            let elapsed = match self.stream.request_done.get() {
                Some(done) => done.elapsed(),
                None => Duration::ZERO,
            };
            if self.expect
                && let Some(expected) = self.timeouts.expected(elapsed, self.hedges)
            {
                head.headers.insert(names::EXPECTED_TIMEOUT, expected);
            }
        }
        let (config, _) = self.target();
        if config.host_rewrite == ir::HostRewrite::Endpoint && !host.hostname().is_empty() {
            finalize::rewrite_host(&mut head, host.hostname(), config.append_x_forwarded_host);
        }
        if self.attempts == 1 {
            self.stream.note_request(&head);
        }
        let mut facts = self.stream.facts.borrow_mut();
        facts.host = Some(host.clone());
        facts.transport_failure = None;
        drop(facts);
        self.head = Some(head);
        spare
    }

    /// Sets the limits of the next try.
    fn limit(&self, deadlines: &mut Deadlines) {
        let began = |limit| (Instant::now(), limit);
        deadlines.per_try = self.timeouts.per_try.map(began);
        deadlines.per_try_idle = self.timeouts.per_try_idle.map(began);
        deadlines.changed(&self.stream);
    }

    fn after(&mut self, failure: &Failure) -> Next {
        if let Failure::Connect(connect) = failure {
            let reason = connect.transport_failure_reason();
            self.stream.facts.borrow_mut().transport_failure =
                (!reason.is_empty()).then(|| reason.into());
        }
        let wanted = self
            .retry
            .as_ref()
            .is_some_and(|retry| retry.wants_another_after(failure, self.started));
        self.decide(wanted, None)
    }

    /// Whether another try is made where one is wanted, after this response or none.
    fn decide(&mut self, wanted: bool, response: Option<&Response<ResponseBody>>) -> Next {
        let retried = self.guard.take().is_some();
        let stats = self.cluster.stats();
        if !wanted {
            if retried {
                stats.upstream_rq_retry_success.inc();
            }
            return Next::Over;
        }
        if !self.body.is_available() {
            if self.body.was_abandoned() {
                stats.retry_or_shadow_abandoned.inc();
            }
            return Next::Over;
        }
        let priority = self.target().0.priority;
        let stats = self.cluster.stats();
        let Some(retry) = &mut self.retry else {
            return Next::Over;
        };
        if !retry.take_one() {
            stats.upstream_rq_retry_limit_exceeded.inc();
            self.stream
                .flag(ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED);
            return Next::Over;
        }
        let Some(guard) = self.cluster.retry(priority) else {
            self.stream.flag(ResponseFlags::UPSTREAM_OVERFLOW);
            return Next::Over;
        };
        let worker = &self.stream.connection.worker;
        let told = response.and_then(|response| {
            let limited = retry.rate_limited.as_ref()?;
            retry::told_to_wait(limited, response.headers(), &worker.clock, &worker.random)
        });
        stats.upstream_rq_retry.inc();
        if let Some(response) = response {
            stats.retry.get().count(response.status().as_u16());
        }
        let pause = match told {
            Some(pause) => {
                stats.upstream_rq_retry_backoff_ratelimited.inc();
                pause
            }
            None => {
                stats.upstream_rq_retry_backoff_exponential.inc();
                retry.back_off(&worker.random)
            }
        };
        Next::Again(pause, guard)
    }

    fn over(
        &self,
        result: Result<Response<ResponseBody>, Box<LocalReply>>,
    ) -> Result<Response<ResponseBody>, Box<LocalReply>> {
        match &result {
            Ok(response) => self.count(response.status()),
            // a request that broke off is no fault of the cluster's
            Err(reply) if reply.flags == ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR => {}
            Err(reply) => self.count(reply.status),
        }
        result
    }

    fn count(&self, status: StatusCode) {
        let internal = self.stream.facts.borrow().internal;
        self.cluster
            .stats()
            .count_response(status.as_u16(), internal);
    }

    fn no_host(&self) -> Box<LocalReply> {
        if let Some(head) = &self.head
            && !self.stream.is_noted()
        {
            self.stream.note_request(head);
        }
        self.cluster.stats().upstream_cx_none_healthy.inc();
        let reply = LocalReply::no_healthy_upstream();
        self.count(reply.status);
        reply
    }

    fn expired(&self, expired: Expired) -> Box<LocalReply> {
        let worker = self.stream.connection.worker.worker;
        let stats = self.stream.settings.manager.stats.shard(worker);
        let received = self.stream.request_done.get().is_some();
        let reply = expired_reply(expired, received, self.timeouts.alternative);
        match expired {
            Expired::Route | Expired::PerTry | Expired::PerTryIdle => {
                self.cluster.stats().upstream_rq_timeout.inc();
            }
            Expired::Idle => stats.downstream_rq_idle_timeout.inc(),
            Expired::Duration => stats.downstream_rq_max_duration_reached.inc(),
            Expired::Request => stats.downstream_rq_timeout.inc(),
        }
        if reply.by == reply::Author::Router {
            self.count(reply.status);
        }
        reply
    }
}
