//! Load balancing: how one of a cluster's endpoints is chosen.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Value;

/// How an endpoint is chosen.
#[derive(Clone, Debug, PartialEq)]
pub enum LbPolicy {
    /// Each in turn, by weight.
    RoundRobin {
        /// Less for new endpoints.
        slow_start: Option<SlowStart>,
    },
    /// Uniformly at random.
    Random,
    /// The one with fewest active requests among some random picks.
    LeastRequest(LeastRequest),
    /// By the request's hash, on a ring of points.
    RingHash(RingHash),
    /// By the request's hash, in a table that endpoints fill evenly.
    Maglev(Maglev),
    /// Decided by discovery (original destination).
    ClusterProvided,
}

impl LbPolicy {
    /// `ROUND_ROBIN` without settings.
    pub const ROUND_ROBIN: Self = Self::RoundRobin { slow_start: None };
}

/// `LEAST_REQUEST`.
#[derive(Clone, Debug, PartialEq)]
pub struct LeastRequest {
    /// How many are picked, 2 unless set.
    pub choice_count: u32,
    /// Where weights differ, a weight is divided by this power of the active requests plus
    /// one; 1 unless set.
    pub active_request_bias: f64,
    /// All are looked at rather than some.
    pub full_scan: bool,
    /// Less for new endpoints.
    pub slow_start: Option<SlowStart>,
}

impl Default for LeastRequest {
    fn default() -> Self {
        Self {
            choice_count: 2,
            active_request_bias: 1.0,
            full_scan: false,
            slow_start: None,
        }
    }
}

/// `RING_HASH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingHash {
    /// The least number of points, 1024 unless set.
    pub minimum_size: u64,
    /// The greatest number of points, 8M unless set.
    pub maximum_size: u64,
    /// How points are hashed.
    pub function: HashFunction,
    /// What ring and table share.
    pub hashing: ConsistentHashing,
}

/// `MAGLEV`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maglev {
    /// Entries of the table, a prime; 65537 unless set.
    pub table_size: u64,
    /// What ring and table share.
    pub hashing: ConsistentHashing,
}

/// How a point of a ring is hashed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HashFunction {
    /// xxHash, 64 bits.
    #[default]
    XxHash,
    /// MurmurHash2, 64 bits.
    MurmurHash2,
}

/// What ring and table share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsistentHashing {
    /// An endpoint is known by its host name rather than its address.
    pub use_hostname: bool,
    /// No endpoint gets more than this percentage of the average, at least 100; none is no
    /// bound.
    pub balance_factor: Option<u32>,
}

/// A new endpoint's share grows over a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowStart {
    /// How long an endpoint is new.
    pub window: Duration,
    /// How fast its share grows: 1 is linear, less is slower at first.
    pub aggression: f64,
    /// The least share, in percent.
    pub min_weight_percent: f64,
}

/// What every policy shares (`common_lb_config` and the like).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LbSettings {
    /// A locality is chosen first, by its weight (`locality_weighted_lb_config`); otherwise
    /// the weights of localities say nothing.
    pub locality_weighted: bool,
    /// Below this percentage of healthy hosts all are used; 50 unless set.
    pub panic_threshold_percent: f64,
    /// In panic nothing is sent.
    pub fail_traffic_on_panic: bool,
    /// A new host gets nothing until its first health check is done.
    pub ignore_new_hosts_until_first_check: bool,
    /// Connections are closed when hosts come or go.
    pub close_connections_on_change: bool,
}

impl Default for LbSettings {
    fn default() -> Self {
        Self {
            locality_weighted: false,
            panic_threshold_percent: 50.0,
            fail_traffic_on_panic: false,
            ignore_new_hosts_until_first_check: false,
            close_connections_on_change: false,
        }
    }
}

/// Values by their keys in `envoy.lb` metadata.
pub type SubsetKeys = BTreeMap<String, Value>;

/// Endpoints in groups by their metadata (`lb_subset_config`).
#[derive(Clone, Debug, PartialEq)]
pub struct SubsetLb {
    /// For requests that no subset fits.
    pub fallback: SubsetFallback,
    /// The endpoints of [`SubsetFallback::Default`].
    pub default_subset: SubsetKeys,
    /// Which keys make subsets.
    pub selectors: Vec<SubsetSelector>,
    /// Localities keep their weights in a subset.
    pub locality_weight_aware: bool,
    /// A locality's weight shrinks with the share of its endpoints in the subset.
    pub scale_locality_weight: bool,
    /// Where the fallback has no endpoint either, any is taken.
    pub panic_mode_any: bool,
    /// A list in an endpoint's metadata stands for each of its values.
    pub list_as_any: bool,
}

/// Endpoints for requests that no subset fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubsetFallback {
    /// None.
    None,
    /// Any.
    Any,
    /// Those of the default subset.
    Default,
    /// Those of the subset that these keys of the request make; for selectors only.
    Keys(Vec<String>),
}

/// Keys whose values make subsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubsetSelector {
    /// The keys, sorted and each once.
    pub keys: Vec<String>,
    /// Every subset has one endpoint, the first.
    pub single_host: bool,
    /// In place of the whole's fallback.
    pub fallback: Option<SubsetFallback>,
}
