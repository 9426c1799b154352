//! Circuit breakers: how much of a cluster's capacity is in use, over all workers.
//!
//! Pools and the HTTP router take a permit and give it back when what it stands for ends.
//! A limit of `u32::MAX`, which is how Istio writes "none", is not counted at all, so that
//! workers share nothing for it.

use std::sync::atomic::{AtomicU32, Ordering};

use meltemi_ir::{CircuitBreakers, Priority, RetryBudget, Thresholds};
use meltemi_telemetry::BreakerStats;

/// One counted resource.
#[derive(Debug)]
pub(crate) struct Resource {
    limit: u32,
    is_counted: bool,
    used: AtomicU32,
}

/// The resources of one priority, on a cache line of their own.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Resources {
    pub(crate) connections: Resource,
    pub(crate) pending: Resource,
    pub(crate) requests: Resource,
    pub(crate) retries: Resource,
    retry_budget: Option<Box<RetryBudget>>,
    track_remaining: bool,
    /// Connections to one host.
    pub(crate) per_host_connections: u32,
}

/// The resources of a cluster.
#[derive(Debug)]
pub(crate) struct Breakers {
    default: Resources,
    high: Resources,
}

impl Breakers {
    pub(crate) fn new(limits: &CircuitBreakers) -> Self {
        let CircuitBreakers {
            default,
            high,
            per_host_connections: [per_host, per_host_high],
        } = limits;
        Self {
            default: Resources::new(default, *per_host),
            high: Resources::new(high, *per_host_high),
        }
    }

    #[inline]
    pub(crate) fn of(&self, priority: Priority) -> &Resources {
        match priority {
            Priority::Default => &self.default,
            Priority::High => &self.high,
        }
    }
}

impl Resources {
    /// Shows in statistics which limits are reached.
    pub(crate) fn show(&self, stats: &BreakerStats) {
        let of = |resource: &Resource| (resource.limit, resource.has_room());
        let retries = (self.retry_limit(), self.may_retry());
        for ((limit, has_room), used, open, remaining) in [
            (
                of(&self.connections),
                &self.connections.used,
                &stats.cx_open,
                &stats.remaining_cx,
            ),
            (
                of(&self.pending),
                &self.pending.used,
                &stats.rq_pending_open,
                &stats.remaining_pending,
            ),
            (
                of(&self.requests),
                &self.requests.used,
                &stats.rq_open,
                &stats.remaining_rq,
            ),
            (
                retries,
                &self.retries.used,
                &stats.rq_retry_open,
                &stats.remaining_retries,
            ),
        ] {
            open.set(u64::from(!has_room));
            if self.track_remaining {
                let used = used.load(Ordering::Relaxed);
                remaining.set(limit.saturating_sub(used).into());
            }
        }
        if self.track_remaining {
            stats.remaining_cx_pools.set(u32::MAX.into());
        }
    }

    /// Whether there is room for another retry.
    pub(crate) fn may_retry(&self) -> bool {
        if self.retry_budget.is_none() {
            return self.retries.has_room();
        }
        self.retries.used.load(Ordering::Relaxed) < self.retry_limit()
    }

    /// How many retries there may be at the moment.
    fn retry_limit(&self) -> u32 {
        let Some(RetryBudget {
            percent,
            min_retry_concurrency,
        }) = self.retry_budget.as_deref().copied()
        else {
            return self.retries.limit;
        };
        let used = |resource: &Resource| f64::from(resource.used.load(Ordering::Relaxed));
        let active = used(&self.requests) + used(&self.pending);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a count"
        )]
        let share = (percent * active / 100.0) as u32;
        share.max(min_retry_concurrency)
    }

    fn new(limits: &Thresholds, per_host: Option<u32>) -> Self {
        let Thresholds {
            max_connections,
            max_pending_requests,
            max_requests,
            max_retries,
            retry_budget,
            track_remaining,
        } = *limits;
        let has_budget = retry_budget.is_some();
        Self {
            connections: Resource::new(max_connections, track_remaining),
            pending: Resource::new(max_pending_requests, track_remaining || has_budget),
            requests: Resource::new(max_requests, track_remaining || has_budget),
            retries: Resource::new(max_retries, track_remaining || has_budget),
            retry_budget: retry_budget.map(Box::new),
            track_remaining,
            per_host_connections: per_host.unwrap_or(u32::MAX),
        }
    }
}

impl Resource {
    /// `shown` counts it even where there is no limit.
    fn new(limit: u32, shown: bool) -> Self {
        Self {
            limit,
            is_counted: shown || limit != u32::MAX,
            used: AtomicU32::new(0),
        }
    }

    /// Whether there is room. As in Envoy, looking and taking are two steps, so that two
    /// workers at the same instant may pass the limit by one.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.limit == u32::MAX || self.used.load(Ordering::Relaxed) < self.limit
    }

    #[inline]
    pub(crate) fn take(&self) {
        if self.is_counted {
            self.used.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn give_back(&self) {
        if self.is_counted {
            self.used.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// How much is in use; 0 where it is not counted.
    #[cfg(test)]
    pub(crate) fn used(&self) -> u32 {
        self.used.load(Ordering::Relaxed)
    }
}
