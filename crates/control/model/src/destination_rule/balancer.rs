//! How a destination's endpoints are chosen (FEATURES R1, R2).
//!
//! In: `loadBalancer`. Out: [`LoadBalancer`].

use std::collections::BTreeMap;
use std::time::Duration;

use crate::HeaderName;

/// `loadBalancer`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoadBalancer {
    /// `simple` or `consistentHash`.
    pub policy: BalancerPolicy,
    /// `localityLbSetting`; `None` leaves the mesh's.
    pub locality: Option<LocalitySetting>,
    /// `warmup`.
    pub warmup: Option<Warmup>,
}

/// By what an endpoint is chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum BalancerPolicy {
    /// `UNSPECIFIED`: the mesh's default, which is least request as in Istio.
    #[default]
    Unspecified,
    /// `ROUND_ROBIN`.
    RoundRobin,
    /// `RANDOM`.
    Random,
    /// `LEAST_REQUEST`, and its old name `LEAST_CONN`.
    LeastRequest,
    /// `PASSTHROUGH`: the address that the client asked for.
    Passthrough,
    /// `consistentHash`: the same endpoint for the same key.
    ConsistentHash(ConsistentHash),
}

/// `consistentHash`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsistentHash {
    /// What is hashed.
    pub key: HashKey,
    /// Into what.
    pub algorithm: HashAlgorithm,
}

/// What of a request is hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// `httpHeaderName`.
    Header(HeaderName),
    /// `httpCookie`, which is set if it has a ttl.
    Cookie {
        /// `name`.
        name: String,
        /// `path`.
        path: Option<String>,
        /// `ttl`; zero is a cookie of the session.
        ttl: Option<Duration>,
        /// `attributes`.
        attributes: Vec<(String, String)>,
    },
    /// `useSourceIp`.
    SourceIp,
    /// `httpQueryParameterName`.
    QueryParameter(String),
}

/// How the keys are spread over the endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashAlgorithm {
    /// `ringHash`, and the deprecated `minimumRingSize`.
    RingHash {
        /// `minimumRingSize`, 1024.
        minimum_size: u64,
    },
    /// `maglev`.
    Maglev {
        /// `tableSize`, a prime; `None` leaves Envoy's 65537.
        table_size: Option<u64>,
    },
}

/// `localityLbSetting`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalitySetting {
    /// `enabled`; `None` leaves the mesh's.
    pub enabled: Option<bool>,
    /// Where requests of a locality go.
    pub preference: LocalityPreference,
}

/// Which localities are preferred.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LocalityPreference {
    /// Nothing said: the nearest, if it is enabled.
    #[default]
    Nearest,
    /// `distribute`: shares.
    Distribute(Vec<Distribute>),
    /// `failover`: the nearest, then these regions.
    Failover(Vec<(String, String)>),
    /// `failoverPriority`: those first that have most of these labels in common with the client.
    Priority(Vec<PriorityLabel>),
}

/// An entry of `distribute`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribute {
    /// `from`: a locality, perhaps with `*` at its end.
    pub from: String,
    /// `to`: localities and their shares of 100.
    pub to: BTreeMap<String, u32>,
}

/// An entry of `failoverPriority`: `LABEL`, or `LABEL=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriorityLabel {
    /// The label.
    pub key: String,
    /// What it is for the client; `None` is the client's own label.
    pub value: Option<String>,
}

/// `warmup`: how endpoints that are new come to their full share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Warmup {
    /// `duration`.
    pub duration: Duration,
    /// `minimumPercent`, 10.
    pub minimum_percent: f64,
    /// `aggression`, 1.
    pub aggression: f64,
}
