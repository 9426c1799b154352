//! Network filters that look at a connection before the last one serves it.
//!
//! In: a chain's settings, then each connection. Out: whether it goes on. Called by `connection`
//! before a TLS handshake, as Envoy does.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use meltemi_http::MutationError;
use meltemi_ir as ir;
use meltemi_lifecycle::WorkerId;
use meltemi_telemetry::{ConnectionLimitStats, NetworkRateLimitStats, Sharded, StatsRegistry};
use tokio::time::Instant;

use crate::authorization::{Access, Asked};

/// A filter with its state, shared by all workers.
pub(crate) enum Gate {
    /// So many connections at a time.
    Limit {
        config: ir::ConnectionLimit,
        active: AtomicU64,
        stats: Arc<Sharded<ConnectionLimitStats>>,
    },
    /// So many connections in a time.
    Rate {
        tokens: Arc<Tokens>,
        enabled: bool,
        stats: Arc<Sharded<NetworkRateLimitStats>>,
    },
    /// Only certain clients, as `authorization` finds out after the TLS handshake.
    Rbac(Box<Access>),
    /// Only clients that somebody else lets in, as `authorization` finds out then too.
    ExtAuthz(Box<Asked>),
    /// The server name is the cluster's name.
    SniCluster,
}

/// Tokens that come back with time. A full bucket is a point of time in the past; a token taken
/// moves it towards now.
pub(crate) struct Tokens {
    start: Instant,
    /// How long one token takes to come back.
    each: Duration,
    /// How long all of them take.
    all: Duration,
    /// When the bucket was last empty, in nanoseconds after `start` plus `all`.
    empty_at: AtomicU64,
}

/// Buckets that several chains share, by their key.
pub(crate) type SharedTokens = HashMap<String, Arc<Tokens>>;

/// What the gates made of a connection.
pub(crate) enum Passage<'a> {
    /// It goes on; the guard counts it until it ends.
    Open(Vec<Counted<'a>>),
    /// It is to be closed after a time.
    Closed(Option<Duration>),
}

/// A connection that is counted, until this is dropped.
pub(crate) struct Counted<'a> {
    active: &'a AtomicU64,
    stats: &'a ConnectionLimitStats,
}

impl Gate {
    pub fn new(
        config: &ir::NetworkGate,
        stats: &StatsRegistry,
        shared: &mut SharedTokens,
    ) -> Result<Self, MutationError> {
        Ok(match config {
            ir::NetworkGate::ConnectionLimit(config) => Self::Limit {
                stats: stats.extension(
                    "connection_limit",
                    "envoy_connection_limit_prefix",
                    &config.stat_prefix,
                ),
                active: AtomicU64::new(0),
                config: config.clone(),
            },
            ir::NetworkGate::LocalRateLimit(config) => {
                let tokens = || Arc::new(Tokens::new(config));
                Self::Rate {
                    tokens: match config.share_key.as_str() {
                        "" => tokens(),
                        key => Arc::clone(shared.entry(key.to_owned()).or_insert_with(tokens)),
                    },
                    enabled: config.enabled,
                    stats: stats.extension(
                        "local_rate_limit",
                        "envoy_local_network_ratelimit_prefix",
                        &config.stat_prefix,
                    ),
                }
            }
            ir::NetworkGate::Rbac(config) => Self::Rbac(Box::new(Access::new(config, stats))),
            ir::NetworkGate::ExtAuthz(config) => {
                Self::ExtAuthz(Box::new(Asked::new(config, stats)?))
            }
            ir::NetworkGate::SniCluster => Self::SniCluster,
        })
    }
}

/// Takes a connection through the gates of its chain.
pub(crate) fn pass(gates: &[Gate], worker: WorkerId) -> Passage<'_> {
    let mut counted = Vec::new();
    for gate in gates {
        match gate {
            Gate::Limit {
                config,
                active,
                stats,
            } if config.enabled => {
                let stats = stats.shard(worker);
                if active.fetch_add(1, Ordering::Relaxed) >= config.max_connections {
                    active.fetch_sub(1, Ordering::Relaxed);
                    stats.limited_connections.inc();
                    return Passage::Closed(config.delay);
                }
                stats.active_connections.inc();
                counted.push(Counted { active, stats });
            }
            Gate::Rate {
                tokens,
                enabled: true,
                stats,
            } => {
                if !tokens.take() {
                    stats.shard(worker).rate_limited.inc();
                    return Passage::Closed(None);
                }
            }
            Gate::Limit { .. }
            | Gate::Rate { .. }
            | Gate::Rbac(_)
            | Gate::ExtAuthz(_)
            | Gate::SniCluster => {}
        }
    }
    Passage::Open(counted)
}

impl Tokens {
    fn new(config: &ir::ConnectionRateLimit) -> Self {
        let each = config.fill_interval / config.tokens_per_fill.max(1);
        let all = each * config.max_tokens;
        Self {
            start: Instant::now(),
            each,
            all,
            empty_at: AtomicU64::new(0),
        }
    }

    /// Takes a token, if there is one.
    fn take(&self) -> bool {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        // `all` after the start, so that a full bucket is no time before it
        let now = nanos(self.start.elapsed().saturating_add(self.all));
        let (each, all) = (nanos(self.each), nanos(self.all));
        let taken = self
            .empty_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |empty_at| {
                let after = empty_at.max(now - all) + each;
                (after <= now).then_some(after)
            });
        taken.is_ok()
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.active.fetch_sub(1, Ordering::Relaxed);
        self.stats.active_connections.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn tokens_come_back_with_time() {
        let tokens = Tokens::new(&ir::ConnectionRateLimit {
            stat_prefix: String::new(),
            share_key: String::new(),
            max_tokens: 3,
            tokens_per_fill: 2,
            fill_interval: Duration::from_secs(1),
            enabled: true,
        });
        let take = |times: usize| (0..times).filter(|_| tokens.take()).count();
        assert_eq!(take(5), 3);
        tokio::time::advance(Duration::from_millis(499)).await;
        assert_eq!(take(5), 0);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(take(5), 1);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(take(5), 3);
    }
}
