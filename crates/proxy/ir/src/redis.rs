//! Redis proxying (`envoy.extensions.filters.network.redis_proxy.v3`).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// `RedisProxy`: commands go to clusters by their keys.
#[derive(Clone, Debug, PartialEq)]
pub struct RedisProxy {
    /// The prefix of its statistics.
    pub stat_prefix: String,
    /// How long an upstream may take to answer the command whose turn it is.
    pub op_timeout: Duration,
    /// Only what stands in the first braces of a key chooses the host, where there is something.
    pub hash_tags: bool,
    /// Clusters count by command too.
    pub command_stats: bool,
    /// Latencies are counted in microseconds in place of milliseconds.
    pub latency_in_micros: bool,
    /// Where keys go by how they begin.
    pub routes: RedisRoutes,
    /// What clients must say before anything else; nothing where nothing is asked for.
    pub auth: RedisAuth,
}

/// `RedisProxy.PrefixRoutes`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RedisRoutes {
    /// By prefix, the longest of which counts; no two have the same.
    pub routes: Vec<RedisRoute>,
    /// For keys that begin with none of those.
    pub catch_all: Option<RedisRoute>,
    /// The case of prefixes is ignored; prefixes here have no capitals then.
    pub case_insensitive: bool,
}

/// `RedisProxy.PrefixRoutes.Route`.
#[derive(Clone, Debug, PartialEq)]
pub struct RedisRoute {
    /// How keys begin.
    pub prefix: String,
    /// The upstream gets keys without it.
    pub remove_prefix: bool,
    /// Where they go.
    pub cluster: Arc<str>,
}

/// What clients must say in `AUTH`.
#[derive(Clone, Default, PartialEq)]
pub struct RedisAuth {
    /// The user's name; empty for the default user.
    pub username: Vec<u8>,
    /// The passwords, of which any will do; none empty.
    pub passwords: Vec<Vec<u8>>,
}

impl fmt::Debug for RedisAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisAuth")
            .field("passwords", &self.passwords.len())
            .finish_non_exhaustive()
    }
}
