//! `envoy.filters.network.rbac` and `envoy.filters.network.ext_authz`: who may connect.
//!
//! In: a chain's policies and whom it asks, and a connection whose TLS handshake is done. Out: whether
//! it goes on. Policies are asked by `connection` before anything of the connection is served: a client
//! that they refuse makes nobody connect to an upstream, and sees no byte of one that speaks first. An
//! authorizer is asked when the client has sent its first byte, as Envoy does: by `connection` where the
//! client has to begin, by `held` where its bytes are relayed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use meltemi_http::{ConnectionAuthorizer, ConnectionVerdict, MutationError, WorkerContext};
use meltemi_ir::{self as ir, Value};
use meltemi_lifecycle::WorkerId;
use meltemi_rbac::{Certificate, Engine, Facts, denial_details};
use meltemi_telemetry::{
    ConnectionInfo, NetworkExtAuthzStats, RbacShadowStats, RbacStats, ResponseFlags, Sharded,
    StatsRegistry,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::gate::Gate;

/// Where what was tried out is left for logs.
const NAMESPACE: &str = "envoy.filters.network.rbac";

/// Where metadata of an authorizer's answers is left.
const ANSWERED: &str = "envoy.filters.network.ext_authz";

/// How long, and in how many pieces, a client that is refused may go on sending before it is cut
/// off. What it has sent by then is read, so that it sees an end and no reset.
const LINGER: (Duration, usize) = (Duration::from_secs(1), 64);

/// Compiled policies with their statistics.
pub(crate) struct Access {
    config: Arc<ir::NetworkRbac>,
    rules: Option<Engine>,
    shadow: Option<Engine>,
    enforced_stats: Arc<Sharded<RbacStats>>,
    shadow_stats: Arc<Sharded<RbacShadowStats>>,
}

/// Who is asked about connections, with its statistics.
pub(crate) struct Asked {
    config: Arc<ir::ConnectionAuthz>,
    authorizer: ConnectionAuthorizer,
    stats: Arc<Sharded<NetworkExtAuthzStats>>,
}

/// Why a connection goes no further.
pub(crate) struct Refused {
    /// What logs say of how it ended.
    pub termination: Option<String>,
    /// What logs say of who answered it.
    pub details: Option<&'static str>,
    pub flags: ResponseFlags,
    /// Why this side closes it, in Envoy's word.
    pub close: &'static str,
    /// It is closed after this time.
    pub delay: Duration,
}

impl Access {
    pub fn new(config: &Arc<ir::NetworkRbac>, stats: &StatsRegistry) -> Self {
        let prefix = &config.stat_prefix;
        Self {
            rules: config.rules.as_deref().map(Engine::new),
            shadow: config.shadow_rules.as_deref().map(Engine::new),
            enforced_stats: stats.network_rbac(prefix),
            shadow_stats: stats.network_rbac_shadow(prefix, &config.shadow_rules_stat_prefix),
            config: Arc::clone(config),
        }
    }

    /// Asks the policies; what was tried out is left with the connection.
    fn ask(&self, worker: WorkerId, info: &mut ConnectionInfo) -> Result<(), Refused> {
        if let Some(engine) = &self.shadow {
            let verdict = engine.decide(&facts(info));
            let stats = self.shadow_stats.shard(worker);
            let result = if verdict.allowed {
                stats.shadow_allowed.inc();
                "allowed"
            } else {
                stats.shadow_denied.inc();
                "denied"
            };
            let prefix = &self.config.shadow_rules_stat_prefix;
            let text = |text: &str| Value::String(text.to_owned());
            let policy = verdict.policy.map(text);
            let left = info.metadata.0.entry(NAMESPACE.to_owned()).or_default();
            left.insert(format!("{prefix}shadow_engine_result"), text(result));
            if let Some(policy) = policy {
                left.insert(format!("{prefix}shadow_effective_policy_id"), policy);
            }
        }
        let Some(engine) = &self.rules else {
            return Ok(());
        };
        let verdict = engine.decide(&facts(info));
        let stats = self.enforced_stats.shard(worker);
        let (details, log) = (denial_details(verdict.policy), verdict.log);
        let allowed = verdict.allowed;
        if let Some(log) = log {
            let left = info.metadata.0.entry("envoy.common".to_owned());
            left.or_default()
                .insert("access_log_hint".to_owned(), Value::Bool(log));
        }
        if allowed {
            stats.allowed.inc();
            return Ok(());
        }
        stats.denied.inc();
        Err(Refused {
            termination: Some(details),
            details: None,
            flags: ResponseFlags::NONE,
            close: "rbac_deny_close",
            delay: self.config.delay_deny,
        })
    }
}

impl Asked {
    pub fn new(
        config: &Arc<ir::ConnectionAuthz>,
        stats: &StatsRegistry,
    ) -> Result<Self, MutationError> {
        Ok(Self {
            authorizer: ConnectionAuthorizer::new(config)?,
            stats: stats.extension("ext_authz", "envoy_ext_authz_prefix", &config.stat_prefix),
            config: Arc::clone(config),
        })
    }

    /// Asks; what was answered is left with the connection.
    async fn ask(&self, worker: &WorkerContext, info: &mut ConnectionInfo) -> Result<(), Refused> {
        let stats = self.stats.shard(worker.worker);
        let matcher = self.config.enabled_metadata.as_ref();
        if !matcher.is_none_or(|it| it.matches(Some(&info.metadata))) {
            stats.disabled.inc();
            return Ok(());
        }
        stats.total.inc();
        stats.active.inc();
        let verdict = self.authorizer.ask(info, worker).await;
        stats.active.dec();
        let mut leave = |metadata: BTreeMap<_, _>| {
            if !metadata.is_empty() {
                info.metadata.0.insert(ANSWERED.to_owned(), metadata);
            }
        };
        let details = match verdict {
            ConnectionVerdict::Allowed(metadata) => {
                stats.ok.inc();
                leave(metadata);
                return Ok(());
            }
            ConnectionVerdict::Denied(metadata) => {
                stats.denied.inc();
                leave(metadata);
                "ext_authz_denied"
            }
            ConnectionVerdict::Error => {
                stats.error.inc();
                if self.config.failure_mode_allow {
                    stats.failure_mode_allowed.inc();
                    return Ok(());
                }
                "ext_authz_error"
            }
        };
        stats.cx_closed.inc();
        Err(Refused {
            termination: None,
            details: Some(details),
            flags: ResponseFlags::UNAUTHORIZED_EXTERNAL_SERVICE,
            close: "ext_authz_close",
            delay: Duration::ZERO,
        })
    }
}

/// Asks the policies of a chain, in order; says why the connection goes no further.
pub(crate) fn judge(
    gates: &[Gate],
    worker: WorkerId,
    info: &mut ConnectionInfo,
) -> Option<Refused> {
    gates.iter().find_map(|gate| match gate {
        Gate::Rbac(access) => access.ask(worker, info).err(),
        Gate::ExtAuthz(_) | Gate::Limit { .. } | Gate::Rate { .. } | Gate::SniCluster => None,
    })
}

/// Whether somebody else is asked about the connections of a chain.
pub(crate) fn is_asked(gates: &[Gate]) -> bool {
    gates.iter().any(|gate| matches!(gate, Gate::ExtAuthz(_)))
}

/// Asks whom else a chain asks, in order; says why the connection goes no further.
pub(crate) async fn ask(
    gates: &[Gate],
    worker: &WorkerContext,
    info: &mut ConnectionInfo,
) -> Option<Refused> {
    for gate in gates {
        if let Gate::ExtAuthz(asked) = gate
            && let Err(refused) = asked.ask(worker, info).await
        {
            return Some(refused);
        }
    }
    None
}

/// What is known of a connection. The names of a certificate that was not verified are nobody's.
fn facts(info: &ConnectionInfo) -> Facts<'_> {
    let certificate = info.tls.as_ref().map(|tls| {
        if tls.verified {
            Certificate {
                verified: true,
                uris: &tls.peer_uri_sans,
                dns: &tls.peer_dns_sans,
                subject: &tls.peer_subject,
            }
        } else {
            Certificate::default()
        }
    });
    Facts {
        destination: info.local,
        source: info.remote.ip(),
        direct_remote: info.direct_remote.ip(),
        remote: info.remote.ip(),
        server_name: info.requested_server_name.as_deref().unwrap_or_default(),
        certificate,
        metadata: Some(&info.metadata),
        ..Facts::none()
    }
}

/// Closes a connection whose client may still be sending.
pub(crate) async fn close<IO>(stream: &mut IO)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    // ignored: a client that is gone needs no end
    let _ = stream.shutdown().await;
    let (limit, pieces) = LINGER;
    let mut waste = [0; 1024];
    let unread = async {
        for _ in 0..pieces {
            if matches!(stream.read(&mut waste).await, Ok(0) | Err(_)) {
                break;
            }
        }
    };
    // ignored: whoever sends for ever is cut off
    let _ = tokio::time::timeout(limit, unread).await;
}
