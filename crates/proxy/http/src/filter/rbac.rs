//! `envoy.filters.http.rbac`: who may send which request.
//!
//! In: a request's head and what is known of its connection. Out: it goes on, or is answered
//! with 403; what was tried out is left as metadata and statistics.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use http::StatusCode;
use meltemi_ir as ir;
use meltemi_rbac::{Certificate, Decision as Verdict, Engine, Facts, denial_details};
use meltemi_telemetry::{
    ConnectionInfo, RbacPolicyStats, RbacShadowStats, RbacStats, ResponseFlags, Sharded,
    StatsRegistry,
};

use super::{Decision, FilterParts, HttpFilter, RequestContext, RouteConfig};
use crate::router::reply::LocalReply;

/// Where what came of the policies is left for logs and other filters.
const NAMESPACE: &str = "envoy.filters.http.rbac";

/// The filter with its settings.
pub(crate) struct RbacFilter {
    own: Access,
    registry: Arc<StatsRegistry>,
    stat_prefix: String,
    enforced: Arc<Sharded<RbacStats>>,
    shadow: Arc<Sharded<RbacShadowStats>>,
    /// Statistics of the filter's own policies, by position.
    policies: Box<[OnceLock<Arc<Sharded<RbacPolicyStats>>>]>,
    shadow_policies: Box<[OnceLock<Arc<Sharded<RbacPolicyStats>>>]>,
}

/// Policies: the filter's, or a route's.
pub(crate) struct Access {
    config: Arc<ir::HttpRbac>,
    rules: Option<Engine>,
    shadow: Option<Engine>,
    keys: Keys,
}

/// Names of metadata.
struct Keys {
    enforced_result: String,
    enforced_policy: String,
    shadow_result: String,
    shadow_policy: String,
}

impl Access {
    /// Compiles policies.
    pub(crate) fn new(config: &Arc<ir::HttpRbac>) -> Self {
        let rules = &config.rules_stat_prefix;
        let shadow = &config.shadow_rules_stat_prefix;
        Self {
            rules: config.rules.as_deref().map(Engine::new),
            shadow: config.shadow_rules.as_deref().map(Engine::new),
            keys: Keys {
                enforced_result: format!("{rules}enforced_engine_result"),
                enforced_policy: format!("{rules}enforced_effective_policy_id"),
                shadow_result: format!("{shadow}shadow_engine_result"),
                shadow_policy: format!("{shadow}shadow_effective_policy_id"),
            },
            config: config.clone(),
        }
    }
}

impl RbacFilter {
    pub(crate) fn new(config: &Arc<ir::HttpRbac>, parts: &FilterParts<'_>) -> Self {
        let own = Access::new(config);
        let unknown = |engine: &Option<Engine>| {
            let count = engine.as_ref().map_or(0, |engine| engine.policies().len());
            (0..count).map(|_| OnceLock::new()).collect()
        };
        let prefix = parts.stat_prefix;
        Self {
            policies: unknown(&own.rules),
            shadow_policies: unknown(&own.shadow),
            own,
            registry: parts.stats.clone(),
            stat_prefix: prefix.to_owned(),
            enforced: parts.stats.http_rbac(prefix, &config.rules_stat_prefix),
            shadow: parts
                .stats
                .http_rbac_shadow(prefix, &config.shadow_rules_stat_prefix),
        }
    }

    /// The statistics of the policy that decided; none where none did.
    fn policy_stats(
        &self,
        access: &Access,
        verdict: &Verdict<'_>,
        shadow: bool,
    ) -> Option<Arc<Sharded<RbacPolicyStats>>> {
        let policy = verdict
            .policy
            .filter(|_| access.config.track_per_rule_stats)?;
        // the names begin as the filter's do, whoever's the policies are
        let config = &self.own.config;
        let (known, rules) = if shadow {
            (&self.shadow_policies, &config.shadow_rules_stat_prefix)
        } else {
            (&self.policies, &config.rules_stat_prefix)
        };
        let make = || {
            self.registry
                .http_rbac_policy(&self.stat_prefix, rules, policy)
        };
        if !std::ptr::eq(access, &raw const self.own) {
            return Some(make());
        }
        let known = known.get(verdict.position?)?;
        Some(Arc::clone(known.get_or_init(make)))
    }
}

impl HttpFilter for RbacFilter {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Decision {
        let access = match request.place.config() {
            Some(RouteConfig::Rbac(access)) => access,
            _ => &self.own,
        };
        if access.rules.is_none() && access.shadow.is_none() {
            return Decision::Continue;
        }
        let (shadow, enforced) = with_facts(request, |facts| {
            (
                ask(access.shadow.as_ref(), facts),
                ask(access.rules.as_ref(), facts),
            )
        });
        let worker = request.worker().worker;
        let mut left = BTreeMap::new();
        if let Some(verdict) = &shadow {
            let stats = self.shadow.shard(worker);
            let of_policy = self.policy_stats(access, verdict, true);
            let of_policy = of_policy.as_ref().map(|stats| stats.shard(worker));
            if verdict.allowed {
                stats.shadow_allowed.inc();
                of_policy.inspect(|stats| stats.shadow_allowed.inc());
            } else {
                stats.shadow_denied.inc();
                of_policy.inspect(|stats| stats.shadow_denied.inc());
            }
            leave(
                &mut left,
                verdict,
                &access.keys.shadow_result,
                &access.keys.shadow_policy,
            );
        }
        if let Some(verdict) = &enforced {
            let stats = self.enforced.shard(worker);
            let of_policy = self.policy_stats(access, verdict, false);
            let of_policy = of_policy.as_ref().map(|stats| stats.shard(worker));
            if verdict.allowed {
                stats.allowed.inc();
                of_policy.inspect(|stats| stats.allowed.inc());
            } else {
                stats.denied.inc();
                of_policy.inspect(|stats| stats.denied.inc());
            }
            let keys = &access.keys;
            leave(
                &mut left,
                verdict,
                &keys.enforced_result,
                &keys.enforced_policy,
            );
        }
        publish(
            request,
            left,
            enforced.as_ref().and_then(|verdict| verdict.log),
        );
        match enforced {
            Some(verdict) if !verdict.allowed => {
                let mut reply = LocalReply::new(
                    StatusCode::FORBIDDEN,
                    "RBAC: access denied",
                    "",
                    ResponseFlags::NONE,
                );
                reply.details = denial_details(verdict.policy).into();
                Decision::Reply(reply)
            }
            _ => Decision::Continue,
        }
    }
}

fn ask<'e>(engine: Option<&'e Engine>, facts: &Facts<'_>) -> Option<Verdict<'e>> {
    engine.map(|engine| engine.decide(facts))
}

/// Calls `ask` with all that policies may ask for.
fn with_facts<R>(request: &RequestContext<'_>, ask: impl FnOnce(&Facts<'_>) -> R) -> R {
    let stream = request.stream;
    let info = &stream.connection.info;
    let noted = stream.facts.borrow();
    let shared = noted.notes.shared();
    let view = request.head.view(stream.random);
    ask(&Facts {
        method: view.method,
        scheme: view.scheme,
        authority: view.authority,
        path: request.head.path.as_ref().map(|path| path.as_str()),
        headers: view.headers,
        destination: info.local,
        source: info.remote.ip(),
        direct_remote: info.direct_remote.ip(),
        remote: noted.client.unwrap_or(info.remote).ip(),
        server_name: info.requested_server_name.as_deref().unwrap_or_default(),
        certificate: certificate(info),
        metadata: shared.map(|shared| &shared.metadata),
        route_metadata: request.place.route.metadata(),
        filter_state: shared.map(|shared| &shared.state),
    })
}

/// The certificate of a TLS client. The names of one that was not verified are nobody's.
fn certificate(info: &ConnectionInfo) -> Option<Certificate<'_>> {
    let tls = info.tls.as_ref()?;
    Some(if tls.verified {
        Certificate {
            verified: true,
            uris: &tls.peer_uri_sans,
            dns: &tls.peer_dns_sans,
            subject: &tls.peer_subject,
        }
    } else {
        Certificate::default()
    })
}

/// Notes what came of policies.
fn leave(
    left: &mut BTreeMap<String, ir::Value>,
    verdict: &Verdict<'_>,
    result_key: &str,
    policy_key: &str,
) {
    let result = if verdict.allowed { "allowed" } else { "denied" };
    left.insert(result_key.to_owned(), ir::Value::String(result.to_owned()));
    if let Some(policy) = verdict.policy {
        left.insert(policy_key.to_owned(), ir::Value::String(policy.to_owned()));
    }
}

/// Leaves as metadata what came of the policies.
fn publish(request: &RequestContext<'_>, left: BTreeMap<String, ir::Value>, log: Option<bool>) {
    let mut facts = request.stream.facts.borrow_mut();
    let metadata = &mut facts.notes.shared_mut().metadata.0;
    metadata
        .entry(NAMESPACE.to_owned())
        .or_default()
        .extend(left);
    if let Some(log) = log {
        let hint = ("access_log_hint".to_owned(), ir::Value::Bool(log));
        metadata
            .entry("envoy.common".to_owned())
            .or_default()
            .extend([hint]);
    }
}
