//! `envoy.filters.http.health_check`: answers requests that ask for this proxy's health.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use http::{HeaderName, StatusCode};
use meltemi_ir as ir;
use meltemi_telemetry::ResponseFlags;
use meltemi_upstream::HostHealth;
use tokio::time::Instant;

use super::{Decision, HttpFilter, RequestContext, ResponseContext};
use crate::headers::names;
use crate::route::{Source, header_matches};
use crate::router::reply::LocalReply;
use crate::worker::WorkerContext;

/// The filter with its settings.
pub(crate) struct HealthCheckFilter {
    config: Arc<ir::HealthCheckFilter>,
    cached: Mutex<Option<(Instant, StatusCode)>>,
}

impl HealthCheckFilter {
    pub(crate) fn new(config: Arc<ir::HealthCheckFilter>) -> Self {
        Self {
            config,
            cached: Mutex::new(None),
        }
    }

    /// An answer that is still good.
    fn cached(&self) -> Option<StatusCode> {
        let good_for = self.config.cache?;
        let cached = *self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, status) = cached?;
        (since.elapsed() < good_for).then_some(status)
    }

    /// The status of the clusters, and why.
    fn clusters(&self, worker: &WorkerContext) -> (StatusCode, &'static str) {
        const FAILED: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
        if self.config.clusters.is_empty() {
            return (StatusCode::OK, "health_check_ok");
        }
        for (name, percent) in &self.config.clusters {
            let Some(cluster) = worker.pools.cluster(name) else {
                return (FAILED, "health_check_failed_no_cluster_found");
            };
            let hosts = cluster.hosts();
            let total = hosts.iter().count();
            let healthy = hosts
                .iter()
                .filter(|entry| entry.host.health() != HostHealth::Unhealthy)
                .count();
            if total == 0 {
                if *percent > 0.0 {
                    return (FAILED, "health_check_failed_cluster_empty");
                }
            } else if 100.0 * (healthy as f64) < total as f64 * percent {
                return (FAILED, "health_check_failed_cluster_unhealthy");
            }
        }
        (StatusCode::OK, "health_check_ok_cluster_healthy")
    }
}

/// This filter's question was asked.
struct Asked;

/// How much of a question's body is read.
const MOST: usize = 64 << 10;

impl HealthCheckFilter {
    fn answer(&self, worker: &WorkerContext) -> Decision {
        let (status, details) = if worker.is_failing() {
            (StatusCode::SERVICE_UNAVAILABLE, "health_check_failed")
        } else if let Some(status) = self.cached() {
            (status, "health_check_cached")
        } else {
            self.clusters(worker)
        };
        let flags = if status.is_success() {
            ResponseFlags::NONE
        } else {
            ResponseFlags::FAILED_LOCAL_HEALTH_CHECK
        };
        Decision::Reply(LocalReply::new(status, "", details, flags))
    }
}

impl HttpFilter for HealthCheckFilter {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Decision {
        let view = request.head.view(request.stream.random);
        let source = Source::Request(&view);
        let mut matchers = self.config.headers.iter();
        if !matchers.all(|matcher| header_matches(matcher, &source)) {
            return Decision::Continue;
        }
        request.stream.facts.borrow_mut().notes.health_check = true;
        request.remember(Asked);
        let failing = request.worker().is_failing();
        let cached = self.cached();
        if self.config.pass_through && !failing && cached.is_none() {
            return Decision::Continue;
        }
        if request.body.is_end() {
            self.answer(request.worker())
        } else {
            Decision::Buffer(MOST)
        }
    }

    fn on_whole_body(&self, request: &mut RequestContext<'_>) -> Decision {
        self.answer(request.worker())
    }

    fn on_response(&self, response: &mut ResponseContext<'_>) {
        const CLUSTER: HeaderName =
            HeaderName::from_static("x-envoy-upstream-healthchecked-cluster");
        const FAIL: HeaderName = HeaderName::from_static("x-envoy-immediate-health-check-fail");
        if response.recall::<Asked>().is_some() {
            if self.config.cache.is_some() && self.cached().is_none() {
                let answer = Some((Instant::now(), *response.status));
                *self.cached.lock().unwrap_or_else(PoisonError::into_inner) = answer;
            }
            let cluster = response.worker().identity.cluster.clone();
            response.headers.insert(CLUSTER, cluster);
        } else if response.worker().is_failing() {
            response.headers.insert(FAIL, names::TRUE);
        }
    }
}
