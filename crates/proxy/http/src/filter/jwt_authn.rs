//! `envoy.filters.http.jwt_authn`: lets requests pass that carry the tokens that they need, and
//! says to others what became of the tokens.
//!
//! A request's requirement is found by rule, route or filter state. Keys that it may need and that
//! are not here are fetched first; then everything is decided at once (`verify`), so that no
//! request waits with half of its headers changed.

mod cache;
mod keys;
mod location;
mod provider;
mod verify;

use std::rc::Rc;
use std::sync::Arc;

use http::header::{self, HeaderValue};
use http::{Method, StatusCode};
use meltemi_ir as ir;
use meltemi_jwt::Failure;
use meltemi_telemetry::{JwtAuthnStats, ResponseFlags, Sharded};

use super::{Decision, FilterParts, HttpFilter, RequestContext, RouteConfig};
use crate::headers::names;
use crate::route::{RequestView, matches};
use crate::router::reply::LocalReply;
use crate::worker::WorkerContext;

use provider::Provider;
use verify::{Fetched, Verification};

/// The namespace of the metadata that the filter writes.
const NAMESPACE: &str = "envoy.filters.http.jwt_authn";

/// The filter with its settings.
pub(crate) struct JwtAuthnFilter(Arc<Shared>);

/// What outlasts a request's wait for keys.
struct Shared {
    config: Arc<ir::JwtAuthn>,
    providers: Box<[Provider]>,
    stats: Arc<Sharded<JwtAuthnStats>>,
}

/// Which requirement a request has.
enum Found<'a> {
    Nothing,
    Requirement(&'a ir::JwtRequirement),
    /// The route names one that there is not.
    Unknown(&'a str),
}

impl JwtAuthnFilter {
    pub(crate) fn new(config: Arc<ir::JwtAuthn>, parts: &FilterParts<'_>) -> Self {
        let workers = parts.stats.workers();
        let stats = parts
            .stats
            .jwt_authn(parts.stat_prefix, &config.stat_prefix);
        let providers = config.providers.iter();
        Self(Arc::new(Shared {
            providers: providers
                .map(|provider| Provider::new(provider, workers))
                .collect(),
            stats,
            config,
        }))
    }
}

impl HttpFilter for JwtAuthnFilter {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Decision {
        let shared = &self.0;
        let stats = shared.stats.shard(request.worker().worker);
        if shared.config.bypass_cors_preflight && is_preflight(request) {
            stats.cors_preflight_bypassed.inc();
            stats.allowed.inc();
            return Decision::Continue;
        }
        let found = shared.find(request);
        let requirement = match found {
            Found::Requirement(requirement) => requirement,
            Found::Nothing => {
                stats.allowed.inc();
                return Decision::Continue;
            }
            Found::Unknown(name) => {
                stats.denied.inc();
                return shared.unknown_requirement(name);
            }
        };
        let missing = shared.missing_keys(requirement, request);
        if missing.is_empty() {
            return shared.decide(requirement, request, &Fetched::default());
        }
        let requirement = requirement.clone();
        let (shared, worker) = (shared.clone(), request.stream.connection.worker.clone());
        Decision::Wait(Box::pin(async move {
            let fetched = shared.fetch(&missing, &worker).await;
            let resume: super::Resume = Box::new(move |request: &mut RequestContext<'_>| {
                shared.decide(&requirement, request, &fetched)
            });
            resume
        }))
    }
}

impl Shared {
    fn find<'a>(&'a self, request: &RequestContext<'a>) -> Found<'a> {
        if let Some(RouteConfig::JwtAuthn(route)) = request.place.config() {
            let Some(name) = &route.requirement else {
                return Found::Nothing;
            };
            return match self.config.requirements.get(name) {
                Some(requirement) => Found::Requirement(requirement),
                None => Found::Unknown(name),
            };
        }
        let facts = request.stream.facts.borrow();
        let state = facts.notes.shared();
        let view = RequestView {
            internal: facts.internal,
            metadata: state.map(|shared| &shared.metadata),
            ..request.head.view(request.stream.random)
        };
        let path = view.path_only();
        let rules = &self.config.rules;
        if let Some(rule) = rules
            .iter()
            .find(|rule| matches(&rule.matcher, &view, path))
        {
            return match &rule.requirement {
                Some(requirement) => Found::Requirement(requirement),
                None => Found::Nothing,
            };
        }
        let by_state = self.config.filter_state.as_ref().and_then(|(name, by)| {
            let value = state?.state.get(name)?;
            by.get(value)
        });
        by_state.map_or(Found::Nothing, Found::Requirement)
    }

    fn unknown_requirement(&self, name: &str) -> Decision {
        let known: Vec<&str> = self
            .config
            .requirements
            .keys()
            .map(String::as_str)
            .collect();
        let problem = format!(
            "Wrong requirement_name: {name}. It should be one of [{}]",
            known.join(",")
        );
        let mut reply = denied(StatusCode::FORBIDDEN, &problem);
        if !self.config.strip_failure_response {
            reply.body = format!("Failed JWT authentication: {problem}").into();
        }
        Decision::Reply(reply)
    }

    /// The providers whose keys the request needs and that are not here.
    fn missing_keys(
        &self,
        requirement: &ir::JwtRequirement,
        request: &RequestContext<'_>,
    ) -> Vec<usize> {
        let now = request.worker().clock.now();
        let mut wanted = Vec::new();
        verify::providers(requirement, &mut wanted);
        wanted.retain(|index| {
            let provider = &self.providers[*index];
            provider.keys.is_wanting(now)
        });
        if wanted.is_empty() {
            return wanted;
        }
        let seconds = request.worker().clock.since_epoch().as_secs();
        let may_need = verify::may_need_keys(requirement, &self.providers, request.head, seconds);
        wanted.retain(|index| may_need.contains(index));
        wanted
    }

    async fn fetch(self: &Arc<Self>, missing: &[usize], worker: &Rc<WorkerContext>) -> Fetched {
        let mut fetched = Fetched::default();
        for index in missing {
            let keys = &self.providers[*index].keys;
            let stats = self.stats.shard(worker.worker);
            fetched.insert(*index, keys.fetch(worker, stats).await);
        }
        fetched
    }

    /// Decides about a request, and changes its headers accordingly.
    fn decide(
        self: &Arc<Self>,
        requirement: &ir::JwtRequirement,
        request: &mut RequestContext<'_>,
        fetched: &Fetched,
    ) -> Decision {
        let worker = request.stream.connection.worker.clone();
        let stats = self.stats.shard(worker.worker);
        let uri = original_uri(request);
        let mut verification = Verification {
            providers: &self.providers,
            worker: worker.worker,
            now: worker.clock.now(),
            seconds: worker.clock.since_epoch().as_secs(),
            fetched,
            stats,
            head: request.head,
            metadata: Vec::new(),

            reroute: false,
        };
        let result = verification.verify(requirement);
        let reroute = verification.reroute && result.is_ok();
        let metadata = verification.metadata;
        if !metadata.is_empty() {
            let mut facts = request.stream.facts.borrow_mut();
            let shared = &mut facts.notes.shared_mut().metadata;
            let namespace = shared.0.entry(NAMESPACE.to_owned()).or_default();
            for (key, value) in metadata {
                namespace.insert(key, value);
            }
        }
        request.stream.facts.borrow_mut().notes.reroute |= reroute;
        for provider in &self.providers {
            keys::fetch_ahead(self, provider, &worker);
        }
        match result {
            Ok(()) => {
                stats.allowed.inc();
                Decision::Continue
            }
            Err(failure) => {
                stats.denied.inc();
                Decision::Reply(self.refuse(failure, &uri))
            }
        }
    }

    fn refuse(&self, failure: Failure, uri: &str) -> Box<LocalReply> {
        let status = match failure {
            Failure::AudienceNotAllowed => StatusCode::FORBIDDEN,
            _ => StatusCode::UNAUTHORIZED,
        };
        let text = failure.to_string();
        let mut reply = denied(status, &text);
        if self.config.strip_failure_response {
            return reply;
        }
        let error = match failure {
            Failure::Missing => "",
            _ => ", error=\"invalid_token\"",
        };
        if let Ok(value) = HeaderValue::from_str(&format!("Bearer realm=\"{uri}\"{error}")) {
            reply.headers.insert(header::WWW_AUTHENTICATE, value);
        }
        reply.body = text.into();
        reply
    }
}

/// A refusal without a body.
fn denied(status: StatusCode, why: &str) -> Box<LocalReply> {
    let mut reply = LocalReply::new(status, "", "", ResponseFlags::NONE);
    let details = why.replace(' ', "_");
    reply.details = format!("jwt_authn_access_denied{{{details}}}").into();
    reply
}

fn is_preflight(request: &RequestContext<'_>) -> bool {
    let headers = &request.head.headers;
    let given = |name| {
        let value: Option<&HeaderValue> = headers.get(name);
        value.is_some_and(|value| !value.is_empty())
    };
    request.head.method == Method::OPTIONS
        && given(header::ORIGIN)
        && given(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The URI that was asked for, its path cut off after 256 bytes.
fn original_uri(request: &RequestContext<'_>) -> String {
    const MOST: usize = 256;
    let head = &*request.head;
    let original = head.headers.get(names::ORIGINAL_PATH);
    let path = original
        .and_then(|value| value.to_str().ok())
        .unwrap_or(head.path());
    let path = path.get(..MOST.min(path.len())).unwrap_or_default();
    format!("{}://{}{path}", head.scheme(), head.authority())
}
