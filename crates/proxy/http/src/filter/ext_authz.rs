//! `envoy.filters.http.ext_authz`: asks somebody else whether a request may pass, and does what the
//! answer says.
//!
//! What is told of the request is gathered in an [`Inquiry`], asked over HTTP (`http_service`) or
//! gRPC (`grpc_service`), and what comes back is a [`Verdict`], whoever gave it.

pub(crate) mod connection;
mod grpc_service;
mod http_service;
mod inquiry;
mod verdict;
mod wire;

use std::sync::Arc;

use http::{HeaderName, StatusCode};
use meltemi_ir as ir;
use meltemi_telemetry::{ExtAuthzStats, ResponseFlags, Sharded, StatsRegistry};

use super::{
    Decision, FilterParts, HttpFilter, RequestContext, ResponseContext, Resume, RouteConfig,
};
use crate::headers::names;
use crate::mutation::{Mutation, MutationError};
use crate::router::reply::LocalReply;

use inquiry::Inquiry;
use verdict::{Changes, Verdict};

/// The namespace of the metadata that the filter writes.
const NAMESPACE: &str = "envoy.filters.http.ext_authz";

/// The filter with its settings.
pub(crate) struct ExtAuthzFilter(Arc<Shared>);

/// What outlasts a request's wait for the answer.
struct Shared {
    config: Arc<ir::ExtAuthz>,
    /// Headers of the request to the service.
    headers: Mutation,
    stats: Arc<Sharded<ExtAuthzStats>>,
    registry: Arc<StatsRegistry>,
}

/// What the response gets.
struct Later(Changes);

/// What the routes of a request say of the filter, all scopes together.
#[derive(Default)]
struct OfRoute {
    context: std::collections::BTreeMap<String, String>,
    body: Option<ir::AuthzBody>,
}

impl ExtAuthzFilter {
    pub(crate) fn new(
        config: Arc<ir::ExtAuthz>,
        parts: &FilterParts<'_>,
    ) -> Result<Self, MutationError> {
        let headers = match &config.service {
            ir::AuthzService::Http(service) => Mutation::new(&service.headers_to_add)?,
            ir::AuthzService::Grpc(target) => Mutation::new(&ir::HeaderMutation {
                remove: Vec::new(),
                add: target.metadata.clone(),
            })?,
        };
        Ok(Self(Arc::new(Shared {
            headers,
            stats: parts
                .stats
                .ext_authz(parts.stat_prefix, &config.stat_prefix),
            registry: parts.stats.clone(),
            config,
        })))
    }

    fn of_route(&self, request: &RequestContext<'_>) -> OfRoute {
        let mut whole = OfRoute {
            body: self.0.config.body,
            ..OfRoute::default()
        };
        let scopes: Vec<_> = request.place.route.configs(request.place.name).collect();
        // The narrowest scope comes first and has the last word.
        for scope in scopes.into_iter().rev() {
            if let RouteConfig::ExtAuthz(route) = scope {
                let context = route.context.iter();
                let context = context.map(|(key, value)| (key.clone(), value.clone()));
                whole.context.extend(context);
                whole.body = match (route.no_body, route.body) {
                    (true, _) => None,
                    (false, body) => body.or(self.0.config.body),
                };
            }
        }
        whole
    }

    /// Whether this request is asked about at all.
    fn is_enabled(&self, request: &RequestContext<'_>) -> bool {
        let config = &self.0.config;
        let by_share = config.enabled_per_million;
        if !by_share.is_none_or(|share| request.chance(share)) {
            return false;
        }
        let facts = request.stream.facts.borrow();
        let metadata = facts.notes.shared().map(|shared| &shared.metadata);
        let matcher = config.enabled_metadata.as_ref();
        matcher.is_none_or(|matcher| matcher.matches(metadata))
    }

    fn ask(&self, request: &mut RequestContext<'_>) -> Decision {
        let of_route = self.of_route(request);
        let shared = self.0.clone();
        let inquiry = Inquiry::new(&shared.config, of_route.body, of_route.context, request);
        let headers = shared.service_headers(request);
        let worker = request.stream.connection.worker.clone();
        let began = worker.clock.now();
        Decision::Wait(Box::pin(async move {
            let verdict = match &shared.config.service {
                ir::AuthzService::Http(service) => {
                    http_service::ask(service, &shared.config, headers, inquiry, &worker).await
                }
                ir::AuthzService::Grpc(target) => {
                    grpc_service::ask(target, headers, &inquiry, &worker).await
                }
            };
            let milliseconds = (worker.clock.now() - began).as_millis();
            let resume: Resume = Box::new(move |request: &mut RequestContext<'_>| {
                shared.follow(verdict, milliseconds, request)
            });
            resume
        }))
    }
}

impl HttpFilter for ExtAuthzFilter {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Decision {
        let config = &self.0.config;
        if !self.is_enabled(request) {
            self.0.stats.shard(request.worker().worker).disabled.inc();
            return if config.deny_at_disable {
                Decision::Reply(refuse(config.status_on_error, "ext_authz_error"))
            } else {
                Decision::Continue
            };
        }
        let whole = request.body.is_end() || request.head.upgrade.is_some();
        match self.of_route(request).body {
            Some(body) if !whole && request.head.path.is_some() => {
                if body.partial {
                    Decision::BufferUpTo(body.most)
                } else {
                    Decision::Buffer(body.most)
                }
            }
            _ => self.ask(request),
        }
    }

    fn on_whole_body(&self, request: &mut RequestContext<'_>) -> Decision {
        self.ask(request)
    }

    fn on_response(&self, response: &mut ResponseContext<'_>) {
        if let Some(Later(changes)) = response.recall() {
            changes.apply(response.headers);
        }
    }
}

impl Shared {
    /// Headers of the request to the service.
    fn service_headers(&self, request: &RequestContext<'_>) -> http::HeaderMap {
        let mut headers = http::HeaderMap::new();
        if !self.headers.is_empty() {
            let stream = request.stream;
            let values = if self.headers.needs_record() {
                stream.with_record(None, Some(&*request.head), None, |record| {
                    self.headers.values(record)
                })
            } else {
                Vec::new()
            };
            self.headers
                .apply(&mut headers, &mut crate::mutation::NoPseudo, values);
        }
        headers
    }

    /// Does what the answer says.
    fn follow(
        &self,
        verdict: Verdict,
        milliseconds: u128,
        request: &mut RequestContext<'_>,
    ) -> Decision {
        let worker = request.worker().worker;
        let stats = self.stats.shard(worker);
        let cluster = request.stream.facts.borrow().cluster.clone();
        let of_cluster = cluster.as_ref().map(|cluster| {
            let name = &cluster.config().name;
            self.registry
                .cluster_ext_authz(name, &self.config.stat_prefix)
        });
        let of_cluster = of_cluster.as_ref().map(|stats| stats.shard(worker));
        match verdict {
            Verdict::Allowed(allowed) => {
                stats.ok.inc();
                if let Some(stats) = of_cluster {
                    stats.ok.inc();
                }
                self.note(allowed.metadata, Some(milliseconds), stats, request);
                let changed = allowed.request.apply_to_request(request.head);
                if changed && self.config.clear_route_cache {
                    request.stream.facts.borrow_mut().notes.reroute = true;
                }
                if !allowed.response.is_empty() {
                    request.remember(Later(allowed.response));
                }
                Decision::Continue
            }
            Verdict::Denied(denied) => {
                stats.denied.inc();
                if let Some(stats) = of_cluster {
                    stats.denied.inc();
                }
                if self.config.charge_cluster
                    && let Some(cluster) = &cluster
                {
                    let internal = request.stream.facts.borrow().internal;
                    let status = denied.status.as_u16();
                    cluster.stats().count_response(status, internal);
                }
                self.note(denied.metadata, None, stats, request);
                let mut reply = refuse(denied.status, "ext_authz_denied");
                let most = self.config.max_denied_body;
                reply.body = if most > 0 && denied.body.len() > most {
                    denied.body.slice(..most)
                } else {
                    denied.body
                };
                denied.headers.apply(&mut reply.headers);
                Decision::Reply(reply)
            }
            Verdict::Error => {
                stats.error.inc();
                if let Some(stats) = of_cluster {
                    stats.error.inc();
                }
                if !self.config.failure_mode_allow {
                    return Decision::Reply(refuse(self.config.status_on_error, "ext_authz_error"));
                }
                stats.failure_mode_allowed.inc();
                if let Some(stats) = of_cluster {
                    stats.failure_mode_allowed.inc();
                }
                if self.config.failure_mode_allow_header {
                    const ALLOWED: HeaderName =
                        HeaderName::from_static("x-envoy-auth-failure-mode-allowed");
                    request.head.headers.insert(ALLOWED, names::TRUE);
                }
                Decision::Continue
            }
        }
    }

    /// Keeps the metadata of an answer.
    fn note(
        &self,
        mut metadata: std::collections::BTreeMap<String, ir::Value>,
        milliseconds: Option<u128>,
        stats: &ExtAuthzStats,
        request: &RequestContext<'_>,
    ) {
        if metadata.is_empty() {
            return;
        }
        if !self.config.ingest_metadata {
            stats.ignored_dynamic_metadata.inc();
            return;
        }
        if let Some(milliseconds) = milliseconds {
            let duration = ir::Value::Number(milliseconds as f64);
            metadata.insert("ext_authz_duration".to_owned(), duration);
        }
        let mut facts = request.stream.facts.borrow_mut();
        let shared = &mut facts.notes.shared_mut().metadata;
        let known = shared.0.entry(NAMESPACE.to_owned()).or_default();
        known.extend(metadata);
    }
}

fn refuse(status: StatusCode, details: &'static str) -> Box<LocalReply> {
    LocalReply::new(
        status,
        "",
        details,
        ResponseFlags::UNAUTHORIZED_EXTERNAL_SERVICE,
    )
}
